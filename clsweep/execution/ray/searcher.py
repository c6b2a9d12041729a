"""Tune's view of the schedule: asked for work, told how it ended."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError
from ray.tune.search import Searcher

from clsweep.errors import ClsweepError
from clsweep.execution import outcomes
from clsweep.execution.hand_overs import HandOvers, packed
from clsweep.execution.ray.ray_errors import in_one_line
from clsweep.execution.ray.slots import Slot, slots_of
from clsweep.execution.retries import LostJobs
from clsweep.execution.schedule import Schedule
from clsweep.study.jobs import Job
from clsweep.study.sections import Resources
from clsweep.text import counted

# Trials per Tuner: of each it keeps 28 KB, which go when it does.
SEGMENT = 2000
# How long what Ray said of its nodes is taken for true, in seconds.
_NODES_SECONDS = 1.0


class ClusterSlots:
    """The slots of the cluster as it is now; nodes come and go during a run."""

    def __init__(self, resources: Resources, workers: int | None) -> None:
        self._resources = resources
        limits = [n for n in (workers, resources.max_concurrent) if n]
        self.limit = min(limits, default=SEGMENT)
        self.crowded: set[str] = set()
        # The most that each kind has held at the same time: so many workers have been started.
        self.filled: Counter[str] = Counter()
        self._found: dict[str, Slot] = {}
        self._read_at = float("-inf")

    def n_slots(self) -> int:
        """How many jobs there is room for at the same time."""
        return min(self.limit, sum(slot.n_slots for slot in self.current().values()))

    def current(self) -> dict[str, Slot]:
        """Where there is room, counted anew once a second."""
        if time.monotonic() - self._read_at > _NODES_SECONDS:
            self._found = slots_of(self._resources, ray.nodes())
            self._read_at = time.monotonic()
        return self._found


class ScheduleSearcher(Searcher):
    """Tune's view of the schedule: asked for work, told how it ended."""

    def __init__(self, schedule: Schedule, lost_jobs: LostJobs, slots: ClusterSlots) -> None:
        super().__init__()
        self.schedule, self.lost_jobs, self.slots = schedule, lost_jobs, slots
        # By trial of Tune's: its jobs, none for a worker that gets ready; and the kind of slot.
        self.jobs: dict[str, tuple[list[Job], str]] = {}
        self.hand_overs = HandOvers()
        self.n_suggested = 0
        self._cause: Exception | None = None

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Whether the searcher minds the number that run; it does."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next job; None while all others wait; FINISHED for no more."""
        if self.schedule.exhausted or self.n_suggested >= SEGMENT:
            return Searcher.FINISHED
        found = self._next() if len(self.jobs) < self.slots.limit else None
        slot: Slot | None
        jobs, slot = found or ([], self._cold_slot())
        if slot is None:  # until a job that runs has ended, or a node has come
            return None
        self.n_suggested += bool(jobs)
        self.jobs[trial_id] = (jobs, slot.name)
        n_running = sum(name == slot.name for _, name in self.jobs.values())
        is_cold = n_running > self.slots.filled[slot.name]
        self.slots.filled[slot.name] += is_cold
        where = {"request": slot.request, "node_ids": slot.node_ids}
        return {"jobs": packed(jobs), "place": where, "is_cold": is_cold}

    def _cold_slot(self) -> Slot | None:
        """A free slot that has had no worker yet, where there will be a job for one."""
        running = Counter(name for _, name in self.jobs.values())
        n_trials = sum(any(job.kind == "trial" for job in jobs) for jobs, _ in self.jobs.values())
        n_ready = self.slots.filled.total() - n_trials  # also those that compute a stage now
        if len(self.jobs) >= self.slots.limit or self.schedule.n_waiting <= n_ready:
            return None
        there = self.slots.current()
        for name in ("gpu", "cpu"):
            if name in there and self.slots.filled[name] == running[name] < there[name].n_slots:
                return there[name]
        return None

    def keeps_idle(self) -> bool:
        """Whether workers that have nothing to do are kept for the jobs that wait.

        Not while a job needs a GPU to itself, which is free when nobody holds a share of it.
        """
        return self.schedule.n_waiting > 0 and not self.slots.crowded

    def _next(self) -> tuple[list[Job], Slot] | None:
        """What is ready, and a free slot for it: GPUs first."""
        there = self.slots.current()
        running = Counter(name for _, name in self.jobs.values())
        crowded = self.slots.crowded if "whole" in there else set()
        if self.schedule.lanes is not None:
            self.schedule.lanes.n_slots = max(1, self.slots.n_slots())
        if "gpu" in there and running["whole"]:
            per_gpu = there["gpu"].n_slots // there["whole"].n_slots if "whole" in there else 1
            running["gpu"] += running["whole"] * per_gpu
        for name in ("gpu", "cpu"):
            if name in there and running[name] < there[name].n_slots:
                job = self.schedule.next(lambda job: job.key not in crowded)
                if job is not None:
                    return self._bundle(job), there[name]
        # A whole GPU is free at last when no share of one is in use or asked for.
        shares = any(name == "gpu" for _, name in self.jobs.values())
        if crowded and not shares and running["whole"] < there["whole"].n_slots:
            job = self.schedule.next(lambda job: job.key in crowded)
            if job is not None:
                return [job], there["whole"]
        return None

    def _bundle(self, job: Job) -> list[Job]:
        """A job, and the short ones that come next."""

        def suits(one: Job) -> bool:
            return not self.lost_jobs.was_lost(one)

        def is_free(one: Job) -> bool:  # the others wait for a GPU to themselves
            return one.key not in self.slots.crowded

        return self.hand_overs.with_more(job, self.schedule, self.slots.n_slots(), suits, is_free)

    def note(self, cause: Exception) -> None:
        """Remember why a worker is lost; Tune says of a trial only that it is."""
        self._cause = cause

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass the outcome on; there is none if the process died."""
        jobs, _ = self.jobs.pop(trial_id, ([], ""))
        if not jobs:  # a worker that got ready; where it was lost, the jobs' own will say why
            self._cause = None
            return
        try:
            if error or not result or "ends" not in result:
                self.lost(jobs)
            else:
                self._ended(jobs, result["ends"])
        except ClsweepError as stop:  # Tune would make a traceback of it
            self.schedule.abort_message = self.schedule.abort_message or str(stop)

    def _ended(self, jobs: list[Job], ends: list[tuple[list[Any], float]]) -> None:
        """Pass on how jobs ended; those that the worker has not come to are queued again."""
        for job in reversed(jobs[len(ends) :]):
            self.schedule.requeue(job)
        for job, (values, seconds) in zip(jobs, ends, strict=False):
            outcome = outcomes.Outcome(*values)
            if outcome.status == "crowded":
                self.slots.crowded.add(job.key)
                self.schedule.requeue(job)
                continue
            self.hand_overs.note(job, seconds)
            self.schedule.done(job, outcome)

    def lost(self, jobs: list[Job]) -> None:
        """Have the job that a worker was lost with tried again, or ended with the reason."""
        cause, self._cause = self._cause, None
        reason = getattr(cause, "cause", cause)  # Ray wraps what a job raised
        n = self.lost_jobs.max_attempts
        if isinstance(cause, OutOfMemoryError):
            message = f"Ray's memory monitor ended the worker {counted(n, 'time')}"
        elif isinstance(reason, outcomes.BrokenProcess):
            places = counted(n, "process", "processes")
            message = f"failed in {places}; the last time: {reason}"
        else:
            said = f"; the last time: {in_one_line(cause)}" if cause else ""
            message = f"the worker process died {counted(n, 'time')}{said}"
        status = "oom" if isinstance(cause, OutOfMemoryError) else "failed"
        self.lost_jobs.lost(jobs, outcomes.Outcome(status, message))

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its Tuner, and the progress display may hold a terminal."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for a file; the truth is elsewhere."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""
