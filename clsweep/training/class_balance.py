"""Classes of unequal size, brought to equal weight: in the loss, or in what is shown.

With n examples of a task, G classes of which class c has n_c (under joint training, the classes of
all tasks):

    weights     the loss of an example of class c counts w_c = n / (G n_c); the mean over a batch
                divides by its size, so that the expected gradient is that of the mean over classes
                of the mean loss of each
    resample    an epoch shows n examples: ⌊n / G⌋ of every class, and one more of some that are
                drawn; the examples of a class come in random order, again and again where they are
                few, and none twice before all have come

Validation and test accuracies are not weighted, and neither are statistics that a method measures
(Fisher, Ω), nor losses on examples that it has stored.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from clsweep.data.rng import batch_indices, generator
from clsweep.data.tasks import Trainable


def class_weights(data: Trainable) -> Tensor:
    """W of every example, float32 [n], on the device of the labels.

    Args:
        data: training examples of a task, or of all.
    """
    groups, counts = _groups(data)
    return (len(groups) / (len(counts) * counts.to(torch.float32)))[groups]


def epoch_orders(
    data: Trainable, balance: str, seed: int, task: int, batch_size: int, n_steps: int
) -> Iterator[Tensor]:
    """Row indices of the training batches of one task, epoch by epoch, int64 [n of the epoch].

    Args:
        data: training examples.
        balance: 'none', 'weights' or 'resample'; the first two show every example once an epoch.
        seed: the trial's seed.
        task: the task's index.
        batch_size: examples per step.
        n_steps: batches over all epochs.
    """
    orders = batch_indices(seed, task, len(data), batch_size, n_steps)
    if balance != "resample":
        yield from orders
        return
    groups, counts = _groups(data)
    by_class = torch.argsort(groups.cpu(), stable=True).split(counts.tolist())
    for epoch, order in enumerate(orders):
        rng = generator(seed, "resample", task, epoch)
        yield _resampled(by_class, len(data), rng)[: len(order)]


def _resampled(by_class: tuple[Tensor, ...], n: int, rng: torch.Generator) -> Tensor:
    """N rows in random order, of every class as many as of any other, or one more."""
    each, more = divmod(n, len(by_class))
    with_more = set(torch.randperm(len(by_class), generator=rng)[:more].tolist())
    shown = []
    for index, rows in enumerate(by_class):
        wanted = each + (index in with_more)
        n_rounds = -(-wanted // len(rows))
        rounds = [rows[torch.randperm(len(rows), generator=rng)] for _ in range(n_rounds)]
        shown.append(torch.cat([rows[:0], *rounds])[:wanted])
    rows = torch.cat(shown)
    return rows[torch.randperm(n, generator=rng)]


def _groups(data: Trainable) -> tuple[Tensor, Tensor]:
    """The class of every example, numbered without gaps, int64 [n], and the size of each."""
    labels, tasks = data.labels, data.task_of
    if tasks is not None:
        labels = tasks * (labels.max() + 1) + labels
    _, groups, counts = labels.unique(return_inverse=True, return_counts=True)
    return groups, counts
