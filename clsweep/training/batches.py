"""Training batches: rows in a drawn order, gathered, scaled, shown as random views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, Trainable
from clsweep.methods.base import Batch, Note
from clsweep.training.class_balance import class_weights, epoch_orders

# Rows turned into floating point together: large enough that preparing a batch of 10 costs next
# to nothing, small enough to stay in the processor's cache.
_CHUNK_ROWS = 1024


class Order(NamedTuple):
    """Which examples come when, how they look, and how their labels are smoothed.

    Attributes:
        seed: the trial's seed.
        task: the task's index.
        batch_size: examples per step.
        n_steps: batches in all.
        augment: the study's `augment`.
        smoothing: the study's `label_smoothing`.
        balance: the study's `class_balance`.
        n_skipped: batches of the same order that were shown before, and do not come again.
    """

    seed: int
    task: int
    batch_size: int
    n_steps: int
    augment: str
    smoothing: float = 0.0
    balance: str = "none"
    n_skipped: int = 0


def batches(
    data: Trainable,
    scale: Scale,
    order: Order,
    draws_of: Callable[[int, int], dict[str, Tensor]],
    note: Note | None = None,
) -> Iterator[tuple[int, list[Batch]]]:
    """Chunks of prepared batches, each with the index of its first step.

    Args:
        data: training examples.
        scale: from stored values to inputs.
        order: which examples come when; only inputs are augmented, `Batch.raw` never is.
        draws_of: (epoch, n_batches) -> the phase's draws for an epoch, asked for when it begins.
        note: (inputs) -> what the phase notes of them.
    """
    device, size = data.labels.device, order.batch_size
    rows_per_chunk = max(1, data.rows_at_once(_CHUNK_ROWS) // size) * size
    shows_all = order.balance != "resample" and not order.n_skipped
    step, notes = 0, _Notes(note, len(data), is_fixed=order.augment == "none" and shows_all)
    weights = class_weights(data) if order.balance == "weights" else None
    n_all, n_skipped = order.n_skipped + order.n_steps, order.n_skipped
    epochs = epoch_orders(data, order.balance, order.seed, order.task, size, n_all)
    for epoch, positions in enumerate(epochs):
        n_here = -(-len(positions) // size)
        first = min(n_skipped, n_here) * size
        n_skipped = max(0, n_skipped - n_here)
        if first >= len(positions):
            continue
        found = draws_of(epoch, n_here)
        draws = {name: ahead(value, device) for name, value in found.items()}
        view = views(order.augment, order.seed, order.task, epoch, len(data), device)
        order_here = ahead(positions, device)
        for start in range(first, len(positions), rows_per_chunk):
            rows = order_here[start : start + rows_per_chunk]
            raw = data.raw(rows)
            x, y = scale(view(raw, start)), data.labels[rows]
            tasks = None if data.task_of is None else data.task_of[rows]
            counts = None if weights is None else weights[rows]
            noted = notes.of(epoch, rows, x)
            chunk = []
            for a in range(0, len(rows), size):
                b = a + size
                here = (start + a) // size
                draw = {name: value[here] for name, value in draws.items()}
                own = None if tasks is None else tasks[a:b]
                known = {name: value[a:b] for name, value in noted.items()}
                shown = x[a:b], y[a:b], raw[a:b]
                weight = None if counts is None else counts[a:b]
                chunk.append(
                    Batch(*shown, scale, draw, own, known, order.smoothing, weight, len(data))
                )
            yield step, chunk
            step += len(chunk)


def ahead(drawn: Tensor, device: torch.device) -> Tensor:
    """What was drawn on the processor, on a device, without waiting for what that has to do.

    A plain copy to a GPU waits until all is done that was asked of it before.

    Args:
        drawn: on the CPU.
        device: where it is needed.
    """
    if device.type != "cuda":
        return drawn.to(device)
    return drawn.pin_memory().to(device, non_blocking=True)


def views(
    augment: str,
    seed: int,
    task: int,
    epoch: int,
    n_examples: int,
    device: torch.device,
) -> Callable[[Tensor, int], Tensor]:
    """(images uint8 [B, C, H, W], position of the first in the epoch's order) -> their views.

        flip        mirrored left to right with probability ½
        crop_flip   first a border of p zero pixels is added on each side and a part of the image's
                    size cut out at a place drawn uniformly from (2p + 1)²; p is an eighth of the
                    shorter side: 4 for 32 pixels (He et al. 2016), 3 for 28, 1 for 8

    One draw per epoch and position of the order of batches, from a generator of its own: the same
    for every method, phase, device and batch size. Views are drawn on the CPU and made on the
    images' device.

    Args:
        augment: 'none', 'flip' or 'crop_flip'.
        seed: the trial's seed.
        task: the task's index.
        epoch: number of the pass.
        n_examples: size of the training set.
        device: where the images are.
    """
    if augment == "none":
        return lambda raw, first: raw
    rng = generator(seed, "augment", task, epoch)
    flip = ahead(torch.rand(n_examples, generator=rng) < 0.5, device)
    place = ahead(torch.rand(n_examples, 2, generator=rng, dtype=torch.float64), device)

    def view(raw: Tensor, first: int) -> Tensor:
        here = slice(first, first + len(raw))
        border = min(raw.shape[2:]) // 8 if augment == "crop_flip" else 0
        shift = (place[here] * (2 * border + 1)).long()
        return augmented(raw, flip[here], shift, border)

    return view


def augmented(raw: Tensor, flip: Tensor, shift: Tensor, border: int) -> Tensor:
    """Images cut out of their padded selves, then mirrored.

    Args:
        raw: [B, C, H, W].
        flip: which are mirrored left to right, bool [B].
        shift: row and column, in the padded image, where the cut begins, int64 [B, 2].
        border: zero pixels added on each side.
    """
    n, n_channels, height, width = raw.shape
    columns = torch.arange(width, device=raw.device).expand(n, width)
    columns = torch.where(flip[:, None], columns.flip(1), columns) + shift[:, 1:]
    rows = torch.arange(height, device=raw.device) + shift[:, :1]
    index = rows[:, :, None] * (width + 2 * border) + columns[:, None, :]
    padded = F.pad(raw, (border,) * 4).flatten(2)
    chosen = index.flatten(1)[:, None].expand(-1, n_channels, -1)
    found: Tensor = padded.gather(2, chosen).unflatten(2, (height, width))
    return found


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
