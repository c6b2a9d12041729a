"""Numbers computed from one trial's accuracy table.

A table `acc` has shape [T + 1, T]: row 0 is before any training, row i + 1 after task i; column j
is accuracy on task j in [0, 1], NaN where it was not evaluated. With R[i][j] = acc[i + 1, j]:

    average accuracy    (1/T) Σ_j R[T−1][j]                              Lopez-Paz and Ranzato 2017
    backward transfer   (1/(T−1)) Σ_{j<T−1} (R[T−1][j] − R[j][j])                              same
    forward transfer    (1/(T−1)) Σ_{j>0} (R[j−1][j] − acc[0, j])                              same
    forgetting          (1/(T−1)) Σ_{j<T−1} (max_{j≤i<T−1} R[i][j] − R[T−1][j])    Chaudhry 2018
    learning accuracy   (1/T) Σ_j R[j][j]
    source accuracy     (1/(T−1)) Σ_{j<T−1} R[T−1][j]
    target accuracy     R[T−1][T−1]
    source as learnt    (1/(T−1)) Σ_{j<T−1} R[j][j]
    source before       (1/(T−1)) Σ_{j<T−1} R[T−2][j]
    target before       R[T−2][T−1]

The last three are of the networks before the last task was learnt; with two tasks the first two
are the accuracy of the source model.

Task indices start at 0. A measure that needs an entry that was not evaluated is NaN, never a mean
over what happens to be there. Joint training, for one, has no backward transfer. The baseline of
forward transfer is the trial's own network before training, so that its mean over seeds is over
several initialisations; with one head per task it is not defined, and there are no such entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from clsweep.rows import AccuracyRows

__all__ = [
    "Table",
    "accuracy_table",
    "average_accuracy",
    "backward_transfer",
    "forgetting",
    "forward_transfer",
    "learning_accuracy",
    "mean_and_error",
    "source_accuracy",
    "source_as_learnt",
    "source_before",
    "target_accuracy",
    "target_before",
]

Table = NDArray[np.float64]


def accuracy_table(rows: Iterable[Sequence[int | str]], split: str, n_tasks: int) -> Table:
    """The table of one trial.

    Args:
        rows: (after_task, on_task, split, n_correct, n_total); after_task is -1 before training.
        split: 'validation' or 'test'; rows of the other split are left out.
        n_tasks: T.

    Returns:
        Accuracies, shape [T + 1, T], NaN where there is no row.
    """
    if isinstance(rows, AccuracyRows):
        return rows.table(split, n_tasks)
    acc = np.full((n_tasks + 1, n_tasks), np.nan)
    for after_task, on_task, of_split, n_correct, n_total in rows:
        if of_split == split:
            acc[int(after_task) + 1, int(on_task)] = int(n_correct) / int(n_total)
    return acc


def average_accuracy(acc: Table) -> float:
    """Mean over all tasks after the last one (ACC)."""
    return _mean(acc[-1])


def backward_transfer(acc: Table) -> float:
    """How much earlier tasks gained from later ones (BWT); negative when they were forgotten."""
    return _mean((acc[-1] - _just_learned(acc))[:-1])


def forward_transfer(acc: Table) -> float:
    """How much better than untrained a task is just before it is learned (FWT)."""
    just_before = np.diagonal(acc)
    return _mean((just_before - acc[0])[1:])


def forgetting(acc: Table) -> float:
    """Mean drop of the earlier tasks from their best.

    The best is over the rows from the task's own to the last but one: the last row is left out,
    so that improvement is negative forgetting, and so are rows from before the task was learned.
    """
    since_learned = np.tri(acc.shape[1] - 1, dtype=bool)
    best = np.where(since_learned, acc[1:-1, :-1], -np.inf).max(axis=0, initial=-np.inf)
    return _mean(best - acc[-1, :-1])


def learning_accuracy(acc: Table) -> float:
    """Mean accuracy on each task right after it was learned: plasticity."""
    return _mean(_just_learned(acc))


def source_accuracy(acc: Table) -> float:
    """Mean over the tasks before the last, after the last: stability."""
    return _mean(acc[-1, :-1])


def target_accuracy(acc: Table) -> float:
    """Accuracy on the last task after it was learned: plasticity."""
    return float(acc[-1, -1])


def source_as_learnt(acc: Table) -> float:
    """Mean accuracy on each task before the last right after it was learnt: nothing forgotten."""
    return _mean(_just_learned(acc)[:-1])


def source_before(acc: Table) -> float:
    """Mean accuracy on the tasks before the last, of the network before the last was learnt."""
    return _mean(acc[-2, :-1])


def target_before(acc: Table) -> float:
    """Accuracy on the last task before it was learnt; NaN with one head per task."""
    return float(acc[-2, -1])


def mean_and_error(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Mean, and standard error of the mean (NaN for fewer than two values).

    Args:
        values: one per seed; any NaN makes both NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return float("nan"), float("nan")
    if len(array) == 1:
        return float(array[0]), float("nan")
    mean = _mean(array)
    squares = (array - mean) ** 2
    return mean, float(np.sqrt(np.add.reduce(squares) / (len(array) - 1)) / np.sqrt(len(array)))


def _mean(values: Table) -> float:
    # numpy's own mean spends most of its time on cases that do not occur here, and a report
    # calls it for every measure of every trial.
    return float(np.add.reduce(values) / values.size) if values.size else float("nan")


def _just_learned(acc: Table) -> Table:
    return np.diagonal(acc, offset=-1)
