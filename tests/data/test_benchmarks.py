import hashlib
import math

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from clsweep.data import benchmarks, datasets
from clsweep.data.benchmark_specs import (
    BENCHMARKS,
    PairBenchmark,
    PermutedBenchmark,
    RotatedBenchmark,
    SequenceBenchmark,
    SplitBenchmark,
)
from clsweep.data.benchmarks import build
from clsweep.data.datasets import Dataset, load
from clsweep.data.task_sizes import benchmark_sizes
from clsweep.data.tasks import Examples, joined
from clsweep.errors import StudyError

PARTS = ("train", "validation", "test")


def everything(examples):
    return examples.raw(torch.arange(len(examples)))


def fake(n_train, n_test, shape, n_classes=10, seed=0):
    rng = torch.Generator().manual_seed(seed)
    n = n_train + n_test
    images = torch.randint(0, 256, (n, *shape), generator=rng, dtype=torch.uint8)
    return Dataset(images, torch.arange(n) % n_classes, n_train, n_classes)


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


SIZED = [
    SplitBenchmark(n_tasks=5),
    SplitBenchmark(n_tasks=2, class_order="shuffled", scenario="domain"),
    SplitBenchmark(n_tasks=5, class_order="shuffled", scenario="class", examples_per_task=50),
    SplitBenchmark(n_tasks=10, scenario="class", validation_fraction=0.3),
    PermutedBenchmark(n_tasks=4, pad=1),
    PermutedBenchmark(n_tasks=2, scenario="class", examples_per_task=100),
    RotatedBenchmark(n_tasks=3, scenario="task", validation_fraction=0.07),
]


@pytest.mark.parametrize("config", SIZED, ids=str)
def test_sizes_and_labels_are_as_announced(config):
    sequence = build(config, None, seed=0)
    found = [(*(len(getattr(t, p)) for p in PARTS), t.n_classes) for t in sequence.tasks]
    assert found == benchmark_sizes(config, None)
    for task in sequence.tasks:
        first = sequence.heads.label_offset(task.index)
        for part in PARTS:
            labels = getattr(task, part).labels
            assert labels.unique().tolist() == list(range(first, first + task.n_classes))
            start, stop = sequence.heads.columns(task.index)
            if config.scenario != "task":
                assert start <= labels.min()
                assert labels.max() < stop
    assert [t.index for t in sequence.tasks] == list(range(config.n_tasks))
    assert tuple(everything(sequence.tasks[0].test).shape[1:]) == sequence.input_shape


@pytest.mark.parametrize("config", SIZED, ids=str)
def test_no_image_serves_two_parts(config):
    tasks = build(config, None, seed=0).tasks
    rows = {p: {r for t in tasks for r in getattr(t, p).rows.tolist()} for p in PARTS}
    assert not rows["train"] & rows["validation"]
    assert not (rows["train"] | rows["validation"]) & rows["test"]
    digits = load("digits", None)
    assert max(rows["train"] | rows["validation"]) < digits.n_train <= min(rows["test"])


def test_split_tasks_hold_their_classes():
    digits = load("digits", None)
    tasks = build(SplitBenchmark(n_tasks=5), None, seed=0).tasks
    for task in tasks:
        for part in PARTS:
            examples = getattr(task, part)
            assert torch.equal(digits.labels[examples.rows], examples.labels + 2 * task.index)
    used = torch.cat([getattr(t, p).rows for t in tasks for p in PARTS])
    assert used.sort().values.tolist() == list(range(1797))


def test_twenty_tasks_hold_one_image_tensor(tmp_path, stored):
    stored["mnist"] = fake(200, 50, (1, 28, 28))
    sequence = build(PermutedBenchmark(dataset="mnist", n_tasks=20), tmp_path, seed=0)
    parts = [getattr(task, part) for task in sequence.tasks for part in PARTS]
    assert {part.images.data_ptr() for part in parts} == {stored["mnist"].images.data_ptr()}
    assert len({part.rows.data_ptr() for part in parts}) == 3
    assert len({part.labels.data_ptr() for part in parts}) == 3
    assert joined(sequence).images.data_ptr() == stored["mnist"].images.data_ptr()
    moved = sequence.to("meta")
    assert len({id(getattr(task, part).images) for task in moved.tasks for part in PARTS}) == 1


