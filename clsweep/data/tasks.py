"""Tasks: rows of a shared image tensor, labels in the head's numbering, and a pixel map.

No task copies an image. A batch is a gather of rows, then a gather of pixels, so twenty permuted
tasks cost one data set. Axes: B batch, C channels, P = H·W pixels, K source pixels per pixel.
"""

from __future__ import annotations

import dataclasses
import weakref
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from clsweep.data.benchmark_specs import Heads

Device = torch.device | str

_COPIES: dict[tuple[int, str], tuple[weakref.ref[Tensor], weakref.ref[Tensor]]] = {}


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
    """From stored bytes to the network's inputs, x = raw · gain + bias per channel.

    Attributes:
        gain: float32 [C, 1, 1].
        bias: float32 [C, 1, 1].
    """

    gain: Tensor
    bias: Tensor

    def __call__(self, raw: Tensor) -> Tensor:
        """Inputs of the network, float32 [B, C, H, W].

        Args:
            raw: images, uint8 [B, C, H, W].
        """
        return raw.to(torch.float32).mul_(self.gain).add_(self.bias)

    def to(self, device: Device) -> Scale:
        """The same scale on another device."""
        return Scale(self.gain.to(device), self.bias.to(device))


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images of one part of one task.

    Attributes:
        images: the whole data set, shared between tasks, uint8 [N, C, H, W].
        rows: which of its images belong here, int64 [n].
        labels: their labels in the numbering of the task's head, int64 [n].
        pixel_map: what the task does to every image, or None for nothing.
    """

    images: Tensor
    rows: Tensor
    labels: Tensor
    pixel_map: PixelMap | None = None

    @property
    def task_of(self) -> None:
        """Nothing: all are of one task."""
        return

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, index: Tensor) -> Tensor:
        """Images after the pixel map, uint8 [B, C, H, W].

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
        n_classes: classes of this task.
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
        scale: from stored bytes to inputs, the same for all tasks.
        input_shape: (C, H, W).
    """

    tasks: tuple[Task, ...]
    heads: Heads
    scale: Scale
    input_shape: tuple[int, int, int]

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
        images: every image that some task uses, uint8 [N, C, H, W].
        rows: image of each example, int64 [n].
        labels: label of each, in the numbering of its own task's head, int64 [n].
        task_of: task of each, int64 [n].
        index: pixel map of each task, int64 [T, K, P]; None where no task has one.
        weight: its shares, float32 [T, K, P]; None for all 1.
    """

    images: Tensor
    rows: Tensor
    labels: Tensor
    task_of: Tensor
    index: Tensor | None
    weight: Tensor | None

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, index: Tensor) -> Tensor:
        """Images, each after the pixel map of its own task, uint8 [B, C, H, W].

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


def _pool(tensors: list[Tensor]) -> tuple[Tensor, list[int]]:
    """The distinct tensors one after another (no copy if there is one), and where each begins."""
    distinct = list({id(tensor): tensor for tensor in tensors}.values())
    if len(distinct) == 1:
        return distinct[0], [0] * len(tensors)
    starts, total = {}, 0
    for tensor in distinct:
        starts[id(tensor)] = total
        total += len(tensor)
    return torch.cat(distinct), [starts[id(tensor)] for tensor in tensors]


def _stacked(maps: list[PixelMap | None], images: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """All pixel maps as one index [T, K, P] and one weight, the identity where there is none."""
    given = [pixel_map for pixel_map in maps if pixel_map is not None]
    if not given:
        return None, None
    n_sources = max(len(pixel_map.index) for pixel_map in given)
    n_pixels = images.shape[2] * images.shape[3]
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


def _mapped(images: Tensor, index: Tensor, weight: Tensor | None) -> Tensor:
    """Images read through pixel maps, uint8 [B, C, H, W].

    Args:
        images: uint8 [B, C, H, W].
        index: int64 [B or 1, K, P].
        weight: float32 [B or 1, K, P], or None.
    """
    flat = images.flatten(2)
    # gather reads an expanded index without storing it, and is three times as fast on bytes as
    # index_select along the last axis.
    read = [flat.gather(2, k.unsqueeze(1).expand_as(flat)) for k in index.unbind(1)]
    if weight is None:
        return read[0].view_as(images)
    if len(read) == 1:
        return read[0].mul_(weight.to(torch.uint8)).view_as(images)
    total = torch.full(flat.shape, 0.5, device=flat.device)
    for pixels, share in zip(read, weight.unbind(1), strict=True):
        total += pixels * share.unsqueeze(1)
    return total.to(torch.uint8).view_as(images)


def _copy_on(source: Tensor, device: Device) -> Tensor:
    """`source` on a device, where tensors that are one here stay one there while in use."""
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

    def raw(self, index: Tensor) -> Tensor:
        """Images at positions, uint8 [B, C, H, W]."""
        ...
