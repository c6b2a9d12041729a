"""What each task of a benchmark takes: which data set, which classes, images of which shape.

Known without loading an image; nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from clsweep.data.benchmark_specs import (
    BenchmarkConfig,
    SequenceBenchmark,
    SeveralDatasets,
    SplitBenchmark,
    draw_purpose,
)
from clsweep.data.dataset_specs import ARRAYS
from clsweep.data.hashed_draws import random_order
from clsweep.errors import StudyError


def dataset_order(config: SeveralDatasets, seed: int) -> tuple[str, ...]:
    """The data sets in the order in which they are learnt.

    Args:
        config: the benchmark.
        seed: the trial's seed; matters only with draws = 'per_seed'.
    """
    names = config.datasets
    if config.order == "given":
        return names
    order = random_order(len(names), *draw_purpose(config, seed), "order")
    return tuple(names[i] for i in order.tolist())


def class_groups(config: SplitBenchmark, n_classes: int, seed: int) -> list[tuple[int, ...]]:
    """The classes of each task of a split benchmark, in the order of their labels there.

    Args:
        config: the benchmark.
        n_classes: classes of the data set.
        seed: the trial's seed; matters only with draws = 'per_seed'.

    Raises:
        StudyError: the classes cannot be divided evenly, two or more to a task (one or more where
            a single head tells the tasks apart).
    """
    sizes = config.classes_per_task or _even_sizes(config, n_classes)
    if sum(sizes) != n_classes:
        raise StudyError(
            f"classes_per_task adds up to {sum(sizes)}, and '{config.dataset}' has {n_classes} "
            "classes",
            expected=f"numbers that add up to {n_classes}",
            where="[benchmark] classes_per_task",
        )
    order = list(range(n_classes))
    if isinstance(config.class_order, tuple):
        order = _given_order(config, config.class_order, n_classes)
    elif config.class_order == "shuffled":
        order = random_order(n_classes, *draw_purpose(config, seed), "classes").tolist()
    ends = [*accumulate(sizes)]
    return [tuple(order[end - n : end]) for n, end in zip(sizes, ends, strict=True)]


def _even_sizes(config: SplitBenchmark, n_classes: int) -> tuple[int, ...]:
    size, rest = divmod(n_classes, config.n_tasks)
    smallest = 1 if config.scenario == "class" else 2
    if rest or size < smallest:
        most = n_classes // smallest
        fitting = [n for n in range(2, most + 1) if n_classes % n == 0]
        raise StudyError(
            f"{config.n_tasks} tasks cannot share the {n_classes} classes of '{config.dataset}'",
            expected=f"n_tasks one of {fitting}" if fitting else "a data set of more classes",
            where="[benchmark] n_tasks",
            next_step="classes_per_task divides them unevenly",
        )
    return (size,) * config.n_tasks


def _given_order(config: SplitBenchmark, order: tuple[int, ...], n_classes: int) -> list[int]:
    strange = [c for c in order if c >= n_classes]
    missing = [c for c in range(n_classes) if c not in order]
    if strange or missing:
        what = (
            f"class_order lists class {strange[0]}, and '{config.dataset}' has {n_classes} classes"
            if strange
            else f"class_order leaves out class {missing[0]} of '{config.dataset}'"
        )
        raise StudyError(
            what,
            expected=f"every label from 0 to {n_classes - 1} once",
            where="[benchmark] class_order",
        )
    return list(order)


def check_shapes(config: BenchmarkConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a sequence of images of several shapes that does not say which one counts.

    Args:
        config: the benchmark.
        shapes: data set to (C, H, W) of its images.

    Raises:
        StudyError: they differ, and no data set is declared to give the shape.
    """
    if not isinstance(config, SequenceBenchmark) or config.dataset:
        return
    if any(name.startswith(ARRAYS) for name in shapes):
        return  # arrays are never resized, and `check_inputs` has a message of its own
    first = config.datasets[0]
    for name, shape in shapes.items():
        if shape != shapes[first]:
            listed = " and ".join(
                f"{' × '.join(map(str, shapes[n]))} of '{n}'" for n in (first, name)
            )
            raise StudyError(
                f"the data sets have images of several shapes: {listed}",
                expected="images of one shape (channels × height × width), or `dataset`: the one "
                "to whose shape all are brought",
                where="[benchmark] dataset",
                next_step=f'write dataset = "{first}", or another of them',
            )