def test_padding_is_done_once_per_process():
    config = PermutedBenchmark(n_tasks=3, pad=2)
    first, again = (build(config, None, seed) for seed in (0, 1))
    assert first.tasks[0].train.images is again.tasks[2].test.images
    assert first.input_shape == (1, 12, 12)


def test_permuted_images_are_permutations_of_the_padded_ones():
    sequence = build(PermutedBenchmark(n_tasks=3, pad=2, permute_first=False), None, seed=0)
    plain = everything(sequence.tasks[0].test)
    assert torch.equal(plain[:, :, 2:-2, 2:-2], load("digits", None).test_images)
    assert plain.sum() == load("digits", None).test_images.long().sum()
    for task in sequence.tasks[1:]:
        order = task.test.pixel_map.index[0]
        assert order.sort().values.tolist() == list(range(144))
        assert torch.equal(everything(task.test).flatten(1), plain.flatten(1)[:, order])
    first, second = (t.test.pixel_map.index for t in sequence.tasks[1:])
    assert not torch.equal(first, second)
    permuted = build(PermutedBenchmark(n_tasks=2), None, seed=0).tasks[0].test
    assert not torch.equal(everything(permuted), load("digits", None).test_images)


def test_examples_per_task_differ_between_tasks_but_not_the_split():
    config = PermutedBenchmark(n_tasks=3, examples_per_task=100)
    tasks = build(config, None, seed=0).tasks
    whole = build(PermutedBenchmark(n_tasks=3), None, seed=0).tasks[0]
    chosen = [frozenset(task.train.rows.tolist()) for task in tasks]
    assert len(set(chosen)) == 3
    for task, rows in zip(tasks, chosen, strict=True):
        assert rows <= set(whole.train.rows.tolist())
        assert torch.equal(task.validation.rows, whole.validation.rows)


DRAWN = [
    PermutedBenchmark(n_tasks=2),
    RotatedBenchmark(n_tasks=2, interpolation="bilinear"),
    SplitBenchmark(n_tasks=5, class_order="shuffled"),
]


def drawn(sequence):
    """What a benchmark drew, as text."""
    task = sequence.tasks[-1]
    pixel_map = task.train.pixel_map
    if pixel_map is None:
        return str(task.test.rows.tolist())
    return str([pixel_map.index.tolist(), pixel_map.weight])


@pytest.mark.parametrize("config", DRAWN, ids=lambda c: c.name)
def test_only_per_seed_draws_depend_on_the_trial(config):
    assert drawn(build(config, None, 1)) == drawn(build(config, None, 2))
    per_seed = config.model_copy(update={"draws": "per_seed"})
    assert drawn(build(per_seed, None, 1)) == drawn(build(per_seed, None, 1))
    assert drawn(build(per_seed, None, 1)) != drawn(build(per_seed, None, 2))
    other = config.model_copy(update={"data_seed": 1})
    assert drawn(build(other, None, 1)) != drawn(build(config, None, 1))


@pytest.mark.parametrize("config", DRAWN[:2], ids=lambda c: c.name)
def test_the_split_depends_on_the_data_seed_alone(config):
    per_seed = config.model_copy(update={"draws": "per_seed"})
    rows = [
        build(c, None, seed).tasks[1].validation.rows
        for c, seed in ((config, 0), (per_seed, 1), (per_seed, 2))
    ]
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])
    other = build(config.model_copy(update={"data_seed": 1}), None, 0).tasks[1].validation.rows
    assert not torch.equal(rows[0], other)


