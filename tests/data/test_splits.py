"""Which images train and which validate: shares of classes, and draws that stay as they were."""

from __future__ import annotations

import numpy as np
import pytest

from clsweep.data.benchmark_specs import SplitBenchmark
from clsweep.data.hashed_draws import random_order
from clsweep.data.splits import evenly, held_out, split_sizes, task_rows


def config(**values: object) -> SplitBenchmark:
    return SplitBenchmark(scenario="class", **values)


def labels_of(counts: list[int], seed: int = 0) -> np.ndarray:
    labels = np.repeat(np.arange(len(counts)), counts)
    return labels[np.random.default_rng(seed).permutation(len(labels))]


@pytest.mark.parametrize("examples", [0, 17])
def test_a_random_split_is_a_prefix_of_the_drawn_order(examples: int) -> None:
    labels = labels_of([30, 20, 10])
    labels[::4] = -1  # images of other tasks
    order = random_order(60, 3, "validation")
    order = order[labels[order] >= 0]
    n = len(order) // 5
    train = order[n:]
    if examples:
        train = train[random_order(len(train), 3, "examples", 1)[:examples]]
    asked = config(data_seed=3, validation_fraction=0.2, examples_per_task=examples)
    found = task_rows(asked, labels, 1)
    assert found[0].tolist() == sorted(train)
    assert found[1].tolist() == sorted(order[:n])


@pytest.mark.parametrize("examples", [0, 6, 31])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.34, 0.5])
@pytest.mark.parametrize("counts", [[50, 50], [2, 3, 40], [2, 2, 2, 2, 90], [7, 11, 13, 1]])
def test_a_stratified_split_holds_every_class(
    counts: list[int], fraction: float, examples: int
) -> None:
    asked = config(split="stratified", validation_fraction=fraction)
    left = sum(counts) - sum(held_out(asked, counts))
    asked = config(
        split="stratified", validation_fraction=fraction, examples_per_task=min(examples, left)
    )
    labels = labels_of(counts)
    train, validation = task_rows(asked, labels, 0)
    assert not set(train) & set(validation)
    assert (len(train), len(validation)) == split_sizes(asked, counts, 0)
    of_train = np.bincount(labels[train], minlength=len(counts))
    of_validation = np.bincount(labels[validation], minlength=len(counts))
    assert (of_train > 0).all()
    for n, held in zip(counts, of_validation, strict=True):
        if n == 1:
            assert held == 0
        else:
            assert 1 <= held < n
            assert abs(held - fraction * n) <= 1


def test_held_out_by_hand() -> None:
    asked = config(split="stratified", validation_fraction=0.1)
    assert held_out(asked, [100, 14, 15, 4, 2, 1]) == (10, 1, 2, 1, 1, 0)


@pytest.mark.parametrize(
    ("total", "counts", "expected"),
    [
        (10, [50, 30, 20], (5, 3, 2)),
        (7, [1, 1, 98], (1, 1, 5)),
        (5, [1, 1, 1, 1, 1], (1, 1, 1, 1, 1)),
        (4, [10, 10, 10], (2, 1, 1)),
        (3, [1, 1, 1000], (1, 1, 1)),
        (12, [2, 10], (2, 10)),
    ],
)
def test_evenly_by_hand(total: int, counts: list[int], expected: tuple[int, ...]) -> None:
    assert evenly(total, counts) == expected


def test_evenly_never_takes_more_than_there_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        counts = rng.integers(1, 40, rng.integers(1, 9)).tolist()
        total = int(rng.integers(len(counts), sum(counts) + 1))
        shares = evenly(total, counts)
        assert sum(shares) == total
        assert all(1 <= share <= count for share, count in zip(shares, counts, strict=True))


def test_an_image_that_validates_trains_in_no_other_task() -> None:
    labels = labels_of([20, 9, 31, 12])
    asked = config(split="stratified")
    _, all_validation = task_rows(asked, labels, 0)
    for group in ((0, 1), (2, 3), (1, 2)):
        own = np.full(len(labels), -1)
        for i, c in enumerate(group):
            own[labels == c] = i
        train, validation = task_rows(asked, own, 0)
        assert set(validation) <= set(all_validation)
        assert not set(train) & set(all_validation)
