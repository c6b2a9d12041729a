"""The executor without Ray: the same jobs in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from clsweep.errors import RunnerError
from clsweep.execution import lane_trials, outcomes, worker
from clsweep.execution.schedule import Schedule
from clsweep.study.jobs import Job


def run_inline(
    schedule: Schedule,
    context: outcomes.Context,
    preparing: Callable[[str], None] = lambda what: None,
) -> None:
    """Do every job of the schedule here.

    Args:
        schedule: what to do.
        context: what all jobs share; its device is decided here.
        preparing: told what is done before the first job, and '' when that is done.

    Raises:
        RunnerError: a GPU is asked for and there is none, or the accelerator failed in a way
            that this process cannot recover from.
    """
    wanted = context.study.resources.device
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise RunnerError(
            "the study asks for device = 'cuda', and torch sees no GPU here",
            where="[resources] device",
            next_step="write device = 'auto', or run on a machine with a GPU",
        )
    context = replace(context, device="cuda" if has_gpu and wanted != "cpu" else "cpu")
    worker.probe(context)
    preparing("")
    while (job := schedule.next()) is not None:  # what runs here has ended when the next is asked
        outcome = lane_trials.execute(context, job)
        if outcome.status == "broken":
            schedule.requeue(job)  # its start counts: a job that always does this must not block
            raise _broken(context, job, outcome)
        if outcome.status == "doubtful":  # there is no other process
            outcome = outcome._replace(status="failed")
        schedule.done(job, outcome)


def _broken(context: outcomes.Context, job: Job, outcome: outcomes.Outcome) -> RunnerError:
    return RunnerError(
        f"the accelerator failed, and with it this process: {outcome.message}",
        where=f"{job.label}, seed {job.seed} ({job.kind})",
        next_step="give the same command again: everything committed is kept, this job comes last "
        f"then, and is a failed row after [resources] max_attempts = "
        f"{context.study.resources.max_attempts} such starts; without --inline, Ray goes on in "
        "another process by itself",
    )
