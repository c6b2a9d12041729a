"""Several studies in one report."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from clsweep.cli.main import main
from clsweep.errors import StoreError, StudyError
from clsweep.reporting.ledger import LEDGER, looks
from clsweep.reporting.render import plots, views
from clsweep.reporting.render.page_values import page_values
from clsweep.reporting.render.publish import report
from clsweep.reporting.report_building import build
from tests.support.records import STUDY_TOML, make_study, write_study


def folder(root: Path, name: str, toml: str = STUDY_TOML, n_seeds: int = 3) -> Path:
    labels = ("EWC", "MAS") if name == "a" else ("EWC",)
    return write_study(root / name, make_study(labels, n_values=4, n_seeds=n_seeds), toml)


def test_curves_are_those_of_each_study_under_both_names(tmp_path: Path) -> None:
    first = folder(tmp_path, "a", STUDY_TOML.replace("synthetic", "one"))
    second = folder(tmp_path, "b", STUDY_TOML.replace("synthetic", "two"))
    data = build(first, second)
    assert data.name == "one + two"
    shown = {curve.label: curve for curve in data.comparison.curves}
    assert list(shown) == ["one: EWC", "one: MAS", "two: EWC"]
    for name, directory in (("one", first), ("two", second)):
        for curve in build(directory).comparison.curves:
            together = shown[f"{name}: {curve.label}"]
            assert [p.axes for p in together.points] == [p.axes for p in curve.points]
            assert together.best == curve.best
            assert together.hypervolumes == pytest.approx(curve.hypervolumes)
    assert [name for name, _ in data.details.study_files] == ["a/study.toml", "b/study.toml"]


def test_points_are_means_over_common_seeds(tmp_path: Path) -> None:
    data = build(folder(tmp_path, "a"), folder(tmp_path, "b", n_seeds=2))
    assert data.comparison.seeds == (0, 1)
    assert data.comparison.left_out == (2,)


@pytest.mark.parametrize("asked", ["1", "[0]"])
def test_a_study_that_asks_for_fewer_seeds_is_not_called_unfinished(
    tmp_path: Path, asked: str
) -> None:
    few = STUDY_TOML.replace('name = "synthetic"', 'name = "few"').replace(
        "seeds = [0, 1, 2]", "seeds = [0]"
    )
    first, second = folder(tmp_path, "a"), folder(tmp_path, "b", few, n_seeds=1)
    data = build(first, second)
    assert data.comparison.seeds == (0, 1, 2)
    curves = {curve.label: curve for curve in data.comparison.all_curves}
    assert curves["few: EWC"].absence == "has seed 0 only"
    (note,) = (note for note in data.notes if "few: EWC" in note and "asks for no more" in note)
    assert "seed 0 only" in note
    assert not any("not run" in note or "did not finish" in note for note in data.notes)
    legend = plots.figure(data, views.views(data)[0]).legends[0].get_texts()
    assert not [entry for entry in legend if entry.get_text().startswith("few")]
    few = [s for s in page_values(data)["series"] if s["label"].startswith("few")]
    assert few
    assert not any(series.get("isDrawn") or series["points"] for series in few)


def test_seeds_that_no_study_asks_for_are_not_counted_as_not_run(tmp_path: Path) -> None:
    few = STUDY_TOML.replace('name = "synthetic"', 'name = "few"').replace(
        "seeds = [0, 1, 2]", "seeds = [0]"
    )
    first = folder(tmp_path, "b", n_seeds=3)
    records = make_study(("EWC", "MAS"), n_values=30, n_seeds=1)
    data = build(first, write_study(tmp_path / "many", records, few))
    assert data.comparison.left_out == (1, 2)
    assert not any("not run" in note for note in data.notes)


def test_equal_names_are_told_apart_by_folder(tmp_path: Path) -> None:
    data = build(folder(tmp_path, "a"), folder(tmp_path, "b"))
    assert {curve.label.split(":")[0] for curve in data.comparison.curves} == {"a", "b"}


def test_mixed_benchmarks_are_refused_with_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = STUDY_TOML.replace('"domain"', '"task"')
    first, second = folder(tmp_path, "a"), folder(tmp_path, "b", other)
    assert main(["report", str(first), str(second)]) == 2
    message = capsys.readouterr().err
    assert "have not learned the same benchmark" in message
    assert 'scenario = "domain"' in message
    assert 'scenario = "task"' in message
    assert "n_tasks" not in message


def test_one_folder_twice_is_refused(tmp_path: Path) -> None:
    first = folder(tmp_path, "a")
    with pytest.raises(StoreError, match="named twice"):
        build(first, tmp_path / "b" / ".." / "a")


def test_one_folder_is_reported_under_its_own_names(tmp_path: Path) -> None:
    alone = build(folder(tmp_path, "a"))
    assert alone.name == "synthetic"
    assert {c.label for c in alone.comparison.curves} == {"EWC", "MAS"}
    assert not any("studies" in note for note in alone.notes)


def test_no_folder_is_refused() -> None:
    with pytest.raises(StoreError, match="no results folder is named"):
        build()


def test_paths_are_taken_as_text_as_well(tmp_path: Path) -> None:
    folders = [str(folder(tmp_path, name)) for name in ("a", "b")]
    out, console = tmp_path / "out", Console(file=io.StringIO())
    assert report(*folders, out=str(out), console=console, formats=("csv",)).name == "a + b"
    assert (out / "fronts.csv").is_file()
    with pytest.raises(StudyError, match="there is no format 'h'"):
        report(*folders, console=console, formats="html")


def test_files_go_beside_the_first_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(folder(tmp_path, name)) for name in ("a", "b")]
    assert main(["report", *folders, "--format", "csv"]) == 0
    assert (tmp_path / "a+b" / "fronts.csv").is_file()
    assert not (tmp_path / "a" / "fronts.csv").exists()
    assert "a: EWC" in capsys.readouterr().out


def test_every_folder_has_its_look_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folder(tmp_path, "a"), folder(tmp_path, "b")
    assert main(["report", str(second), "--format", "csv"]) == 0
    capsys.readouterr()
    assert main(["report", str(first), str(second), "--format", "csv", "--full"]) == 0
    assert [len(looks(one)) for one in (first, second)] == [1, 2]
    printed = " ".join(capsys.readouterr().out.split())
    assert "had been shown: a not before, b once before, first on " in printed
    assert not (tmp_path / "a+b" / LEDGER).exists()


def test_a_protocol_chooses_in_each_study_as_alone(tmp_path: Path) -> None:
    folders = [folder(tmp_path, name) for name in ("a", "b")]
    together = build(*folders, protocol="target")
    assert together.protocol is not None
    chosen = {score.pick.label: score.index for score in together.scores["target"]}
    alone = {
        f"{one.name}: {score.pick.label}": score.index
        for one in folders
        for score in build(one, protocol="target").scores["target"]
    }
    assert chosen == alone != {}


def test_a_search_is_said_whichever_study_it_is_of(tmp_path: Path) -> None:
    searched = f'{STUDY_TOML}\n[search]\nkind = "optuna"\ntrials = 4\n'
    first, second = folder(tmp_path, "a"), folder(tmp_path, "b", searched)
    for together in ([first, second], [second, first]):
        notes = build(*together).notes
        assert any(note.startswith("The search has asked for configurations") for note in notes)
    assert not any(note.startswith("The search has asked") for note in build(first).notes)


def test_seeds_choose_and_margins_hold_as_in_the_first_study(tmp_path: Path) -> None:
    toml = STUDY_TOML.replace("drops", "choose_on = [0]\nmargin = 2.0\ndrops")
    first, second = folder(tmp_path, "a", toml), folder(tmp_path, "b")
    data = build(first, second)
    comparison = data.comparison
    assert (comparison.choose_on, comparison.seeds, comparison.margin) == ((0,), (1, 2), 2.0)
    (note,) = (note for note in data.notes if "[report] sections differ" in note)
    assert "in margin and choose_on: that of synthetic is used for all" in note
    same = build(first, folder(tmp_path, "c", toml))
    assert not any("[report] sections differ" in note for note in same.notes)
