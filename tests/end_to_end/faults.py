"""What every fault has in common: a run that goes on, and afterwards nothing lost or different."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from clsweep.records.schema import trial_id_of
from clsweep.study.configurations import configurations
from clsweep.study.study import load_study
from tests.end_to_end.studies import Process, clsweep, committed, start, trials, write_study
from tests.support.ray_cluster import ROOT, RayCluster, RayNode

# Columns that say where and how fast a trial ran, not what came of it.
_OF_THE_RUN = {
    "wall_seconds",
    "peak_memory_bytes",
    "attempts",
    "finished_at",
    "counters",
    "device",
}

# 16 trials, each long enough to be caught at work.
SLOW = {"seeds": 2, "lam": "1.0, 100.0", "steps": 150}

NET = """\
import os
import pathlib
import signal
import time

import torch

GATE = pathlib.Path("{gate}")


class Net(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = torch.nn.Linear(inputs, 8)
        self.readout = torch.nn.Linear(8, outputs)

    def forward(self, x):
        if x.shape[0] == 7 and torch.is_grad_enabled():
            {deed}
        return self.readout(torch.relu(self.body(x.flatten(1))))


def build(input_shape, n_outputs):
    c, h, w = input_shape
    return Net(c * h * w, n_outputs)
"""
WAIT = """while not GATE.exists():
                time.sleep(0.05)"""


class Study:
    """Eight short trials, of which the second, 'sevens', does a deed in every step.

    The deed that is not said otherwise is to wait for `open_gate`: so a trial is under way for as
    long as a test wants, however busy the machine.
    """

    def __init__(self, folder: Path, deed: str = WAIT) -> None:
        self.path, self.out, self.folder = folder / "study.toml", folder / "out", folder
        (folder / "nets/build.py").write_text(NET.format(deed=deed, gate=folder / "gate"))
        text = write_study(folder, seeds=1, steps=20).read_text().split("[[methods]]")[0]
        net = 'name = "custom"\nfactory = "nets:build"'
        self.path.write_text(
            text.replace("hidden = [16]", net)
            + '[[methods]]\nname = "finetune"\n'
            + '[[methods]]\nname = "joint"\nlabel = "sevens"\ntraining = { batch_size = 7 }\n'
            + '[[methods]]\nname = "ewc"\nform = "proximal"\nlam = [1, 2, 4, 8, 16, 32]\n'
        )
        configs = {c.label: c for c in configurations(load_study(self.path, None))}
        self.sevens = trial_id_of(configs["sevens"].id, 0)

    def open_gate(self) -> Path:
        """Let the waiting trial go on; returns the study file."""
        (self.folder / "gate").touch()
        return self.path

    def waits_on(self, cluster: RayCluster) -> RayNode | None:
        """The node on which the trial waits."""
        for node in cluster.nodes:
            pids = {str(worker.pid) for worker in node.workers()}
            if pids.intersection(self.last_start().split()[1:2]):
                return node
        return None

    def last_start(self) -> str:
        """Host, process and run of the last start of the trial that waits; '' before any."""
        attempts = self.out / "records" / f"{self.sevens}.attempts"
        starts = attempts.read_text().splitlines() if attempts.exists() else []
        return starts[-1] if starts else ""

    def rows(self) -> tuple[dict[str, Any], list[object]]:
        """(the row of the trial with a deed, the statuses of all others)."""
        found = trials(self.out)
        return found[self.sevens], [r["status"] for n, r in found.items() if n != self.sevens]


def importing(*folders: Path) -> str:
    """PYTHONPATH for processes that need a test's own network.

    An empty part would be the current folder, as Python reads it.
    """
    found = [*map(str, folders), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.pathsep.join(filter(None, found))


def run_undisturbed(folder: Path, **study: object) -> Path:
    """The results folder of the slow study, run in one go in this process."""
    path = write_study(folder, **(study or SLOW))  # type: ignore[arg-type]
    clsweep("run", path, "--inline", "--out", folder / "out")
    return folder / "out"


def start_on(cluster: RayCluster, study: Study, **options: Any) -> subprocess.Popen[str]:
    """`clsweep run` on a cluster, in a process of its own."""
    command = ("run", study.path, "--address", cluster.address, "--out", study.out)
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **cluster.environment}
    return start(*command, cwd=study.folder, **{"env": environment, **options})


def ended(process: Process, expect: int, seconds: float = 300) -> str:
    """What the run printed, after checking its exit code and that it left no traceback."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"no end in {seconds} s\n{out}\n{err}") from None
    assert process.poll() == expect, f"exit code {process.poll()}\n{out}\n{err}"
    assert "Traceback" not in err, err
    return out + err


def until(holds: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 240) -> None:
    """Wait until something holds, while the run goes on."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, process.communicate()
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(process.communicate())
        time.sleep(0.05)


def finished(out: Path) -> dict[str, str]:
    """Trial id -> when it finished, of all that the folder holds."""
    compacted = trials(out) if (out / "trials.parquet").exists() else {}
    return {name: str(row["finished_at"]) for name, row in compacted.items()} | committed(out)


def assert_nothing_lost(out: Path, undisturbed: Path, before: dict[str, str]) -> None:
    """The final tables are those of an undisturbed run, and what was committed ran no more.

    Args:
        out: the results folder after the fault, and after the run that finished it.
        undisturbed: that of the same study without a fault.
        before: what `finished` had said at the moment of the fault.
    """
    after = finished(out)
    assert {name: after.get(name) for name in before} == before, "lost, or run twice"
    assert trials(out).keys() == trials(undisturbed).keys()
    for table in ("accuracy", "configs"):
        found, expected = (pq.read_table(o / f"{table}.parquet") for o in (out, undisturbed))
        assert found.equals(expected), table
    for name, row in trials(out).items():
        expected_row = trials(undisturbed)[name]
        same = row.keys() - _OF_THE_RUN
        assert {key: row[key] for key in same} == {key: expected_row[key] for key in same}
    assert list((out / "records").iterdir()) == [], "starts that came to no end"
