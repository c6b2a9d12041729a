"""When a buffer takes examples, and which: at the end of a task, or from the stream of batches.

Every method that keeps examples fills its buffer with these two hooks, `absorbed` and `streamed`.
The first task is plain training; whatever the filling, its examples are taken when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.parts import buffer
from clsweep.methods.parts.buffer import Buffer, NoteOfRaw
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

Filling = Literal["balanced", "reservoir"]


def empty_for(
    net: Net, params: Params, capacity: int, noted: Mapping[str, tuple[int, ...]] | None = None
) -> Buffer:
    """A buffer without examples, for the inputs of a network and on its device.

    Args:
        net: the network.
        params: its parameters.
        capacity: M ≥ 1.
        noted: see `buffer.empty`.
    """
    device = next(iter(params.values())).device
    return buffer.empty(capacity, net.input_shape, device, net.stored, noted)


def absorbed(
    old: Buffer,
    learnt: LearntTask,
    filling: Filling,
    note: NoteOfRaw = buffer.nothing_noted,
) -> Buffer:
    """The buffer once a task has been learnt.

    Args:
        old: the buffer before.
        learnt: the task.
        filling: 'balanced' takes examples now; 'reservoir' of the first task alone, whose stream
            it has not seen.
        note: what else is kept of its examples.
    """
    if filling == "balanced":
        return buffer.balanced(old, learnt.task, learnt.rng, note=note)
    if old.n_seen == 0:
        return buffer.sampled(old, learnt.task, learnt.n_presented, learnt.rng, note)
    return old


def streamed(
    old: Buffer, batch: Batch, task: int, noted: dict[str, Tensor] | None = None
) -> Buffer:
    """The reservoir after a batch; its draw "uniform" decides who stays.

    Args:
        old: the buffer before.
        batch: the batch of the new task.
        task: the task being learnt.
        noted: what else is kept of its examples, see `Buffer`.
    """
    uniform = batch.draw["uniform"][: len(batch.y)]
    return buffer.streamed(old, batch.raw, batch.y, task, uniform, noted)


def uniforms(rng: torch.Generator, n_steps: int, batch_size: int) -> Tensor:
    """A number in [0, 1) per example that passes by, float64 [n_steps, batch_size].

    Args:
        rng: draws them.
        n_steps: how many steps.
        batch_size: examples per step.
    """
    return torch.rand(n_steps, batch_size, generator=rng, dtype=torch.float64)
