"""Training batches: rows in a drawn order, gathered, augmented and scaled many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from clsweep.augment import views
from clsweep.draws import batch_indices
from clsweep.methods.base import Batch, Note
from clsweep.tasks import Scale

__all__ = ["Order", "Trainable", "batches"]

# Rows turned into floating point together: large enough that preparing a batch of 10 costs next
# to nothing, small enough to stay in the processor's cache.
_CHUNK_ROWS = 1024


class Trainable(Protocol):
    """Training examples: one task's, or the union of all."""

    @property
    def labels(self) -> Tensor:
        """Labels in the numbering of the task's head, int64 [n]."""
        ...

    @property
    def task_of(self) -> Tensor | None:
        """Task of each, int64 [n]; None where all are of one task."""
        ...

    def __len__(self) -> int: ...

    def raw(self, index: Tensor) -> Tensor:
        """Images at positions, uint8 [B, C, H, W]."""
        ...


class Order(NamedTuple):
    """Which examples come when, and how they look.

    Attributes:
        seed: the trial's seed.
        task: the task's index.
        batch_size: examples per step.
        n_steps: batches in all.
        augment: the study's `augment`.
    """

    seed: int
    task: int
    batch_size: int
    n_steps: int
    augment: str


def batches(
    data: Trainable,
    scale: Scale,
    order: Order,
    drawn: Callable[[int, int], dict[str, Tensor]],
    note: Note | None = None,
) -> Iterator[tuple[int, list[Batch]]]:
    """Chunks of prepared batches, each with the index of its first step.

    Args:
        data: training examples.
        scale: from uint8 images to inputs.
        order: which examples come when; only inputs are augmented, `Batch.raw` never is.
        drawn: (epoch, n_batches) -> the phase's draws for an epoch, asked for when it begins.
        note: (inputs) -> what the phase notes of them.
    """
    device, size = data.labels.device, order.batch_size
    rows_per_chunk = max(1, _CHUNK_ROWS // size) * size
    step, notes = 0, _Notes(note, len(data), is_fixed=order.augment == "none")
    epochs = batch_indices(order.seed, order.task, len(data), size, order.n_steps)
    for epoch, positions in enumerate(epochs):
        found = drawn(epoch, -(-len(positions) // size))
        draws = {name: value.to(device) for name, value in found.items()}
        view = views(order.augment, order.seed, order.task, epoch, len(data))
        for start in range(0, len(positions), rows_per_chunk):
            rows = positions[start : start + rows_per_chunk].to(device)
            raw = data.raw(rows)
            x, y = scale(view(raw, start)), data.labels[rows]
            tasks = None if data.task_of is None else data.task_of[rows]
            noted = notes.of(epoch, rows, x)
            chunk = []
            for a in range(0, len(rows), size):
                b = a + size
                here = (start + a) // size
                draw = {name: value[here] for name, value in draws.items()}
                own = None if tasks is None else tasks[a:b]
                known = {name: value[a:b] for name, value in noted.items()}
                chunk.append(Batch(x[a:b], y[a:b], raw[a:b], scale, draw, own, known))
            yield step, chunk
            step += len(chunk)


class _Notes:
    """What a phase notes of its inputs, kept from the first epoch on where they are the same."""

    def __init__(self, note: Note | None, n_examples: int, is_fixed: bool) -> None:
        self.note, self.n_examples, self.is_fixed = note, n_examples, is_fixed
        self.kept: dict[str, Tensor] = {}

    def of(self, epoch: int, rows: Tensor, x: Tensor) -> dict[str, Tensor]:
        """The notes of examples, by name.

        Args:
            epoch: number of the pass; every pass shows every example once.
            rows: positions, int64 [B].
            x: inputs [B, C, H, W].
        """
        if self.note is None:
            return {}
        if self.is_fixed and epoch:
            return {name: value[rows] for name, value in self.kept.items()}
        with torch.no_grad():
            found = self.note(x)
        if self.is_fixed:
            for name, value in found.items():
                if name not in self.kept:
                    self.kept[name] = value.new_empty((self.n_examples, *value.shape[1:]))
                self.kept[name][rows] = value
        return found