@pytest.mark.parametrize("config", DRAWN[:2], ids=lambda c: c.name)
def test_more_tasks_leave_the_earlier_ones_alone(config):
    few, many = build(config, None, 0), build(config.model_copy(update={"n_tasks": 5}), None, 0)
    for short, long in zip(few.tasks, many.tasks, strict=False):
        assert torch.equal(everything(short.train), everything(long.train))


def test_benchmarks_are_pinned():
    # A change here is a change of every result that was ever stored. Python's own hashes differ
    # between processes, so that a use of them would fail here.
    digest = hashlib.sha256()
    for config in (
        PermutedBenchmark(n_tasks=2, examples_per_task=50, pad=1),
        RotatedBenchmark(n_tasks=2, interpolation="bilinear"),
        SplitBenchmark(n_tasks=5, class_order="shuffled", draws="per_seed", scenario="class"),
    ):
        for task in build(config, None, seed=7).tasks:
            for part in (task.train, task.validation, task.test):
                digest.update(everything(part).numpy().tobytes())
                digest.update(part.labels.numpy().tobytes())
    assert digest.hexdigest()[:16] == "4b16003b6014c4b5"


def rotated(images, degrees, interpolation):
    height, width = images.shape[2:]
    pixel_map = benchmarks._rotation(height, width, degrees, interpolation)
    n = torch.arange(len(images))
    return Examples(images, n, n, pixel_map).raw(n)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("size", [8, 9])
def test_right_angles_lose_nothing(interpolation, turns, size):
    images = fake(5, 0, (3, size, size)).images
    expected = torch.rot90(images, turns, dims=(2, 3))
    assert torch.equal(rotated(images, 90.0 * turns, interpolation), expected)


def test_half_turn_of_an_oblong_image():
    images = fake(2, 0, (1, 4, 7)).images
    assert torch.equal(rotated(images, 180.0, "nearest"), images.flip(2, 3))


@pytest.mark.parametrize("degrees", [7.3, 33.1, 121.9, 200.4, -12.2])
def test_nearest_rotation_agrees_with_torchvision(degrees):
    images = fake(3, 0, (1, 28, 28)).images
    expected = TF.rotate(images, degrees, InterpolationMode.NEAREST)
    assert (rotated(images, degrees, "nearest") != expected).float().mean() < 1e-3


@pytest.mark.parametrize("degrees", [7.3, 33.1, 121.9, 200.4, -12.2])
def test_bilinear_rotation_agrees_with_torchvision(degrees):
    images = fake(3, 0, (1, 28, 28)).images
    expected = TF.rotate(images.float(), degrees, InterpolationMode.BILINEAR)
    # Half a grey value of rounding, and torchvision's float32 coordinates.
    assert (rotated(images, degrees, "bilinear") - expected).abs().max() < 0.6


def test_drawn_angles_are_uniform_and_sorted_on_demand():
    config = RotatedBenchmark(n_tasks=1000, max_degrees=90)
    angles = benchmarks._angles(config, seed=0)
    assert 0 <= min(angles)
    assert max(angles) < 90
    # Mean and deviation of 1,000 uniform numbers, within four standard errors.
    assert abs(np.mean(angles) - 45) < 4 * 90 / math.sqrt(12 * 1000)
    ordered = config.model_copy(update={"order": "sorted"})
    assert benchmarks._angles(ordered, seed=0) == sorted(angles)


def test_stratified_angles_lie_one_in_each_equal_part():
    config = RotatedBenchmark(n_tasks=200, max_degrees=90, order="stratified")
    angles = np.array(benchmarks._angles(config, seed=0))
    parts = angles / (90 / 200)
    assert (np.floor(parts) == np.arange(200)).all()
    # Where an angle lies within its part is uniform: mean and deviation within four errors.
    assert abs((parts % 1).mean() - 0.5) < 4 / math.sqrt(12 * 200)
    assert abs((parts % 1).std() - 12**-0.5) < 0.06
    drawn = benchmarks._angles(config.model_copy(update={"order": "drawn"}), seed=0)
    assert np.allclose(parts % 1, np.array(drawn) / 90)


