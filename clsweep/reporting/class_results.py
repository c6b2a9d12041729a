"""Accuracies per class of the chosen configurations, from the counts that trials stored.

With n_cp the test images of class c that the final network takes for p,

    accuracy of a class      n_cc / Σ_p n_cp
    balanced accuracy        its mean over all classes of all tasks
    worst class              the least of them

each per seed. The classes among which an image is classified are those of its task, or under one
head for all classes those of all tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """What the final networks of one label take the classes of one task for, summed over seeds.

    Attributes:
        task: from 0.
        classes: names of its classes: the rows.
        outputs: names of what they were taken for: the columns.
        counts: test images, shape [classes, outputs].
    """

    task: int
    classes: tuple[str, ...]
    outputs: tuple[str, ...]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class ClassResults:
    """The classes under the choice of one label.

    Attributes:
        label: the curve.
        balanced_S: balanced accuracy per seed.
        worst_S: accuracy of the worst class per seed.
        by_class: (task, class) to its accuracy per seed; empty where seeds divide the classes
            among the tasks in ways of their own.
        confusions: per task; likewise.
    """

    label: str
    balanced_S: Array
    worst_S: Array
    by_class: dict[tuple[int, str], Array]
    confusions: tuple[Confusion, ...]


def class_results(
    label: str, counts: pa.Table, config_id: str, seeds: Sequence[int]
) -> ClassResults | None:
    """The classes under one configuration; None where a seed has no counts.

    Args:
        label: the curve.
        counts: `class_counts` of the folder.
        config_id: the configuration.
        seeds: that are shown.
    """
    import pyarrow.compute as pc

    own = counts.filter(
        pc.and_(pc.equal(counts["config_id"], config_id), pc.equal(counts["split"], "test"))
    )
    names = ("seed", "on_task", "label", "predicted", "class", "predicted_class", "n")
    rows = list(zip(*(own[name].to_pylist() for name in names), strict=True))
    by_seed: dict[int, list[tuple[int, int, int, str, str, int]]] = {seed: [] for seed in seeds}
    for seed, *rest in rows:
        if seed in by_seed:
            by_seed[seed].append(tuple(rest))
    if not all(by_seed.values()):
        return None
    accuracies = [_accuracies(found) for found in by_seed.values()]
    balanced = np.array([np.mean(list(found.values())) for found in accuracies])
    worst = np.array([min(found.values()) for found in accuracies])
    named = [{(task, name): a for (task, _, name), a in found.items()} for found in accuracies]
    is_common = all(found.keys() == accuracies[0].keys() for found in accuracies)
    if not is_common:
        return ClassResults(label, balanced, worst, {}, ())
    by_class = {key: np.array([found[key] for found in named]) for key in named[0]}
    confusions = _confusions([row for found in by_seed.values() for row in found])
    return ClassResults(label, balanced, worst, by_class, confusions)


def _accuracies(
    rows: Sequence[tuple[int, int, int, str, str, int]],
) -> dict[tuple[int, int, str], float]:
    """(task, label, class) to accuracy, in order."""
    right: dict[tuple[int, int, str], int] = {}
    total: dict[tuple[int, int, str], int] = {}
    for task, label, predicted, name, _, n in rows:
        key = task, label, name
        total[key] = total.get(key, 0) + n
        right[key] = right.get(key, 0) + n * (label == predicted)
    return {key: right[key] / total[key] for key in sorted(total)}


def _confusions(rows: Sequence[tuple[int, int, int, str, str, int]]) -> tuple[Confusion, ...]:
    made = []
    for task in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == task]
        labels = dict(sorted({row[1]: row[3] for row in own}.items()))
        outputs = dict(sorted({**labels, **{row[2]: row[4] for row in own}}.items()))
        places = [{key: i for i, key in enumerate(found)} for found in (labels, outputs)]
        counts = np.zeros((len(labels), len(outputs)), dtype=np.int64)
        for _, label, predicted, _, _, n in own:
            counts[places[0][label], places[1][predicted]] += n
        made.append(Confusion(task, tuple(labels.values()), tuple(outputs.values()), counts))
    return tuple(made)
