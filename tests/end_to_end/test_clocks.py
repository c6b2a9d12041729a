"""Clocks that jump: no result, no duration and no decision depends on the time of day."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from tests.end_to_end.faults import assert_nothing_lost, ended, run_undisturbed
from tests.end_to_end.studies import ROOT, Forked, start, trials, write_study

# Imported by every Python process of the run, Ray's included, before anything else.
SITECUSTOMIZE = """\
import os
import time

_time, _time_ns = time.time, time.time_ns
RECORDS = os.environ["CLOCK_OF"]


def _jump():
    try:
        n_done = sum(name.endswith(".json") for name in os.listdir(RECORDS))
    except FileNotFoundError:
        return 0.0
    return 24 * 3600.0 * (0 if n_done < 2 else 2 if n_done < 5 else -2 if n_done < 8 else 400)


time.time = lambda: _time() + _jump()
time.time_ns = lambda: _time_ns() + int(1e9 * _jump())
"""
STUDY = {"seeds": 2, "steps": 20}


def _jumping(records: str) -> None:
    """Let the clock of this process jump."""
    os.environ["CLOCK_OF"] = records
    exec(SITECUSTOMIZE, {})


@pytest.mark.parametrize(
    "executor",
    ["--inline", pytest.param("--workers=2", marks=[pytest.mark.ray, pytest.mark.slow])],
)
def test_a_clock_that_jumps_changes_nothing(executor: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    out = tmp_path / "out"
    path = os.pathsep.join(
        filter(None, [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    )
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "CLOCK_OF": str(out / "records"),
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
    }
    study = write_study(tmp_path, **STUDY)
    command = ("run", study, executor, "--out", out)
    if executor == "--inline":
        ended(Forked(*command, cwd=tmp_path, before=partial(_jumping, str(out / "records"))), 0)
    else:
        ended(start(*command, cwd=tmp_path, env=environment), 0)
    assert {row["attempts"] for row in trials(out).values()} == {1}, "a trial ran twice"
    (tmp_path / "undisturbed").mkdir()
    assert_nothing_lost(out, run_undisturbed(tmp_path / "undisturbed", **STUDY), {})
    assert all(0 < float(str(row["wall_seconds"])) < 600 for row in trials(out).values())
