"""What a run begins with: trials by label, and the best of all that the folder holds."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from clsweep.execution import runner
from clsweep.execution.listeners.base import Listener, RunStart
from clsweep.study.study import load_study
from tests.support.command_line import tiny_study


class Beginning(Listener):
    """Keeps what a run begins with, and the best of the folder at that moment."""

    start: RunStart
    best: dict[str, float]

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[str] = []

    def begin(self, start: RunStart) -> None:
        self.start, self.best = start, dict(start.best())

    def preparing(self, what: str) -> None:
        self.prepared.append(what)


def test_a_run_that_goes_on_knows_what_the_folder_holds(tmp_path: Path) -> None:
    path = tiny_study(tmp_path, lam="[1.0, 2.0]", seeds=2)
    study, out = load_study(path), tmp_path / "out"
    first, second = Beginning(), Beginning()
    runner.run(study, out=out, inline=True, only=["EWC"], listeners=[first])
    assert first.start.curves == {"EWC": (4, 0)}
    assert (first.start.n_trials, first.start.n_done, first.best) == (4, 0, {})
    assert [job.label for job in first.start.stages] == [
        f"{stage}, seed {seed}" for seed in (0, 1) for stage in ("source", "fisher")
    ]
    assert first.prepared == ["loading torch and the data", ""]
    runner.run(study, out=out, inline=True, listeners=[second])
    assert second.start.curves == {"fine-tuning": (2, 0), "EWC": (4, 4)}
    assert (second.start.n_trials, second.start.n_done) == (6, 4)
    accuracy = pq.read_table(out / "accuracy.parquet")
    ewc = {record[:16] for record in ewc_trials(out)}
    rows = [
        row
        for row in accuracy.filter(pc.field("split") == "validation").to_pylist()
        if row["config_id"] in ewc and row["after_task"] == 1
    ]
    averages: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        key = (row["config_id"], row["seed"])
        averages.setdefault(key, []).append(row["n_correct"] / row["n_total"])
    assert second.best == {"EWC": max(sum(a) / len(a) for a in averages.values())}


def ewc_trials(out: Path) -> list[str]:
    """Ids of the trials of EWC."""
    trials = pq.read_table(out / "trials.parquet").filter(pc.field("method") == "ewc")
    return [str(name) for name in trials["trial_id"].to_pylist()]
