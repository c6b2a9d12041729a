"""When a buffer takes examples, and which: at the end of a task, or from the stream of batches.

Every method that keeps examples fills its buffer with these two hooks, `absorbed` and `streamed`.
Where the first task is plain training, its examples are taken when it ends, whatever the filling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from clsweep.errors import MethodError
from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.hyper_fields import Hyper
from clsweep.methods.parts import buffer
from clsweep.methods.parts.buffer import Buffer, NoteOfRaw
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

Filling = Literal["balanced", "reservoir", "ring", "loss_aware"]
LOSS = "loss"


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
    n_targets = net.heads.n_targets
    return buffer.empty(capacity, net.input_shape, device, net.stored, noted, n_targets)


def absorbed(
    old: Buffer,
    learnt: LearntTask,
    filling: Filling,
    note: NoteOfRaw = buffer.nothing_noted,
    n_tasks: int = 1,
) -> Buffer:
    """The buffer once a task has been learnt.

    Args:
        old: the buffer before.
        learnt: the task.
        filling: 'balanced' takes examples now; the others of the first task alone, whose stream
            they have not seen if all methods share it.
        note: what else is kept of its examples.
        n_tasks: tasks of the sequence, which the rings of 'ring' share out.
    """
    if filling == "balanced":
        return buffer.balanced(old, learnt.task, learnt.rng, note=note)
    most = ring_share(len(old.labels), n_tasks) if filling == "ring" else 0
    if old.n_filled == 0:
        old = buffer.sampled(old, learnt.task, learnt.n_presented, learnt.rng, note, most)
    return old._replace(n_seen=0) if filling == "ring" else old


def ring_share(capacity: int, n_tasks: int) -> int:
    """Slots of one task, ⌊M / T⌋.

    Args:
        capacity: M.
        n_tasks: T.

    Raises:
        MethodError: there are fewer slots than tasks.
    """
    share = capacity // n_tasks
    if not share:
        raise MethodError(
            f"rings of {n_tasks} tasks do not fit into {capacity} stored examples",
            expected=f"memory_size = {n_tasks} or more",
            next_step='make the memory larger, or fill it as a "reservoir"',
        )
    return share


def streamed(
    old: Buffer,
    batch: Batch,
    task: int,
    noted: dict[str, Tensor] | None = None,
    filling: Filling = "reservoir",
    n_tasks: int = 1,
) -> Buffer:
    """The buffer after a batch; of a reservoir the draw "uniform" decides who stays.

    Args:
        old: the buffer before.
        batch: the batch of the new task.
        task: the task being learnt.
        noted: what else is kept of its examples, see `Buffer`.
        filling: 'reservoir' or 'ring'.
        n_tasks: see `absorbed`.
    """
    if filling == "ring":
        share = ring_share(len(old.labels), n_tasks)
        return buffer.ringed(old, batch.raw, batch.y, task, share, noted)
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

    @property
    def there(self) -> Tensor:
        """The slots that hold an example, int64 [≤ B']."""
        return self.slots if self.weights is None else self.slots[self.weights > 0]


class Growth(NamedTuple):
    """How a buffer grows within an epoch.

    Attributes:
        per_step: examples that each step adds while there is room.
        most: how many there are at most.
    """

    per_step: int
    most: int


def growth(
    hyper: Hyper, filling: Filling, stored: Buffer, batch_size: int, n_tasks: int = 1
) -> Growth | None:
    """What `replay_draw` has to know of a method that learns the first task; None for others.

    Args:
        hyper: the method's numbers.
        filling: how its memory is filled.
        stored: the buffer as an epoch begins.
        batch_size: examples per step.
        n_tasks: see `absorbed`.
    """
    if not hyper.learns_first_task:
        return None
    capacity = len(stored.labels)
    if filling == "balanced":
        return Growth(0, capacity)
    if filling == "ring":
        share = ring_share(capacity, n_tasks)
        return Growth(batch_size, stored.n_filled - min(stored.n_seen, share) + share)
    return Growth(batch_size, capacity)


def replay_draw(
    name: str,
    rng: torch.Generator,
    stored: Buffer,
    n_drawn: int,
    n_steps: int,
    grows: Growth | None = None,
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
        grows: how the buffer grows within the epoch; None to draw from those that are there as
            it begins.
    """
    n_filled, capacity = stored.n_filled, len(stored.labels)
    if grows is None or n_filled == capacity:
        index = buffer.example_indices(rng, n_filled, min(n_drawn, n_filled), n_steps)
        return {name: index}
    there = (n_filled + grows.per_step * torch.arange(n_steps)).clamp(max=grows.most)[:, None]
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
        names: of draws, see `replay_draw`; their examples stand one after the other.
    """
    slots = torch.cat([batch.draw[name] for name in names])
    raw, labels, tasks = stored.raw[slots], stored.labels[slots], stored.tasks[slots]
    if f"{names[0]}_weights" not in batch.draw:
        return Replayed(slots, raw, labels, tasks, None)
    weights = torch.cat([batch.draw[f"{name}_weights"] for name in names])
    is_there = weights > 0
    rows = torch.arange(len(slots), device=slots.device) % len(batch.y)
    there, said = (is_there.reshape(-1, *[1] * (t.dim() - 1)) for t in (raw, labels))
    return Replayed(
        slots,
        torch.where(there, raw, batch.raw[rows]),
        torch.where(said, labels, batch.y[rows]),
        tasks.where(is_there, task),
        weights,
    )


def loss_scores(stored: Buffer, has_heads: bool) -> Tensor:
    """How likely each slot of a full buffer makes room, up to a factor, float32 [M].

        v_j = ½ s_j / (mean|s| mean|b|) + ½ b_j,   scaled to [0, 1] over the memory
        s_j = −ℓ_j, b_j the stored examples of the class of j

    Buzzega, Boschini, Porrello and Calderara 2020, "Rethinking experience replay: a bag of tricks
    for continual learning", ICPR, loss-aware balanced reservoir sampling, as their code has it.
    Where all are equal, all are alike.

    Args:
        stored: the buffer, with the latest loss of every example.
        has_heads: whether classes of the same label in different tasks are different.
    """
    alike = stored.labels[:, None] == stored.labels[None, :]
    if has_heads:
        alike &= stored.tasks[:, None] == stored.tasks[None, :]
    b, s = alike.sum(1).float(), -stored.noted[LOSS]
    size = s.abs().mean() * b.mean()
    v = 0.5 * s / torch.where(size > 0, size, torch.ones_like(size)) + 0.5 * b
    span = v.max() - v.min()
    return torch.where(span > 0, (v - v.min()) / span, torch.ones_like(v))


def with_losses(stored: Buffer, batch: Batch, losses: Tensor, name: str = "slots") -> Buffer:
    """The buffer with the newest losses of what a step has replayed.

    Args:
        stored: the buffer.
        batch: its draws say which examples.
        losses: theirs, [B'].
        name: of the draw.
    """
    slots, kept = batch.draw[name], stored.noted[LOSS]
    weights = batch.draw.get(f"{name}_weights")
    new = losses if weights is None else torch.where(weights > 0, losses, kept[slots])
    return renewed_losses(stored, slots, new)


def renewed_losses(stored: Buffer, slots: Tensor, losses: Tensor) -> Buffer:
    """The buffer with new losses of some examples.

    Args:
        stored: the buffer.
        slots: where they lie, each once, int64 [B'].
        losses: theirs, [B'].
    """
    kept = stored.noted[LOSS]
    found = kept.index_copy(0, slots, losses.to(kept.dtype))
    return stored._replace(noted={**stored.noted, LOSS: found})


def streamed_by_loss(
    old: Buffer,
    batch: Batch,
    task: int,
    losses: Tensor,
    has_heads: bool,
    noted: Mapping[str, Tensor] | None = None,
) -> Buffer:
    """A reservoir whose examples with a small loss, of frequent classes, make room first.

    The scores are those before the batch; as published it has one example.

    Args:
        old: the buffer before.
        batch: the batch of the new task; its draws say who enters and who makes room.
        task: the task being learnt.
        losses: of the new examples, [B].
        has_heads: see `loss_scores`.
        noted: what else is kept of the new examples.
    """
    n = len(batch.y)
    ahead = loss_scores(old, has_heads).double().cumsum(0)
    meets = batch.draw["victim"][:n] * ahead[-1]
    victims = torch.searchsorted(ahead, meets, right=True).clamp(max=len(ahead) - 1)
    uniform, kept = batch.draw["uniform"][:n], {**(noted or {}), LOSS: losses}
    return buffer.replacing(old, batch.raw, batch.y, task, uniform, victims, kept)


def uniforms(rng: torch.Generator, n_steps: int, batch_size: int) -> Tensor:
    """A number in [0, 1) per example that passes by, float64 [n_steps, batch_size].

    Args:
        rng: draws them.
        n_steps: how many steps.
        batch_size: examples per step.
    """
    return torch.rand(n_steps, batch_size, generator=rng, dtype=torch.float64)
