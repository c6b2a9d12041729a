"""What was changed on disk is never taken for what was written, and older files stay readable."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clsweep.errors import StoreError
from clsweep.records.checksums import record_from_bytes, sealed_json
from clsweep.records.schema import NewerSchemaError, normalized
from clsweep.records.tables import merged_tables, parquet_bytes, table_from_parquet
from clsweep.storage.store import Store, commit_record
from tests.support.records import make_record, make_study

RECORD = normalized(make_record())
TRIAL = RECORD["trial"]["trial_id"]
STUDY = [normalized(record) for record in make_study(("EWC", "replay"), 2, 2)]
TABLES = merged_tables(None, STUDY)
NAMES = ("accuracy", "configs", "trials")


def flips(data: bytes, stride: int = 1):
    """(position, the data with one bit of that byte flipped); every bit where `stride` is 1."""
    rng = random.Random(0)
    for position in range(len(data)):
        for bit in range(8) if stride == 1 else [rng.randrange(8)]:
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            yield position, bytes(flipped)


# One of five, and all of them.
EVERY = pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])


class TestRecord:
    def test_it_is_json_that_ends_with_its_checksum(self):
        data = sealed_json(RECORD)
        assert record_from_bytes(data, TRIAL, "") == RECORD
        plain = json.loads(data)
        assert list(plain)[-1] == "sha256"
        assert {key: plain[key] for key in RECORD} == RECORD

    @EVERY
    def test_no_flipped_bit_is_taken_for_a_record(self, every):
        for position, flipped in islice(flips(sealed_json(RECORD)), 0, None, every):
            with pytest.raises(StoreError) as refused:
                record_from_bytes(flipped, TRIAL, "")
            assert not isinstance(refused.value, NewerSchemaError), position

    def test_no_truncated_one_is_either(self):
        data = sealed_json(RECORD)
        for end in range(len(data)):
            with pytest.raises(StoreError):
                record_from_bytes(data[:end], TRIAL, "")

    def test_one_of_a_release_without_checksums_is_read(self):
        assert record_from_bytes(json.dumps(RECORD).encode(), TRIAL, "") == RECORD

    def test_a_changed_number_is_found_in_whatever_form_it_is_written_back(self):
        plain = json.loads(sealed_json(RECORD))
        plain["accuracy"][0][3] -= 1
        for text in (json.dumps(plain), json.dumps(plain, indent=1)):
            with pytest.raises(StoreError, match="checksum|its parts"):
                record_from_bytes(text.encode(), TRIAL, "")

    def test_one_under_the_name_of_another_trial_is_refused(self):
        with pytest.raises(StoreError, match=f"it is of trial {TRIAL}"):
            record_from_bytes(sealed_json(RECORD), "other-0", "")

    @pytest.mark.parametrize(
        "data",
        [
            b"[" * 100_000,
            b'{"schema": ' + b"9" * 5000 + b"}",
            json.dumps({**RECORD, "config": {**RECORD["config"], "label": "\ud800"}}).encode(),
            json.dumps({**RECORD, "config": {**RECORD["config"], "label": "x"}})
            .replace('"x"', r'"\uDFFF"')
            .encode(),
            "\ufeff".encode() + json.dumps(RECORD).encode(),
            json.dumps(RECORD).encode("utf-16"),
        ],
        ids=[
            "deep",
            "long number",
            "half a character",
            "the other half",
            "byte-order mark",
            "utf-16",
        ],
    )
    def test_json_that_no_program_of_ours_writes(self, data):
        with pytest.raises(StoreError):
            record_from_bytes(data, TRIAL, "")

    @pytest.mark.parametrize(
        ("part", "key", "value"),
        [
            ("trial", "n_steps", -1),
            ("trial", "wall_seconds", float("nan")),
            ("trial", "wall_seconds", float("inf")),
            ("trial", "wall_seconds", -0.5),
            ("trial", "attempts", -2),
            ("trial", "method", "another"),
            ("trial", "finished_at", "yesterday"),
            ("trial", "finished_at", "9999-12-31T23:59:59+00:00"),
            ("trial", "versions", {"torch": 2}),
            ("trial", "counters", {"cpu_seconds": "long"}),
            ("trial", "counters", {"cpu_seconds": None}),
            ("config", "knobs", {"lam": float("nan")}),
            ("config", "hyper", {"lam": float("inf")}),
            ("config", "hyper", {"lam": {"a": 1}}),
            ("config", "training", {"lr": [[1]]}),
        ],
    )
    def test_values_that_nothing_can_be_computed_with_are_refused(self, part, key, value):
        record = {**RECORD, part: {**RECORD[part], key: value}}
        with pytest.raises(StoreError, match="cannot be stored"):
            record_from_bytes(json.dumps(record).encode(), TRIAL, "")

    @pytest.mark.parametrize("row", [[1000, 0, "test", 1, 2], [0, 1000, "test", 1, 2]])
    def test_more_tasks_than_can_be_are_refused(self, row):
        record = {**RECORD, "accuracy": [row]}
        with pytest.raises(StoreError, match="accuracy row"):
            record_from_bytes(json.dumps(record).encode(), TRIAL, "")


class TestFolder:
    def test_a_flipped_digit_counts_as_damage(self, tmp_path):
        path = commit_record(tmp_path, RECORD)
        text = path.read_text()
        path.write_text(text.replace('"n_steps": 1000', '"n_steps": 1001'))
        store = Store(tmp_path)
        assert store.load() == []
        assert "checksum" in store.warnings[0]
        assert len(list((tmp_path / "damaged").iterdir())) == 1

    def test_a_copy_under_another_name_is_no_second_trial(self, tmp_path):
        path = commit_record(tmp_path, RECORD)
        path.with_name("copy-1.json").write_bytes(path.read_bytes())
        store = Store(tmp_path)
        assert store.load() == [RECORD]
        assert "copy-1" in store.warnings[0]

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        (tmp_path / "records").mkdir()
        os.mkfifo(tmp_path / "records" / "a-0.json")
        store = Store(tmp_path)
        assert store.load() == []
        assert "it is no file" in store.warnings[0]

    def test_links_are_followed_unless_they_lead_nowhere_or_round_in_circles(self, tmp_path):
        path = commit_record(tmp_path, RECORD)
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        path.with_name("gone-0.json").symlink_to(tmp_path / "nowhere")
        assert Store(tmp_path).load() == [RECORD]
        path.with_name("loop-0.json").symlink_to("loop-0.json")
        with pytest.raises(StoreError, match=r"(?s)cannot be read.*loop-0"):
            Store(tmp_path).load()


def rewritten(name: str, change: Any) -> bytes:
    """A table as a program without checksums writes it, changed."""
    table = change(TABLES[name]).replace_schema_metadata({"clsweep_schema": "1"})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def test_arrow_reads_from_memory_of_its_own(monkeypatch):
    """One of its threads may drop the bytes last; dropping Python's while Python ends aborts."""
    data, given, reader = parquet_bytes(TABLES["trials"]), [], pa.BufferReader
    monkeypatch.setattr(pa, "BufferReader", lambda buffer: given.append(buffer) or reader(buffer))
    assert table_from_parquet(data, "trials", "").num_rows == len(STUDY)
    (buffer,) = given
    assert buffer.address != pa.py_buffer(data).address
    assert buffer.equals(pa.py_buffer(data))


