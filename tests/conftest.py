"""Fixtures shared by all tests: small real tasks, and one torch thread."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test writes into the ledger of whoever runs it; fixtures of modules keep none.
os.environ["CLSWEEP_LEDGER"] = ""

import pytest

from tests.support.distribution import GroupScheduling, tell_groups

# The process that distributes runs no test: it starts the others seconds earlier without torch.
if TYPE_CHECKING:
    from clsweep.data.tasks import TaskSequence

# Every process that runs tests reads all of their files, and dozens are started that read the
# package's: compiled once, they start in half the time. Git ignores what is written.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Thousands of tests, once collected, stay to the end: looking through them for garbage again and
# again would take a quarter of the time that collecting takes.
gc.disable()
# A shell ignores SIGINT in what it starts in the background, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


_MOST_WORKERS = 4


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than cores for all tests, some of which wait; none for some files."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    return min(len(os.sched_getaffinity(0)) + 1, _MOST_WORKERS)


_GROUPS = pytest.StashKey[TemporaryDirectory]()


def pytest_configure_node(node: Any) -> None:
    """Say to a process of pytest-xdist where to write its groups."""
    if _GROUPS not in node.config.stash:
        node.config.stash[_GROUPS] = TemporaryDirectory(prefix="clsweep-tests-")
    folder = Path(node.config.stash[_GROUPS].name)
    node.workerinput["groups"] = str(folder / node.gateway.id)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the process that distributes know what belongs together."""
    if hasattr(config, "workerinput"):
        tell_groups(items, Path(config.workerinput["groups"]))


def pytest_collection_finish() -> None:
    """From now on garbage is looked for, in what is made from now on."""
    gc.freeze()
    gc.enable()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Distribute by those groups."""
    scheduler = GroupScheduling(config, log)
    scheduler.folder = Path(config.stash[_GROUPS].name)
    return scheduler


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of users; pytest would read the names of all that it has made for each new one."""
    folder = tmp_path_factory.mktemp("state")
    return (folder / str(n) for n in count())


@pytest.fixture(autouse=True)
def _own_ledger(_users: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts as a user who has seen no test number."""
    user = next(_users)
    user.mkdir()
    monkeypatch.setenv("CLSWEEP_LEDGER", str(user / "test_looks.jsonl"))


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What files hold is not remembered in the cache of whoever runs the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def figures_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports get the figure of the first of them; drawing takes most of a small report's time."""
    from tests.support import figures

    monkeypatch.setattr(figures.plots, "_files", figures.drawn_once)


def _digits(scenario: str) -> TaskSequence:
    from clsweep.data import benchmarks
    from clsweep.data.benchmark_specs import SplitBenchmark

    config = SplitBenchmark(
        name="split", dataset="digits", n_tasks=5, scenario=scenario, examples_per_task=60
    )
    return benchmarks.build(config, None, 0)


@pytest.fixture(scope="session")
def sequences() -> dict[str, TaskSequence]:
    """Five tasks of two digits each, 60 training images a task, by scenario."""
    return {scenario: _digits(scenario) for scenario in ("task", "domain", "class")}


def first_three(sequence: TaskSequence) -> TaskSequence:
    """A first task, one that has both a past and a future, and a last one."""
    heads = sequence.heads._replace(sizes=sequence.heads.sizes[:3])
    return replace(sequence, tasks=sequence.tasks[:3], heads=heads)


@pytest.fixture(scope="session")
def short_sequences(sequences: dict[str, TaskSequence]) -> dict[str, TaskSequence]:
    """The first three of those tasks, for what every method does in each of them."""
    return {scenario: first_three(sequence) for scenario, sequence in sequences.items()}
