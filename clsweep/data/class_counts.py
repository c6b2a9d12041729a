"""Numbers of examples that a task has of every class: a class without any is no class.

Counted without torch and without decoding an image, so that `clsweep plan` says it. Labels are
read only where the draws may miss a class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clsweep.data.array_sets import PARTS, array_labels, array_set
from clsweep.data.benchmark_specs import (
    BenchmarkConfig,
    SeveralDatasets,
    SplitBenchmark,
)
from clsweep.data.data_files import STORED, is_legacy, place_of_data
from clsweep.data.data_root import folder_path
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import ARRAYS, DATASETS, FOLDER
from clsweep.data.digits_file import read_digits
from clsweep.data.hashed_draws import random_order
from clsweep.data.idx_files import idx_file, read_idx
from clsweep.data.image_folders import folder_listing
from clsweep.data.splits import own_validation, split_sizes, task_rows
from clsweep.data.task_contents import class_groups
from clsweep.errors import StudyError

if TYPE_CHECKING:
    from numpy import bool_, int64
    from numpy.typing import NDArray

# Below this chance that any class is missed, labels are not read.
_DOUBT = 1e-6
# Seeds whose class orders are looked at before a run; a run looks at each of its own.
_MOST_SEEDS = 20
_MOST_NAMED = 10


@dataclass(frozen=True)
class _Task:
    """A task before its examples are drawn: where it comes from, and the size of its classes."""

    index: int
    dataset: str
    classes: tuple[int, ...]
    counts: tuple[int, ...]
    own: tuple[int, ...]


class _Missing(NamedTuple):
    """Classes of a task without an example in one part; `expected` where labels are unknown."""

    task: _Task
    part: str
    classes: tuple[int, ...]
    expected: float


def check_training(
    config: BenchmarkConfig, task: int, classes: Sequence[str], counts: Sequence[int]
) -> None:
    """Refuse a class that nothing is learnt of.

    Args:
        config: the benchmark.
        task: index of the task.
        classes: names of the task's classes.
        counts: training examples of each, after everything that is taken from them.

    Raises:
        StudyError: one of them has none.
    """
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if absent:
        raise _refusal(config, task, class_words(absent))


def class_notes(config: BenchmarkConfig, root: Path | None, seeds: Sequence[int]) -> list[str]:
    """Classes without a validation example, a sentence per task.

    Args:
        config: the benchmark.
        root: the data root, see `dataset_lookup.dataset_spec`.
        seeds: the study's; they matter where classes are assigned to tasks by each.

    Raises:
        StudyError: a class has no training example.
    """
    differs = isinstance(config, SplitBenchmark) and config.class_order == "shuffled"
    looked_at = seeds[:_MOST_SEEDS] if differs and config.draws == "per_seed" else (0,)
    notes: dict[str, None] = {}
    for seed in looked_at:
        for missing in _missing(config, root, seed):
            notes[_note(config, root, missing)] = None
    return [*notes]


def class_words(names: Iterable[str]) -> str:
    """Names of classes in a sentence: "class 'cat'", "classes 'cat', 'dog'"."""
    listed = [*names]
    more = len(listed) - _MOST_NAMED
    text = ", ".join(f"'{name}'" for name in listed[:_MOST_NAMED])
    return f"class{'es' if len(listed) > 1 else ''} {text}" + (f" and {more} more" * (more > 0))


def digits_test_rows(labels: NDArray[int64]) -> NDArray[bool_]:
    """Which of scikit-learn's digits test: a fixed number of each class, bool [N].

    Args:
        labels: of all digits, in scikit-learn's order.
    """
    import numpy as np

    is_test = np.zeros(len(labels), dtype=np.bool_)
    for label, n_test in enumerate(DATASETS["digits"].test_counts):
        (rows,) = np.nonzero(labels == label)
        is_test[rows[random_order(len(rows), "digits", label)[:n_test]]] = True
    return is_test


def _note(config: BenchmarkConfig, root: Path | None, missing: _Missing) -> str:
    task, part, classes, expected = missing
    if not classes:
        return (
            f"task {task.index + 1}: about {expected:.2g} of its {len(task.classes)} classes will "
            f"have no {part} example ({_advice(config)})"
        )
    words = class_words(class_names(task.dataset, root, classes))
    if part == "training":
        raise _refusal(config, task.index, words)
    return (
        f"task {task.index + 1} has no validation example of {words}: configurations are chosen "
        f"without {'it' if len(classes) == 1 else 'them'} ({_advice(config)})"
    )


def _refusal(config: BenchmarkConfig, task: int, words: str) -> StudyError:
    return StudyError(
        f"task {task + 1} has no training example of {words}",
        expected="one or more of every class, after those for validation are held out",
        where="[benchmark]",
        next_step=_advice(config),
    )


def _advice(config: BenchmarkConfig) -> str:
    if config.split == "random":
        return "split = 'stratified' takes from every class alike"
    what = "examples_per_task, or add images" if config.examples_per_task else "the images"
    return f"raise {what}"


def _missing(config: BenchmarkConfig, root: Path | None, seed: int) -> list[_Missing]:
    """Parts of tasks that lack a class, or may."""
    found = []
    for task in _tasks(config, root, seed):
        n_train, n_validation = split_sizes(config, task.counts, task.index, task.own)
        sizes = {"training": n_train, "validation": n_validation}
        expected = {part: _expected(config, task, n, part) for part, n in sizes.items()}
        if max(expected.values()) < _DOUBT:
            continue
        labels = _labels(task.dataset, root)
        if labels is None:
            if n_train < len(task.classes):
                raise _refusal(
                    config,
                    task.index,
                    f"some of its {len(task.classes)} classes: it has {n_train} in all",
                )
            found += [_Missing(task, part, (), e) for part, e in expected.items() if e > _DOUBT]
            continue
        for part, counts in zip(sizes, _counts(config, task, labels), strict=True):
            absent = tuple(c for c, n in zip(task.classes, counts, strict=True) if not n)
            found += [_Missing(task, part, absent, float(len(absent)))] if absent else []
    return found


def _tasks(config: BenchmarkConfig, root: Path | None, seed: int) -> list[_Task]:
    if isinstance(config, SeveralDatasets):
        specs = [dataset_spec(name, root, config.framing) for name in config.datasets]
        return [
            _Task(
                i,
                s.name,
                tuple(range(s.n_classes)),
                s.train_counts,
                own_validation(config, s.validation_counts),
            )
            for i, s in enumerate(specs)
        ]
    spec = dataset_spec(config.dataset, root, config.framing)
    groups = [tuple(range(spec.n_classes))] * config.n_tasks
    if isinstance(config, SplitBenchmark):
        groups = class_groups(config, spec.n_classes, seed)
    own = own_validation(config, spec.validation_counts)
    return [
        _Task(
            i,
            spec.name,
            group,
            tuple(spec.train_counts[c] for c in group),
            tuple(own[c] for c in group) if own else (),
        )
        for i, group in enumerate(groups)
    ]


def _expected(config: BenchmarkConfig, task: _Task, n: int, part: str) -> float:
    """Mean number of classes that `n` examples drawn from the task miss (hypergeometric)."""
    if task.own and part == "validation":
        return float(task.own.count(0))
    if task.own and n == sum(task.counts):
        return 0.0
    if config.split == "stratified" and part == "validation":
        return float(sum(count < 2 for count in task.counts))
    if config.split == "stratified" and n >= len(task.classes):
        return 0.0
    total = sum(task.counts)
    return sum(math.exp(_log_choose(total - c, n) - _log_choose(total, n)) for c in task.counts)


def _log_choose(n: int, k: int) -> float:
    if k > n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _counts(
    config: BenchmarkConfig, task: _Task, labels: NDArray[int64]
) -> tuple[list[int], list[int]]:
    """Training and validation examples of each class of a task."""
    import numpy as np

    local = np.full(int(labels.max()) + 1, -1)
    local[list(task.classes)] = np.arange(len(task.classes))
    own = local[labels]
    train, validation = (
        np.bincount(own[rows], minlength=len(task.classes)).tolist()
        for rows in task_rows(config, own, task.index, task.own)
    )
    return train, [*task.own] or validation


def _labels(name: str, root: Path | None) -> NDArray[int64] | None:
    """Labels of the training images, in their order; None where reading them takes torch."""
    import numpy as np

    if name.startswith(ARRAYS):
        found = array_labels(array_set(folder_path(name, root)))
        trains: NDArray[int64] = found.classes[found.parts == PARTS.index("train")]
        return trains
    if name.startswith(FOLDER):
        counts = [len(files) for files in folder_listing(folder_path(name, root)).train]
        return np.repeat(np.arange(len(counts)), counts)
    if name == "digits":
        labels = read_digits().labels
        return labels[~digits_test_rows(labels)]
    if STORED[name].is_idx and not is_legacy(name, root):
        raw = place_of_data(root) / STORED[name].folder
        file = idx_file(raw, "train-labels-idx1-ubyte")
        try:
            return None if file is None else read_idx(file).astype(np.int64)
        except (OSError, ValueError):
            return None  # the run reads, and refuses, the damaged file itself
    return None


def class_names(name: str, root: Path | None, classes: Iterable[int]) -> list[str]:
    """Names of classes: those of a folder's class folders, labels of arrays, or their numbers.

    Args:
        name: the data set.
        root: the data root, see `dataset_lookup.dataset_spec`.
        classes: labels in the data set.
    """
    if name.startswith(FOLDER):
        names = folder_listing(folder_path(name, root)).classes
        return [names[c] for c in classes]
    if name.startswith(ARRAYS):
        labels = dataset_spec(name, root).class_names
        return [labels[c] for c in classes]
    return [str(c) for c in classes]
