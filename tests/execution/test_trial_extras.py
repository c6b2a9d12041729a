"""A run that stores counts per class and measures, and reports of it without the user's code."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clsweep.errors import StudyError
from clsweep.execution.runner import run
from clsweep.reporting.render import plots
from clsweep.study.study import parse_study
from tests.support.command_line import CommandLine

_MEASURES = """\
import numpy as np


def worst_task(results):
    return np.nanmin(results.accuracy()[-1])


def right(results):
    return float(np.mean(results.logits(1).argmax(1) == results.labels(1)))


def moody(results):
    return 1.0 if len(results.labels(0)) < 30 else float("nan")


def broken(results):
    return results.no_such_thing
"""
_STUDY = """
name = "extras"
seeds = 2
[benchmark]
name = "split"
scenario = "class"
classes_per_task = [7, 3]
[net]
hidden = [8]
[training]
steps = 12
batch_size = 8
{report}
[[methods]]
name = "finetune"
[[methods]]
name = "joint"
[[methods]]
name = "lwf"
lam = 1.0
"""
_ASKED = """
[report]
per_class = true
measures = ["run_measures:worst_task", "run_measures:right", "run_measures:moody"]
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    (folder / "run_measures.py").write_text(_MEASURES)
    return folder


@pytest.fixture(scope="module")
def folders(code: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The results with extras and without."""
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(code)
        run(parse_study(_STUDY.format(report=_ASKED)), out=out / "with", inline=True)
        run(parse_study(_STUDY.format(report="")), out=out / "without", inline=True)
        sys.modules.pop("run_measures")
    return out / "with", out / "without"


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    monkeypatch.setattr(plots, "draw", lambda data, stem, endings: [])
    yield CommandLine(capsys)
    sys.modules.pop("run_measures", None)


def test_no_accuracy_depends_on_what_is_stored_beside_it(folders: tuple[Path, Path]) -> None:
    with_extras, without = folders
    for name in ("accuracy", "configs"):
        one, two = ((f / f"{name}.parquet").read_bytes() for f in folders)
        assert one == two
    assert not (without / "class_counts.parquet").exists()
    assert not list((with_extras / "extras").iterdir())


def test_trials_that_are_forgotten_and_run_again_store_what_is_asked_for_since(
    cli: CommandLine, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    with_extras, without = folders
    out = tmp_path / "out"
    shutil.copytree(without, out)
    asked = parse_study(_STUDY.format(report="[report]\nper_class = true\n"))
    assert run(asked, out=out, inline=True).n_new == 0
    assert not (out / "class_counts.parquet").exists()
    assert cli("forget", out, "--where", 'status = "ok"', "--yes").code == 0
    assert run(asked, out=out, inline=True).n_new == 6
    for name in ("accuracy.parquet", "class_counts.parquet"):
        one, two = (pq.read_table(folder / name).to_pylist() for folder in (with_extras, out))
        assert [row | {"finished_at": ""} for row in one] == [
            row | {"finished_at": ""} for row in two
        ]


def test_counts_per_class_add_up_to_the_accuracies(folders: tuple[Path, Path]) -> None:
    counts = pq.read_table(folders[0] / "class_counts.parquet")
    accuracy = pq.read_table(folders[0] / "accuracy.parquet")
    right = counts.filter(pc.equal(counts["label"], counts["predicted"]))
    keys = ["config_id", "seed", "on_task", "split"]
    found = {tuple(r[k] for k in keys): r["n_sum"] for r in _sums(right, keys).to_pylist()}
    whole = {tuple(r[k] for k in keys): r["n_sum"] for r in _sums(counts, keys).to_pylist()}
    last = accuracy.filter(pc.equal(accuracy["after_task"], 1)).to_pylist()
    assert len(last) == 3 * 2 * 2 * 2
    for row in last:
        key = tuple(row[k] for k in keys)
        assert (found.get(key, 0), whole[key]) == (row["n_correct"], row["n_total"])
    assert set(counts["class"].to_pylist()) == set("0123456789")


def _sums(table, keys):
    return table.group_by(keys).aggregate([("n", "sum")])


def test_measures_are_stored_and_one_that_fails_costs_no_trial(
    folders: tuple[Path, Path], code: Path
) -> None:
    rows = pq.read_table(folders[0] / "measures.parquet").to_pylist()
    assert len(rows) == 3 * 2 * 3
    accuracy = pq.read_table(folders[0] / "accuracy.parquet").to_pylist()
    for row in rows:
        own = {
            r["on_task"]: r["n_correct"] / r["n_total"]
            for r in accuracy
            if (r["config_id"], r["seed"], r["after_task"], r["split"])
            == (row["config_id"], row["seed"], 1, "test")
        }
        expected = {"worst_task": min(own.values()), "right": own[1], "moody": None}
        value = expected[row["measure"].rpartition(":")[2]]
        assert row["value"] == (None if value is None else pytest.approx(value))
        assert (f"{code / 'run_measures.py'}, line 12" in row["remark"]) == (value is None)


def test_a_report_needs_no_code_of_the_user(cli: CommandLine, folders: tuple[Path, Path]) -> None:
    ran = cli("report", folders[0], "--format", "html")
    assert ran.code == 0, ran.err
    assert "run_measures" not in sys.modules
    text = " ".join(ran.out.split())
    assert "Accuracy per class (%)" in text
    assert "Measures of your own" in text
    assert (
        "Measure run_measures:moody failed in 6 trials: 'run_measures:moody' returned nan" in text
    )
    page = (folders[0] / "report.html").read_text()
    assert "Confusion matrices" in page
    assert "Accuracy of each class (%)" in page


def test_a_folder_without_extras_says_so_and_what_adds_them(
    cli: CommandLine, folders: tuple[Path, Path], code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = folders[1] / "study.toml"
    before = study.read_text()
    asked = 'per_class = true\nmeasures = ["run_measures:worst_task"]'
    changed = before.replace("per_class = false", asked).replace("measures = []\n", "")
    study.write_text(changed)
    try:
        ran = cli("report", folders[1], "--format", "html")
        text = " ".join(ran.out.split())
        assert "No counts per class of LwF, fine-tuning, joint" in text
        assert "`clsweep run STUDY.toml --out OTHER` runs all trials anew" in text
        assert "after `clsweep forget DIR --where 'status = \"ok\"' --yes`" in text
        assert "No values of the measure run_measures:worst_task for LwF" in text
        assert "--measure run_measures:worst_task" in text
    finally:
        study.write_text(before)
    monkeypatch.syspath_prepend(code)
    ran = cli("report", folders[1], "--format", "html", "--measure", "run_measures:worst_task")
    assert ran.code == 0, ran.err
    assert "worst_task" in ran.out
    cli("report", folders[1], "--measure", "run_measures:right").is_mistake(
        "logits are known while a trial runs"
    )


def test_values_of_a_measure_that_was_edited_are_not_mixed_silently(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    asked = '[report]\nmeasures = ["run_measures:worst_task"]'
    study = _STUDY.format(report=asked).replace("seeds = 2", "seeds = 1")
    said = "Measure run_measures:worst_task was edited between trials (3 trials by "
    # A comment is no edit; a factor is one.
    for seeds, factor in ((1, "# %"), (2, ""), (3, " * 100")):
        code = _MEASURES.replace("results.accuracy()[-1])", f"results.accuracy()[-1]){factor}", 1)
        (tmp_path / "run_measures.py").write_text(code.replace("# %", "  # a share"))
        sys.modules.pop("run_measures", None)
        run(
            parse_study(study.replace("seeds = 1", f"seeds = {seeds}")),
            out=tmp_path / "r",
            inline=True,
        )
        shown = " ".join(cli("report", tmp_path / "r", "--full").out.split())
        assert ("was edited" in shown) == (seeds == 3)
    assert said.replace("3 trials", "6 trials") in shown
    assert "3 trials by" in shown


def test_a_broken_measure_is_found_before_anything_is_trained(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(code)
    asked = '[report]\nmeasures = ["run_measures:broken"]'
    with pytest.raises(StudyError, match="has no attribute 'no_such_thing'") as caught:
        run(parse_study(_STUDY.format(report=asked)), out=tmp_path / "r", inline=True)
    assert f"{code / 'run_measures.py'}, line 17" in str(caught.value)
    assert not list((tmp_path / "r" / "records").glob("*.json"))
    with pytest.raises(StudyError, match="'worst' is no import path"):
        parse_study(_STUDY.format(report='[report]\nmeasures = ["worst"]'))
    sys.modules.pop("run_measures", None)
