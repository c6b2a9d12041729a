"""Which job may start next: stages before the trials that need them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from clsweep.execution.laned_jobs import LanedJobs, program_of
from clsweep.execution.waiting_jobs import Suits, WaitingJobs, all_suit
from clsweep.study.jobs import Job

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Outcome

OnDone = Callable[[Job, "Outcome"], None]


def _alone(job: Job) -> str:
    return ""


class Schedule:
    """Jobs waiting, running and done. One driver owns it; it is not thread-safe.

    A stage that fails takes the trials that need it along: they are handed to `on_done` with the
    stage's status, so that they become rows as well. With `more`, the work may grow whenever a job
    has ended: it is asked for jobs that have come up meanwhile. Once `is_time_up` says so, no job
    is handed out any more. With `lanes`, several trials may be handed out as one job of the kind
    'lanes'; each of them runs, starts and ends by itself for everybody else.

    Attributes:
        running: jobs handed out, by key.
        expired: whether a job was asked for when the time was up, and held back.
        aborted: jobs during which the run could not go on.
        abort_message: why the run cannot go on; '' while it can.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        on_start: Callable[[Job], None],
        on_done: OnDone,
        more: Callable[[], Iterable[Job]] | None = None,
        is_time_up: Callable[[], bool] = lambda: False,
        lanes: LanedJobs | None = None,
    ):
        self._waiting = WaitingJobs(jobs, lanes.group_of if lanes is not None else _alone)
        self._on_start, self._on_done, self._more = on_start, on_done, more
        self._is_time_up, self.expired = is_time_up, False
        self.lanes = lanes
        self._lost: dict[str, Outcome] = {}
        self._started: set[str] = set()
        self.running: dict[str, Job] = {}
        self.aborted: list[Job] = []
        self.abort_message = ""

    @property
    def waiting(self) -> tuple[Job, ...]:
        """Jobs that have not been handed out."""
        return tuple(self._waiting)

    @property
    def n_waiting(self) -> int:
        """How many jobs have not been handed out."""
        return len(self._waiting)

    @property
    def exhausted(self) -> bool:
        """Whether no job will be handed out any more."""
        may_grow = self._more is not None and bool(self.running)
        if self.abort_message or not (self._waiting or may_grow):
            return True
        # Of work that waits, not of the clock alone: who is done in time was not held back.
        self.expired = self.expired or (bool(self._waiting) and self._is_time_up())
        return self.expired

    @property
    def finished(self) -> bool:
        """Whether nothing is left to hand out or to wait for."""
        return self.exhausted and not self.running

    def next(self, suits: Suits = all_suit) -> Job | None:
        """The first job whose stages exist, now running; None if all others have to wait.

        Of trials in lanes, a program that would grow if it waited for a stage comes last.

        Args:
            suits: whether a job may be handed out now.
        """
        if self.exhausted:
            return None
        smaller: list[int] = []
        for place, group in self._waiting.ready(suits):
            if self.lanes is None or not group:
                return self._handed_out([place])
            most = self.lanes.most(group, self._waiting.n_trials)
            places, is_whole = self._waiting.together(group, most, suits)
            if is_whole:
                return self._handed_out(places)
            smaller = smaller or places
        return self._handed_out(smaller) if smaller else None

    def next_in_turn(self, fits: Suits, suits: Suits = all_suit) -> Job | None:
        """The job that `next` would give, now running; None where it does not fit.

        Args:
            fits: whether it may be handed out together with those before it.
            suits: see `next`.
        """
        if self.exhausted:
            return None
        for place, group in self._waiting.ready(suits):
            is_next = not group and fits(self._waiting.at(place))
            return self._handed_out([place]) if is_next else None
        return None

    def _handed_out(self, places: list[int]) -> Job:
        jobs = self._waiting.take(places)
        for job in jobs:
            self._begin(job)
        return program_of(jobs)

    def _begin(self, job: Job) -> None:
        self.running[job.key] = job
        if job.key not in self._started:  # a job that is tried again has been announced
            self._started.add(job.key)
            self._on_start(job)

    def done(self, job: Job, outcome: Outcome) -> None:
        """Note how a running job ended."""
        if job.members:
            self._program_done(job, outcome)
            return
        self.running.pop(job.key, None)
        if outcome.status == "abort":
            self.abort_message = self.abort_message or outcome.message
            self.aborted.append(job)
            return
        ended = deque([(job, outcome)])
        while ended:
            one, how = ended.popleft()
            self._on_done(one, how)
            if one.kind != "trial" and how.status == "ok":
                self._waiting.stage_exists(one.key)
            elif one.kind != "trial":
                message = f"{one.label}: {how.message}"
                self._lost[one.key] = how._replace(message=message, wall_seconds=0.0)
            if not ended:
                self._grow()
            ended.extend(self._stranded())

    def _program_done(self, program: Job, outcome: Outcome) -> None:
        """Note how the trials of a program ended; those that did not are handed out again."""
        ended = dict(outcome.members)
        if self.lanes is not None:
            self.lanes.learn(program, outcome)
        for job in reversed(program.members):
            if job.key in ended:
                continue
            if outcome.status == "abort":
                self.done(job, outcome)
            else:
                self.requeue(job)
        for job in program.members:
            if job.key in ended:
                self.done(job, ended[job.key])

    def _grow(self) -> None:
        if self._more is not None:
            self._waiting.append(self._more())

    def _stranded(self) -> list[tuple[Job, Outcome]]:
        """Waiting jobs that need a stage which is lost, taken out of the queue."""
        jobs = self._waiting.take(self._waiting.lacking(self._lost))
        return [
            (job, next(self._lost[key] for key in job.needs if key in self._lost)) for job in jobs
        ]

    def requeue(self, job: Job) -> None:
        """Put a running job back at the front: its worker was lost.

        The trials of a program are handed out one by one then: one of them may be what took the
        worker down.
        """
        for member in reversed(job.members):
            if self.lanes is not None:
                self.lanes.separate([member.key])
            self.requeue(member)
        if job.members:
            return
        self.running.pop(job.key, None)
        self._waiting.put_back(job)
