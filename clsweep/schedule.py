"""Which job may start next: stages before the trials that need them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from clsweep.stages import Job

if TYPE_CHECKING:
    from clsweep.worker import Outcome

__all__ = ["Schedule"]

OnDone = Callable[[Job, "Outcome"], None]


class Schedule:
    """Jobs waiting, running and done. One driver owns it; it is not thread-safe.

    A stage that fails takes the trials that need it along: they are handed to `on_done` with the
    stage's status, so that they become rows as well.

    Attributes:
        running: jobs handed out, by key.
        abort_message: why the run cannot go on; '' while it can.
    """

    def __init__(self, jobs: Iterable[Job], on_start: Callable[[Job], None], on_done: OnDone):
        self._waiting = deque(jobs)
        self._missing = {job.key for job in self._waiting if job.kind != "trial"}
        self._on_start, self._on_done = on_start, on_done
        self._started: set[str] = set()
        self.running: dict[str, Job] = {}
        self.abort_message = ""

    @property
    def waiting(self) -> tuple[Job, ...]:
        """Jobs that have not been handed out."""
        return tuple(self._waiting)

    @property
    def exhausted(self) -> bool:
        """Whether no job will be handed out any more."""
        return bool(self.abort_message) or not self._waiting

    @property
    def finished(self) -> bool:
        """Whether nothing is left to hand out or to wait for."""
        return self.exhausted and not self.running

    def next(self) -> Job | None:
        """The first job whose stages exist, now running; None if all others have to wait."""
        if self.exhausted:
            return None
        for index, job in enumerate(self._waiting):
            if self._missing.isdisjoint(job.needs):
                del self._waiting[index]
                self.running[job.key] = job
                if job.key not in self._started:  # a job that is tried again has been announced
                    self._started.add(job.key)
                    self._on_start(job)
                return job
        return None

    def done(self, job: Job, outcome: Outcome) -> None:
        """Note how a running job ended."""
        self.running.pop(job.key, None)
        if outcome.status == "abort":
            self.abort_message = self.abort_message or outcome.message
            return
        self._on_done(job, outcome)
        if job.kind == "trial":
            return
        if outcome.status == "ok":
            self._missing.discard(job.key)
            return
        lost = outcome._replace(message=f"{job.label}: {outcome.message}", wall_seconds=0.0)
        stranded = [other for other in self._waiting if job.key in other.needs]
        self._waiting = deque(other for other in self._waiting if job.key not in other.needs)
        for other in stranded:
            self.done(other, lost)

    def requeue(self, job: Job) -> None:
        """Put a running job back at the front: its worker was lost."""
        self.running.pop(job.key, None)
        self._waiting.appendleft(job)
