"""Names of a network's outputs: which class of which data set each of them stands for."""

from __future__ import annotations

from pathlib import Path

from clsweep.data.benchmark_specs import BenchmarkConfig, SeveralDatasets, SplitBenchmark
from clsweep.data.class_counts import class_names
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import FOLDER
from clsweep.data.task_contents import class_groups, dataset_order
from clsweep.text import printable


def output_names(config: BenchmarkConfig, root: Path | None, seed: int) -> list[tuple[str, ...]]:
    """Of every task, the names of the outputs among which its examples are classified at the end.

    They are classes of the task, or, under one head for all classes, those of all tasks. Where
    data sets differ their names come first, and where a class comes again the task's number last.

    Args:
        config: the benchmark, with full paths.
        root: the data root, see `dataset_lookup.dataset_spec`.
        seed: the trial's seed; matters only with draws = 'per_seed'.

    Raises:
        StudyError: a data set is not there.
    """
    own = _own_names(config, root, seed)
    if config.scenario != "class":
        return own
    listed = [(name, task) for task, names in enumerate(own) for name in names]
    found = [name for name, _ in listed]
    every = tuple(
        f"{name} (task {task + 1})" if found.count(name) > 1 else name for name, task in listed
    )
    return [every] * len(own)


def _own_names(config: BenchmarkConfig, root: Path | None, seed: int) -> list[tuple[str, ...]]:
    """Names of the classes of every task, in the order of their labels there."""
    names = config.datasets
    if isinstance(config, SeveralDatasets):
        names = dataset_order(config, seed)
    sizes = {n: dataset_spec(n, root, config.framing).n_classes for n in dict.fromkeys(names)}
    groups = [tuple(range(sizes[name])) for name in names]
    if isinstance(config, SplitBenchmark):
        groups = class_groups(config, sizes[names[0]], seed)
        names = names * config.n_tasks
    elif not isinstance(config, SeveralDatasets):
        groups, names = groups * config.n_tasks, names * config.n_tasks
    with_dataset = len(set(names)) > 1
    made = []
    for name, group in zip(names, groups, strict=True):
        start = f"{Path(name.removeprefix(FOLDER)).name} " if with_dataset else ""
        classes = class_names(name, root, group)
        made.append(tuple(printable(f"{start}{one}", one_line=True) for one in classes))
    return made
