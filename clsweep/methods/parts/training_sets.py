"""What a phase is trained on beside a task's own training set: stored examples, and the union."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clsweep.data.tasks import Task, Trainable
from clsweep.methods.parts.buffer import Buffer


@dataclass(frozen=True, eq=False)
class StoredSet:
    """The examples of a buffer as a training set.

    Attributes:
        images: inputs as stored, [n, C, H, W] for images.
        labels: in the numbering of the head of their task, int64 [n].
        task_of: task of each, int64 [n].
    """

    images: Tensor
    labels: Tensor
    task_of: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def rows_at_once(self, most: int) -> int:
        """How many are prepared together."""
        return most

    def raw(self, index: Tensor) -> Tensor:
        """Inputs as they are stored, [B, C, H, W] for images.

        Args:
            index: positions among these examples, int64 [B].
        """
        return self.images[index]


def stored_set(stored: Buffer) -> StoredSet:
    """The examples of a buffer.

    Args:
        stored: at least one example.
    """
    n = stored.n_filled
    return StoredSet(stored.raw[:n], stored.labels[:n], stored.tasks[:n])


@dataclass(frozen=True, eq=False)
class Union:
    """A training set of one task, and after it stored examples of others.

    Attributes:
        new: of the task.
        old: the others, at least one.
        labels: of all, int64 [n].
        task_of: task of each, int64 [n].
    """

    new: Trainable
    old: StoredSet
    labels: Tensor
    task_of: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def rows_at_once(self, most: int) -> int:
        """How many are prepared together."""
        return self.new.rows_at_once(most)

    def raw(self, index: Tensor) -> Tensor:
        """Inputs as they are stored, [B, C, H, W] for images.

        Args:
            index: positions among all examples, int64 [B].
        """
        n_new = len(self.new)
        new = self.new.raw(index.clamp(max=n_new - 1))
        old = self.old.raw((index - n_new).clamp(min=0))
        is_new = (index < n_new).view(-1, *(1 for _ in new.shape[1:]))
        return torch.where(is_new, new, old)


def with_stored(task: Task, stored: Buffer) -> Trainable:
    """The training set of a task and the examples of a buffer.

    Args:
        task: the task.
        stored: examples of earlier tasks; none on the first.
    """
    new = task.train
    if stored.n_filled == 0:
        return new
    old = stored_set(stored)
    task_of = torch.cat([torch.full_like(new.labels, task.index), old.task_of])
    return Union(new, old, torch.cat([new.labels, old.labels]), task_of)
