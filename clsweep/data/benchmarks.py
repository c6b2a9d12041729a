"""From a benchmark's declaration to its tasks.

*split* divides the classes of a data set; *permuted* and *rotated* show one data set through a
pixel map per task; *pair*, *sequence* and *polynomials* take data sets in turn. In every benchmark
the validation images are drawn from the training images once, with `data_seed`: an image that
validates one task trains none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.benchmark_specs import (
    BenchmarkConfig,
    PermutedBenchmark,
    RotatedBenchmark,
    SeveralDatasets,
    SplitBenchmark,
    draw_purpose,
)
from clsweep.data.class_counts import check_training, class_names
from clsweep.data.dataset_specs import AS_STORED, Framing
from clsweep.data.datasets import Dataset, load
from clsweep.data.hashed_draws import random_bits, random_order
from clsweep.data.heads import Heads
from clsweep.data.input_checks import InputKind, check_inputs
from clsweep.data.regression_checks import check_spread, check_targets
from clsweep.data.splits import task_rows
from clsweep.data.stored_rows import StoredRows
from clsweep.data.task_contents import check_shapes, class_groups, dataset_order
from clsweep.data.tasks import Examples, PixelMap, Scale, Task, TaskSequence, n_pixels_of
from clsweep.errors import StudyError

# ITU-R BT.601, what Pillow uses for colour to grey.
_LUMA = (0.299, 0.587, 0.114)
_CHUNK = 4096
_CHUNK_BYTES = 1 << 24


def build(config: BenchmarkConfig, root: Path | None, seed: int) -> TaskSequence:
    """The benchmark's tasks, on the CPU.

    Args:
        config: the benchmark.
        root: the data root, see `datasets.load`.
        seed: the trial's seed; matters only with draws = 'per_seed'.

    Raises:
        StudyError: the data are absent, or the benchmark cannot be made from them.
    """
    first, frame = config.shape_dataset, config.framing
    names = config.datasets
    check_inputs(config, [_kind(name, root, frame) for name in config.datasets])
    check_targets(config, root)
    if isinstance(config, SeveralDatasets):
        names = dataset_order(config, seed)
        check_shapes(config, {n: tuple(load(n, root, frame).images.shape[1:]) for n in names})
    sources = tuple(_source(name, first, root, config.pad, frame) for name in names)
    shape = tuple(sources[0].images.shape[1:])
    plain = _plain_tasks(config, root, sources, seed)
    sizes = tuple(task.n_classes for task in plain)
    heads = Heads(config.scenario, sizes, config.shown_metric.name)
    maps = _pixel_maps(config, shape, seed)
    return TaskSequence(
        tasks=tuple(
            _placed(task, index, maps[index], heads.label_offset(index))
            for index, task in enumerate(plain)
        ),
        heads=heads,
        scale=_scale(config, root, sources[0]),
        input_shape=shape,
    )


def _kind(name: str, root: Path | None, framing: Framing) -> InputKind:
    images = load(name, root, framing).images
    return InputKind(name, tuple(images.shape[1:]), str(images.dtype).removeprefix("torch."))


def forget() -> None:
    """Load data sets anew when they are asked for next: their files have changed."""
    for function in (load, _source, _standardizing, _standardizing_features):
        function.cache_clear()


def _placed(plain: Task, index: int, pixel_map: PixelMap | None, offset: int) -> Task:
    """A task at its place in the sequence: numbered, mapped, labels in the head's numbering."""

    def part(examples: Examples) -> Examples:
        labels = examples.labels + offset if offset else examples.labels
        return dataclasses.replace(examples, labels=labels, pixel_map=pixel_map)

    return Task(
        index, part(plain.train), part(plain.validation), part(plain.test), plain.n_classes
    )


def _plain_tasks(
    config: BenchmarkConfig, root: Path | None, sources: tuple[Dataset, ...], seed: int
) -> list[Task]:
    """The tasks with labels from 0 and no pixel map; equal ones are the same object."""
    tasks = range(config.n_tasks)
    if isinstance(config, SeveralDatasets):
        return [_plain_task(config, root, dataset, task) for task, dataset in enumerate(sources)]
    dataset = sources[0]
    if isinstance(config, SplitBenchmark):
        groups = class_groups(config, dataset.n_classes, seed)
        return [_plain_task(config, root, dataset, task, groups[task]) for task in tasks]
    if config.examples_per_task:
        return [_plain_task(config, root, dataset, task) for task in tasks]
    return [_plain_task(config, root, dataset, 0)] * config.n_tasks


