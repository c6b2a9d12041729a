"""Buffers of fixed capacity, shared by replay and the gradient-projection methods.

Inputs are kept in the type of the data set, as a rule bytes of images, and as the network will see
them: after a task's permutation or rotation. Every function returns a new buffer and leaves its
arguments alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from clsweep.data.tasks import Task

_STEPS_AT_ONCE = 256


class Buffer(NamedTuple):
    """A buffer of M examples, of which the first `n_filled` are in use.

    Attributes:
        raw: inputs as stored, [M, C, H, W] for images.
        labels: in the numbering of the head of their task, int64 [M]; of a regression, targets
            float32 [M, K].
        tasks: task of each example, int64 [M]; −1 where the slot is empty.
        n_filled: slots in use.
        n_seen: examples that the stream has offered so far.
        noted: what else is kept of every example, by name, float32 [M, ...].
    """

    raw: Tensor
    labels: Tensor
    tasks: Tensor
    n_filled: int
    n_seen: int
    noted: dict[str, Tensor] = {}


# (raw inputs of a task as stored) -> what is noted of them, by name, float32 [B, ...].
NoteOfRaw = Callable[[Tensor], dict[str, Tensor]]


def _first(index: Tensor, n: int) -> Tensor:
    return index[:n]


def nothing_noted(raw: Tensor) -> dict[str, Tensor]:
    """No note."""
    return {}


def empty(
    capacity: int,
    input_shape: tuple[int, ...],
    device: torch.device,
    stored: torch.dtype = torch.uint8,
    noted: Mapping[str, tuple[int, ...]] | None = None,
    n_targets: int = 0,
) -> Buffer:
    """A buffer without examples.

    Args:
        capacity: M ≥ 1.
        input_shape: of an input, (C, H, W) for images.
        device: where the inputs are kept.
        stored: type in which they are kept, see `Net.stored`.
        noted: shapes of what else is kept of an example, by name.
        n_targets: K of a regression; 0 for classes.
    """
    labels = (
        torch.zeros(capacity, n_targets, device=device)
        if n_targets
        else torch.zeros(capacity, dtype=torch.int64, device=device)
    )
    shapes = {} if noted is None else noted
    return Buffer(
        torch.zeros(capacity, *input_shape, dtype=stored, device=device),
        labels,
        torch.full((capacity,), -1, dtype=torch.int64, device=device),
        0,
        0,
        {name: torch.zeros(capacity, *shape, device=device) for name, shape in shapes.items()},
    )


def balanced(
    old: Buffer,
    task: Task,
    rng: torch.Generator,
    most_per_task: int = 0,
    note: NoteOfRaw = nothing_noted,
) -> Buffer:
    """A buffer shared equally among all classes of all tasks up to `task`.

    Every (task, class) group keeps its first examples, which stand in random order, so that a
    shrinking share keeps a uniform sample of its class. Shares that do not divide evenly, and
    shares that a class is too small to fill, go to the groups that can still use them. Of a
    regression, every task is a group.

    Args:
        old: the buffer before the task.
        task: the task just learnt; its training set is drawn from.
        rng: draws which examples are kept.
        most_per_task: bound on the examples of one task; 0 for none.
        note: what else is kept of the examples of `task`.
    """
    if old.labels.is_floating_point():
        return uniform(old, task, rng, most_per_task, note)
    order = torch.randperm(len(task.train), generator=rng).to(old.raw.device)
    labels = task.train.labels[order]
    groups = _past_groups(old, task)
    new = [order[labels == label] for label in labels.unique().tolist()]
    return _shared_out(old, task, groups, new, most_per_task, note)


def ranked(
    old: Buffer, task: Task, rank: Callable[[Tensor, int], Tensor], note: NoteOfRaw = nothing_noted
) -> Buffer:
    """A buffer as `balanced` shares it, whose examples of a class are chosen by their rank.

    Args:
        old: the buffer before the task.
        task: the task just learnt.
        rank: (positions of a class among the training examples, how many) -> which are kept, the
            best first.
        note: what else is kept of the examples of `task`.
    """
    labels = task.train.labels
    new = [(labels == label).nonzero().flatten() for label in labels.unique().tolist()]
    return _shared_out(old, task, _past_groups(old, task), new, 0, note, rank)


def _past_groups(old: Buffer, task: Task) -> list[Tensor]:
    """Slots of every class of every task before `task`."""
    groups = []
    for past in range(task.index):
        here = old.tasks[: old.n_filled] == past
        for label in old.labels[: old.n_filled][here].unique().tolist():
            groups.append((here & (old.labels[: old.n_filled] == label)).nonzero().flatten())
    return groups


def uniform(
    old: Buffer,
    task: Task,
    rng: torch.Generator,
    most_per_task: int = 0,
    note: NoteOfRaw = nothing_noted,
) -> Buffer:
    """A buffer shared equally among all tasks up to `task`, a uniform sample of each.

    See `balanced` for the arguments and for shares that do not divide evenly.
    """
    order = torch.randperm(len(task.train), generator=rng).to(old.raw.device)
    used = old.tasks[: old.n_filled]
    past = [(used == index).nonzero().flatten() for index in range(task.index)]
    return _shared_out(old, task, [g for g in past if len(g)], [order], most_per_task, note)


def _shared_out(
    old: Buffer,
    task: Task,
    past: list[Tensor],
    new: list[Tensor],
    most_per_task: int,
    note: NoteOfRaw,
    rank: Callable[[Tensor, int], Tensor] = _first,
) -> Buffer:
    """Equal shares of the slots for groups of old slots and for groups of the task's examples."""
    sizes = [len(index) for index in new]
    allowed = _shares(sizes, most_per_task) if most_per_task else sizes
    shares = _shares([len(index) for index in past] + allowed, len(old.labels))
    of_past, of_new = shares[: len(past)], shares[len(past) :]
    chosen = torch.cat([rank(index, n) for index, n in zip(new, of_new, strict=True)])
    kept = [index[:n] for index, n in zip(past, of_past, strict=True)]
    previous = torch.cat(kept) if past else chosen[:0]
    labels = torch.cat([old.labels[previous], task.train.labels[chosen]])
    new_raw = task.train.raw(chosen)
    raw = torch.cat([old.raw[previous], new_raw])
    tasks = torch.cat([old.tasks[previous], torch.full_like(chosen, task.index)])
    noted = {
        name: torch.cat([old.noted[name][previous], value])
        for name, value in note(new_raw).items()
    }
    return _filled(old, raw, labels, tasks, old.n_seen + len(task.train), noted)