@pytest.mark.slow  # half a second each; without a copy one in twelve ended with SIGABRT
def test_processes_that_end_right_after_reading_end_well(tmp_path):
    for name, table in TABLES.items():
        (tmp_path / f"{name}.parquet").write_bytes(parquet_bytes(table))
    code = (
        "import pathlib, sys\n"
        "from clsweep.records.tables import table_from_parquet\n"
        f"for name in {NAMES}:\n"
        "    data = (pathlib.Path(sys.argv[1]) / f'{name}.parquet').read_bytes()\n"
        "    table_from_parquet(data, name, '')\n"
    )
    for _ in range(40):
        done = subprocess.run([sys.executable, "-c", code, tmp_path], stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (0, b"")


def column(table: pa.Table, name: str, values: Any, kind: Any = None) -> pa.Table:
    place = table.column_names.index(name)
    return table.set_column(place, name, pa.array(values, kind or table.schema.field(name).type))


class TestTable:
    @EVERY
    @pytest.mark.parametrize("name", NAMES)
    def test_no_flipped_bit_changes_what_is_read(self, name, every):
        data = parquet_bytes(TABLES[name])
        for position, flipped in islice(flips(data, stride=2), 0, None, every):
            try:
                found = table_from_parquet(flipped, name, "f")
            except StoreError:
                continue
            # What names the checksum is not covered by it; without it, pages are still checked.
            assert found.equals(TABLES[name]), position

    @pytest.mark.parametrize("name", NAMES)
    def test_other_programs_read_it(self, name, tmp_path):
        (tmp_path / "x.parquet").write_bytes(parquet_bytes(TABLES[name]))
        assert pq.read_table(tmp_path / "x.parquet").equals(TABLES[name])

    @pytest.mark.parametrize("name", NAMES)
    def test_one_of_a_release_without_checksums_is_read(self, name):
        assert table_from_parquet(rewritten(name, lambda t: t), name, "f").equals(TABLES[name])

    def test_one_that_pyarrow_wrote_back_changed_is_damage(self, tmp_path):
        (tmp_path / "x").write_bytes(parquet_bytes(TABLES["accuracy"]))
        table = pq.read_table(tmp_path / "x")
        pq.write_table(column(table, "n_correct", [0] * len(table)), tmp_path / "x")
        with pytest.raises(StoreError, match="checksum"):
            table_from_parquet((tmp_path / "x").read_bytes(), "accuracy", "f")

    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            ("accuracy", lambda t: t.drop_columns(["split"]), "no column"),
            ("accuracy", lambda t: t.append_column("more", t["seed"]), "unknown columns"),
            ("accuracy", lambda t: column(t, "seed", t["seed"].cast("int32"), pa.int32()), "type"),
            ("accuracy", lambda t: column(t, "seed", [None] * len(t)), "without a value"),
            ("accuracy", lambda t: column(t, "split", ["train"] * len(t)), "split"),
            ("accuracy", lambda t: column(t, "n_correct", [10**6] * len(t)), "n_correct"),
            ("accuracy", lambda t: column(t, "n_correct", [-1] * len(t)), "n_correct"),
            ("accuracy", lambda t: column(t, "n_total", [0] * len(t)), "n_correct"),
            ("accuracy", lambda t: column(t, "after_task", [-2] * len(t)), "after_task"),
            ("accuracy", lambda t: column(t, "on_task", [2**31 - 1] * len(t)), "on_task"),
            ("accuracy", lambda t: pa.concat_tables([t, t[:1]]), "twice"),
            ("accuracy", lambda t: pa.concat_tables([t[:1], t]), "twice"),
            ("configs", lambda t: column(t, "hyper", ["{"] * len(t)), None),
            ("configs", lambda t: pa.concat_tables([t, t[:1]]), "twice"),
            ("configs", lambda t: column(t, "knobs", [["a", "b", "c"]] * len(t)), "one length"),
            (
                "configs",
                lambda t: column(t, "knob_values", [[float("nan")]] * len(t)),
                "length|fin",
            ),
            ("trials", lambda t: column(t, "seed", [7] * len(t)), "trial_id"),
            ("trials", lambda t: pa.concat_tables([t, t[:1]]), "twice"),
            ("trials", lambda t: column(t, "status", ["fine"] * len(t)), "status"),
            ("trials", lambda t: column(t, "wall_seconds", [float("nan")] * len(t)), "wall_sec"),
            ("trials", lambda t: column(t, "n_steps", [-1] * len(t)), "n_steps"),
            ("trials", lambda t: column(t, "counters", ["[]"] * len(t)), None),
            ("trials", lambda t: column(t, "finished_at", ["soon"] * len(t)), None),
            ("trials", lambda t: t.rename_columns([*t.column_names[:-1], "seed"]), "column"),
        ],
    )
    def test_what_is_not_the_table_of_its_name_is_refused(self, tmp_path, name, change, message):
        for other in NAMES:
            (tmp_path / f"{other}.parquet").write_bytes(parquet_bytes(TABLES[other]))
        (tmp_path / f"{name}.parquet").write_bytes(rewritten(name, change))
        with pytest.raises(StoreError, match=message or "."):
            Store(tmp_path).load()
        if message:
            with pytest.raises(StoreError, match=f"(?s)damaged.*{message}.*{name}.parquet"):
                Store(tmp_path).check_tables()

    def test_sorted_or_not_makes_no_difference(self):
        order = np.random.default_rng(0).permutation(len(TABLES["accuracy"]))
        mixed = rewritten("accuracy", lambda t: t.take(pa.array(order)))
        assert len(table_from_parquet(mixed, "accuracy", "f")) == len(order)

    @pytest.mark.parametrize(("one", "other"), [("accuracy", "trials"), ("configs", "trials")])
    def test_swapped_files_are_found(self, tmp_path, one, other):
        for name, of in zip(NAMES, NAMES, strict=True):
            of = {one: other, other: one}.get(name, of)
            (tmp_path / f"{name}.parquet").write_bytes(parquet_bytes(TABLES[of]))
        with pytest.raises(StoreError, match="damaged"):
            Store(tmp_path).load()

    @pytest.mark.parametrize("name", ["accuracy", "configs"])
    def test_a_table_of_another_study_is_found(self, tmp_path, name):
        elsewhere = merged_tables(None, [normalized(r) for r in make_study(("MAS",), 2, 1, ())])
        for other in NAMES:
            table = elsewhere[name] if other == name else TABLES[other]
            (tmp_path / f"{other}.parquet").write_bytes(parquet_bytes(table))
        for action in (Store(tmp_path).load, Store(tmp_path).check_tables):
            with pytest.raises(StoreError, match=f"{name}.parquet lacks"):
                action()

    def test_rows_are_not_missed_of_a_trial_that_a_record_replaces(self, tmp_path: Path):
        tables = {**TABLES, "accuracy": merged_tables(None, STUDY[1:])["accuracy"]}
        for name in NAMES:
            (tmp_path / f"{name}.parquet").write_bytes(parquet_bytes(tables[name]))
        again = {**STUDY[0], "accuracy": []}
        again["trial"] = {**again["trial"], "status": "failed"}
        commit_record(tmp_path, again)
        Store(tmp_path).check_tables()
        Store(tmp_path).compact()
        assert len(Store(tmp_path).load()) == len(STUDY)