def _plain_task(
    config: BenchmarkConfig,
    root: Path | None,
    dataset: Dataset,
    task: int,
    classes: tuple[int, ...] = (),
) -> Task:
    """One task on the images of `classes`, or on all of them."""
    classes = classes or tuple(range(dataset.n_classes))
    local = torch.full((dataset.n_classes,), -1)
    local[list(classes)] = torch.arange(len(classes))
    labels = local[dataset.labels]
    own = _own_rows(config, dataset, labels)
    n_own = () if own is None else labels[own].bincount(minlength=len(classes)).tolist()
    train, drawn = task_rows(config, labels[: dataset.n_train].numpy(), task, n_own)
    validation = torch.from_numpy(drawn) if own is None else own
    counts = labels[torch.from_numpy(train)].bincount(minlength=len(classes)).tolist()
    if not all(counts):
        name = config.datasets[task if isinstance(config, SeveralDatasets) else 0]
        check_training(config, task, class_names(name, root, classes), counts)
    test = torch.arange(dataset.n_before_test, len(labels))
    test = test[labels[test] >= 0]

    said = labels if dataset.targets is None else dataset.targets

    def part(rows: Tensor) -> Examples:
        return Examples(dataset.images, rows, said[rows])

    learnt, held = part(torch.from_numpy(train)), part(validation)
    n_outputs = len(classes)
    if dataset.targets is not None:
        n_outputs = dataset.targets.shape[1]
        check_spread(config, task, held.labels.numpy())
    return Task(task, learnt, held, part(test), n_outputs)


def _own_rows(config: BenchmarkConfig, dataset: Dataset, labels: Tensor) -> Tensor | None:
    """Rows of the task in the data set's own validation part, int64; None where it is not used.

    Args:
        config: the benchmark.
        dataset: the data set.
        labels: of all of its rows in the task's numbering, −1 for other tasks.
    """
    if not dataset.n_validation or config.validation != "own":
        return None
    rows = torch.arange(dataset.n_train, dataset.n_before_test)
    return rows[labels[rows] >= 0]


def _pixel_maps(
    config: BenchmarkConfig, shape: tuple[int, ...], seed: int
) -> list[PixelMap | None]:
    purpose = draw_purpose(config, seed)
    if isinstance(config, PermutedBenchmark):
        maps: list[PixelMap | None] = [
            PixelMap(_permutation(n_pixels_of(shape), *purpose, "permutation", task), None)
            for task in range(config.n_tasks)
        ]
        return maps if config.permute_first else [None, *maps[1:]]
    if isinstance(config, RotatedBenchmark):
        angles = _angles(config, seed)
        _, height, width = shape
        return [_rotation(height, width, a, config.interpolation) for a in angles]
    return [None] * config.n_tasks


def _permutation(n: int, *purpose: int | str) -> Tensor:
    return torch.from_numpy(random_order(n, *purpose))[None]


def _angles(config: RotatedBenchmark, seed: int) -> list[float]:
    """Degrees of each task; its random number does not depend on how many tasks there are."""
    if config.angles:
        return list(config.angles)
    purpose = draw_purpose(config, seed)
    bits = [int(random_bits(1, *purpose, "angle", task)[0]) for task in range(config.n_tasks)]
    shares = [(b >> 11) * 2.0**-53 for b in bits]
    if config.order == "stratified":
        width = config.max_degrees / config.n_tasks
        return [(task + share) * width for task, share in enumerate(shares)]
    angles = [share * config.max_degrees for share in shares]
    return sorted(angles) if config.order == "sorted" else angles


def _rotation(height: int, width: int, degrees: float, interpolation: str) -> PixelMap:
    """The map that rotates counter-clockwise about the centre; outside the image is 0."""
    angle = np.deg2rad(degrees)
    y, x = np.mgrid[:height, :width].reshape(2, -1) - np.array([[height - 1], [width - 1]]) / 2
    # Six decimals: the last bits of sine and cosine differ between machines, and must neither
    # decide which neighbour is nearest nor push a border pixel outside.
    source_y = np.round(np.sin(angle) * x + np.cos(angle) * y + (height - 1) / 2, 6)
    source_x = np.round(np.cos(angle) * x - np.sin(angle) * y + (width - 1) / 2, 6)
    if interpolation == "nearest":
        corners = [(np.floor(source_y + 0.5), np.floor(source_x + 0.5), np.ones_like(x))]
    else:
        top, left = np.floor(source_y), np.floor(source_x)
        down, right = source_y - top, source_x - left
        corners = [
            (top, left, (1 - down) * (1 - right)),
            (top, left + 1, (1 - down) * right),
            (top + 1, left, down * (1 - right)),
            (top + 1, left + 1, down * right),
        ]
    index, weight = [], []
    for row, column, share in corners:
        is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index.append(np.where(is_inside, row * width + column, 0).astype(np.int64))
        weight.append(np.where(is_inside, share, 0).astype(np.float32))
    return PixelMap(torch.from_numpy(np.stack(index)), torch.from_numpy(np.stack(weight)))


