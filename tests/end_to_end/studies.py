"""A small real study, and the command line: in this process, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from clsweep.cli import main

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
        [sys.executable, "-m", "clsweep.cli", *map(str, arguments)],
        text=True,
        cwd=cwd,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


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


def wait_for(count: int, folder: Path, process: subprocess.Popen[str]) -> None:
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
    """Trial id -> when it finished, from the records that are not folded yet."""
    records = (json.loads(p.read_text()) for p in (folder / "records").glob("*.json"))
    return {r["trial"]["trial_id"]: r["trial"]["finished_at"] for r in records}


def accuracy_bytes(folder: Path) -> bytes:
    """The accuracy table as it lies on disk."""
    return (folder / "accuracy.parquet").read_bytes()
