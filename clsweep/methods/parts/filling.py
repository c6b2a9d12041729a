"""When a buffer takes examples, and which: at the end of a task, or from the stream of batches.

Every method that keeps examples fills its buffer with these two hooks, `absorbed` and `streamed`.
Where the first task is plain training, its examples are taken when it ends, whatever the filling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.hyper_fields import Hyper
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


class Replayed(NamedTuple):
    """Stored examples that are replayed in a step.

    Attributes:
        slots: where they lie in the buffer, int64 [B'].
        raw: inputs as stored, [B', C, H, W] for images.
        labels: int64 [B'].
        tasks: int64 [B'].
        weights: how much each counts, float32 [B']; None where all count 1.
    """

    slots: Tensor
    raw: Tensor
    labels: Tensor
    tasks: Tensor
    weights: Tensor | None


def n_entering(hyper: Hyper, filling: Filling, batch_size: int) -> int | None:
    """What `drawn` has to know of a buffer that grows while the method learns the first task.

    Args:
        hyper: the method's numbers.
        filling: how its memory is filled.
        batch_size: examples per step.
    """
    if not hyper.learns_first_task:
        return None
    return batch_size if filling == "reservoir" else 0


def drawn(
    name: str,
    rng: torch.Generator,
    stored: Buffer,
    n_drawn: int,
    n_steps: int,
    n_entering: int | None = None,
) -> dict[str, Tensor]:
    """Which stored examples each step of an epoch replays, for `replayed`.

    A buffer that is not full yet may grow within the epoch. Every step has as many rows as the
    last; those that the buffer cannot fill yet have the weight 0, and the n others k / n of the k.

    Args:
        name: of the draw.
        rng: draws them.
        stored: the buffer as the epoch begins.
        n_drawn: examples wanted per step, without replacement.
        n_steps: how many steps.
        n_entering: examples that each step adds while there is room; None to draw from those that
            are there as the epoch begins.
    """
    n_filled, capacity = stored.n_filled, len(stored.labels)
    if n_entering is None or n_filled == capacity:
        index = buffer.example_indices(rng, n_filled, min(n_drawn, n_filled), n_steps)
        return {name: index}
    there = (n_filled + n_entering * torch.arange(n_steps)).clamp(max=capacity)[:, None]
    keys = torch.rand(n_steps, capacity, generator=rng)
    keys[torch.arange(capacity) >= there] = 2.0
    index = keys.argsort(1)[:, :n_drawn].clone()
    is_there = (index < there).float()
    counts = is_there.sum(1, keepdim=True).clamp(min=1)
    return {name: index, f"{name}_weights": is_there * (is_there.shape[1] / counts)}


def replayed(stored: Buffer, batch: Batch, task: int, *names: str) -> Replayed:
    """The stored examples that a step replays.

    Rows without an example show one of the new batch, which weighs 0: of all inputs it moves the
    statistics of batch norms least.

    Args:
        stored: the buffer.
        batch: the batch of the new task.
        task: the task being learnt.
        names: of draws, see `drawn`; their examples stand one after the other.
    """
    slots = torch.cat([batch.draw[name] for name in names])
    raw, labels, tasks = stored.raw[slots], stored.labels[slots], stored.tasks[slots]
    if f"{names[0]}_weights" not in batch.draw:
        return Replayed(slots, raw, labels, tasks, None)
    weights = torch.cat([batch.draw[f"{name}_weights"] for name in names])
    is_there = weights > 0
    rows = torch.arange(len(slots), device=slots.device) % len(batch.y)
    there = is_there.reshape(-1, *[1] * (raw.dim() - 1))
    return Replayed(
        slots,
        torch.where(there, raw, batch.raw[rows]),
        torch.where(is_there, labels, batch.y[rows]),
        tasks.where(is_there, task),
        weights,
    )


def uniforms(rng: torch.Generator, n_steps: int, batch_size: int) -> Tensor:
    """A number in [0, 1) per example that passes by, float64 [n_steps, batch_size].

    Args:
        rng: draws them.
        n_steps: how many steps.
        batch_size: examples per step.
    """
    return torch.rand(n_steps, batch_size, generator=rng, dtype=torch.float64)
