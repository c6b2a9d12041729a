"""Jobs whose workers were lost: tried again, but not for ever."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from clsweep.errors import StoreError
from clsweep.execution import stage_cache
from clsweep.execution.outcomes import Outcome
from clsweep.execution.schedule import Schedule
from clsweep.storage import attempts
from clsweep.storage.remote_path import Place
from clsweep.storage.store import Store
from clsweep.study.jobs import Job

Committed = Callable[[Job], Outcome | None]


class LostJobs:
    """The lost jobs of one run; what earlier runs lost is counted by `storage/attempts.py`.

    Args:
        schedule: where a job is queued again, or ends.
        max_attempts: losses of one job before it ends.
        committed: what a job has left on disk, or None; a worker may die between its commit and
            the moment when anybody hears of it.
        forgive: takes the start of a trial back, which was lost beside others in one program.
    """

    def __init__(
        self,
        schedule: Schedule,
        max_attempts: int,
        committed: Committed,
        forgive: Callable[[Job], None],
    ) -> None:
        self.max_attempts = max_attempts
        self._schedule, self._committed, self._forgive = schedule, committed, forgive
        self._n_lost: Counter[str] = Counter()

    def was_lost(self, job: Job) -> bool:
        """Whether the worker of a job has been lost in this run: it may be the reason."""
        return job.key in self._n_lost

    def lost(self, jobs: Sequence[Job], outcome: Outcome) -> None:
        """Note that a worker is gone.

        What it has committed is done. Of the rest the first counts as lost, and those that were
        to come after it are queued as they were.

        Args:
            jobs: that it had been handed, in the order in which it did them; all are running.
            outcome: how the lost one ends if it is not tried again.
        """
        left = []
        for program in (job for job in jobs if job.members):
            self._lost_program(program)
        for job in (job for job in jobs if not job.members):
            found = self._committed(job)
            if found is None:
                left.append(job)
            else:
                self._schedule.done(job, found)
        for job in reversed(left[1:]):
            self._schedule.requeue(job)
        for job in left[:1]:
            self._n_lost[job.key] += 1
            if self._n_lost[job.key] < self.max_attempts:
                self._schedule.requeue(job)
            else:
                self._schedule.done(job, outcome)

    def _lost_program(self, program: Job) -> None:
        """End the trials that were committed; the others are tried again, each by itself."""
        found = {job.key: self._committed(job) for job in program.members}
        left = tuple(job for job in program.members if found[job.key] is None)
        for job in left:  # each is tried by itself, where its own loss counts
            self._forgive(job)
        if left:
            self._schedule.requeue(replace(program, members=left))
        for job in program.members:
            outcome = found[job.key]
            if outcome is not None:
                self._schedule.done(job, outcome)


def suspects_last(directory: Place, jobs: list[Job], *, retry: bool) -> list[Job]:
    """The jobs, those last that an earlier run started and did not finish.

    One of them may be what took that run down: the others are done before it can again.

    Args:
        directory: the results folder.
        jobs: what is missing.
        retry: the starts of earlier runs are to be forgotten instead.
    """
    suspects = attempts.started(directory)
    if not retry:
        return sorted(jobs, key=lambda job: job.key in suspects)
    for job in jobs:
        if job.key in suspects:
            attempts.forget(directory, job.key)
    return jobs


def forgive_cut_short(directory: Place, schedule: Schedule, run: str) -> None:
    """Take back the starts of jobs that a run itself cut short; they were not at fault.

    Args:
        directory: the results folder.
        schedule: as the run has left it.
        run: its name.
    """
    for job in (*schedule.running.values(), *schedule.aborted):
        # A disk that refuses has its own message; such a start then counts.
        with contextlib.suppress(StoreError):
            attempts.forgive(directory, job.key, run)


class Ending(NamedTuple):
    """How a trial ended: its status, when, and after how many seconds.

    Two ends of one trial differ in one of them.
    """

    status: str
    finished_at: str
    wall_seconds: float


def endings(store: Store) -> dict[str, Ending]:
    """Trial id -> how it ended, of every record.

    Args:
        store: the results folder.

    Raises:
        StoreError: a table is damaged, or something was written by a newer clsweep.
    """
    return {row["trial_id"]: _ending_of(row) for row in store.trials("trial_id", *Ending._fields)}


def _ending_of(trial: Mapping[str, Any]) -> Ending:
    return Ending(*(trial[name] for name in Ending._fields))


def left_on_disk(
    store: Store, stage_folder: Place, before: Mapping[str, Ending], job: Job
) -> Outcome | None:
    """What a job has committed whose worker died before anybody heard of it.

    Args:
        store: the results folder.
        stage_folder: the stage cache.
        before: `endings` when the run began.
        job: the stage or trial.
    """
    if job.kind != "trial":
        return Outcome("ok") if stage_cache.exists(stage_folder, job.key) else None
    try:
        trial = store.pending(job.key)["trial"]
    except StoreError:  # there is none
        return None
    if trial["status"] != "ok" and _ending_of(trial) == before.get(job.key):
        return None  # it is the old record of a trial that is tried again
    return Outcome(trial["status"], trial["message"], wall_seconds=trial["wall_seconds"])
