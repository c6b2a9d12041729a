"""A study of paths on a real local Ray: the same counts as in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

import clsweep
from clsweep.records.schema import PATH_POINT
from clsweep.storage.store import Store
from clsweep.study.study import load_study
from tests.end_to_end.test_paths import MORE
from tests.support.command_line import tiny_study


@pytest.mark.slow
def test_a_path_has_the_same_counts_on_two_workers(tmp_path: Path) -> None:
    study = load_study(tiny_study(tmp_path, seeds=2, steps=4, lam="[1, 10, 100]", more=MORE))
    clsweep.run(study, out=tmp_path / "inline", inline=True)
    summary = clsweep.run(study, out=tmp_path / "ray", workers=2)
    assert (summary.n_done, summary.n_failed) == (summary.n_trials, 0)
    inline, ray = (tmp_path / name / "accuracy.parquet" for name in ("inline", "ray"))
    assert ray.read_bytes() == inline.read_bytes()
    points = [
        {r["trial"]["trial_id"]: r["trial"]["counters"].get(PATH_POINT) for r in Store(out).load()}
        for out in (tmp_path / "inline", tmp_path / "ray")
    ]
    assert points[0] == points[1]
    assert sorted(p for p in points[1].values() if p) == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
