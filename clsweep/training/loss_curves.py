"""Training losses of a job, step by step, for whoever asks for them; training is the same without.

Noted is the loss of every step of every phase, on the device. What is kept of a phase of n steps
are at most 200 rows, each the mean over k = ⌈n / 200⌉ steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

MAX_ROWS = 200


class LossRow(NamedTuple):
    """A mean over some steps.

    Attributes:
        task: the task, from 0.
        phase: name of the phase.
        n_phase: which phase of the task it is, from 0.
        step: steps of the phase that had been made, the last of those in the mean included.
        loss: the mean; NaN or infinite where the training was.
    """

    task: int
    phase: str
    n_phase: int
    step: int
    loss: float


class LossCurves:
    """The losses of one job."""

    def __init__(self) -> None:
        self._phases: list[tuple[int, str, int, list[Tensor]]] = []
        self._n_of_task: Counter[int] = Counter()

    def begin(self, task: int, phase: str) -> list[Tensor]:
        """Where the losses of a phase go, [n] each.

        Args:
            task: the task.
            phase: its name.
        """
        parts: list[Tensor] = []
        self._phases.append((task, phase, self._n_of_task[task], parts))
        self._n_of_task[task] += 1
        return parts

    def rows(self) -> list[LossRow]:
        """What is kept, in the order in which it was trained."""
        found = []
        for task, phase, n_phase, parts in self._phases:
            if parts:
                losses = torch.cat(parts).to("cpu", torch.float64)
                size = -(-len(losses) // MAX_ROWS)
                ends = [min(first + size, len(losses)) for first in range(0, len(losses), size)]
                means = [float(part.mean()) for part in losses.split(size)]
                found += [
                    LossRow(task, phase, n_phase, step, loss)
                    for step, loss in zip(ends, means, strict=True)
                ]
        return found


_ASKED: ContextVar[LossCurves | None] = ContextVar("clsweep_loss_curves", default=None)


@contextmanager
def recorded() -> Iterator[LossCurves]:
    """Note the losses of all that is trained inside."""
    curves = LossCurves()
    token = _ASKED.set(curves)
    try:
        yield curves
    finally:
        _ASKED.reset(token)


def begun(task: int, phase: str) -> list[Tensor] | None:
    """Where the losses of a phase that begins go; None where nobody asks for them.

    Args:
        task: the task.
        phase: its name.
    """
    curves = _ASKED.get()
    return None if curves is None else curves.begin(task, phase)


@contextmanager
def kept(curve: list[Tensor] | None, losses: list[Tensor]) -> Iterator[None]:
    """Keep the losses that are in a list at the end of the block, however it ends.

    Args:
        curve: what `begun` has returned.
        losses: to which the block adds, shape () each.
    """
    try:
        yield
    finally:
        if curve is not None and losses:
            curve.append(torch.stack(losses))
