"""The executor without Ray: the same jobs in this process, one after the other."""

from __future__ import annotations

from dataclasses import replace

import torch

from clsweep import worker
from clsweep.errors import RunnerError
from clsweep.schedule import Schedule

__all__ = ["run_inline"]


def run_inline(schedule: Schedule, context: worker.Context) -> None:
    """Do every job of the schedule here.

    Args:
        schedule: what to do.
        context: what all jobs share; its device is decided here.

    Raises:
        RunnerError: a GPU is asked for and there is none.
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
    while (job := schedule.next()) is not None:  # what runs here has ended when the next is asked
        schedule.done(job, worker.execute(context, job))
