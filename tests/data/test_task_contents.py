"""Uneven tasks, an order of classes, and any data sets in turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from clsweep.data import benchmarks, datasets
from clsweep.data.benchmark_specs import PairBenchmark, SequenceBenchmark, SplitBenchmark
from clsweep.data.benchmarks import build
from clsweep.data.datasets import Dataset, load
from clsweep.data.task_contents import class_groups
from clsweep.data.task_sizes import benchmark_sizes
from clsweep.errors import StudyError

_BACKWARDS = (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)


@pytest.fixture
def stored(monkeypatch):
    """Data sets by name instead of from disk."""
    held = {}
    real = datasets.load.__wrapped__

    def pretend(name, root, framing):
        return held[name] if name in held else real(name, root, framing)

    monkeypatch.setattr(benchmarks, "load", pretend)
    caches = (benchmarks._source, benchmarks._standardizing)
    [cache.cache_clear() for cache in caches]
    yield held
    [cache.cache_clear() for cache in caches]


def fake(n_train, n_test, shape, n_classes=10, seed=0):
    rng = torch.Generator().manual_seed(seed)
    n = n_train + n_test
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=rng)
    return Dataset(images, torch.arange(n) % n_classes, n_train, n_classes)


def test_classes_are_divided_as_the_study_says():
    config = SplitBenchmark.model_validate(
        {"classes_per_task": [5, 3, 2], "class_order": [*_BACKWARDS]}
    )
    assert config.n_tasks == 3
    assert class_groups(config, 10, 0) == [(9, 8, 7, 6, 5), (4, 3, 2), (1, 0)]
    even = SplitBenchmark(n_tasks=2, class_order=_BACKWARDS)
    assert class_groups(even, 10, 0) == [(9, 8, 7, 6, 5), (4, 3, 2, 1, 0)]
    shuffled = SplitBenchmark.model_validate(
        {"classes_per_task": [7, 3], "class_order": "shuffled"}
    )
    alike = SplitBenchmark(n_tasks=2, class_order="shuffled")
    drawn = [c for group in class_groups(alike, 10, 0) for c in group]
    assert class_groups(shuffled, 10, 0) == [tuple(drawn[:7]), tuple(drawn[7:])]


def test_uneven_tasks_hold_the_images_of_their_classes():
    config = SplitBenchmark.model_validate(
        {"classes_per_task": [6, 1, 3], "class_order": [*_BACKWARDS], "scenario": "class"}
    )
    sequence = build(config, None, seed=0)
    digits = load("digits", None)
    assert sequence.heads.sizes == (6, 1, 3)
    assert [task.test.labels.unique().tolist() for task in sequence.tasks] == [
        [0, 1, 2, 3, 4, 5],
        [6],
        [7, 8, 9],
    ]
    for task in sequence.tasks:
        own = digits.labels[task.test.rows]
        assert torch.equal(own, 9 - task.test.labels)
    sizes = benchmark_sizes(config, None)
    assert [s.n_classes for s in sizes] == [6, 1, 3]
    assert [s.n_train for s in sizes] == [len(task.train) for task in sequence.tasks]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"classes_per_task": [5, 3]}, "classes_per_task adds up to 8, and 'digits' has 10"),
        ({"classes_per_task": [5, 6]}, "classes_per_task adds up to 11, and 'digits' has 10"),
        ({"class_order": [*range(9)]}, "class_order leaves out class 9 of 'digits'"),
        ({"class_order": [*range(11)]}, "class_order lists class 10, and 'digits' has 10 classes"),
        ({"n_tasks": 3}, "classes_per_task divides them unevenly"),
    ],
)
def test_a_division_that_does_not_fit_is_refused(values, said):
    with pytest.raises(StudyError, match=said):
        benchmark_sizes(SplitBenchmark.model_validate(values), None)


def test_a_sequence_of_one_shape_leaves_the_images_as_they_are(stored):
    for seed, name in enumerate(("mnist", "kmnist")):
        stored[name] = fake(30, 10, (1, 28, 28), seed=seed)
    config = SequenceBenchmark.model_validate({"datasets": ["mnist", "kmnist", "mnist"]})
    tasks = build(config, None, seed=0).tasks
    assert config.n_tasks == 3
    assert [task.train.images is stored["mnist"].images for task in tasks] == [True, False, True]
    assert tasks[1].train.images is stored["kmnist"].images
    # What validates a data set validates it whenever it comes.
    assert torch.equal(tasks[0].validation.rows, tasks[2].validation.rows)


def test_a_sequence_is_a_pair_where_both_say_the_same(stored):
    stored["cifar10"] = fake(40, 20, (3, 32, 32), seed=1)
    config = SequenceBenchmark(
        datasets=("cifar10", "digits"), dataset="cifar10", pixels="standardized", pad=1
    )
    own = build(config, None, seed=0)
    pair = PairBenchmark(dataset="cifar10", target=("digits",), pixels="standardized", pad=1)
    other = build(pair, None, seed=0)
    assert own.input_shape == other.input_shape == (3, 34, 34)
    assert torch.equal(own.scale.gain, other.scale.gain)
    for one, two in zip(own.tasks, other.tasks, strict=True):
        assert torch.equal(one.train.raw(torch.arange(9)), two.train.raw(torch.arange(9)))


def test_the_shape_may_be_that_of_a_later_data_set(stored):
    stored["mnist"] = fake(30, 10, (1, 28, 28))
    config = SequenceBenchmark(datasets=("mnist", "digits"), dataset="digits", scenario="class")
    sequence = build(config, None, seed=0)
    assert sequence.input_shape == (1, 8, 8)
    assert torch.equal(sequence.tasks[1].train.images, load("digits", None).images)
    assert sequence.heads.n_outputs == 20
    assert sequence.tasks[1].test.labels.unique().tolist() == list(range(10, 20))


def test_several_shapes_are_refused_where_none_is_declared(stored):
    config = SequenceBenchmark(datasets=("digits", "mnist"))
    said = "1 × 8 × 8 of 'digits' and 1 × 28 × 28 of 'mnist'"
    with pytest.raises(StudyError, match=said) as caught:
        benchmark_sizes(config, None)
    assert 'write dataset = "digits"' in str(caught.value)
    stored["mnist"] = fake(30, 10, (1, 28, 28))
    with pytest.raises(StudyError, match=said):
        build(config, None, seed=0)


def test_arrays_come_in_turn_and_are_never_resized(tmp_path):
    for name, width in (("a", 6), ("b", 6), ("c", 7)):
        x = np.arange(12 * width, dtype=np.float32).reshape(12, width)
        y = np.arange(12) % 3
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    fitting = SequenceBenchmark(datasets=("arrays:a.npz", "arrays:b.npz"))
    sequence = build(fitting, tmp_path, seed=0)
    assert (sequence.input_shape, sequence.heads.sizes) == ((6,), (3, 3))
    unlike = SequenceBenchmark(datasets=("arrays:a.npz", "arrays:c.npz"))
    with pytest.raises(
        StudyError, match="(?s)vectors of 6 numbers.*arrays are not resized"
    ) as caught:
        build(unlike, tmp_path, seed=0)
    assert "write dataset" not in str(caught.value)


def test_folders_of_images_come_among_others(tmp_path):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (10, 12), (i, 2 * i, 0)).save(
                    tmp_path / "pets" / part / name / f"{i}.png"
                )
    config = SequenceBenchmark(
        datasets=("digits", "folder:pets"), dataset="digits", crop=10, scenario="task"
    )
    sequence = build(config, tmp_path, seed=0)
    assert sequence.heads.sizes == (10, 2)
    assert sequence.tasks[1].test.images.shape[1:] == (1, 8, 8)
    assert [s.n_test for s in benchmark_sizes(config, tmp_path)] == [500, 8]


def test_an_order_is_drawn_per_seed_where_the_study_asks_for_one(stored):
    names = ("mnist", "kmnist", "fashion_mnist", "digits")
    for seed, name in enumerate(names):
        stored[name] = fake(30, 10, (1, 8, 8), seed=seed)
    config = SequenceBenchmark(datasets=names, order="shuffled", draws="per_seed")
    orders = set()
    for seed in range(6):
        images = [task.test.images for task in build(config, None, seed).tasks]
        orders.add(tuple(next(n for n in names if stored[n].images is i) for i in images))
    assert len(orders) > 3
    assert all(sorted(order) == sorted(names) for order in orders)