def test_given_angles_are_used_in_their_order():
    config = RotatedBenchmark(angles=(180.0, 0.0))
    first, second = build(config, None, seed=0).tasks
    digits = load("digits", None).test_images
    assert torch.equal(everything(first.test), digits.flip(2, 3))
    assert torch.equal(everything(second.test), digits)


def test_pair_brings_grey_targets_to_colour(stored):
    stored["cifar10"] = fake(40, 20, (3, 32, 32), seed=1)
    stored["digits"] = fake(30, 10, (1, 8, 8), n_classes=4, seed=2)
    config = PairBenchmark(dataset="cifar10", target=("digits",))
    sequence = build(config, None, seed=0)
    first, second = sequence.tasks
    assert (first.n_classes, second.n_classes) == (10, 4)
    assert sequence.input_shape == (3, 32, 32)
    assert first.train.images is stored["cifar10"].images
    grey = everything(second.test)
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])
    # Enlarging keeps the mean grey of an image, but for its border.
    small = stored["digits"].test_images.float().mean((1, 2, 3))
    assert (grey.float().mean((1, 2, 3)) - small).abs().max() < 5
    assert sequence.heads.sizes == (10, 4)
    union = joined(sequence)
    whole = torch.cat([everything(task.train) for task in sequence.tasks])
    assert torch.equal(union.raw(torch.arange(len(union))), whole)


def test_pair_brings_colour_targets_to_grey(stored):
    stored["mnist"] = fake(30, 10, (1, 28, 28), seed=1)
    colours = torch.zeros(8, 3, 28, 28, dtype=torch.uint8)
    for channel in range(3):
        colours[channel, channel] = 255
    colours[3:] = 255
    stored["svhn"] = Dataset(colours, torch.arange(8) % 2, 4, 2)
    config = PairBenchmark(dataset="mnist", target=("svhn",), pad=2)
    images = build(config, None, seed=0).tasks[1].test.images
    assert tuple(images.shape) == (8, 1, 32, 32)
    assert images[:4, 0, 16, 16].tolist() == [76, 150, 29, 255]
    assert images[3, 0, 0, 0] == 0


def test_a_pair_is_learnt_in_an_order_per_seed_where_the_study_asks_for_one(stored):
    names = ("mnist", "kmnist", "fashion_mnist", "digits")
    for seed, name in enumerate(names):
        stored[name] = fake(30, 10, (1, 8, 8), seed=seed)

    def orders(**given):
        config = PairBenchmark(dataset=names[0], target=names[1:], **given)
        found = []
        for seed in range(8):
            images = [task.test.images for task in build(config, None, seed).tasks]
            found.append([next(n for n in names if stored[n].images is i) for i in images])
        return found

    assert orders() == orders(draws="per_seed") == [list(names)] * 8
    fixed = orders(order="shuffled")
    assert fixed == [fixed[0]] * 8
    assert sorted(fixed[0]) == sorted(names)
    assert orders(order="shuffled", data_seed=1)[0] != fixed[0]
    per_seed = orders(order="shuffled", draws="per_seed")
    assert len({tuple(order) for order in per_seed}) > 4
    assert all(sorted(order) == sorted(names) for order in per_seed)


def test_data_sets_of_unequal_numbers_of_classes_keep_their_places():
    config = PairBenchmark(dataset="cifar10", target=("cifar100",), order="shuffled")
    assert sorted(size.n_classes for size in benchmark_sizes(config, None)) == [10, 100]
    with pytest.raises(StudyError, match="10, 100 classes cannot change places"):
        benchmark_sizes(config.model_copy(update={"draws": "per_seed"}), None)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8)])
