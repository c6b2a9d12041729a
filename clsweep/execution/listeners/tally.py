"""What has happened in a run so far, as numbers: whatever a display of the progress shows."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clsweep.execution.listeners.pace import Pace, Work
from clsweep.records.metrics import ACCURACY, Metric
from clsweep.study.configuration_text import numbers_in_words
from clsweep.text import printable

if TYPE_CHECKING:
    from clsweep.execution.listeners.base import RunStart
    from clsweep.execution.outcomes import Outcome
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job

_FAILURES_KEPT = 4
_LONGEST = 300


@dataclass
class CurveTally:
    """The trials of one label.

    Attributes:
        n_trials: that the run is for or that are done; with a search at most.
        n_done: those that have a record.
        n_running: those at work.
        best: best average validation accuracy of all trials in the folder, in [0, 1]; None
            without any.
    """

    n_trials: int = 0
    n_done: int = 0
    n_running: int = 0
    best: float | None = None

    @property
    def n_waiting(self) -> int:
        """Trials that are to come."""
        return max(0, self.n_trials - self.n_done - self.n_running)


@dataclass
class Tally:
    """What has happened so far.

    Attributes:
        n_total: trials of the study.
        n_before: trials that were done before this run.
        n_finished: trials that this run finished, whatever their status.
        is_upper_limit: whether a search may end before it has asked for all of them.
        curves: by label, in file order.
        stages: stages that are to come, by what they are.
        statuses: how many trials of this run ended how.
        running: (label, kind) -> how many.
        failures: the latest failures, warnings and notes, one sentence each.
        doing: what is being done before the first job has ended, or after the last; '' for nothing
            to be said.
        is_over: whether nothing will run any more.
        began_at: the clock at the run's beginning, seconds.
        pace: how long jobs take.
        metric: what stands in accuracy's place.
    """

    n_total: int = 0
    n_before: int = 0
    n_finished: int = 0
    is_upper_limit: bool = False
    curves: dict[str, CurveTally] = field(default_factory=dict)
    stages: Counter[Work] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    running: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: deque[str] = field(default_factory=lambda: deque(maxlen=_FAILURES_KEPT))
    doing: str = ""
    is_over: bool = False
    began_at: float = 0.0
    pace: Pace = field(default_factory=Pace)
    metric: Metric = ACCURACY

    @property
    def n_done(self) -> int:
        """Trials that are done, now or before."""
        return self.n_before + self.n_finished

    def jobs_ended(self) -> None:
        """Nothing runs any more, also where jobs were cut short."""
        self.doing, self.is_over = "", True
        self.running.clear()
        for curve in self.curves.values():
            curve.n_running = 0

    def seconds_left(self, now: float) -> float | None:
        """Time to the end; None while that is not known, see `Pace`, and when all is over.

        Args:
            now: the clock, seconds.
        """
        if self.is_over:
            return None
        waiting = {("trial", label): one.n_waiting for label, one in self.curves.items()}
        return self.pace.seconds_left({**waiting, **self.stages}, now)

    def started(self, job: Job, now: float) -> None:
        """Count a job among those that run.

        Args:
            job: a stage or a trial.
            now: the clock, seconds.
        """
        work = work_of(job)
        self.running[job.label, job.kind] += 1
        self.pace.began(job.key, work, now)
        if job.kind == "trial":
            self._curve(job.label).n_running += 1
        elif self.stages[work]:
            self.stages[work] -= 1

    def finished(self, job: Job, outcome: Outcome, now: float) -> None:
        """Count how a job ended, and keep the best accuracy of its label.

        Args:
            job: as it was started; a trial whose stage is lost never was.
            outcome: how.
            now: the clock, seconds.
        """
        self.doing = ""
        is_trial, was_running = job.kind == "trial", self.running[job.label, job.kind] > 0
        self.running[job.label, job.kind] -= was_running
        self.running += Counter()  # keeps what is above zero
        self.pace.ended(job.key, now, outcome.wall_seconds, is_trial=is_trial)
        if not is_trial:
            return
        self.n_finished += 1
        self.statuses[outcome.status] += 1
        curve = self._curve(job.label)
        curve.n_done += 1
        curve.n_running = max(0, curve.n_running - 1) if was_running else curve.n_running
        average = outcome.average_accuracy
        if outcome.status == "ok" and math.isfinite(average):
            curve.best = average if curve.best is None else max(average, curve.best)

    def _curve(self, label: str) -> CurveTally:
        return self.curves.setdefault(label, CurveTally())


def tally_of(start: RunStart, now: float) -> Tally:
    """Nothing has happened yet in a run.

    Args:
        start: with what it begins.
        now: the clock, seconds.
    """
    best: Mapping[str, float] = start.best() if start.has_work else {}
    return Tally(
        n_total=start.n_trials,
        n_before=start.n_done,
        is_upper_limit=start.is_upper_limit,
        curves={
            label: CurveTally(n_trials, n_done, best=best.get(label))
            for label, (n_trials, n_done) in start.curves.items()
        },
        stages=Counter(map(work_of, start.stages)),
        metric=start.study.benchmark.shown_metric,
        began_at=now,
    )


def work_of(job: Job) -> Work:
    """Of which kind a job is: those of other seeds take about the same time.

    Args:
        job: a stage or a trial.
    """
    label = job.label if job.kind == "trial" else job.label.rpartition(", seed ")[0]
    return job.kind, label


def failure_text(
    job: Job, outcome: Outcome, configuration: Configuration, usual: Mapping[str, Any]
) -> str:
    """What failed, with which numbers and seed, and why, in one line.

    Args:
        job: the stage or trial.
        outcome: how it ended.
        configuration: the trial's.
        usual: the study's own `[training]`.
    """
    said = f": {outcome.message}" if outcome.message else ""
    if job.kind != "trial":
        return one_line(f"{job.label} ({job.kind}): {outcome.status}{said}")
    numbers = numbers_in_words(
        configuration.method,
        configuration.hyper.model_dump(),
        configuration.training.model_dump(),
        usual,
    )
    named = ", ".join(filter(None, [job.label, numbers, f"seed {job.seed}"]))
    return one_line(f"{named}: {outcome.status}{said}")


def one_line(text: str) -> str:
    """The text without line ends, at most as long as four lines of a terminal.

    Args:
        text: anything.
    """
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
