"""Time left of a run, from how long its latest jobs have taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

# (kind, label without a seed): jobs that take about the same time.
Work = tuple[str, str]

# Jobs of a kind of work that tell how long the next one takes: a sweep may slow down or speed up.
_N_LATEST = 5
# Ended jobs over which the number at work is averaged.
_N_ENDS = 100
# Trials begun since the first had ended, before anything is told.
_FEWEST = 2


class _Begun(NamedTuple):
    work: Work
    at: float
    in_start: bool


class Pace:
    """How long the rest takes.

        left = (Σ_waiting d + Σ_running max(0, d − age)) / n

    With d the mean time of the latest jobs of the same work, and n the mean number of jobs at
    work; never less than the longest rest of a job that runs. Both count from when the first trial
    had ended. Whatever began before is of the start: workers, torch and data are loaded in it, and
    jobs that began together end together. Work of which only the start has an example takes the
    time that its worker was busy with it, and work without any the mean of all trials.
    """

    def __init__(self) -> None:
        self._running: dict[str, _Begun] = {}
        self._latest: dict[Work, deque[float]] = {}
        self._in_start: dict[Work, float] = {}
        self._first_at: float | None = None
        self._busy, self._busy_at = 0.0, 0.0
        self._ends: deque[tuple[float, float]] = deque(maxlen=_N_ENDS)

    def began(self, key: str, work: Work, now: float) -> None:
        """A job is handed out.

        Args:
            key: names it.
            work: of which kind it is.
            now: the clock, seconds.
        """
        self._count(now)
        self._running[key] = _Begun(work, now, in_start=self._first_at is None)

    def ended(self, key: str, now: float, wall_seconds: float, *, is_trial: bool) -> None:
        """A job has ended; one that never began tells nothing.

        Args:
            key: names it.
            now: the clock, seconds.
            wall_seconds: how long its worker was busy with it; 0 if that is not known.
            is_trial: whether it was a trial.
        """
        self._count(now)
        job = self._running.pop(key, None)
        if job is None:
            return
        if not job.in_start:
            self._latest.setdefault(job.work, deque(maxlen=_N_LATEST)).append(now - job.at)
        elif wall_seconds > 0:
            self._in_start[job.work] = wall_seconds
        if self._first_at is None and is_trial:
            self._first_at = now
        if self._first_at is not None:
            self._ends.append((now, self._busy))

    def seconds_left(self, waiting: Mapping[Work, int], now: float) -> float | None:
        """Time to the end; None while that is not known.

        Args:
            waiting: how many jobs have not begun, by the work that they are.
            now: the clock, seconds.
        """
        trials = [t for work, times in self._latest.items() if work[0] == "trial" for t in times]
        if len(trials) < _FEWEST:
            return None
        usual = sum(trials) / len(trials)
        rests = [
            max(0.0, self._time_of(job.work, usual) - (now - job.at))
            for job in self._running.values()
        ]
        rest = sum(n * self._time_of(work, usual) for work, n in waiting.items()) + sum(rests)
        n_at_work = self._n_at_work(now)
        return max(rest / n_at_work if n_at_work else rest, max(rests, default=0.0))

    def _time_of(self, work: Work, usual: float) -> float:
        latest = self._latest.get(work)
        if latest:
            return sum(latest) / len(latest)
        return self._in_start.get(work, usual)

    def _n_at_work(self, now: float) -> float:
        """Mean number of jobs at work, over the latest that have ended and until now."""
        since, busy = self._ends[0]
        self._count(now)
        return (self._busy - busy) / (now - since) if now > since else float(len(self._running))

    def _count(self, now: float) -> None:
        """Add what the running jobs have taken since it was counted."""
        self._busy += len(self._running) * (now - self._busy_at)
        self._busy_at = now
