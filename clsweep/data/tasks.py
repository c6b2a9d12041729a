"""Tasks: rows of shared inputs, labels in the head's numbering, and a pixel map.

No task copies an input. A batch is a gather of rows, then a gather of pixels, so twenty permuted
tasks cost one data set. Axes: B batch, C channels, P = H·W pixels, K source pixels per pixel. An
input that is no image [C, H, W] has one channel, and its values are the pixels.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from clsweep.data.heads import Heads
from clsweep.data.stored_rows import StoredRows, joined_rows, rows_at_once

Device = torch.device | str
# Inputs of a data set: bytes or floating point.
Inputs = Tensor | StoredRows

_COPIES: dict[tuple[int, str], tuple[weakref.ref[Any], weakref.ref[Any]]] = {}


@dataclass(frozen=True, eq=False)
class PixelMap:
    """Where each pixel of a transformed image is read from, the same for all channels.

    Attributes:
        index: positions in the flattened image, int64 [K, P]; K is 1 unless pixels are mixed.
        weight: share of each, float32 [K, P]; a column sums to 1, or to less where the image's
            outside (which is 0) is read; with K = 1 every share is 0 or 1. None: all 1, and K = 1.
    """

    index: Tensor
    weight: Tensor | None

    def to(self, device: Device) -> PixelMap:
        """The same map on another device."""
        weight = None if self.weight is None else _copy_on(self.weight, device)
        return PixelMap(_copy_on(self.index, device), weight)


class Scale(NamedTuple):
    """From stored values to the network's inputs.

        x = raw · gain + bias            bytes, per channel
        x = (raw − centre) · gain        floating point, per feature or channel

    Attributes:
        gain: float32, [C, 1, 1] for images.
        bias: float32, in the same shape.
        centre: of floating point, in its type; None for nothing to take away.
    """

    gain: Tensor
    bias: Tensor
    centre: Tensor | None = None

    def __call__(self, raw: Tensor) -> Tensor:
        """Inputs of the network, float32 [B, ...].

        Args:
            raw: stored inputs, [B, ...]; they are left as they are.
        """
        if self.centre is not None:
            # Taken away first, in the type of the data: of a mean far from 0 nothing is lost.
            return (raw - self.centre).to(torch.float32).mul_(self.gain)
        if raw.dtype == torch.float32:
            return (raw * self.gain).add_(self.bias)
        return raw.to(torch.float32).mul_(self.gain).add_(self.bias)

    def to(self, device: Device) -> Scale:
        """The same scale on another device."""
        centre = None if self.centre is None else self.centre.to(device)
        return Scale(self.gain.to(device), self.bias.to(device), centre)


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled inputs of one part of one task.

    Attributes:
        images: the whole data set, shared between tasks, [N, C, H, W] for images.
        rows: which of its images belong here, int64 [n].
        labels: their labels in the numbering of the task's head, int64 [n]; of a regression, what
            is to be predicted, float32 [n, K].
        pixel_map: what the task does to every image, or None for nothing.
    """

    images: Inputs
    rows: Tensor
    labels: Tensor
    pixel_map: PixelMap | None = None

    @property
    def task_of(self) -> None:
        """Nothing: all are of one task."""
        return

    def __len__(self) -> int:
        return len(self.rows)

    def rows_at_once(self, most: int) -> int:
        """How many are prepared together; see `stored_rows.rows_at_once`."""
        return rows_at_once(self.images, most)

    def raw(self, index: Tensor) -> Tensor:
        """Inputs after the pixel map as they are stored, [B, C, H, W] for images.

        Args:
            index: positions among these examples, in 0..len-1, int64 [B].
        """
        images = self.images.index_select(0, self.rows[index])
        if self.pixel_map is None:
            return images
        weight = self.pixel_map.weight
        return _mapped(
            images, self.pixel_map.index[None], None if weight is None else weight[None]
        )

    def to(self, device: Device) -> Examples:
        """The same examples on another device; what is shared here is shared there."""
        return Examples(
            _copy_on(self.images, device),
            _copy_on(self.rows, device),
            _copy_on(self.labels, device),
            None if self.pixel_map is None else self.pixel_map.to(device),
        )


@dataclass(frozen=True, eq=False)
class Task:
    """A data set with a head.

    Attributes:
        index: position in the sequence, from 0.
        train: what is learnt from.
        validation: held-out training images, for choosing configurations.
        test: test images, for reporting.
        n_classes: classes of this task; of a regression, numbers that are predicted.
    """

    index: int
    train: Examples
    validation: Examples
    test: Examples
    n_classes: int

    def to(self, device: Device) -> Task:
        """The same task on another device."""
        return dataclasses.replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )


@dataclass(frozen=True, eq=False)
class TaskSequence:
    """Ordered tasks.

    Attributes:
        tasks: in the order in which they are learnt; all images have the same shape.
        heads: which outputs belong to which task.
        scale: from stored values to inputs, the same for all tasks.
        input_shape: (C, H, W) for images.
    """

    tasks: tuple[Task, ...]
    heads: Heads
    scale: Scale
    input_shape: tuple[int, ...]

    @property
    def stored(self) -> torch.dtype:
        """Type of stored inputs."""
        return self.tasks[0].train.images.dtype

    def to(self, device: Device) -> TaskSequence:
        """The same sequence on another device."""
        return dataclasses.replace(
            self,
            tasks=tuple(task.to(device) for task in self.tasks),
            scale=self.scale.to(device),
        )


