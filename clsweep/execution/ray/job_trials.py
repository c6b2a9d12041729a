"""What a trial of Tune's does in a worker: its jobs, or getting ready for those to come."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import ray

from clsweep.execution import outcomes, worker_entry
from clsweep.execution.hand_overs import done_in_turn, unpacked
from clsweep.study.jobs import Job

# How long a worker that is broken has to end in order.
_SECONDS_TO_END = 10.0


class Work(NamedTuple):
    """What workers do, by functions that the driver need not load torch for.

    Attributes:
        execute: a job.
        warm_up: what is done before there is one.
        check: says why no job of the study can be done, '' where they can; None where that has
            been looked at.
    """

    execute: Callable[[outcomes.Context, Job], outcomes.Outcome]
    warm_up: Callable[[outcomes.Context], None]
    check: Callable[[outcomes.Context], str] | None


WORK = Work(worker_entry.execute, worker_entry.warm_up, worker_entry.study_hindrance)


def run_jobs(config: dict[str, Any], context: outcomes.Context, work: Work) -> dict[str, Any]:
    """The trainable.

    Args:
        config: its jobs, none for a worker that gets ready; and what the worker was given.
        context: what all jobs share.
        work: what is done.

    Raises:
        BrokenProcess: this process must do no further job.
    """
    here = _as_given(context, config["place"]["request"].get("gpu", 0.0))
    jobs = unpacked(config["jobs"])
    if not jobs:
        work.warm_up(here)
    elif work.check is not None and (hindrance := work.check(here)):
        return {"ends": [(list(outcomes.Outcome("abort", hindrance)), 0.0)]}
    ends = []
    for outcome, seconds in done_in_turn(jobs, partial(work.execute, here)):
        if outcome.status in ("broken", "doubtful"):
            # Tune gives a worker whose trial raised no other trial. It asks it to end, which what
            # is broken may never do.
            threading.Timer(_SECONDS_TO_END, os._exit, [1]).start()
            raise outcomes.BrokenProcess(outcome.message)
        ends.append((list(outcome), seconds))
    return {"ends": ends}  # of None, Tune would print a line


def _as_given(context: outcomes.Context, gpu_share: float) -> outcomes.Context:
    """The context with the device that Ray has given to this process."""
    if not ray.get_runtime_context().get_accelerator_ids().get("GPU"):
        return replace(context, device="cpu", memory_fraction=1.0)
    return replace(context, device="cuda", memory_fraction=min(1.0, gpu_share))