@lru_cache(maxsize=8)
def _source(name: str, first: str, root: Path | None, pad: int, framing: Framing) -> Dataset:
    """A data set in the shape of `first`, and padded; one copy per process."""
    dataset = load(name, root, framing)
    images, shape = dataset.images, load(first, root, framing).images.shape[1:]
    if isinstance(images, StoredRows):
        return dataset._replace(images=images.padded(pad) if pad else images)
    if images.shape[1:] != shape:
        parts = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
        images = torch.cat([_resized(part, shape) for part in parts])
    return dataset._replace(images=F.pad(images, (pad,) * 4) if pad else images)


def _resized(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    n_channels, height, width = shape
    out = images.to(torch.float32)
    if n_channels < out.shape[1]:
        out = (out * torch.tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    if out.shape[2:] != (height, width):
        out = F.interpolate(
            out, size=(height, width), mode="bilinear", align_corners=False, antialias=True
        )
    return (out + 0.5).clamp_(0, 255).to(torch.uint8).expand(-1, n_channels, -1, -1)


def _scale(config: BenchmarkConfig, root: Path | None, source: Dataset) -> Scale:
    images, shape = source.images, tuple(source.images.shape[1:])
    if images.dtype != torch.uint8:
        if config.features == "standardized":
            return _standardizing_features(config.shape_dataset, root, config.pad)
        one = torch.ones([1] * len(shape))
        return Scale(one, torch.zeros_like(one))
    if config.pixels == "standardized":
        return _standardizing(config.shape_dataset, root, config.pad, config.framing)
    ones = [1] * (len(shape) - 1)
    of = (shape[0], *ones) if len(shape) == 3 else (1, *ones)
    return Scale(torch.full(of, 1 / 255), torch.zeros(of))


@lru_cache(maxsize=4)
def _standardizing(name: str, root: Path | None, pad: int, framing: Framing) -> Scale:
    """(x − mean) / deviation, from exact counts of each byte over the padded training images."""
    source = _source(name, name, root, pad, framing)
    values = torch.arange(256, dtype=torch.float64)
    counts = None
    for part in _in_chunks(source):
        channels = part.unbind(1)
        found = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in channels])
        counts = found if counts is None else counts + found
    assert counts is not None
    gains, biases = [], []
    for of_channel in counts:
        shares = of_channel.double() / int(of_channel.sum())
        mean = float(shares @ values)
        deviation = float(shares @ (values - mean) ** 2) ** 0.5
        if deviation == 0:
            raise StudyError(
                f"every training pixel of a channel of '{name}' has the value {mean:g}",
                expected="images that differ",
                where="[benchmark] pixels",
                next_step="use pixels = 'unit'",
            )
        gains.append(1 / deviation)
        biases.append(-mean / deviation)
    shape = [-1] + [1] * (source.images.ndim - 2)
    return Scale(torch.tensor(gains).view(shape), torch.tensor(biases).view(shape))


@lru_cache(maxsize=4)
def _standardizing_features(name: str, root: Path | None, pad: int) -> Scale:
    """(x − mean) / deviation of the training rows: per feature, or per channel of images.

    A feature that never changes is only centred. Sums are of doubles, about the first row, in one
    pass.
    """
    source = _source(name, name, root, pad, AS_STORED)
    images = source.images
    is_image = images.ndim == 4
    over = (0, 2, 3) if is_image else (0,)
    origin = images.index_select(0, torch.arange(1)).double()
    origin = origin.mean((2, 3), keepdim=True) if is_image else origin
    total, squares, n = torch.zeros_like(origin), torch.zeros_like(origin), 0
    for part in _in_chunks(source):
        apart = part.double() - origin
        total += apart.sum(over, keepdim=True)
        squares += apart.square().sum(over, keepdim=True)
        n += apart.numel() // origin.numel()
    mean = total / n
    variance = (squares / n - mean.square()).clamp_(min=0)[0]
    # What is left of rounding where a feature never changes is no spread.
    is_constant = variance <= 1e-12 * (squares / n)[0]
    gain = torch.where(is_constant, 1.0, variance.rsqrt()).float()
    kept = torch.float64 if images.dtype == torch.float64 else torch.float32
    return Scale(gain, torch.zeros_like(gain), (mean + origin)[0].to(kept))


def _in_chunks(source: Dataset) -> Iterator[Tensor]:
    """The training inputs of a data set, some at a time."""
    images = source.images
    size = max(1, images[0].numel()) if isinstance(images, Tensor) else images.row_bytes
    n = max(1, min(_CHUNK, _CHUNK_BYTES // size))
    for rows in torch.arange(source.n_train).split(n):
        yield images.index_select(0, rows)
