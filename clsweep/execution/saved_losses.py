"""The training losses of a job, written to the results folder where the study asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clsweep.records.loss_table import loss_table
from clsweep.storage.loss_files import write_losses
from clsweep.training.divergence import Diverged
from clsweep.training.loss_curves import LossCurves, recorded

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Context
    from clsweep.study.jobs import Job


@contextmanager
def saved_losses(context: Context, job: Job) -> Iterator[None]:
    """Write the losses of what is trained inside, once it has ended or diverged.

    What is interrupted, or fails, leaves none: it has no end yet, or no curve that means anything.

    Args:
        context: what all jobs share.
        job: whose training it is.

    Raises:
        StoreError: the storage refuses.
    """
    if not context.study.save.losses:
        yield
        return
    with recorded() as curves:
        try:
            yield
        except Diverged:
            write_curves(context, job, curves)
            raise
        write_curves(context, job, curves)


def write_curves(context: Context, job: Job, curves: LossCurves) -> None:
    """Write the losses of a job that has ended or diverged.

    Args:
        context: what all jobs share.
        job: whose training it was.
        curves: its losses.

    Raises:
        StoreError: the storage refuses.
    """
    config_id = job.config_id if job.kind == "trial" else ""
    rows = curves.rows()
    if rows:
        of_job = (job.key, job.kind, config_id, job.label, job.seed)
        write_losses(context.out, job.key, loss_table(of_job, rows))