def test_several_data_sets_share_one_head_whatever_their_shapes(stored, shape):
    stored["mnist"] = fake(30, 10, (1, 28, 28), n_classes=5, seed=1)
    stored["digits"] = fake(30, 10, shape, n_classes=5, seed=2)
    stored["svhn"] = fake(40, 20, (1, 28, 28), n_classes=4, seed=3)
    names = ("mnist", "digits", "svhn")
    # All classes of the first have the first outputs, and so on; none is shared.
    config = SequenceBenchmark(datasets=names, dataset="mnist", scenario="class")
    sequence = build(config, None, seed=0)
    assert sequence.input_shape == (1, 28, 28)
    assert sequence.heads.n_outputs == 14
    seen = [sorted({*task.train.labels.tolist()}) for task in sequence.tasks]
    assert seen == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13]]
    assert [sequence.heads.columns(task) for task in range(3)] == [(0, 5), (0, 10), (0, 14)]
    # The first class of each has the first output where all share them.
    shared = config.model_copy(update={"scenario": "domain", "datasets": names[:2]})
    sequence = build(shared, None, seed=0)
    assert sequence.heads.n_outputs == 5
    for task in sequence.tasks:
        assert {*task.test.labels.tolist()} == {0, 1, 2, 3, 4}
        assert task.train.raw(torch.arange(2)).shape == (2, 1, 28, 28)
    union = joined(sequence)
    whole = torch.cat([everything(task.train) for task in sequence.tasks])
    assert torch.equal(union.raw(torch.arange(len(union))), whole)


def test_a_constant_image_stays_constant_when_resized(stored):
    stored["mnist"] = fake(30, 10, (1, 28, 28))
    grey = torch.full((6, 1, 8, 8), 131, dtype=torch.uint8)
    stored["digits"] = Dataset(grey, torch.arange(6) % 2, 4, 2)
    for dataset, target in (("mnist", "digits"), ("digits", "mnist")):
        tasks = build(PairBenchmark(dataset=dataset, target=(target,)), None, 0).tasks
        assert (everything(tasks[dataset == "mnist"].test) == 131).all()


def test_unit_pixels():
    sequence = build(SplitBenchmark(), None, seed=0)
    x = sequence.scale(torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1))
    torch.testing.assert_close(x.flatten(), torch.tensor([0.0, 0.2, 1.0]))


@pytest.mark.parametrize("pad", [0, 2])
def test_standardized_pixels_have_mean_zero_and_deviation_one(stored, pad):
    stored["svhn"] = fake(50, 20, (3, 32, 32))
    stored["svhn"].images[:, 1] //= 3
    config = SplitBenchmark(dataset="svhn", pad=pad, pixels="standardized")
    sequence = build(config, None, seed=0)
    images = sequence.tasks[0].train.images
    assert tuple(images.shape[2:]) == (32 + 2 * pad, 32 + 2 * pad)
    x = sequence.scale(images[:50]).double()
    assert x.mean((0, 2, 3)).abs().max() < 1e-6
    assert (x.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_constant_images_cannot_be_standardized(stored):
    black = Dataset(torch.zeros(40, 1, 4, 4, dtype=torch.uint8), torch.arange(40) % 10, 30, 10)
    stored["digits"] = black
    with pytest.raises(StudyError, match=r"has the value 0[^$]*pixels = 'unit'"):
        build(PermutedBenchmark(pixels="standardized"), None, seed=0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SplitBenchmark(n_tasks=3), r"n_tasks one of \[2, 5\]"),
        (PermutedBenchmark(examples_per_task=2000), "at least 2000"),
        (PermutedBenchmark(dataset="digts"), "did you mean 'digits'"),
    ],
)
def test_impossible_benchmarks(config, message):
    with pytest.raises(StudyError, match=message):
        build(config, None, seed=0)


def test_every_declared_benchmark_can_be_built(stored):
    stored["mnist"] = stored["kmnist"] = fake(60, 20, (1, 28, 28))
    for name, kind in BENCHMARKS.items():
        required = {"pair": {"target": "mnist"}, "sequence": {"datasets": ["kmnist", "mnist"]}}
        config = kind.model_validate(required.get(name, {}))
        assert len(build(config, None, seed=0).tasks) == config.n_tasks
