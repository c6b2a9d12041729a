"""Benchmarks of arrays, from a file to batches."""

import numpy as np
import pytest
import torch

from clsweep.data import benchmarks, stored_rows
from clsweep.data.benchmark_specs import (
    PairBenchmark,
    PermutedBenchmark,
    RotatedBenchmark,
    SplitBenchmark,
)
from clsweep.data.class_counts import class_notes
from clsweep.data.task_sizes import benchmark_sizes
from clsweep.data.tasks import joined
from clsweep.errors import StudyError
from clsweep.training.batches import Order, batches
from tests.support.array_files import split_of, vectors, write


@pytest.fixture(autouse=True)
def _fresh():
    benchmarks.forget()


def arrays(folder, x, y, kind="folder", split=None):
    folder.mkdir(exist_ok=True)
    return f"arrays:{write(folder, x, y, split_of(y) if split is None else split, kind)}"


def every(examples):
    return examples.raw(torch.arange(len(examples)))


def inputs(sequence, examples):
    return sequence.scale(every(examples))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_arrive_unchanged(dtype, tmp_path):
    x, y = vectors(n=40, n_classes=4, dtype=dtype)
    split = split_of(y)
    sequence = benchmarks.build(SplitBenchmark(dataset=arrays(tmp_path, x, y)), None, 0)
    assert sequence.input_shape == (5,)
    task = sequence.tasks[1]
    expected = x[(split == "train") & (y >= 2)]
    assert every(task.train).dtype == torch.from_numpy(x).dtype == sequence.stored
    assert np.array_equal(every(task.train).numpy(), expected)
    assert torch.equal(inputs(sequence, task.train), torch.from_numpy(expected).float())
    assert np.array_equal(every(task.validation).numpy(), x[(split == "val") & (y >= 2)])
    assert np.array_equal(every(task.test).numpy(), x[(split == "test") & (y >= 2)])


