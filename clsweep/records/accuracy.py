"""The accuracies of one trial: its rows, its table, and the measures made of it.

A row holds counts, or the sums of a regression, whose metric stands in accuracy's place:

    after_task, on_task, split, n_correct, n_total
    after_task, on_task, split, squared_error, n_total, fourth_power, squared_deviation, metric

with Σ ‖y − ŷ‖², n, Σ ‖y − ŷ‖⁴ and Σ ‖y − ȳ‖², see `metrics`. For an accuracy table `acc` of shape
(T, T), `acc[i, j]` is the accuracy on task j after task i has been learnt; measures are shares of
1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from clsweep.records.metrics import METRICS, error_of, value_of
from clsweep.records.schema import ACCURACY_COLUMNS, SUM_COLUMNS, Record, trial_id_of

if TYPE_CHECKING:
    import pyarrow as pa

Table = NDArray[np.float64]
CountRow = tuple[int, int, str, int, int]
SumRow = tuple[int, int, str, float, int, float, float, str]
AccuracyRow = CountRow | SumRow

_SPLITS = ("validation", "test")
# Whether a table is of a regression -> its columns beside the place of a row.
_VALUE_COLUMNS = {False: ACCURACY_COLUMNS[3:], True: SUM_COLUMNS[3:]}


class AccuracyRows(Sequence[list[Any]]):
    """Rows of one trial, of counts or of sums; equal to their list.

    Args:
        after_task: -1 before training, shape [N].
        on_task: shape [N].
        is_test: whether a row is of the test split, shape [N].
        n_correct: shape [N]; of a regression Σ ‖y − ŷ‖².
        n_total: shape [N].
        sums: of a regression Σ ‖y − ŷ‖⁴, Σ ‖y − ȳ‖² and the metric's name, each of shape [N].
    """

    def __init__(
        self,
        after_task: NDArray[Any],
        on_task: NDArray[Any],
        is_test: NDArray[np.bool_],
        n_correct: NDArray[Any],
        n_total: NDArray[Any],
        *sums: NDArray[Any],
    ) -> None:
        self._columns = (after_task, on_task, is_test, n_correct, n_total)
        self._sums = sums

    def __len__(self) -> int:
        return len(self._columns[0])

    @overload
    def __getitem__(self, index: int) -> list[Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[list[Any]]: ...

    def __getitem__(self, index: int | slice) -> list[Any] | Sequence[list[Any]]:
        if isinstance(index, slice):
            return AccuracyRows(*(column[index] for column in (*self._columns, *self._sums)))
        after_task, on_task, is_test, found, n_total = (c[index] for c in self._columns)
        place = [int(after_task), int(on_task), _SPLITS[int(is_test)]]
        if not self._sums:
            return [*place, int(found), int(n_total)]
        fourth_power, squared_deviation, metric = (c[index] for c in self._sums)
        sums = [float(found), int(n_total), float(fourth_power), float(squared_deviation)]
        return [*place, *sums, str(metric)]

    def __iter__(self) -> Iterator[list[Any]]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (AccuracyRows, list)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @property
    def n_tasks(self) -> int:
        """One more than the last task that was learnt or tested; 0 without rows."""
        return 1 + max(int(column.max()) for column in self._columns[:2]) if len(self) else 0

    def table(self, split: str, n_tasks: int) -> NDArray[np.float64]:
        """Accuracies of one split, shape [T + 1, T], NaN where there is no row.

        Args:
            split: 'validation' or 'test'.
            n_tasks: T.
        """
        after_task, on_task, is_test, _, _ = self._columns
        acc = np.full((n_tasks + 1, n_tasks), np.nan)
        of_split = is_test if split == "test" else ~is_test
        acc[after_task[of_split] + 1, on_task[of_split]] = self._values()[of_split]
        return acc

    def _values(self) -> NDArray[np.float64]:
        """What the table holds, shape [N]."""
        _, _, _, found, n_total = self._columns
        if not self._sums:
            return np.asarray(found / n_total)
        _, squared_deviation, metric = self._sums
        values = np.full(len(self), np.nan)
        for name in {*metric.tolist()}:
            own = metric == name
            values[own] = METRICS[name].of(found[own], squared_deviation[own])
        return values

    def n_examples(self, split: str, on_task: int) -> int:
        """Examples of one task in one split; 0 where it was not tested.

        Args:
            split: 'validation' or 'test'.
            on_task: the task, from 0.
        """
        _, tasks, is_test, _, n_total = self._columns
        found = n_total[(tasks == on_task) & (is_test == (split == "test"))]
        return int(found.max()) if len(found) else 0

    def final_counts(self, split: str, n_tasks: int) -> NDArray[np.float64]:
        """Correct and total counts after the last task, shape [T, 2], NaN where there is no row.

        Of a regression nothing is counted as correct: NaN.

        Args:
            split: 'validation' or 'test'.
            n_tasks: T.
        """
        after_task, on_task, is_test, n_correct, n_total = self._columns
        is_wanted = (is_test if split == "test" else ~is_test) & (after_task == n_tasks - 1)
        found = np.full((n_tasks, 2), np.nan)
        if not self._sums:
            found[on_task[is_wanted], 0] = n_correct[is_wanted]
        found[on_task[is_wanted], 1] = n_total[is_wanted]
        return found


def n_examples(rows: Sequence[Sequence[Any]], split: str, on_task: int) -> int:
    """Examples of one task in one split of a trial's rows; 0 where it was not tested.

    Args:
        rows: of counts or of sums.
        split: 'validation' or 'test'.
        on_task: the task, from 0.
    """
    if isinstance(rows, AccuracyRows):
        return rows.n_examples(split, on_task)
    return max((int(row[4]) for row in rows if row[1] == on_task and row[2] == split), default=0)


def final_counts(
    rows: Iterable[Sequence[int | str]], split: str, n_tasks: int
) -> NDArray[np.float64]:
    """Counts of one trial after its last task, shape [T, 2]: correct and total; NaN without a row.

    Args:
        rows: of the trial.
        split: 'validation' or 'test'.
        n_tasks: T.
    """
    if isinstance(rows, AccuracyRows):
        return rows.final_counts(split, n_tasks)
    found = np.full((n_tasks, 2), np.nan)
    for after_task, on_task, of_split, n_correct, n_total, *sums in rows:
        if of_split == split and int(after_task) == n_tasks - 1:
            found[int(on_task)] = np.nan if sums else int(n_correct), int(n_total)
    return found


def final_errors(
    rows: Iterable[Sequence[Any]], split: str, n_tasks: int
) -> NDArray[np.float64] | None:
    """What the draw of examples adds to a regression's metric after its last task, shape [T].

    Args:
        rows: of the trial.
        split: 'validation' or 'test'.
        n_tasks: T.

    Returns:
        None for counts, whose errors follow from them.
    """
    found = np.full(n_tasks, np.nan)
    for row in rows:
        if len(row) == len(ACCURACY_COLUMNS):
            return None
        if row[2] == split and row[0] == n_tasks - 1:
            found[row[1]] = error_of(row)
    return found


def n_tasks_of(records: Iterable[Record]) -> int:
    """Length of the task sequence that the accuracy rows of the records tell of; 2 without rows.

    Args:
        records: of one study.
    """
    found = [0]
    for record in records:
        rows = record["accuracy"]
        if isinstance(rows, AccuracyRows):
            found.append(rows.n_tasks)
        else:
            found += [1 + max(row[:2]) for row in rows]
    return max(found) or 2


def is_of_sums(accuracy: pa.Table) -> bool:
    """Whether a table `accuracy.parquet` is that of a regression.

    Args:
        accuracy: the table.
    """
    return SUM_COLUMNS[-1] in accuracy.column_names


def rows_by_trial(accuracy: pa.Table) -> dict[str, AccuracyRows]:
    """Trial id to its rows.

    Args:
        accuracy: the table `accuracy.parquet`; rows of a trial may stand anywhere.
    """
    import pyarrow.compute as pc

    if not len(accuracy):
        return {}
    owners = accuracy["config_id"].combine_chunks().dictionary_encode()
    code, seed = owners.indices.to_numpy(), accuracy["seed"].to_numpy()
    names = owners.dictionary.to_pylist()
    columns = [accuracy[name].to_numpy() for name in ("after_task", "on_task")]
    columns.append(pc.equal(accuracy["split"], "test").to_numpy())
    columns += [accuracy[name].to_numpy() for name in _VALUE_COLUMNS[is_of_sums(accuracy)]]
    steps = np.diff(code)
    if (steps < 0).any() or ((steps == 0) & (np.diff(seed) < 0)).any():
        order = np.lexsort((seed, code))
        code, seed = code[order], seed[order]
        columns = [column[order] for column in columns]
    is_first = np.ones(len(code), dtype=bool)
    is_first[1:] = (np.diff(code) != 0) | (np.diff(seed) != 0)
    starts = np.flatnonzero(is_first)
    ends = [*starts[1:].tolist(), len(code)]
    return {
        trial_id_of(names[code[start]], int(seed[start])): AccuracyRows(
            *(column[start:end] for column in columns)
        )
        for start, end in zip(starts.tolist(), ends, strict=True)
    }


def accuracy_table(rows: Iterable[Sequence[int | str]], split: str, n_tasks: int) -> Table:
    """The table of one trial.

    Args:
        rows: of counts or of sums, see above; after_task is -1 before training.
        split: 'validation' or 'test'; rows of the other split are left out.
        n_tasks: T.

    Returns:
        Accuracies, shape [T + 1, T], NaN where there is no row.
    """
    if isinstance(rows, AccuracyRows):
        return rows.table(split, n_tasks)
    acc = np.full((n_tasks + 1, n_tasks), np.nan)
    for row in rows:
        if row[2] == split:
            acc[int(row[0]) + 1, int(row[1])] = value_of(row)
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