@dataclass(frozen=True, eq=False)
class JoinedTask:
    """The training examples of all tasks at once, task after task.

    Attributes:
        images: every input that some task uses, [N, C, H, W] for images.
        rows: image of each example, int64 [n].
        labels: label of each, in the numbering of its own task's head, int64 [n].
        task_of: task of each, int64 [n].
        index: pixel map of each task, int64 [T, K, P]; None where no task has one.
        weight: its shares, float32 [T, K, P]; None for all 1.
    """

    images: Inputs
    rows: Tensor
    labels: Tensor
    task_of: Tensor
    index: Tensor | None
    weight: Tensor | None

    def __len__(self) -> int:
        return len(self.rows)

    def rows_at_once(self, most: int) -> int:
        """How many are prepared together; see `stored_rows.rows_at_once`."""
        return rows_at_once(self.images, most)

    def raw(self, index: Tensor) -> Tensor:
        """Inputs as stored, each after the pixel map of its own task, [B, C, H, W] for images.

        Args:
            index: positions among the joined examples, in 0..len-1, int64 [B].
        """
        images = self.images.index_select(0, self.rows[index])
        if self.index is None:
            return images
        tasks = self.task_of[index]
        return _mapped(
            images, self.index[tasks], None if self.weight is None else self.weight[tasks]
        )


def joined(sequence: TaskSequence) -> JoinedTask:
    """The union of the training sets, on the sequence's device.

    Args:
        sequence: at least one task.
    """
    parts = [task.train for task in sequence.tasks]
    images, starts = _pool([part.images for part in parts])
    index, weight = _stacked([part.pixel_map for part in parts], parts[0].images)
    return JoinedTask(
        images=images,
        rows=torch.cat([part.rows + start for part, start in zip(parts, starts, strict=True)]),
        labels=torch.cat([part.labels for part in parts]),
        task_of=torch.cat([torch.full_like(p.rows, task) for task, p in enumerate(parts)]),
        index=index,
        weight=weight,
    )


def _pool(tensors: list[Inputs]) -> tuple[Inputs, list[int]]:
    """The distinct inputs one after another (no copy if there is one), and where each begins."""
    distinct = list({id(tensor): tensor for tensor in tensors}.values())
    if len(distinct) == 1:
        return distinct[0], [0] * len(tensors)
    starts, total = {}, 0
    for tensor in distinct:
        starts[id(tensor)] = total
        total += len(tensor)
    return joined_rows(distinct), [starts[id(tensor)] for tensor in tensors]


def _stacked(maps: list[PixelMap | None], images: Inputs) -> tuple[Tensor | None, Tensor | None]:
    """All pixel maps as one index [T, K, P] and one weight, the identity where there is none."""
    given = [pixel_map for pixel_map in maps if pixel_map is not None]
    if not given:
        return None, None
    n_sources = max(len(pixel_map.index) for pixel_map in given)
    n_pixels = n_pixels_of(tuple(images.shape[1:]))
    same = PixelMap(torch.arange(n_pixels, device=images.device)[None], None)
    filled = [same if pixel_map is None else pixel_map for pixel_map in maps]
    # A map of fewer sources than the widest reads its own pixels again, with a share of 0.
    index = torch.stack([m.index[torch.arange(n_sources) % len(m.index)] for m in filled])
    if all(pixel_map.weight is None for pixel_map in given):
        return index, None
    weight = torch.zeros(index.shape, device=images.device)
    for task, pixel_map in enumerate(filled):
        shares = 1.0 if pixel_map.weight is None else pixel_map.weight
        weight[task, : len(pixel_map.index)] = shares
    return index, weight


def n_pixels_of(shape: tuple[int, ...]) -> int:
    """Values per channel of an input, or all of one that is no image.

    Args:
        shape: of an input, (C, H, W) for images.
    """
    return math.prod(shape[1:] if len(shape) == 3 else shape)


def _mapped(images: Tensor, index: Tensor, weight: Tensor | None) -> Tensor:
    """Inputs read through pixel maps, in their type and shape.

    Args:
        images: [B, C, H, W], or another shape per input.
        index: int64 [B or 1, K, P].
        weight: float32 [B or 1, K, P], or None.
    """
    flat = images.flatten(2) if images.ndim == 4 else images.flatten(1).unsqueeze(1)
    # gather reads an expanded index without storing it, and is three times as fast on bytes as
    # index_select along the last axis.
    read = [flat.gather(2, k.unsqueeze(1).expand_as(flat)) for k in index.unbind(1)]
    if weight is None:
        return read[0].view_as(images)
    if len(read) == 1:
        return read[0].mul_(weight.to(images.dtype)).view_as(images)
    if images.is_floating_point():
        mixed = sum(
            pixels * share.unsqueeze(1).to(images.dtype)
            for pixels, share in zip(read, weight.unbind(1), strict=True)
        )
        assert isinstance(mixed, Tensor)
        return mixed.view_as(images)
    total = torch.full(flat.shape, 0.5, device=flat.device)
    for pixels, share in zip(read, weight.unbind(1), strict=True):
        total += pixels * share.unsqueeze(1)
    return total.to(torch.uint8).view_as(images)


def _copy_on(source: Any, device: Device) -> Any:
    """`source` on a device, where what is one here stays one there while in use."""
    key = (id(source), str(device))
    if key in _COPIES:
        known, copy = (ref() for ref in _COPIES[key])
        if known is source and copy is not None:
            return copy
    moved = source.to(device)
    if moved is not source:
        dead = [k for k, refs in _COPIES.items() if any(ref() is None for ref in refs)]
        for k in dead:
            del _COPIES[k]
        _COPIES[key] = (weakref.ref(source), weakref.ref(moved))
    return moved


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

    def rows_at_once(self, most: int) -> int:
        """How many of them are prepared together, at most `most`."""
        ...

    def raw(self, index: Tensor) -> Tensor:
        """Inputs at positions as they are stored, [B, C, H, W] for images."""
        ...
