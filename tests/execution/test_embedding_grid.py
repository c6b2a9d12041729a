"""Maps of task embeddings: counts of saved networks, the table, the figure, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clsweep.data.benchmarks import build
from clsweep.errors import StoreError, StudyError
from clsweep.execution import runner
from clsweep.execution.embedding_grid import Grid, grid_of, map_embeddings
from clsweep.execution.saved_networks import load_network
from clsweep.methods import hnet
from clsweep.methods.hypernetwork_hypers import HnetHyper
from clsweep.nets.build import build_net
from clsweep.nets.parameter_trees import without_prefix
from clsweep.records.embedding_maps import EmbeddingCount, embedding_maps, embeddings_table
from clsweep.records.tables import sound_parquet
from clsweep.reporting.embedding_results import load_maps
from clsweep.reporting.render import embedding_figures
from clsweep.reporting.render.publish import report
from clsweep.storage.store import Store
from clsweep.study.study import Study, parse_study
from tests.support.regressions import write_regression

TEXT = """
name = "mapped"
seeds = 1
benchmark = { name = "split", dataset = "digits", n_tasks = 2, scenario = "SCENARIO" }
net = { name = "mlp", hidden = [5] }
training = { optimizer = "adam", lr = 0.01, batch_size = 20, steps = 15 }
save = { models = "KEPT" }
[[methods]]
name = "hnet"
hidden = "6-5"
task_embedding = SIZE
chunk_embedding = 3
chunk_size = 60
"""


def study_of(scenario: str = "task", size: int = 2, kept: str = "all") -> Study:
    text = TEXT.replace("SCENARIO", scenario).replace("SIZE", str(size))
    return parse_study(text.replace("KEPT", kept))


def run(folder: Path, study: Study) -> Path:
    summary = runner.run(study, out=folder, inline=True)
    assert summary.n_done == summary.n_trials == 1
    return folder


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = run(tmp_path_factory.mktemp("mapped"), study_of())
    (trial,) = map_embeddings(folder, None, Grid(points=3, images=0))
    assert trial.endswith("-0")
    return folder


def test_the_learnt_embedding_gives_the_count_of_the_trial(mapped: Path) -> None:
    (record,) = Store(mapped).load("test")
    final = {on: (n, total) for after, on, _, n, total in record["accuracy"] if after == 1}
    path = mapped / "embeddings.parquet"
    rows = sound_parquet(path.read_bytes(), str(path)).to_pylist()
    own = {
        r["on_task"]: (r["n_correct"], r["n_total"])
        for r in rows
        if r["embedding_of"] == r["on_task"]
    }
    assert own == final
    (found,) = load_maps([mapped])
    shares = [n / total for _, (n, total) in sorted(final.items())]
    np.testing.assert_allclose(found.learnt_TT.diagonal(), shares)
    assert found.accuracy_TMN.shape == (2, 3, 3)


def test_a_point_of_the_grid_by_hand(mapped: Path) -> None:
    """The images of task 1 under the network that is generated from a corner of the square."""
    study, (record,) = study_of(), Store(mapped).load("test")
    sequence = build(study.benchmark, None, 0)
    params = load_network(mapped, study, record).params
    net = build_net(study.net, sequence.input_shape, sequence.heads)
    made = hnet.target_of(net, HnetHyper(**record["config"]["hyper"])).hypernet
    (found,) = load_maps([mapped])
    corner = torch.tensor([found.x_N[2], found.y_M[0]]).float()
    weights = made.shaped(made.flat_of(without_prefix(params, hnet.MAIN), corner[None])[0])
    test = sequence.tasks[1].test
    x = sequence.scale(test.raw(torch.arange(len(test))))
    correct = (net.apply(weights, x, 1).argmax(1) == test.labels).float().mean()
    assert found.accuracy_TMN[1, 0, 2] == pytest.approx(float(correct))


def test_the_square_surrounds_what_was_learnt() -> None:
    learnt = torch.tensor([[0.0, 1.0], [4.0, 3.0]])
    expected = [[x, y] for y in (-2.0, 2.0, 6.0) for x in (-2.0, 2.0, 6.0)]
    torch.testing.assert_close(grid_of(learnt, 3), torch.tensor(expected))
    alone = grid_of(torch.tensor([[1.0, 1.0]]), 2)
    torch.testing.assert_close(alone, torch.tensor([[0.0, 0], [2, 0], [0, 2], [2, 2]]))


@pytest.mark.parametrize("problem", ["size", "not kept"])
def test_what_cannot_be_mapped_is_said(problem: str, tmp_path: Path) -> None:
    study = study_of(size=3) if problem == "size" else study_of(kept="none")
    with pytest.raises(StoreError, match="no network was kept of a hypernetwork with embeddings"):
        map_embeddings(run(tmp_path, study), None, Grid())
    with pytest.raises(StoreError, match=r"there are no maps[^$]*clsweep embeddings"):
        report(tmp_path, embeddings=True)


def test_another_trial_is_refused_by_name(mapped: Path) -> None:
    with pytest.raises(StoreError, match="trial nothing-0 is none of a hypernetwork"):
        map_embeddings(mapped, None, Grid(), ["nothing-0"])


def test_figure_and_page_show_every_task(mapped: Path, tmp_path: Path) -> None:
    (found,) = load_maps([mapped])
    made = embedding_figures.figure(found)
    panels = [axes for axes in made.axes if axes.get_title()]
    assert [axes.get_title().split(":")[0] for axes in panels] == ["task 1", "task 2"]
    for axes in panels:
        marks = {text.get_text(): text.xy for text in axes.texts}
        assert marks == {str(k + 1): tuple(e) for k, e in enumerate(found.embeddings_T2)}
    report(mapped, out=tmp_path, embeddings=True, formats=("html", "png", "svg"))
    names = {path.name for path in tmp_path.glob("embeddings_*")}
    assert names == {f"embeddings_{found.trial_id}.{ending}" for ending in ("png", "svg")}
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Task embeddings" in page
    assert page.count("data:image/png;base64,") == 1
    report(mapped, out=tmp_path, formats=("html",))
    assert "Task embeddings" not in (tmp_path / "report.html").read_text("utf-8")


COUNTS = [
    *(
        EmbeddingCount("a-0", "HNET", 0, 0, None, x, y, 3, 4)
        for x in (0.0, 1.0)
        for y in (0.0, 2.0)
    ),
    EmbeddingCount("a-0", "HNET", 0, 0, 0, 0.5, 0.25, 2, 4),
]


def test_a_table_gives_its_map() -> None:
    (found,) = embedding_maps(embeddings_table(COUNTS))
    assert (found.x_N.tolist(), found.y_M.tolist()) == ([0, 1], [0, 2])
    assert found.accuracy_TMN.tolist() == [[[0.75, 0.75], [0.75, 0.75]]]
    assert (found.learnt_TT.tolist(), found.embeddings_T2.tolist()) == ([[0.5]], [[0.5, 0.25]])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (COUNTS[1:], "no grid"),
        ([COUNTS[1], *COUNTS[1:]], "has gaps"),
        ([*COUNTS[:-1], COUNTS[-1]._replace(n_correct=5)], "out of range"),
        ([*COUNTS[:-1], COUNTS[-1]._replace(x=float("nan"))], "out of range"),
        ([*COUNTS[:-1], COUNTS[-1]._replace(label="a\x1b[2J")], "control characters"),
        ([*COUNTS[:-1], COUNTS[-1]._replace(on_task=-1)], "task is out of range"),
    ],
)
def test_what_is_no_map_is_refused(rows: list[EmbeddingCount], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        embedding_maps(embeddings_table(rows))
    with pytest.raises(ValueError, match="column x is absent"):
        embedding_maps(embeddings_table(COUNTS).drop_columns(["x"]))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "embeddings.parquet").write_bytes(b"no table")
    with pytest.raises(StoreError, match=r"embeddings\.parquet"):
        load_maps([tmp_path])


def test_a_regression_has_no_map(tmp_path: Path) -> None:
    write_regression(tmp_path)
    with (tmp_path / "study.toml").open("a", encoding="utf-8") as file:
        file.write('\n[[methods]]\nname = "ewc"\n')
    with pytest.raises(StudyError, match="(?s)targets are numbers.*clsweep predictions"):
        map_embeddings(tmp_path, None, Grid())