def test_scaling_leaves_what_is_stored_alone(tmp_path):
    x, y = vectors(n=40, n_classes=4)
    config = SplitBenchmark(dataset=arrays(tmp_path, x, y), features="standardized")
    sequence = benchmarks.build(config, None, 0)
    raw = every(sequence.tasks[0].train)
    before = raw.clone()
    sequence.scale(raw)
    assert torch.equal(raw, before)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_are_standardised_by_the_training_rows(dtype, offset, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "_CHUNK", 7)  # several chunks
    x, y = vectors(n=60, n_classes=4, dtype=np.float64)
    x = (x + offset).astype(dtype)
    x[:, 2] = 4.25
    config = SplitBenchmark(dataset=arrays(tmp_path, x, y), features="standardized")
    sequence = benchmarks.build(config, None, 0)
    train = x[split_of(y) == "train"].astype(np.float64)
    deviation = train.std(0)
    deviation[2] = 1
    expected = (x.astype(np.float64) - train.mean(0)) / deviation
    for task in sequence.tasks:
        rows = (split_of(y) == "test") & (y // 2 == task.index)
        found = inputs(sequence, task.test).numpy()
        atol = 0.04 if offset and dtype == np.float32 else 1e-5
        assert np.abs(found - expected[rows]).max() < atol


def test_images_of_floats_are_standardised_per_channel(tmp_path):
    x, y = vectors(n=40, n_features=24, n_classes=4)
    x = x.reshape(-1, 2, 3, 4) + np.array([1, 5], np.float32)[:, None, None]
    config = SplitBenchmark(dataset=arrays(tmp_path, x, y), features="standardized")
    sequence = benchmarks.build(config, None, 0)
    train = torch.cat([inputs(sequence, task.train) for task in sequence.tasks])
    assert torch.allclose(train.mean((0, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(train.std((0, 2, 3), correction=0), torch.ones(2), atol=1e-5)


def test_bytes_are_treated_as_those_of_a_folder(tmp_path):
    x, y = vectors(n=40, n_features=12, n_classes=4)
    x = (x * 20 + 100).clip(0, 255).astype(np.uint8).reshape(-1, 1, 3, 4)
    for pixels in ("unit", "standardized"):
        config = SplitBenchmark(dataset=arrays(tmp_path / pixels, x, y), pixels=pixels, pad=1)
        sequence = benchmarks.build(config, None, 0)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        train = padded[split_of(y) == "train"].astype(np.float64)
        mean, deviation = (0, 255) if pixels == "unit" else (train.mean(), train.std())
        found = inputs(sequence, sequence.tasks[0].train)
        expected = (train[y[split_of(y) == "train"] < 2] - mean) / deviation
        assert np.allclose(found.numpy(), expected, atol=1e-5)
    assert sequence.input_shape == (1, 5, 6)


def test_vectors_are_permuted(tmp_path):
    x, y = vectors(n=40, n_features=9, n_classes=4)
    config = PermutedBenchmark(dataset=arrays(tmp_path, x, y), n_tasks=3, permute_first=False)
    sequence = benchmarks.build(config, None, 0)
    plain, moved, other = (every(task.test) for task in sequence.tasks)
    order = sequence.tasks[1].test.pixel_map.index[0]
    assert sorted(order.tolist()) == list(range(9))
    assert torch.equal(moved, plain[:, order])
    assert not torch.equal(moved, other)


def test_images_of_floats_are_rotated_without_rounding(tmp_path):
    x, y = vectors(n=40, n_features=16, n_classes=4)
    x = x.reshape(-1, 1, 4, 4)
    dataset = arrays(tmp_path, x, y)
    config = RotatedBenchmark(dataset=dataset, angles=[0, 90], interpolation="bilinear")
    plain, turned = (every(task.test) for task in benchmarks.build(config, None, 0).tasks)
    assert torch.allclose(turned, plain.rot90(1, (2, 3)), atol=1e-5)


def test_the_union_of_two_files_reads_both(tmp_path):
    (x, y), (other, labels) = vectors(n=40), vectors(n=40, seed=1)
    config = PairBenchmark(
        dataset=arrays(tmp_path / "a", x, y), target=arrays(tmp_path / "b", other, labels)
    )
    sequence = benchmarks.build(config, None, 0)
    union = joined(sequence)
    found = union.raw(torch.arange(len(union))).numpy()
    train = split_of(y) == "train"
    assert np.array_equal(found, np.concatenate([x[train], other[train]]))


def test_batches_do_not_depend_on_how_many_are_prepared_together(tmp_path, monkeypatch):
    x, y = vectors(n=60, n_classes=4)
    config = SplitBenchmark(dataset=arrays(tmp_path, x, y), features="standardized")
    sequence = benchmarks.build(config, None, 0)
    order = Order(seed=0, task=0, batch_size=4, n_steps=9, augment="none")
    data, scale = sequence.tasks[0].train, sequence.scale
    found = []
    for prepared in (1 << 20, 1):
        monkeypatch.setattr(stored_rows, "_PREPARED_BYTES", prepared)
        chunks = [chunk for _, chunk in batches(data, scale, order, lambda *_: {})]
        found.append([batch.x for chunk in chunks for batch in chunk])
    assert len(chunks) == 9
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_validation_part_is_used_unless_it_is_to_be_drawn(tmp_path):
    x, y = vectors(n=60, n_classes=4)
    split = split_of(y)
    dataset = arrays(tmp_path, x, y)
    own = SplitBenchmark(dataset=dataset, validation_fraction=0.5)
    drawn = own.model_copy(update={"validation": "drawn"})
    n = [int((split == part).sum()) for part in ("train", "val", "test")]
    for config, expected in ((own, n), (drawn, [n[0] / 2, n[0] / 2, n[2]])):
        sizes = benchmark_sizes(config, None)
        tasks = benchmarks.build(config, None, 0).tasks
        for of, which in enumerate(("train", "validation", "test")):
            counts = [len(getattr(task, which)) for task in tasks]
            assert counts == [size[of] for size in sizes]
            assert abs(sum(counts) - expected[of]) <= 1
    kept = np.concatenate(
        [every(t.validation).numpy() for t in benchmarks.build(own, None, 0).tasks]
    )
    assert {tuple(row) for row in kept} == {tuple(row) for row in x[split == "val"]}


def test_a_class_or_task_without_its_own_validation_is_named(tmp_path):
    x, y = vectors(n=60, n_classes=4)
    split = split_of(y)
    split[(y == 1) & (split == "val")] = "train"
    config = SplitBenchmark(
        dataset=arrays(tmp_path / "a", x, np.array([5, 6, 7, 8])[y], split=split)
    )
    (note,) = class_notes(config, None, (0,))
    assert "task 1 has no validation example of class '6'" in note
    split[(y == 0) & (split == "val")] = "train"
    config = SplitBenchmark(dataset=arrays(tmp_path / "b", x, y, split=split))
    for check in (
        lambda: benchmark_sizes(config, None),
        lambda: benchmarks.build(config, None, 0),
    ):
        with pytest.raises(StudyError, match="own validation part has no example of task 1"):
            check()
