"""What a worker does, by names that a driver hands to it without loading torch itself."""

from __future__ import annotations

from clsweep.execution.outcomes import Context, Outcome
from clsweep.study.jobs import Job


def execute(context: Context, job: Job) -> Outcome:
    """See `worker.execute`, and `lane_trials.execute` of several trials as one program."""
    if job.members:
        from clsweep.execution import lane_trials

        return lane_trials.execute(context, job)
    from clsweep.execution import worker

    return worker.execute(context, job)


def warm_up(context: Context) -> None:
    """See `worker.warm_up`."""
    from clsweep.execution import worker

    worker.warm_up(context)


def study_hindrance(context: Context) -> str:
    """See `worker.study_hindrance`."""
    from clsweep.execution import worker

    return worker.study_hindrance(context)


def probe(context: Context) -> None:
    """See `worker.probe`."""
    from clsweep.execution import worker

    worker.probe(context)
