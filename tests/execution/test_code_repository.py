"""The commit of the user's own code, which is clean only where it holds all of that code."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsweep.execution.code_repository import repository_versions
from clsweep.execution.own_code_files import own_code_files
from clsweep.study.study import parse_study
from tests.support.own_code import package

OTHERS = {
    "net": "from torch import nn\n\n\ndef factory(shape, n):\n    return nn.Linear(64, n)\n",
    "descent": "from torch.optim import SGD as Descent\n",
    "images": """\
import numpy as np


def load():
    x, y = np.random.default_rng(0).random((80, 64), np.float32), np.arange(80) % 4
    return {"train_x": x, "train_y": y, "test_x": x, "test_y": y}
""",
    "measure": "def worst(results):\n    return 0.5\n",
    "fisher": "def estimate(net, params, learnt, n_examples):\n    return params\n",
}
STUDY = """\
name = "own"
seeds = 1
[benchmark]
name = "split"
n_tasks = 2
scenario = "domain"
dataset = "factory:my_pkg.images:load"
[net]
name = "custom"
factory = "my_pkg.net:factory"
[training]
optimizer = "my_pkg.descent:Descent"
lr = 0.1
steps = 4
[report]
measures = ["my_pkg.measure:worst"]
[[methods]]
name = "custom"
method = "my_pkg.clipped:build"
[[methods]]
name = "custom"
learner = "my_pkg.learner:Learner"
[[methods]]
name = "ewc"
fisher = "my_pkg.fisher:estimate"
"""
LEARNER = """\
from clsweep.methods.hypers import NoHyper as Hyper
from clsweep.training.imperative_learner import ImperativeLearner


class Learner(ImperativeLearner):
    pass
"""
# The package itself, a method and what it imports, and all else that a study can name.
FILES = ("__init__", "clipped", "bounds", "learner", *OTHERS)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "code").mkdir()
    with package(tmp_path / "code", learner=LEARNER, **OTHERS) as home:
        yield home


def git(folder: Path, *words: str) -> str:
    name = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    command = ["git", *name, *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def committed(home: Path, *without: str) -> str:
    """A commit of all files but some, which stay untracked; its id."""
    git(home, "init", "-q")
    git(home, "add", "-A")
    for name in without:
        git(home, "rm", "-q", "--cached", f"{name}.py")
    git(home, "commit", "-qm", "the code")
    return git(home, "rev-parse", "HEAD")


def test_code_that_is_in_no_commit_is_dirty(home: Path) -> None:
    study = parse_study(STUDY)
    assert repository_versions(own_code_files(study)) == {}
    for name in FILES:
        commit = committed(home, name)
        expected = {"code_commit": commit, "code_dirty": "true"}
        assert repository_versions(own_code_files(study)) == expected, name
    # What belongs to no study may lie about.
    (home / "draft.py").write_text("import nothing\n", encoding="utf-8")
    git(home, "add", *(f"{name}.py" for name in FILES))
    git(home, "commit", "-qm", "all of it")
    assert repository_versions(own_code_files(study))["code_dirty"] == "false"
    (home / "fisher.py").write_text("# an edit\n", encoding="utf-8")
    assert repository_versions(own_code_files(study))["code_dirty"] == "true"


def test_ignored_code_is_dirty(home: Path) -> None:
    (home / ".gitignore").write_text("bounds.py\n", encoding="utf-8")
    committed(home)
    assert repository_versions(own_code_files(parse_study(STUDY)))["code_dirty"] == "true"


def test_code_outside_of_the_repository_is_dirty(home: Path) -> None:
    (home.parent / "elsewhere").mkdir()
    (home / "fisher.py").rename(home.parent / "elsewhere" / "fisher.py")
    (home / "fisher.py").symlink_to(home.parent / "elsewhere" / "fisher.py")
    committed(home)
    assert repository_versions(own_code_files(parse_study(STUDY)))["code_dirty"] == "true"


def test_code_of_a_submodule_is_in_the_commit(home: Path, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "fisher.py").write_text(OTHERS["fisher"], encoding="utf-8")
    committed(tmp_path / "part")
    (home / "fisher.py").unlink()
    git(home, "init", "-q")
    allowed = ("-c", "protocol.file.allow=always")
    git(home, *allowed, "submodule", "add", "-q", str(tmp_path / "part"), "part")
    committed(home)
    study = parse_study(STUDY.replace("my_pkg.fisher", "my_pkg.part.fisher"))
    assert repository_versions(own_code_files(study))["code_dirty"] == "false"


def test_every_kind_of_own_code_is_asked_for_once(home: Path) -> None:
    found = [file.path for file in own_code_files(parse_study(STUDY))]
    assert sorted(found) == sorted(home / f"{name}.py" for name in FILES)
