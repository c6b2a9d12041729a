"""Measure how a short study uses its slots: start-up, stages, trials, and the end of the run.

    python benchmarks/start_up.py [--data-root DIR]

Twelve trials of EWC on two Ray workers: split MNIST with 6,000 images per task where there is a
data root, the digits that come with scikit-learn otherwise. The trials' phase lasts from the first
trial that is handed out to the last that ends; with all slots at work from its beginning it takes
the trials' own seconds over the number of slots, and the ratio is 1. Before the first job: reading
the study, the imports, Ray. Time on the clock; other work on the machine counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from clsweep.execution import runner
from clsweep.execution.listeners.base import Listener
from clsweep.execution.outcomes import Outcome
from clsweep.study.jobs import Job
from clsweep.study.study import load_study

N_SLOTS = 2
STUDY = """\
name = "start_up"
seeds = 1
[benchmark]
name = "split"
dataset = "{dataset}"
examples_per_task = {examples}
[net]
hidden = [400, 400]
[training]
steps = {steps}
batch_size = 32
[resources]
device = "cpu"
[[methods]]
name = "ewc"
form = "proximal"
lam = {{ low = 1.0, high = 1e5, n = 12 }}
"""


class Times(Listener):
    """Remembers when jobs begin and end, and how long the trials say that they took."""

    def __init__(self) -> None:
        super().__init__()
        self.started_at: list[tuple[float, bool]] = []
        self.last_end, self.trial_seconds = 0.0, 0.0

    def started(self, job: Job) -> None:
        """A job was handed out."""
        self.started_at.append((time.perf_counter(), job.kind == "trial"))

    def finished(self, job: Job, outcome: Outcome, *more: Any) -> None:
        """A job has ended."""
        self.last_end = time.perf_counter()
        if job.kind == "trial":
            self.trial_seconds += outcome.wall_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", help="where MNIST lies; none: the digits")
    root = parser.parse_args().data_root
    numbers = (
        {"dataset": "mnist", "examples": 6000, "steps": 188}
        if root
        else {"dataset": "digits", "examples": 0, "steps": 400}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.toml"
        path.write_text(STUDY.format(**numbers), encoding="utf-8")
        times, began = Times(), time.perf_counter()
        summary = runner.run(
            load_study(path),
            out=Path(folder) / "out",
            workers=N_SLOTS,
            data_root=root,
            listeners=[times],
        )
        end = time.perf_counter()
    assert (summary.n_new, summary.n_failed) == (12, 0), summary
    first = times.started_at[0][0]
    first_trial = next(at for at, is_trial in times.started_at if is_trial)
    phase = times.last_end - first_trial
    ratio = phase * N_SLOTS / times.trial_seconds
    print(
        f"{end - began:.1f} s: {first - began:.1f} s until the first job, "
        f"{first_trial - first:.1f} s of stages, {phase:.1f} s of trials "
        f"({ratio:.2f} times their own {times.trial_seconds:.1f} s "
        f"on {N_SLOTS} slots), {end - times.last_end:.1f} s to end"
    )


if __name__ == "__main__":
    main()
