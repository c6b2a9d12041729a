"""A study of paths, run in this process: labels, columns, a run cut short, the report."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import clsweep
from clsweep.execution import path_points
from clsweep.execution.listeners.validation_claims import validation_claims
from clsweep.records.schema import PATH_POINT
from clsweep.reporting.average_ranks import benchmark_ranks
from clsweep.reporting.report_building import build
from clsweep.reporting.summary import what_can_be_said
from clsweep.storage.store import Store
from clsweep.study.configurations import configurations
from clsweep.study.study import Study, load_study
from tests.support.command_line import CommandLine, tiny_study
from tests.support.pages import Page

PATH = '[search]\nkind = "path"\npoint_steps = 0.5\n'
MORE = PATH + '[[methods]]\nname = "l2"\nlam = [0.1, 1]\n'


def study_of(folder: Path, lam: str = "[1, 10, 100]", seeds: int = 2, more: str = MORE) -> Study:
    return load_study(tiny_study(folder, seeds=seeds, steps=4, lam=lam, more=more))


def run(study: Study, out: Path) -> None:
    clsweep.run(study, out=out, inline=True)


def accuracies(out: Path) -> bytes:
    return (out / "accuracy.parquet").read_bytes()


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paths")
    run(study_of(folder), folder / "out")
    return folder / "out"


def test_every_point_says_that_it_is_one(finished: Path) -> None:
    rows = pq.read_table(finished / "trials.parquet").to_pylist()
    by_label: dict[str, list[int | None]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row[PATH_POINT])
    assert {label: sorted(n or 0 for n in found) for label, found in by_label.items()} == {
        "fine-tuning": [0, 0],
        "EWC (path)": [1, 1, 2, 2, 3, 3],
        "L2 anchor (path)": [1, 1, 2, 2],
    }
    assert by_label["fine-tuning"] == [None, None]
    steps = {row[PATH_POINT]: row["n_steps"] for row in rows if row["label"] == "EWC (path)"}
    assert steps == {1: 4, 2: 2, 3: 2}
    labels = pq.read_table(finished / "configs.parquet")["label"].to_pylist()
    assert sorted(set(labels)) == ["EWC (path)", "L2 anchor (path)", "fine-tuning"]
    assert all(record["trial"]["wall_seconds"] > 0 for record in Store(finished).load())


def test_a_run_that_was_cut_short_goes_on_below_the_last_point(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, made, real = study_of(tmp_path), [], path_points.made_point

    def cut(context, configuration, start, values):
        if len(made) == 2:
            signal.raise_signal(signal.SIGINT)
        made.append(configuration.path)
        return real(context, configuration, start, values)

    monkeypatch.setattr(path_points, "made_point", cut)
    summary = clsweep.run(study, out=tmp_path / "out", inline=True)
    assert summary.interrupted
    assert 0 < summary.n_done < summary.n_trials
    monkeypatch.setattr(path_points, "made_point", lambda *a: made.append(a[1].path) or real(*a))
    run(study, tmp_path / "out")
    assert len(made) == 2 * (3 + 2)  # none was made twice
    assert accuracies(tmp_path / "out") == accuracies(finished)


def test_without_the_stages_it_begins_again_and_finds_the_same(
    finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "stages")
    longer = study_of(tmp_path, "[0.5, 1, 10, 100]")
    run(longer, tmp_path / "out")
    whole = tmp_path / "whole"
    run(longer, whole)
    assert accuracies(tmp_path / "out") == accuracies(whole)


def test_points_and_independent_trials_of_one_value_are_kept_apart(
    finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "out")
    grid = study_of(tmp_path, more="")
    summary = clsweep.run(grid, out=tmp_path / "out", inline=True)
    assert (summary.n_trials, summary.n_new) == (8, 6)  # of fine-tuning's trials none is new
    data = build(tmp_path / "out")
    assert [(c.label, c.is_path, len(c.points)) for c in data.comparison.curves] == [
        ("EWC", False, 3)
    ]
    one = {c.id for c in configurations(grid)}
    other = {c.id for c in configurations(study_of(tmp_path))}
    assert len(one & other) == 1


def test_no_interval_or_claim_is_made_of_points(finished: Path) -> None:
    data = build(finished)
    assert [curve.is_path for curve in data.comparison.curves] == [True, True]
    judgement = data.judgement
    assert not judgement.average_pairs
    assert not any(judgement.source_pairs)
    assert not judgement.hypervolume_pairs
    (said,) = what_can_be_said(data)
    assert "no independent trials" in said
    assert any("EWC (path), L2 anchor (path): points of reg" in note for note in data.notes)
    ranks = benchmark_ranks({"a": data, "b": data})
    assert "no independent trials" in ranks.absence
    assert validation_claims(Store(finished).load("validation")) == ()


def test_a_reader_sees_it_everywhere(finished: Path, cli: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    assert "Points of paths, no independent trials: EWC (path)" in cli("report", out).out
    assert "regularisation paths" in cli("report", out, "--full").out
    page = " ".join(Page((out / "report.html").read_bytes()).text.split())
    assert "EWC (path)" in page
    assert "Points of paths, no independent trial" in page
    assert "EWC (path)" in (out / "front.svg").read_text(encoding="utf-8")
    assert "EWC (path)" in cli("status", out).out
    cli("report", out, "--paper")
    paper = "".join(p.read_text(encoding="utf-8") for p in out.rglob("*.tex"))
    assert "no independent trials" in paper


def test_the_plan_says_what_a_path_is_and_what_it_costs(cli: CommandLine, tmp_path: Path) -> None:
    study_of(tmp_path)
    told = cli("plan", tmp_path / "study.toml").out
    assert "points of a path are no independent trials" in told
    # Two sources, then two fine-tunings, two paths of 4 + 2 + 2 and two of 4 + 2 steps.
    assert f"training steps: {2 * (4 + 4 + 8 + 6)} to do" in told


def test_what_is_exported_are_independent_trials(
    finished: Path, cli: CommandLine, tmp_path: Path
) -> None:
    chosen = tmp_path / "chosen.toml"
    cli("export", finished, "--study", chosen)
    made = load_study(chosen)
    assert made.search.kind == "grid"
    assert [table.label for table in made.methods] == ["fine-tuning", "EWC", "L2 anchor"]
    assert all(one.path is None for one in configurations(made))
    points = {c.id for c in configurations(study_of(tmp_path)) if c.path}
    assert not points & {c.id for c in configurations(made)}


def test_a_path_of_one_label_is_run_alone(cli: CommandLine, tmp_path: Path) -> None:
    study_of(tmp_path, seeds=1)
    out = tmp_path / "out"
    cli("run", tmp_path / "study.toml", "--inline", "--out", out, "--only", "ewc")
    labels = {record["trial"]["label"] for record in Store(out).load()}
    assert labels == {"EWC (path)"}
