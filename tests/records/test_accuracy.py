"""Rows that are slices of a table against the lists that they stand for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from clsweep.records.accuracy import AccuracyRows, accuracy_table, n_tasks_of, rows_by_trial
from clsweep.records.schema import ACCURACY_COLUMNS
from tests.support.records import make_record, two_task_rows


def table_of(rows: dict[tuple[str, int], list[list[object]]], order: list[int]) -> pa.Table:
    """An accuracy table with all rows in a given order."""
    flat = [(*key, *row) for key, of_trial in rows.items() for row in of_trial]
    names = ("config_id", "seed", *ACCURACY_COLUMNS)
    return pa.Table.from_pylist([dict(zip(names, flat[i], strict=True)) for i in order])


ROWS = {
    ("a", 0): two_task_rows(0.9, 0.5, 0.8),
    ("a", 1): two_task_rows(0.91, 0.51, 0.81),
    ("b", 1): two_task_rows(0.92, 0.52, 0.82)[:3],
    ("b", -1): two_task_rows(0.93, 0.53, 0.83),
}
N = sum(map(len, ROWS.values()))


@pytest.mark.parametrize(
    "order", [list(range(N)), list(range(N))[::-1], np.random.default_rng(0).permutation(N)]
)
def test_every_trial_has_its_rows_wherever_they_stand(order: list[int]) -> None:
    found = rows_by_trial(table_of(ROWS, list(order)))
    assert found.keys() == {"a-0", "a-1", "b-1", "b--1"}
    for (config_id, seed), rows in ROWS.items():
        assert sorted(found[f"{config_id}-{seed}"]) == sorted(rows)


def test_chunks_of_a_table_are_one() -> None:
    whole = table_of(ROWS, list(range(N)))
    chunked = pa.concat_tables([whole[:5], whole[5:6], whole[6:]])
    assert rows_by_trial(chunked) == rows_by_trial(whole)
    assert rows_by_trial(whole[:0]) == {}


def test_they_are_equal_to_their_list_and_to_nothing_else() -> None:
    rows = rows_by_trial(table_of(ROWS, list(range(N))))["a-0"]
    assert rows == ROWS["a", 0]
    assert ROWS["a", 0] == rows
    assert list(rows[1:3]) == ROWS["a", 0][1:3]
    assert rows != ROWS["a", 1]
    assert rows != ROWS["a", 0][:-1]
    assert rows != "rows"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_their_table_is_that_of_the_list(split: str) -> None:
    for key, rows in rows_by_trial(table_of(ROWS, list(range(N)))).items():
        listed = ROWS[key[0], int(key[2:])]
        expected = accuracy_table(listed, split, 3)
        np.testing.assert_array_equal(accuracy_table(rows, split, 3), expected)


def test_the_number_of_tasks_is_that_of_the_last_one_learnt_or_tested() -> None:
    rows = AccuracyRows(*(np.array([v]) for v in (2, 0, True, 1, 2)))
    assert n_tasks_of([{"accuracy": rows}]) == 3
    assert n_tasks_of([{"accuracy": list(rows)}]) == 3
    assert n_tasks_of([make_record(), {"accuracy": []}]) == 2
    assert n_tasks_of([{"accuracy": []}]) == 2
