"""Numbers of examples and classes of a benchmark's tasks, before an image is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clsweep.data.benchmark_specs import (
    BenchmarkConfig,
    SeveralDatasets,
    SplitBenchmark,
)
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import DatasetSpec
from clsweep.data.splits import own_validation, split_sizes
from clsweep.data.task_contents import check_shapes, class_groups, dataset_order
from clsweep.errors import StudyError


class TaskSize(NamedTuple):
    """Numbers of examples and classes of one task."""

    n_train: int
    n_validation: int
    n_test: int
    n_classes: int


def benchmark_sizes(config: BenchmarkConfig, root: Path | None) -> list[TaskSize]:
    """Sizes of every task, without loading images.

    Exact, except where unequal classes are assigned to tasks by draws that differ between seeds:
    there, the classes of a task are counted as if they were all of mean size; so are data sets
    whose order differs between seeds.

    Args:
        config: the benchmark.
        root: the data root, see `dataset_spec`.

    Raises:
        StudyError: the benchmark cannot be made from its data.
    """
    return [
        TaskSize(*split_sizes(config, size.train, task, size.own), sum(size.test), len(size.train))
        for task, size in enumerate(_class_sizes(config, root))
    ]


class _ClassSizes(NamedTuple):
    """Training and test images of every class of a task, and validation images of its own."""

    train: tuple[int, ...]
    test: tuple[int, ...]
    own: tuple[int, ...] = ()


def _class_sizes(config: BenchmarkConfig, root: Path | None) -> list[_ClassSizes]:
    names = config.datasets
    if isinstance(config, SeveralDatasets):
        names = dataset_order(config, seed=0)
    found = {name: dataset_spec(name, root, config.framing) for name in dict.fromkeys(names)}
    check_shapes(config, {name: spec.shape for name, spec in found.items()})
    specs = [found[name] for name in names]
    if isinstance(config, SeveralDatasets):
        return _sizes_in_turn(config, specs)
    spec = specs[0]
    train, test = spec.train_counts, spec.test_counts
    own = own_validation(config, spec.validation_counts)
    if not isinstance(config, SplitBenchmark):
        return [_ClassSizes(train, test, own)] * config.n_tasks
    groups = class_groups(config, spec.n_classes, seed=0)
    if config.class_order == "shuffled" and config.draws == "per_seed":
        train = (spec.n_train // spec.n_classes,) * spec.n_classes
        test = (spec.n_test // spec.n_classes,) * spec.n_classes
        own = own and (sum(own) // spec.n_classes,) * spec.n_classes
    counts = (train, test, own)
    return [_ClassSizes(*(tuple(of[c] for c in g) if of else () for of in counts)) for g in groups]


def _sizes_in_turn(config: SeveralDatasets, specs: Sequence[DatasetSpec]) -> list[_ClassSizes]:
    if config.order == "given" or config.draws == "fixed":
        return [
            _ClassSizes(
                spec.train_counts,
                spec.test_counts,
                own_validation(config, spec.validation_counts),
            )
            for spec in specs
        ]
    classes = sorted(spec.n_classes for spec in specs)
    if classes[0] < classes[-1]:
        raise StudyError(
            f"data sets of {', '.join(map(str, classes))} classes cannot change places between "
            "seeds: a task would have another number of outputs with every seed",
            expected="data sets with equal numbers of classes",
            where="[benchmark] order",
            next_step="use order = 'given', or draws = 'fixed'",
        )
    n = classes[0]
    n_train, n_test = (sum(counts) // (len(specs) * n) for counts in _totals(specs))
    return [_ClassSizes((n_train,) * n, (n_test,) * n)] * len(specs)


def _totals(specs: Sequence[DatasetSpec]) -> tuple[list[int], list[int]]:
    return [spec.n_train for spec in specs], [spec.n_test for spec in specs]