def example_indices(rng: torch.Generator, n_filled: int, n_drawn: int, n_steps: int) -> Tensor:
    """Per step, indices without replacement, int64 [n_steps, min(n_drawn, n_filled)].

    Args:
        rng: draws them.
        n_filled: examples in the buffer.
        n_drawn: examples wanted per step.
        n_steps: how many steps.
    """
    keys = torch.rand(n_steps, n_filled, generator=rng)
    # Copied, some steps at a time: what is cut off would stay in memory as long as the rest.
    parts = [some.argsort(1)[:, :n_drawn].clone() for some in keys.split(_STEPS_AT_ONCE)]
    return torch.cat(parts)


def _shares(available: list[int], capacity: int) -> list[int]:
    """Equal shares of `capacity`, none above what is available."""
    shares = [0] * len(available)
    left = capacity
    while left > 0:
        open_groups = [i for i, n in enumerate(available) if shares[i] < n]
        if not open_groups:
            break
        each, spare = divmod(left, len(open_groups))
        for rank, i in enumerate(open_groups):
            extra = min(each + (rank < spare), available[i] - shares[i])
            shares[i] += extra
            left -= extra
    return shares


def sampled(
    old: Buffer,
    task: Task,
    n_presented: int,
    rng: torch.Generator,
    note: NoteOfRaw = nothing_noted,
    most: int = 0,
) -> Buffer:
    """A uniform sample of one task's training set: a reservoir after that task's stream.

    Args:
        old: an empty buffer.
        task: the first task.
        n_presented: length of the stream, epochs counted.
        rng: draws which examples are kept.
        note: what else is kept of the examples.
        most: bound on how many; 0 for what the buffer holds.
    """
    n_kept = min(most or len(old.labels), len(task.train))
    chosen = torch.randperm(len(task.train), generator=rng)[:n_kept].to(old.raw.device)
    tasks = torch.full_like(chosen, task.index)
    labels = task.train.labels[chosen]
    raw = task.train.raw(chosen)
    return _filled(old, raw, labels, tasks, n_presented, note(raw))


