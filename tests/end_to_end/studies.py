"""A small real study, and the command line: in this process, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import multiprocessing.forkserver
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq
import pytest

from clsweep.cli.main import main

ROOT = Path(__file__).parents[2]
STUDY = """\
name = "small"
seeds = {seeds}

[benchmark]
name = "split"
n_tasks = 5
scenario = "{scenario}"
examples_per_task = 100

[net]
hidden = [16]

[training]
optimizer = "{optimizer}"
lr = {lr}
batch_size = 10
steps = {steps}

[resources]
device = "cpu"

{methods}
"""
METHODS = """\
[[methods]]
name = "finetune"

[[methods]]
name = "joint"

[[methods]]
name = "ewc"
lam = [{lam}]
form = "proximal"

[[methods]]
name = "si"
c = [0.1, 1.0]
form = "proximal"

[[methods]]
name = "replay"
memory_size = [10, 50]
"""


def write_study(
    folder: Path,
    *,
    seeds: int | list[int] = 2,
    lam: str = "1.0, 100.0",
    steps: int = 10,
    more: str = "",
    optimizer: str = "sgd",
    lr: float = 0.1,
    scenario: str = "domain",
) -> Path:
    """A study file; (6 + number of λ) configurations, before `more`."""
    path = folder / "study.toml"
    methods = METHODS.format(lam=lam) + more
    text = STUDY.format(
        seeds=seeds, steps=steps, methods=methods, optimizer=optimizer, lr=lr, scenario=scenario
    )
    path.write_text(text, encoding="utf-8")
    return path


def start(*arguments: object, cwd: Path, **options: object) -> subprocess.Popen[str]:
    """`clsweep ARGUMENTS` as a process group of its own, as a shell would start it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    options = {**pipes, "env": environment, **options}
    return subprocess.Popen(
        [sys.executable, "-m", "clsweep.cli.main", *map(str, arguments)],
        text=True,
        cwd=cwd,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


class Process(Protocol):
    """What is used of a process that was started."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def communicate(self, timeout: float | None = None) -> tuple[str, str]: ...


class Forked:
    """`clsweep ARGUMENTS` as a process group of its own, with all imports done.

    A copy of a process that has imported torch once, which takes longer than the studies here. For
    what is killed or works beside others; how a command starts and ends is seen with `start`.

    Args:
        arguments: of the command.
        cwd: its current folder.
        before: is called in the process first.
    """

    _context = multiprocessing.get_context("forkserver")
    _context.set_forkserver_preload(
        ["clsweep.cli.main", "clsweep.execution.runner", "clsweep.execution.inline", "optuna"]
    )

    def __init__(
        self, *arguments: object, cwd: Path, before: Callable[[], object] | None = None
    ) -> None:
        with _importing_the_package():
            multiprocessing.forkserver.ensure_running()
        self._outputs = [cwd / f"{name}-{time.monotonic_ns()}" for name in ("out", "err")]
        words = [str(argument) for argument in arguments]
        given = (words, cwd, {**os.environ, "COLUMNS": "200"}, self._outputs, before)
        self._process = self._context.Process(target=_forked, args=given)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to both outputs, after its end."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            os.killpg(self.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired("clsweep", timeout or 0.0)
        out, err = (path.read_text(encoding="utf-8") for path in self._outputs)
        return out, err


@contextlib.contextmanager
def _importing_the_package() -> Iterator[None]:
    """Let a new Python process find the package that is under test."""
    with pytest.MonkeyPatch.context() as patch:
        parts = (str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, parts)))
        yield


def _forked(
    words: list[str],
    cwd: Path,
    environment: Mapping[str, str],
    outputs: list[Path],
    before: Callable[[], object] | None,
) -> None:
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    if before is not None:
        before()
    sys.exit(main(words))


def clsweep(*arguments: object, expect: int = 0) -> str:
    """Run a command in this process; its output, after checking exit code and no tracebacks.

    For what neither starts Ray nor is disturbed from outside: importing torch anew takes longer
    than the studies here.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return _checked(code, out.getvalue(), err.getvalue(), expect)


def clsweep_apart(*arguments: object, cwd: Path, expect: int = 0, **options: object) -> str:
    """The same in a process of its own, to its end."""
    process = start(*arguments, cwd=cwd, **options)
    try:
        out, err = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return _checked(process.returncode, out, err, expect)


def clsweep_in_terminal(*arguments: object, cwd: Path, expect: int = 0) -> str:
    """The same with both outputs on a terminal, as if a person had typed it; what is shown."""
    screen, terminal = pty.openpty()
    process = start(*arguments, cwd=cwd, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    parts = []
    with contextlib.suppress(OSError):  # how Linux says that nobody is left who could write
        while part := os.read(screen, 2**16):
            parts.append(part)
    os.close(screen)
    shown = b"".join(parts).decode()
    return _checked(process.wait(timeout=240), shown, shown, expect)


def _checked(code: int, out: str, err: str, expect: int) -> str:
    assert code == expect, f"exit code {code}\n{out}\n{err}"
    assert "Traceback" not in err, err
    return out + err


def wait_for(count: int, folder: Path, process: Process) -> None:
    """Until at least `count` records lie in the results folder."""
    deadline = time.monotonic() + 240
    while len(list((folder / "records").glob("*.json"))) < count:
        assert process.poll() is None, process.communicate()
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)  # or it would slow every later test down
            raise AssertionError(f"no {count} records appear")
        time.sleep(0.02)


def trials(folder: Path) -> dict[str, dict[str, object]]:
    """Rows of the trials table by id."""
    rows = pq.read_table(folder / "trials.parquet").to_pylist()
    assert len({row["trial_id"] for row in rows}) == len(rows), "a trial has two rows"
    return {row["trial_id"]: row for row in rows}


def committed(folder: Path) -> dict[str, str]:
    """Trial id -> when it finished, from the records that are not compacted yet."""
    records = (json.loads(p.read_text()) for p in (folder / "records").glob("*.json"))
    return {r["trial"]["trial_id"]: r["trial"]["finished_at"] for r in records}


def accuracy_bytes(folder: Path) -> bytes:
    """The accuracy table as it lies on disk."""
    return (folder / "accuracy.parquet").read_bytes()
