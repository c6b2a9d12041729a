"""Metrics of regressions: their values and errors, the rows that they stand on, and the words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clsweep.errors import StoreError
from clsweep.records.accuracy import (
    accuracy_table,
    final_counts,
    final_errors,
    n_examples,
    rows_by_trial,
)
from clsweep.records.metrics import ACCURACY, NRMSE, R2, error_of, metric_of, value_of
from clsweep.records.schema import NewerSchemaError, check_record, check_version, normalized
from clsweep.records.tables import merged_tables, parquet_bytes, records_of, table_from_parquet
from clsweep.search.validation_table import validation_table
from tests.support.records import make_record
from tests.support.regressions import sum_rows


def drawn(n: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, 2))
    return y, y + 0.3 * rng.normal(size=(n, 2))


def row_of(y: np.ndarray, predicted: np.ndarray, metric: str = "r2") -> list[Any]:
    squares = ((y - predicted) ** 2).sum(1)
    spread = float(((y - y.mean(0)) ** 2).sum())
    sums = [float(squares.sum()), len(y), float((squares**2).sum()), spread]
    return [1, 0, "test", *sums, metric]


def record(rows: list[list[Any]], **trial: Any) -> dict[str, Any]:
    return make_record(accuracy=rows, **trial) | {"schema": 2}


def test_r2_and_nrmse_are_those_of_the_predictions() -> None:
    y, predicted = drawn()
    mean = y.mean(0)
    share = ((y - predicted) ** 2).sum() / ((y - mean) ** 2).sum()
    assert value_of(row_of(y, predicted)) == pytest.approx(1 - share)
    assert value_of(row_of(y, predicted, "nrmse")) == pytest.approx(-math.sqrt(share))
    assert value_of(row_of(y, y)) == 1.0
    constant = np.broadcast_to(mean, y.shape)
    assert value_of(row_of(y, constant)) == pytest.approx(R2.guess)
    assert value_of(row_of(y, constant, "nrmse")) == pytest.approx(NRMSE.guess)
    assert value_of([0, 0, "test", 3, 4]) == 0.75
    assert R2.larger_is_better
    assert not NRMSE.larger_is_better


def test_the_error_of_a_metric_is_the_jackknife_of_the_squared_errors() -> None:
    y, predicted = drawn()
    squares, spread = ((y - predicted) ** 2).sum(1), ((y - y.mean(0)) ** 2).sum()
    n = len(squares)
    left_out = (squares.sum() - squares) / (n - 1)
    of_mean = math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    assert error_of(row_of(y, predicted)) == pytest.approx(of_mean * n / spread)
    # d√s / ds = 1 / (2 √s)
    of_root = of_mean * n / spread / (2 * math.sqrt(squares.sum() / spread))
    assert error_of(row_of(y, predicted, "nrmse")) == pytest.approx(of_root)
    assert math.isnan(error_of([0, 0, "test", 3, 4]))


def test_a_table_reads_sums_as_it_reads_counts() -> None:
    rows = sum_rows([[1.0], [5.0, 0.0]])
    acc = accuracy_table(rows, "test", 2)
    assert acc[1:].tolist() == [[pytest.approx(0.9), pytest.approx(math.nan, nan_ok=True)]] + [
        [0.5, 1.0]
    ]
    assert n_examples(rows, "validation", 0) == 50
    counts = final_counts(rows, "test", 2)
    assert np.isnan(counts[:, 0]).all()
    assert counts[:, 1].tolist() == [50, 50]
    errors = final_errors(rows, "test", 2)
    assert errors is not None
    assert errors.tolist() == [pytest.approx(0.0, abs=1e-7), 0.0]
    assert final_errors([[0, 0, "test", 3, 4]], "test", 1) is None


def test_records_of_a_regression_come_back_from_parquet_bit_for_bit() -> None:
    rows = sum_rows([[0.1 + 0.2], [1 / 3, 2e-300]])
    records = [normalized(record(rows, seed=seed)) for seed in (0, 1)]
    failed = normalized(make_record(status="failed", seed=2))
    tables = merged_tables(None, [*records, failed])
    read = {
        name: table_from_parquet(parquet_bytes(table), name, f"{name}.parquet")
        for name, table in tables.items()
    }
    back = records_of(read)
    assert [list(one["accuracy"]) for one in back] == [one["accuracy"] for one in records] + [[]]
    assert {one["schema"] for one in back} == {2}
    assert metric_of(back) is R2
    again = merged_tables(read, [normalized(record(rows, seed=3))])
    assert len(again["accuracy"]) == 3 * len(rows)
    (one,) = (rows for key, rows in rows_by_trial(again["accuracy"]).items() if key.endswith("-3"))
    assert np.array_equal(one.table("test", 2), accuracy_table(rows, "test", 2), equal_nan=True)
    assert one.final_counts("test", 2)[:, 1].tolist() == [50, 50]


def test_tables_of_classes_are_what_they_were() -> None:
    tables = merged_tables(None, [normalized(make_record())])
    assert tables["accuracy"].column_names[-2:] == ["n_correct", "n_total"]
    from pyarrow import parquet

    file = parquet.ParquetFile(pa.BufferReader(parquet_bytes(tables["accuracy"])))
    assert file.schema_arrow.metadata[b"clsweep_schema"] == b"1"
    assert metric_of(records_of(tables)) is ACCURACY


def test_an_older_release_says_that_a_newer_one_wrote_it() -> None:
    with pytest.raises(NewerSchemaError, match="newer clsweep"):
        check_version(record(sum_rows([[1.0]]))["schema"], "x", newest=1)


def test_classes_and_numbers_are_not_mixed_in_one_folder() -> None:
    regression = normalized(record(sum_rows([[1.0], [1.0, 1.0]])))
    classes = normalized(make_record(seed=1))
    with pytest.raises(StoreError, match="of a regression, and others"):
        merged_tables(None, [regression, classes])
    with pytest.raises(StoreError, match="of a regression, and others"):
        merged_tables(merged_tables(None, [regression]), [classes])


@pytest.mark.parametrize(
    ("place", "value"),
    [(3, -1.0), (3, math.inf), (3, "1"), (4, 0), (5, -1.0), (6, 0.0), (7, "mse")],
)
def test_a_row_that_makes_no_sense_is_refused(place: int, value: Any) -> None:
    row = sum_rows([[1.0]])[0]
    row[place] = value
    with pytest.raises(StoreError, match="accuracy row"):
        check_record(record([row]))
    tables = merged_tables(None, [normalized(record(sum_rows([[1.0]])))])
    table = tables["accuracy"]
    name = table.column_names[place + 2]
    try:
        column = pa.array([value] * len(table), table.schema.field(name).type)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return  # no column of that type holds it
    damaged = table.set_column(table.column_names.index(name), name, column)
    with pytest.raises(StoreError, match=f"damaged: .*{name}"):
        table_from_parquet(parquet_bytes(damaged), "accuracy", "accuracy.parquet")


def test_rows_of_counts_are_refused_where_sums_are_said() -> None:
    counts = json.loads(json.dumps(make_record()))
    with pytest.raises(StoreError, match="squared_error"):
        check_record(counts | {"schema": 2})


def test_validation_chooses_by_the_metric_and_sees_no_count() -> None:
    rows = {
        0.1: sum_rows([[1.0], [9.0, 0.1]]),
        10.0: sum_rows([[1.0], [2.0, 0.5]]),
    }
    records = [
        normalized(record(of, hyper={"lam": lam}, seed=seed))
        for lam, of in rows.items()
        for seed in (0, 1)
    ]
    table = validation_table(records)
    best = max(table.candidates, key=lambda candidate: candidate.average)
    assert best.knobs == {"lam": 10.0}
    assert best.average == pytest.approx((0.8 + 0.95) / 2)
    assert {candidate.n_target for candidate in table.candidates} == {0}


def test_texts_name_the_metric_and_leave_names_of_the_user_alone() -> None:
    text = "Accuracies of my-accuracy (ACC, %): accuracy on test images, average accuracy (ACC)"
    assert R2.in_words(text, ["my-accuracy"]) == (
        "R² values of my-accuracy (%): R² on test examples, average R²"
    )
    assert NRMSE.in_words("learning\naccuracy") == "learning\n−NRMSE"
    assert ACCURACY.in_words(text) == text
    assert R2.declaration.endswith("the larger the better.")
    assert "the smaller NRMSE the better" in NRMSE.declaration


def test_importing_the_reading_side_needs_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, clsweep.records.metrics, clsweep.data.polynomials as p;"
        "p.examples('polynomial_1'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
