"""What `import clsweep` offers, and what it leaves alone until it is asked for."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import clsweep
from tests.support.command_line import CommandLine, tiny_study

HOUSE = Path(__file__).parents[2]


def test_a_study_is_run_from_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = clsweep.load_study(tiny_study(tmp_path))
    assert isinstance(study, clsweep.Study)
    summary = clsweep.run(study, out=tmp_path / "out", inline=True)
    assert isinstance(summary, clsweep.Summary)
    assert (summary.n_trials, summary.n_done, summary.n_failed) == (2, 2, 0)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(clsweep.ClsweepError, match="there is no file"):
        clsweep.load_study(tmp_path / "other.toml")


def test_a_plan_is_a_value_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = clsweep.load_study(tiny_study(tmp_path, seeds=2, lam="[1.0, 10.0]"))
    before = clsweep.plan(study)
    assert isinstance(before, clsweep.Forecast)
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]
    curves = [(c.label, c.n_configurations, c.n_trials, c.n_done) for c in before.curves]
    assert curves == [("fine-tuning", 1, 2, 0), ("EWC", 2, 4, 0)]
    assert (before.n_configurations, before.n_seeds, before.n_trials) == (3, 2, 6)
    assert (before.n_done, before.n_left, before.seconds) == (0, 6, None)
    assert (before.n_sources, before.n_statistics, before.n_cached) == (2, 2, 0)
    assert any("no frozen reference" in note for note in before.notes)
    clsweep.run(study, inline=True)
    # One seed is left, and what it needs; the place may be a path, a text, or the usual one.
    more = clsweep.load_study(tiny_study(tmp_path, seeds=3, lam="[1.0, 10.0]"))
    after = clsweep.plan(more)
    assert after == clsweep.plan(more, "results/tiny") == clsweep.plan(more, study.results_folder)
    assert (after.n_done, after.n_left, after.n_sources, after.n_statistics) == (6, 3, 1, 1)
    assert after.seconds is not None
    assert after.warnings == ()


def test_a_plan_and_its_command_say_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tiny_study(tmp_path, seeds=2)
    plan = clsweep.plan(clsweep.load_study(path), stages=tmp_path / "elsewhere")
    printed = CommandLine(capsys)("plan", path, "--stages", "elsewhere").out
    assert f"{plan.n_trials} trials; {plan.n_done} done in results/tiny, {plan.n_left} to do" in (
        printed
    )
    assert f"{plan.n_steps_missing} to do, of {plan.n_steps_all} in all" in printed
    assert [line for line in printed.splitlines() if line.startswith("note: ")] == [
        f"note: {note}" for note in plan.notes
    ]


def test_the_data_root_of_the_environment_counts_in_python_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_study(tmp_path)
    path.write_text(path.read_text().replace('"split"', '"split"\ndataset = "folder:photos"'))
    monkeypatch.setenv("CLSWEEP_DATA", str(tmp_path / "data"))
    with pytest.raises(clsweep.StudyError, match=str(tmp_path / "data" / "photos")):
        clsweep.load_study(path)


def test_no_listener_need_know_more_than_the_public_names(tmp_path: Path) -> None:
    class Finished(clsweep.Listener):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[str, str, int, str]] = []

        def finished(self, job, outcome, configuration, record) -> None:  # type: ignore[no-untyped-def]
            assert isinstance(configuration, clsweep.Configuration)
            self.seen.append((job.kind, configuration.label, job.seed, outcome.status))

    listener = Finished()
    study = clsweep.load_study(tiny_study(tmp_path))
    clsweep.run(study, out=tmp_path / "out", inline=True, listeners=[listener])
    assert [one for one in listener.seen if one[0] == "trial"] == [
        ("trial", "fine-tuning", 0, "ok"),
        ("trial", "EWC", 0, "ok"),
    ]


def test_no_module_takes_the_place_of_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(clsweep.__path__)}
    assert {"reporting", "study", "execution"} <= modules
    assert modules & {*clsweep.__all__} == set()
    code = (
        "import clsweep, clsweep.reporting.render.publish, clsweep.study.planning;"
        "print(*(callable(getattr(clsweep, n)) for n in ('report', 'plan', 'run', 'load')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True True True True\n"


def test_every_public_name_is_documented() -> None:
    page = (HOUSE / "docs" / "python.md").read_text(encoding="utf-8")
    missing = [
        name
        for name in {*clsweep.__all__} - {"__version__"}
        if f"clsweep.{name}" not in page and f"`{name}`" not in page
    ]
    assert missing == []


def test_every_attribute_of_what_is_returned_is_documented() -> None:
    page = (HOUSE / "docs" / "python.md").read_text(encoding="utf-8")
    fields = {*clsweep.Forecast._fields, *clsweep.Summary._fields}
    fields |= {"n_configurations", "n_left", "results_folder"}
    assert sorted(name for name in fields if f"`{name}`" not in page) == []


def test_every_public_name_exists_and_no_other() -> None:
    assert clsweep.__version__ == version("clsweep")
    assert all(getattr(clsweep, name) is not None for name in clsweep.__all__)
    assert dir(clsweep) == sorted(clsweep.__all__)
    with pytest.raises(AttributeError, match="'clsweep' has no attribute 'sweep'"):
        _ = clsweep.sweep


def test_no_public_name_imports_torch_or_ray_or_matplotlib(tmp_path: Path) -> None:
    heavy = "{'torch', 'ray', 'matplotlib'} & {*sys.modules}"
    code = (
        f"import sys, clsweep; print({heavy}); clsweep.plan(clsweep.load_study(sys.argv[1]));"
        f"print({heavy}); [getattr(clsweep, name) for name in clsweep.__all__]; print({heavy})"
    )
    command = [sys.executable, "-c", code, str(tiny_study(tmp_path))]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ran.stdout == "set()\n" * 3
