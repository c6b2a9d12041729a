"""Trials in lanes on Ray: the counts of trials alone, a record each, whatever ends the driver."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from clsweep.execution import runner
from clsweep.records.schema import LANES
from clsweep.study.study import load_study
from tests.end_to_end.studies import (
    STUDY,
    accuracy_bytes,
    clsweep,
    clsweep_apart,
    committed,
    start,
    trials,
    wait_for,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
# The step of the last value is longer than the way to the anchor: every such trial diverges.
METHODS = """\
[[methods]]
name = "l2"
lam = [0.01, 0.1, 1.0, 1e9]
form = "gradient"

[[methods]]
name = "replay"
weight = [0.1, 1.0, 10.0, 100.0]
memory_size = 20
"""
N_TRIALS = 16


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Study files of the same trials, with lanes and without."""
    folder = tmp_path_factory.mktemp("study")
    found = []
    for lanes in (4, 1):
        path = folder / f"lanes{lanes}.toml"
        text = STUDY.format(
            seeds=2, steps=40, methods=METHODS, optimizer="sgd", lr=0.1, scenario="domain"
        )
        path.write_text(text.replace("[resources]", f"[resources]\nlanes = {lanes}"), "utf-8")
        found.append(path)
    return found[0], found[1]


@pytest.fixture(scope="module")
def alone(files: tuple[Path, Path]) -> Path:
    """Results of the trials one by one, in this process."""
    out = files[1].parent / "alone"
    clsweep("run", files[1], "--inline", "--out", out, expect=1)  # two trials diverge
    return out


def assert_as_alone(out: Path, alone: Path) -> None:
    """Every trial has a record of its own, which says what that of the trial alone says."""
    assert accuracy_bytes(out) == accuracy_bytes(alone)
    found, expected = trials(out), trials(alone)
    assert found.keys() == expected.keys()
    for key, row in found.items():
        for name in ("status", "message", "n_steps", "memory_bytes", "stages", "attempts"):
            assert row[name] == expected[key][name], name


def lanes_of(out: Path) -> list[float]:
    """How many lanes the trials had, 1 for those alone."""
    counters = (json.loads(str(row["counters"])) for row in trials(out).values())
    return sorted(one.get(LANES, 1.0) for one in counters)


def test_counts_are_those_of_trials_alone_and_a_diverged_lane_leaves_the_others_alone(
    files: tuple[Path, Path], alone: Path, tmp_path: Path
) -> None:
    summary = runner.run(load_study(files[0]), out=tmp_path / "out", workers=2)
    assert (summary.n_new, summary.n_diverged, summary.n_failed) == (N_TRIALS, 2, 0)
    assert_as_alone(tmp_path / "out", alone)
    assert lanes_of(tmp_path / "out")[-1] == 4.0
    assert lanes_of(alone) == [1.0] * N_TRIALS


def test_a_killed_driver_loses_nothing_that_was_committed(
    files: tuple[Path, Path], alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("run", files[0], "--workers", 2, "--out", out)
    process = start(*command, cwd=tmp_path)
    wait_for(2, out, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=240)
    kept = committed(out)
    assert 2 <= len(kept) < N_TRIALS
    printed = clsweep_apart(*command, cwd=tmp_path, expect=1)
    done = re.search(rf"{N_TRIALS} of {N_TRIALS} trials done, (\d+) by this run", printed)
    assert done, printed
    # A worker that was about to commit may have done so before it went.
    assert 0 < int(done[1]) <= N_TRIALS - len(kept)
    after = trials(out)
    assert {key: after[key]["finished_at"] for key in kept} == kept, "run twice"
    assert accuracy_bytes(out) == accuracy_bytes(alone)
    assert lanes_of(out)[-1] > 1.0
