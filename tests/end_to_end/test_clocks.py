"""Clocks that jump: no result, no duration and no decision depends on the time of day."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .faults import SLOW, assert_nothing_lost, ended, finished, run_undisturbed
from .studies import start, trials, wait_for, write_study

# Imported by every Python process of the run, Ray's included, before anything else.
SITECUSTOMIZE = """\
import os
import time

_time, _time_ns = time.time, time.time_ns


def _jump():
    try:
        with open(os.environ["CLOCK_JUMP"]) as file:
            return float(file.read() or 0)
    except FileNotFoundError:
        return 0.0


time.time = lambda: _time() + _jump()
time.time_ns = lambda: _time_ns() + int(1e9 * _jump())
"""
DAY = 24 * 3600


@pytest.mark.parametrize(
    "executor",
    ["--inline", pytest.param("--workers=2", marks=[pytest.mark.ray, pytest.mark.slow])],
)
def test_a_clock_that_jumps_changes_nothing(executor: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    clock, out = tmp_path / "clock", tmp_path / "out"
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "CLOCK_JUMP": str(clock),
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
    }
    study = write_study(tmp_path, **SLOW)
    process = start("run", study, executor, "--out", out, cwd=tmp_path, env=environment)
    before: dict[str, str] = {}
    for n, seconds in ((2, 2 * DAY), (5, -2 * DAY), (8, 400 * DAY)):
        wait_for(n, out, process)
        before = finished(out)
        clock.write_text(str(seconds))
    ended(process, 0)
    (tmp_path / "undisturbed").mkdir()
    assert_nothing_lost(out, run_undisturbed(tmp_path / "undisturbed"), before)
    assert all(0 < float(str(row["wall_seconds"])) < 600 for row in trials(out).values())
