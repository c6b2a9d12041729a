"""Extras of trials: files and tables give back what was put in, and what is none is refused."""

from __future__ import annotations

import json

import pytest

from clsweep.errors import StoreError
from clsweep.records.checksums import sealed_json
from clsweep.records.tables import parquet_bytes
from clsweep.records.trial_extras import (
    ClassCount,
    MeasureValue,
    TrialExtras,
    extras_bytes,
    extras_from_bytes,
    extras_table,
    merged_extras,
    of_records,
)

AT = "2026-01-02T03:04:05.678+00:00"
COUNTS = (
    ClassCount(0, "test", 0, 0, "cat", "cat", 7),
    ClassCount(0, "test", 0, 1, "cat", "dog", 3),
    ClassCount(1, "validation", 2, 2, "ant", "ant", 5),
)
MEASURES = (MeasureValue("m:worst", 0.25), MeasureValue("m:bad", None, "raised"))
EXTRAS = TrialExtras("abc", 3, AT, COUNTS, MEASURES)


def test_a_file_gives_back_what_was_put_in() -> None:
    assert extras_from_bytes(extras_bytes(EXTRAS), "f") == EXTRAS
    assert extras_from_bytes(extras_bytes(TrialExtras("abc", 3, AT)), "f").measures == ()


def test_a_damaged_file_is_refused() -> None:
    data = extras_bytes(EXTRAS)
    for broken in (data[:-9], data.replace(b"cat", b"cow"), b"{}", b""):
        with pytest.raises(StoreError, match="checksum"):
            extras_from_bytes(broken, "f")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": "3"}, "it names no trial"),
        ({"finished_at": "yesterday"}, "not a date"),
        ({"more": 1}, "other fields"),
        ({"class_counts": [[0, "test", 0, 1, "cat", "dog"]]}, "other fields"),
        ({"class_counts": [[0, "test", 0, 1, "cat", "dog", 0]]}, "a count per class"),
        ({"class_counts": [[0, "train", 0, 1, "cat", "dog", 1]]}, "a count per class"),
        ({"class_counts": [[-1, "test", 0, 1, "cat", "dog", 1]]}, "a count per class"),
        ({"class_counts": [[0, "test", 0, 1, "c\x1b", "dog", 1]]}, "a count per class"),
        ({"measures": [["m", "high", ""]]}, "a measure makes no sense"),
        ({"measures": [["m", float("nan"), ""]]}, "a measure makes no sense"),
        ({"measures": [["m", True, ""]]}, "a measure makes no sense"),
        ({"extras_schema": 2}, "newer clsweep"),
    ],
)
def test_what_makes_no_sense_is_refused(changed: dict, said: str) -> None:
    plain = json.loads(json.dumps({"extras_schema": 1, **EXTRAS._asdict()}))
    with pytest.raises(StoreError, match=said):
        extras_from_bytes(sealed_json({**plain, **changed}), "f")


def test_tables_hold_every_trial_once() -> None:
    other = TrialExtras("abd", 0, AT, COUNTS[:1])
    tables = merged_extras(merged_extras(None, [other]), [EXTRAS])
    assert tables["class_counts"]["n"].to_pylist() == [7, 3, 5, 7]
    assert tables["class_counts"]["predicted_class"].to_pylist() == ["cat", "dog", "ant", "cat"]
    assert tables["measures"]["value"].to_pylist() == [0.25, None]
    again = EXTRAS._replace(class_counts=COUNTS[2:], measures=())
    tables = merged_extras(tables, [again])
    assert tables["class_counts"]["n"].to_pylist() == [5, 7]
    assert len(tables["measures"]) == 0
    for name, table in tables.items():
        assert extras_table(parquet_bytes(table), name, "f").equals(table)


def test_tables_of_other_columns_are_refused() -> None:
    tables = merged_extras(None, [EXTRAS])
    with pytest.raises(StoreError, match="its columns are"):
        extras_table(parquet_bytes(tables["measures"]), "class_counts", "f")
    numbers = tables["class_counts"].to_pydict()
    for column, value, said in (
        ("n", -1, "column n holds numbers out of range"),
        ("split", "train", "column split holds what is no split"),
        ("class", "a\x1b[2J", "column class holds control characters"),
    ):
        rows = {**numbers, column: [value] * 3}
        broken = tables["class_counts"].from_pydict(rows, schema=tables["class_counts"].schema)
        with pytest.raises(StoreError, match=said):
            extras_table(parquet_bytes(broken), "class_counts", "f")


def test_extras_belong_to_the_record_of_the_same_moment() -> None:
    table = merged_extras(None, [EXTRAS])["class_counts"]
    trial = {"config_id": "abc", "seed": 3, "finished_at": AT}
    assert len(of_records(table, [{"trial": trial}])) == 3
    for key, value in (("seed", 2), ("config_id", "abd"), ("finished_at", AT.replace("8+", "9+"))):
        assert len(of_records(table, [{"trial": {**trial, key: value}}])) == 0
