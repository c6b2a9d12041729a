"""Validation accuracies of finished trials, kept from one reading of a results folder to the next.

A test count never becomes a number here: rows of the test split are dropped before anything is
computed, so that whoever watches a sweep cannot choose by them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clsweep.records.schema import Record
from clsweep.storage.remote_path import Place
from clsweep.storage.table_files import table_in


class ValidationPoint(NamedTuple):
    """Accuracies of one trial on validation data after the last task, in [0, 1].

    Attributes:
        source: mean over the tasks before the last.
        target: of the last task.
        average: mean over all tasks.
    """

    source: float
    target: float
    average: float


class ValidationPoints:
    """Points of trials, by what tells a record from any other of the same trial.

    Args:
        directory: the results folder.
    """

    def __init__(self, directory: Place) -> None:
        self._directory = directory
        self._known: dict[tuple[str, str], ValidationPoint | None] = {}

    def note(self, record: Record) -> None:
        """Keep the point of a record that was read.

        Args:
            record: see `records/schema.py`.
        """
        trial = record["trial"]
        self._known[trial["trial_id"], trial["finished_at"]] = _point_of(record["accuracy"])

    def of(self, ended: Mapping[str, tuple[str, str]]) -> dict[str, ValidationPoint]:
        """The points of trials that ended well; those that have none are left out.

        Args:
            ended: any name -> id of the trial and `finished_at` of its record. Where a record was
                not read, since a table holds it, the table of accuracies is read, once for it.

        Raises:
            StoreError: the table is damaged, or a newer clsweep's.
        """
        unknown = {key for key in ended.values() if key not in self._known}
        if unknown:
            compacted = self._compacted()
            self._known |= {key: compacted.get(key[0]) for key in unknown}
        found = ((name, self._known[key]) for name, key in ended.items())
        return {name: point for name, point in found if point is not None}

    def _compacted(self) -> dict[str, ValidationPoint | None]:
        from clsweep.records.accuracy import rows_by_trial
        from clsweep.records.tables import of_split

        table = table_in(self._directory, "accuracy")
        if table is None:
            return {}
        rows = rows_by_trial(of_split(table, "validation"))
        return {trial_id: _point_of(one) for trial_id, one in rows.items()}


def _point_of(rows: Sequence[Sequence[Any]]) -> ValidationPoint | None:
    """Of a trial's accuracy rows; None where validation data of a task are missing at the end."""
    from clsweep.records import accuracy

    if isinstance(rows, accuracy.AccuracyRows):
        n_tasks = rows.n_tasks
    else:
        n_tasks = 1 + max((max(row[:2]) for row in rows), default=-1)
    if n_tasks < 2:
        return None
    acc = accuracy.accuracy_table(rows, "validation", n_tasks)
    point = ValidationPoint(
        accuracy.source_accuracy(acc),
        accuracy.target_accuracy(acc),
        accuracy.average_accuracy(acc),
    )
    return point if all(map(math.isfinite, point)) else None
