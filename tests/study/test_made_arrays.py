"""Data of a function of the user's: called once, checked, part of what results belong to."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from clsweep.data import benchmarks
from clsweep.errors import StoreError, StudyError
from clsweep.execution import loaded_inputs
from clsweep.execution.dry_run import plan
from clsweep.execution.runner import run
from clsweep.study.study import load_study, stored_study

MODULE = """\
import numpy as np

def load(n=40, shift=0.0):
    print("called", n)
    rng = np.random.default_rng(0)
    y = np.arange(n) % 4
    x = rng.normal(size=(n, 6)) + y[:, None] + shift
    return {"train_x": x, "train_y": y, "test_x": x, "test_y": y}
"""
STUDY = """\
name = "made"
seeds = 1
[benchmark]
name = "split"
dataset = "factory:made_here:load(n=48)"
n_tasks = 2
[net]
hidden = [4]
[training]
steps = 2
[[methods]]
name = "finetune"
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(loaded_inputs, "_LOADED", {})
    benchmarks.forget()
    edit(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    yield tmp_path / "study.toml"
    sys.modules.pop("made_here", None)


def edit(folder: Path, *change: str) -> None:
    """Write the module anew, as a process that has just begun would find it."""
    text = MODULE.replace(*change) if change else MODULE
    (folder / "made_here.py").write_text(text, encoding="utf-8")
    sys.modules.pop("made_here", None)
    # Python takes bytecode of the same second and size for that of the edited file.
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)


def test_a_function_is_called_once_and_its_arrays_are_learnt(study: Path, capsys: Any) -> None:
    loaded = load_study(study)
    (source,) = {task.train.images for task in worker_tasks(loaded)}
    assert source.shape == (96, 6)
    assert capsys.readouterr().out.count("called 48") == 1
    summary = run(load_study(study), out=study.parent / "out", inline=True)
    assert (summary.n_done, summary.n_failed) == (1, 0)
    assert "called" not in capsys.readouterr().out
    notes = " ".join(plan(loaded, study.parent / "out").notes)
    assert "made_here.load stays on the disk" in notes


def worker_tasks(loaded: Any) -> Any:
    return benchmarks.build(loaded.located_benchmark, None, 0).tasks


def test_other_arguments_are_another_call(study: Path, capsys: Any) -> None:
    load_study(study)
    study.write_text(STUDY.replace("n=48", "n=56"), encoding="utf-8")
    assert load_study(study).benchmark.dataset.endswith("(n=56)")
    assert "called 56" in capsys.readouterr().out


def test_results_of_edited_code_are_not_mixed(study: Path, capsys: Any) -> None:
    run(load_study(study), out=study.parent / "out", inline=True)
    edit(study.parent, "return {", "return {  # the same\n        ")
    capsys.readouterr()
    plan(load_study(study), study.parent / "out")
    assert "called" not in capsys.readouterr().out
    edit(study.parent, "shift=0.0", "shift=1.0")
    with pytest.raises(StoreError) as caught:
        plan(load_study(study), study.parent / "out")
    assert "data 'factory:made_here:load(n=48)'" in str(caught.value)
    assert "code 'made_here:load'" in str(caught.value)


def test_a_module_that_was_edited_after_its_import_makes_nothing(study: Path) -> None:
    load_study(study)
    path = study.parent / "made_here.py"
    path.write_text(path.read_text().replace("shift=0.0", "shift=12.0"), encoding="utf-8")
    for _ in range(2):
        with pytest.raises(StudyError, match="edited after this process had imported") as caught:
            load_study(study)
        assert f"[benchmark] dataset: {path}" in str(caught.value)
    assert len([*(study.parent / "cache").rglob("train_x.npy")]) == 1
    sys.modules.pop("made_here")
    load_study(study)
    assert len([*(study.parent / "cache").rglob("train_x.npy")]) == 2


def test_reading_results_calls_nothing(study: Path) -> None:
    out = study.parent / "out"
    run(load_study(study), out=out, inline=True)
    (study.parent / "made_here.py").unlink()
    sys.modules.pop("made_here", None)
    assert stored_study(out / "study.toml").benchmark.dataset == "factory:made_here:load(n=48)"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("x = rng", "x = nowhere"), r"raised NameError.*made_here\.py, line 7"),
        (("return {", "return y, {"), r"returned a tuple.*made_here\.py, line 3"),
        (('"train_y": y', '"labels": y'), r"returned 'labels'.*train_x, train_y"),
        (('"test_x": x', '"test_x": x[:3]'), r"test_x.npy has 3 rows, test_y.npy 48"),
        (('"test_x": x', '"test_x": x * np.nan'), "test_x.npy holds the value nan in row 0"),
        (('"test_x": x', '"test_x": [[1], [2, 3]]'), "'test_x' of .* is no array of numbers"),
        (('"test_x": x', '"test_x": x.astype(object)'), "'test_x' of .* is no array of numbers"),
        (('"train_y": y, ', ""), "what it returned lacks train_y"),
        (("def load", "def other"), "has no attribute 'load'"),
        (("n=40, ", ""), r"raised TypeError: load\(\) got an unexpected keyword argument 'n'"),
    ],
)
def test_one_message_names_the_function_and_what_is_wrong(
    study: Path, change: tuple[str, str], complaint: str
) -> None:
    edit(study.parent, *change)
    with pytest.raises(StudyError) as caught:
        load_study(study)
    text = " ".join(str(caught.value).split())
    assert re.search(complaint, text)
    assert "made_here:load" in text
    assert "study.toml: [benchmark] dataset" in text
    assert not [*(study.parent / "cache").rglob("*.npy")]


def test_a_module_that_is_not_there_is_named(study: Path) -> None:
    study.write_text(STUDY.replace("made_here:", "not_here:"), encoding="utf-8")
    with pytest.raises(StudyError, match="'not_here:load' cannot be imported: No module named"):
        load_study(study)
