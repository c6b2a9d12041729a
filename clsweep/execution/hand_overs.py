"""How many jobs a worker is handed at once: short trials in bundles, everything else alone.

From one hand-over to the next a worker waits for tens of milliseconds, and a driver computes for
ten: with trials of a few milliseconds each, that would be all that a run does. A bundle is a row
of trials that come next anyway. The worker does one after the other, and commits each; so what is
computed and what is stored do not depend on bundles.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from clsweep.study.jobs import Job

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Outcome
    from clsweep.execution.schedule import Schedule

# What a bundle is to take: a worker that waits for 50 ms is then at work for 95 % of the time.
SECONDS = 1.0
# Trials whose time is the same for all that is known: the latest of a label.
_N_LATEST = 5
_MOST = 500


class HandOvers:
    """Chooses bundles by how long trials of the same label took, latest first.

    The first trial of a label is handed over alone. So is one whose worker was lost: it may do so
    again, and then takes no others along.
    """

    def __init__(self) -> None:
        self._latest: dict[str, deque[float]] = {}

    def note(self, job: Job, seconds: float) -> None:
        """A worker has done a job.

        Args:
            job: a stage or a trial.
            seconds: how long the worker was busy with it, all told.
        """
        if job.kind == "trial":
            self._latest.setdefault(job.label, deque(maxlen=_N_LATEST)).append(seconds)

    def with_more(
        self,
        job: Job,
        schedule: Schedule,
        n_slots: int,
        suits: Callable[[Job], bool],
        is_free: Callable[[Job], bool] = lambda job: True,
    ) -> list[Job]:
        """A job that a worker is handed, and those that it is handed together with it.

        At most half of an equal share of what waits, so that all workers end at about the same
        time.

        Args:
            job: the first, which runs already.
            schedule: where the others wait.
            n_slots: jobs at the same time.
            suits: whether a job may be done in a bundle.
            is_free: whether a job may be handed out now; those behind another one are.
        """
        bundle, left = [job], SECONDS - self._seconds(job)
        n_most = min(_MOST, (schedule.n_waiting + 1) // (2 * max(1, n_slots)))

        def fits(one: Job) -> bool:
            return suits(one) and self._seconds(one) <= left

        while suits(job) and left > 0 and len(bundle) < n_most:
            following = schedule.next_in_turn(fits, is_free)
            if following is None:
                break
            bundle.append(following)
            left -= self._seconds(following)
        return bundle

    def _seconds(self, job: Job) -> float:
        """How long a job will take; infinite where nothing tells."""
        if job.kind != "trial" or job.label not in self._latest:
            return float("inf")
        return median(self._latest[job.label])


def packed(jobs: Sequence[Job]) -> str:
    """Jobs as one text, which travels faster than what it says."""
    return json.dumps([asdict(job) for job in jobs])


def unpacked(text: str) -> list[Job]:
    """The jobs of `packed`."""
    return [_job_of(fields) for fields in json.loads(text)]


def _job_of(fields: Mapping[str, Any]) -> Job:
    members = tuple(_job_of(member) for member in fields["members"])
    return Job(**{**fields, "needs": tuple(fields["needs"]), "members": members})


def done_in_turn(
    jobs: Sequence[Job], execute: Callable[[Job], Outcome]
) -> Iterator[tuple[Outcome, float]]:
    """Do one job after the other; of each, how it ended and the seconds that it took.

    Those that would begin late, since others took longer than they were expected to, are left for
    another hand-over, and so is what follows on an end of the run.

    Args:
        jobs: in their order.
        execute: does one.
    """
    began = now = time.perf_counter()
    for job in jobs:
        if now - began >= 2 * SECONDS:
            return
        outcome = execute(job)
        ended = time.perf_counter()
        yield outcome, ended - now
        if outcome.status == "abort":
            return
        now = ended
