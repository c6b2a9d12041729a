"""Which training images of a task train, and which validate; the same in every process.

Nothing here imports torch, nor numpy before it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from clsweep.data.hashed_draws import random_order
from clsweep.errors import StudyError

if TYPE_CHECKING:
    from numpy import bool_, int64
    from numpy.typing import NDArray

    from clsweep.data.benchmark_specs import BenchmarkConfig


def own_validation(config: BenchmarkConfig, counts: Sequence[int]) -> tuple[int, ...]:
    """Validation images of each class that a data set has of its own and the benchmark uses.

    Args:
        config: the benchmark.
        counts: those of the data set; empty where it has none.
    """
    return tuple(counts) if config.validation == "own" else ()


def split_sizes(
    config: BenchmarkConfig, counts: Sequence[int], task: int, own: Sequence[int] = ()
) -> tuple[int, int]:
    """Training and validation examples of a task: ⌈fraction · n⌉ are held out, or more evenly.

    Args:
        config: the benchmark.
        counts: training images of each class of the task before the split.
        task: index of the task, for the message.
        own: validation images of each class where the data set has its own; none is held out then.

    Raises:
        StudyError: fewer images are left for training than asked for, or none validates.
    """
    n = sum(counts)
    if own:
        _check_own(config, n, task, own)
        return config.examples_per_task or n, sum(own)
    if config.split == "stratified":
        n_validation = sum(held_out(config, counts))
    else:
        n_validation = math.ceil(_fraction(config) * n)
    n_left = n - n_validation
    if n_left < max(1, config.examples_per_task):
        raise StudyError(
            f"the task of index {task} has {n_left} training examples, {n_validation} more are "
            "held out for validation",
            expected=f"at least {max(1, config.examples_per_task)}",
            where="[benchmark] examples_per_task",
            next_step="lower examples_per_task or validation_fraction",
        )
    if not n_validation:
        raise StudyError(
            f"task {task + 1} has one image of each class, and so none for validation: no "
            "configuration can be chosen",
            expected="two images or more of a class",
            where="[benchmark] dataset",
        )
    return config.examples_per_task or n_left, n_validation


def _check_own(config: BenchmarkConfig, n_train: int, task: int, own: Sequence[int]) -> None:
    if n_train < max(1, config.examples_per_task):
        raise StudyError(
            f"the task of index {task} has {n_train} training examples",
            expected=f"at least {max(1, config.examples_per_task)}",
            where="[benchmark] examples_per_task",
            next_step="lower examples_per_task",
        )
    if not sum(own):
        raise StudyError(
            f"the data set's own validation part has no example of task {task + 1}: no "
            "configuration can be chosen",
            expected="validation examples of every task, or none at all",
            where="[benchmark] dataset",
            next_step="validation = 'drawn' draws them from the training part instead",
        )


def held_out(config: BenchmarkConfig, counts: Sequence[int]) -> tuple[int, ...]:
    """Validation images of each class under split = 'stratified': fraction · n, rounded.

    A class of two or more images has at least one for validation and one for training.

    Args:
        config: the benchmark.
        counts: training images of each class before the split.
    """
    shares = [math.floor(_fraction(config) * n + Fraction(1, 2)) for n in counts]
    return tuple(
        min(max(share, 1), n - 1) if n else 0 for share, n in zip(shares, counts, strict=True)
    )


def evenly(total: int, counts: Sequence[int]) -> tuple[int, ...]:
    """`total` divided in proportion to `counts`, by largest remainders; at least one to each.

    Args:
        total: at most their sum, at least their number.
        counts: what there is of each, at least one.
    """
    n = sum(counts)
    exact = [Fraction(total * count, n) for count in counts]
    shares = [max(1, math.floor(share)) for share in exact]
    # Whoever lies furthest below, or above, its exact share is next; ties in their order.
    while sum(shares) != total:
        step = 1 if sum(shares) < total else -1
        free = [
            i for i, share in enumerate(shares) if (share < counts[i] if step > 0 else share > 1)
        ]
        shares[max(free, key=lambda i: (step * (exact[i] - shares[i]), -i))] += step
    return tuple(shares)


def task_rows(
    config: BenchmarkConfig, labels: NDArray[int64], task: int, own: Sequence[int] = ()
) -> tuple[NDArray[int64], NDArray[int64]]:
    """Which training images of a data set train a task, and which validate it, sorted.

    The order that decides which images validate is drawn for the whole data set and then
    filtered, so that it depends neither on the task nor on how classes are grouped.

    Args:
        config: the benchmark.
        labels: label of every training image among the task's classes, from 0; -1 for those of
            other tasks.
        task: index of the task.
        own: validation images of each of the task's classes where the data set has its own; none
            of these rows validates then.

    Raises:
        StudyError: fewer images are left for training than asked for.
    """
    import numpy as np

    order = random_order(len(labels), config.data_seed, "validation")
    order = order[labels[order] >= 0]
    n_classes = int(labels.max()) + 1
    counts = np.bincount(labels[order], minlength=n_classes).tolist()
    n_train, n_validation = split_sizes(config, counts, task, own)
    if own:
        is_held = np.zeros(len(order), dtype=np.bool_)
    elif config.split == "stratified":
        is_held = _first_of_each(labels[order], held_out(config, counts))
    else:
        is_held = np.arange(len(order)) < n_validation
    validation, train = order[is_held], order[~is_held]
    if n_train < len(train):
        drawn = train[random_order(len(train), config.data_seed, "examples", task)]
        left = np.bincount(labels[train], minlength=n_classes).tolist()
        if config.split == "stratified" and n_train >= len(left):
            train = drawn[_first_of_each(labels[drawn], evenly(n_train, left))]
        else:
            train = drawn[:n_train]
    return np.sort(train), np.sort(validation)


def _first_of_each(labels: NDArray[int64], counts: Sequence[int]) -> NDArray[bool_]:
    """Where the first `counts[c]` of every label c stand, bool [n]."""
    import numpy as np

    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label, count in enumerate(counts):
        chosen[np.nonzero(labels == label)[0][:count]] = True
    return chosen


def _fraction(config: BenchmarkConfig) -> Fraction:
    # As it is written: 0.07 * 100 is 7.000000000000001, which would round up to 8.
    return Fraction(repr(config.validation_fraction))
