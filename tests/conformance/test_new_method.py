"""The files of a new method work as they are written."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsweep.cli.main import main
from clsweep.conformance.checks import is_finetuning_at
from clsweep.conformance.conform import HOOK_CHECKS, stays_on_pretended
from clsweep.conformance.learner_checks import LEARNER_CHECKS
from clsweep.conformance.new_method import new_method_files
from clsweep.conformance.subjects import named, small_sequence
from clsweep.errors import StudyError
from clsweep.notebook import load


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("pulled", "test_pulled", "anchored", "test_anchored"):
        sys.modules.pop(name, None)


def run_all(name: str, extra: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    attribute = "Learner" if extra else "build"
    assert main(["new", "method", name, *extra]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [f"{name}.py", f"test_{name}.py", f"{name}.toml"]
    assert said[3] == f"next: PYTHONPATH=. clsweep conform {name}:{attribute}"
    importlib.invalidate_caches()
    importlib.import_module(f"test_{name}").test_it_conforms()
    assert main(["run", f"{name}.toml", "--inline", "-q"]) == 0
    trials = load(f"results/{name}").trials.to_pydict()
    assert set(trials["label"]) == {"fine-tuning", "joint", "L2 anchor", name}
    assert set(trials["status"]) == {"ok"}


@pytest.mark.slow
def test_a_learner_its_test_and_its_study_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all("pulled", ["--learner"], capsys)


@pytest.mark.slow
def test_hooks_their_test_and_their_study_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all("anchored", [], capsys)


@pytest.mark.parametrize("extra", [["--learner"], []], ids=["learner", "hooks"])
def test_both_pass_checks_and_can_be_planned(extra: list[str], here: Path) -> None:
    assert main(["new", "method", "pulled", *extra]) == 0
    importlib.invalidate_caches()
    assert main(["plan", "pulled.toml"]) == 0
    subject = named("pulled:Learner" if extra else "pulled:build")
    sequence = small_sequence("task")
    table = LEARNER_CHECKS if extra else HOOK_CHECKS
    assert {name: check(subject, sequence) for name, check in table.items()} == dict.fromkeys(
        table, ""
    )
    assert is_finetuning_at(subject, sequence, {"lam": 0}, exact=True) == ""
    assert stays_on_pretended(subject, sequence) == ""


def test_nothing_is_overwritten_and_a_name_has_to_be_a_modules(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "test_pulled.py").write_text("mine")
    assert main(["new", "method", "pulled"]) == 2
    assert "test_pulled.py exists" in capsys.readouterr().err
    assert not (here / "pulled.py").exists()
    assert main(["new", "model", "pulled"]) == 2
    for name in ("two words", "class", "a.b", "ü"):
        with pytest.raises(StudyError, match="cannot be the name of a module"):
            new_method_files(name, learner=True)


@pytest.mark.parametrize("learner", [True, False])
def test_no_placeholder_is_left(learner: bool) -> None:
    texts = new_method_files("clipped_ewc", learner=learner)
    for text in texts.values():
        assert not any(word in text for word in ("NAME", 'PATH"', "TITLE", "KIND", "WHAT"))


@pytest.mark.parametrize("learner", [True, False])
def test_the_study_says_the_command_that_runs_it(learner: bool) -> None:
    study = new_method_files("mine", learner=learner)["mine.toml"]
    command = "PYTHONPATH=. clsweep run mine.toml && clsweep report results/mine"
    assert study.splitlines()[1] == f"#     {command}"


@pytest.mark.parametrize("name", ["torch", "random", "numpy", "sys", "clsweep", "ewc", "__main__"])
def test_a_name_that_something_else_has_is_refused(name: str, here: Path) -> None:
    with pytest.raises(StudyError, match=f"'{name}' is the name of") as caught:
        new_method_files(name, learner=False)
    assert f"clsweep new method my_{name}" in str(caught.value)


def test_a_module_of_the_current_folder_does_not_count(here: Path) -> None:
    (here / "pulled.py").write_text("")
    (here / "anchored").mkdir()
    importlib.invalidate_caches()
    assert set(new_method_files("pulled", learner=False)) > {"pulled.py"}
    assert set(new_method_files("anchored", learner=False)) > {"anchored.py"}