def _filled(
    old: Buffer,
    raw: Tensor,
    labels: Tensor,
    tasks: Tensor,
    n_seen: int,
    noted: dict[str, Tensor],
) -> Buffer:
    shapes = {name: tuple(value.shape[1:]) for name, value in old.noted.items()}
    shape = tuple(old.raw.shape[1:])
    n_targets = old.labels.shape[1] if old.labels.is_floating_point() else 0
    fresh = empty(len(old.labels), shape, old.raw.device, old.raw.dtype, shapes, n_targets)
    n = len(labels)
    fresh.raw[:n], fresh.labels[:n], fresh.tasks[:n] = raw, labels, tasks
    for name, value in fresh.noted.items():
        value[:n] = noted[name]
    return fresh._replace(n_filled=n, n_seen=n_seen)


def streamed(
    old: Buffer,
    raw: Tensor,
    labels: Tensor,
    task: int,
    uniform: Tensor,
    noted: Mapping[str, Tensor] | None = None,
) -> Buffer:
    """The reservoir after a batch of the stream: example number n stays with probability M/n.

    Args:
        old: the reservoir before the batch.
        raw: inputs of the batch as stored, [B, C, H, W] for images.
        labels: their labels, int64 [B]; of a regression, targets float32 [B, K].
        task: their task.
        uniform: one number in [0, 1) per example, float64 [B].
        noted: what else is kept of them, by the names that `old` has.
    """
    capacity = len(old.labels)
    count = old.n_seen + torch.arange(len(labels), device=uniform.device)
    slot = _free_or(old, (uniform * (count + 1)).long())
    n_filled = min(capacity, old.n_filled + len(labels))
    return _entered(old, slot, raw, labels, task, n_filled, noted)


def ringed(
    old: Buffer,
    raw: Tensor,
    labels: Tensor,
    task: int,
    share: int,
    noted: Mapping[str, Tensor] | None = None,
) -> Buffer:
    """A ring per task after a batch: the newest `share` examples of the task that is learnt.

    `n_seen` counts the examples of this task alone.

    Args:
        old: the buffer before the batch.
        raw: see `streamed`.
        labels: see there.
        task: see there.
        share: slots of one task, ≥ 1.
        noted: see there.
    """
    first = old.n_filled - min(old.n_seen, share)
    n_seen = old.n_seen + len(labels)
    slot = first + torch.arange(old.n_seen, n_seen, device=labels.device) % share
    return _entered(old, slot, raw, labels, task, first + min(n_seen, share), noted)


def replacing(
    old: Buffer,
    raw: Tensor,
    labels: Tensor,
    task: int,
    uniform: Tensor,
    victims: Tensor,
    noted: Mapping[str, Tensor] | None = None,
) -> Buffer:
    """A reservoir that says which slot makes room: example number n enters with probability M/n.

    Args:
        old: the reservoir before the batch.
        raw: see `streamed`.
        labels: see there.
        task: see there.
        uniform: see there.
        victims: the slot that each example would take in a full buffer, int64 [B].
        noted: see there.
    """
    capacity = len(old.labels)
    count = old.n_seen + torch.arange(len(labels), device=uniform.device)
    enters = uniform * (count + 1) < capacity
    slot = _free_or(old, victims.where(enters, capacity))
    n_filled = min(capacity, old.n_filled + len(labels))
    return _entered(old, slot, raw, labels, task, n_filled, noted)


def _free_or(old: Buffer, drawn: Tensor) -> Tensor:
    """Slots of a batch, int64 [B]: the free ones in turn, then those that were drawn.

    Where the first task was smaller than the memory, slots are free after more examples have
    passed by than the memory holds: those of a task enter once, however often they pass by.
    """
    free = old.n_filled + torch.arange(len(drawn), device=drawn.device)
    return torch.where(free < len(old.labels), free, drawn)


def _entered(
    old: Buffer,
    slot: Tensor,
    raw: Tensor,
    labels: Tensor,
    task: int,
    n_filled: int,
    noted: Mapping[str, Tensor] | None,
) -> Buffer:
    """The buffer with a batch in some slots; those beyond the capacity are none."""
    capacity = len(old.labels)
    # A later example of the same batch wins its slot; the loser, and whoever drew a slot beyond
    # the capacity, is written to a scratch slot that is cut off again.
    beaten = (slot[:, None] == slot[None, :]).triu(1).any(1)
    slot = torch.where(beaten | (slot >= capacity), capacity, slot)

    def written(values: Tensor, new: Tensor) -> Tensor:
        grown = torch.cat([values, values[:1]])
        grown[slot] = new
        return grown[:capacity]

    return Buffer(
        written(old.raw, raw),
        written(old.labels, labels),
        written(old.tasks, torch.full_like(slot, task)),
        n_filled,
        old.n_seen + len(labels),
        {name: written(value, (noted or {})[name]) for name, value in old.noted.items()},
    )
