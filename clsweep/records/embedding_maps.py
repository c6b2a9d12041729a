"""Accuracy of a hypernetwork's tasks over the plane of embeddings, as a table of exact counts.

    embeddings.parquet    trial_id, label, seed, on_task, embedding_of, x, y, n_correct, n_total

A row says how many test images of task `on_task` are classified correctly by the network that is
generated from the embedding (x, y). `embedding_of` is null for a point of the grid, and k for the
embedding that was learnt for task k. The points of a trial are one grid for all tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsweep.records.schema import MAX_TASKS
from clsweep.text import is_printable

if TYPE_CHECKING:
    import pyarrow as pa

EMBEDDINGS = "embeddings.parquet"
_COLUMNS = {
    "trial_id": "string",
    "label": "string",
    "seed": "int64",
    "on_task": "int64",
    "embedding_of": "int64",
    "x": "double",
    "y": "double",
    "n_correct": "int64",
    "n_total": "int64",
}


class EmbeddingCount(NamedTuple):
    """A row of the table: what one generated network does on one task."""

    trial_id: str
    label: str
    seed: int
    on_task: int
    embedding_of: int | None
    x: float
    y: float
    n_correct: int
    n_total: int


@dataclass(frozen=True)
class EmbeddingMap:
    """The plane of one trial.

    Attributes:
        trial_id: the trial.
        label: its curve.
        seed: its seed.
        x_N: first numbers of the grid's embeddings, rising, [N].
        y_M: second numbers, rising, [M].
        accuracy_TMN: test accuracy of every task over the grid, in [0, 1].
        embeddings_T2: what was learnt for each task.
        learnt_TT: test accuracy of the task of the row under the embedding of the column.
        n_images: test images per task, the fewest.
    """

    trial_id: str
    label: str
    seed: int
    x_N: NDArray[np.float64]
    y_M: NDArray[np.float64]
    accuracy_TMN: NDArray[np.float64]
    embeddings_T2: NDArray[np.float64]
    learnt_TT: NDArray[np.float64]
    n_images: int


def embeddings_table(counts: Sequence[EmbeddingCount]) -> pa.Table:
    """The table of counts, in their order.

    Args:
        counts: of any number of trials.
    """
    import pyarrow as pa

    schema = pa.schema([(n, pa.type_for_alias(kind)) for n, kind in _COLUMNS.items()])
    return pa.Table.from_pylist([count._asdict() for count in counts], schema=schema)


def embedding_maps(table: pa.Table) -> list[EmbeddingMap]:
    """The maps of a table, one per trial in the order of the rows.

    Args:
        table: from `embeddings_table`, or of a file that may say anything.

    Raises:
        ValueError: it is no such table; says why.
    """
    for name, kind in _COLUMNS.items():
        if name not in table.column_names or str(table.schema.field(name).type) != kind:
            raise ValueError(f"column {name} is absent, or not of type {kind}")
        if table[name].null_count and name != "embedding_of":
            raise ValueError(f"column {name} has rows without a value")
    rows = [EmbeddingCount(**row) for row in table.select(list(_COLUMNS)).to_pylist()]
    by_trial: dict[str, list[EmbeddingCount]] = {}
    for row in rows:
        _check(row)
        by_trial.setdefault(row.trial_id, []).append(row)
    return [_map_of(of_trial) for of_trial in by_trial.values()]


def _check(row: EmbeddingCount) -> None:
    if not (is_printable(row.trial_id) and is_printable(row.label)):
        raise ValueError("a name holds control characters")
    tasks = (row.on_task, 0 if row.embedding_of is None else row.embedding_of)
    if not all(0 <= task < MAX_TASKS for task in tasks):
        raise ValueError("a task is out of range")
    if not (np.isfinite([row.x, row.y]).all() and 0 <= row.n_correct <= row.n_total > 0):
        raise ValueError("a row holds numbers out of range")


def _map_of(rows: Sequence[EmbeddingCount]) -> EmbeddingMap:
    """The map of one trial, whose rows have to fill it exactly."""
    n_tasks = 1 + max(row.on_task for row in rows)
    x_N, y_M = (np.unique([r[i] for r in rows if r.embedding_of is None]) for i in (5, 6))
    accuracy_TMN = np.full((n_tasks, len(y_M), len(x_N)), np.nan)
    learnt_TT, embeddings_T2 = np.full((n_tasks, n_tasks), np.nan), np.full((n_tasks, 2), np.nan)
    if len(rows) != accuracy_TMN.size + learnt_TT.size:
        raise ValueError(f"the rows of trial {rows[0].trial_id} are no grid")
    for row in rows:
        share = row.n_correct / row.n_total
        if row.embedding_of is None:
            at = (row.on_task, np.searchsorted(y_M, row.y), np.searchsorted(x_N, row.x))
            accuracy_TMN[at] = share
        elif row.embedding_of < n_tasks:
            learnt_TT[row.on_task, row.embedding_of] = share
            embeddings_T2[row.embedding_of] = row.x, row.y
    if np.isnan(accuracy_TMN).any() or np.isnan(learnt_TT).any() or not accuracy_TMN.size:
        raise ValueError(f"the grid of trial {rows[0].trial_id} has gaps")
    first = rows[0]
    n_images = min(row.n_total for row in rows)
    name = (first.trial_id, first.label, first.seed)
    return EmbeddingMap(*name, x_N, y_M, accuracy_TMN, embeddings_T2, learnt_TT, n_images)
