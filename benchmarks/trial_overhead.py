"""Measure what a trial costs beyond its training: 200 trials of next to none on two Ray workers.

    python benchmarks/trial_overhead.py

Start-up is all that happens before the driver hands out the first trial: reading the study,
starting Ray, probing data and nets, making the workers, training the one shared source model.
Everything after that moment, to the last table written, is divided by the number of trials. Ray's
shutdown lies in it as well. Time on the clock; other work on the machine counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from clsweep.execution import runner
from clsweep.execution.listeners.base import Listener
from clsweep.study.jobs import Job
from clsweep.study.study import load_study

STUDY = """\
name = "overhead"
seeds = 1
[benchmark]
name = "split"
examples_per_task = 40
[net]
hidden = [4]
[training]
steps = 1
[resources]
device = "cpu"
[[methods]]
name = "ewc"
form = "proximal"
fisher = "empirical"
lam = {{ low = 1e-3, high = 1e3, n = {n} }}
"""


class Noted(Listener):
    """Remembers when the first trial was handed out."""

    first_trial_at = 0.0

    def started(self, job: Job) -> None:
        """A job was handed out."""
        if job.kind == "trial" and not self.first_trial_at:
            self.first_trial_at = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    n_trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.toml"
        path.write_text(STUDY.format(n=n_trials), encoding="utf-8")
        noted = Noted()
        began = time.perf_counter()
        summary = runner.run(
            load_study(path), out=Path(folder) / "out", workers=2, listeners=[noted]
        )
        total = time.perf_counter() - began
    assert (summary.n_new, summary.n_failed) == (n_trials, 0), summary
    start_up = noted.first_trial_at - began
    print(
        f"{n_trials} trials in {total:.1f} s: start-up {start_up:.1f} s, then "
        f"{(total - start_up) / n_trials:.3f} s per trial"
    )


if __name__ == "__main__":
    main()
