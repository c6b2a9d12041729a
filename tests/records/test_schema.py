"""Records are checked at the border, and tables give back what was put in."""

from __future__ import annotations

import copy
import random

import pyarrow as pa
import pytest

from clsweep.errors import StoreError
from clsweep.records.schema import (
    ADDED_TRIAL_COLUMNS,
    PATH_POINT,
    TRIALS_VERSION,
    check_record,
    normalized,
)
from clsweep.records.tables import (
    TABLES,
    merged_tables,
    parquet_bytes,
    records_of,
    table_from_parquet,
)
from tests.support.records import make_record, make_study


def by_trial(records):
    return sorted(records, key=lambda r: (r["trial"]["config_id"], r["trial"]["seed"]))


def variety():
    """Records of several methods whose hypers have different names and kinds."""
    return [
        make_record("EWC", "ewc", 0, {"lam": 1e3, "anchor": "separate", "fisher_examples": 0}),
        make_record("EWC", "ewc", 1, {"lam": 1e3, "anchor": "separate", "fisher_examples": 0}),
        make_record("EWC", "ewc", 0, {"lam": 1e10, "anchor": "online", "fisher_examples": 500}),
        make_record(
            "replay",
            "replay",
            2,
            {"weight": 1, "memory_size": 500, "average": True},
            {"weight": 1, "memory_size": 500},
        ),
        make_record(
            "replay",
            "replay",
            0,
            {"weight": 0.5, "memory_size": 50, "average": False},
            {"weight": 0.5, "memory_size": 50},
        ),
        make_record("fine-tuning", "finetune", 0, {}, {}, is_reference=True),
        make_record("SI", "si", 0, {"c": 0.1, "lam": 3}, {"c": 0.1}, status="diverged"),
        make_record("odd", "odd", 0, {"label": "a name of a column", "lam": 1.5}, {"lam": 1.5}),
    ]


class TestRoundTrip:
    def test_records_come_back_equal(self):
        records = [normalized(record) for record in variety()]
        files = {name: parquet_bytes(t) for name, t in merged_tables(None, records).items()}
        tables = {name: table_from_parquet(files[name], name, "") for name in TABLES}
        assert records_of(tables) == by_trial(records)

    def test_folding_in_two_steps_equals_folding_at_once(self):
        records = [normalized(record) for record in variety()]
        at_once = merged_tables(None, records)
        first = merged_tables(None, records[:4])
        assert merged_tables(first, records[4:]) == at_once

    def test_bytes_do_not_depend_on_the_order_of_completion(self):
        records = [normalized(record) for record in make_study(("EWC", "replay"), 3, 2)]
        expected = {n: parquet_bytes(t) for n, t in merged_tables(None, records).items()}
        random.Random(0).shuffle(records)
        half = merged_tables(None, records[:7])
        got = {n: parquet_bytes(t) for n, t in merged_tables(half, records[7:]).items()}
        assert got == expected

    def test_a_later_record_replaces_the_trial_and_its_accuracies(self):
        failed = normalized(make_record(status="failed"))
        other = normalized(make_record(seed=1))
        done = normalized(make_record())
        tables = merged_tables(merged_tables(None, [failed, other]), [done])
        assert records_of(tables) == by_trial([done, other])
        shorter = normalized(make_record(accuracy=[[1, 0, "test", 1, 2]]))
        assert records_of(merged_tables(tables, [shorter])) == by_trial([shorter, other])

    def test_accuracies_of_unknown_trials_are_dropped(self):
        # What a compaction that stopped after its first table leaves behind.
        first, second = normalized(make_record(seed=0)), normalized(make_record(seed=1))
        torn = dict(merged_tables(None, [first]))
        torn["accuracy"] = merged_tables(None, [first, second])["accuracy"]
        third = normalized(make_record(seed=2))
        assert merged_tables(torn, [third]) == merged_tables(None, [first, third])

    def test_the_last_finished_record_names_the_configuration(self):
        old = normalized(make_record("old name", finished_at="2025-01-01T00:00:00"))
        new = normalized(make_record("new name", seed=1, finished_at="2025-06-01T00:00:00"))
        for tables in (
            merged_tables(None, [new, old]),
            merged_tables(merged_tables(None, [new]), [old]),
        ):
            assert tables["configs"]["label"].to_pylist() == ["new name"]

    def test_a_hyper_becomes_a_typed_nullable_column(self):
        configs = merged_tables(None, [normalized(record) for record in variety()])["configs"]
        types = {field.name: field.type for field in configs.schema}
        assert types["lam"] == pa.float64()  # 3 and 1e3 mix
        assert types["memory_size"] == pa.int64()
        assert types["average"] == pa.bool_()
        assert types["anchor"] == pa.string()
        assert configs["anchor"].null_count == configs.num_rows - 2
        assert "a name of a column" in configs["hyper.label"].to_pylist()

    def test_hypers_that_no_column_type_fits_are_written_as_json(self):
        records = [
            normalized(make_record("a", "a", 0, {"x": 2**70, "y": [1, 2]}, {})),
            normalized(make_record("b", "b", 0, {"x": 1, "y": "text"}, {})),
        ]
        tables = merged_tables(None, records)
        assert records_of(tables) == by_trial(records)
        assert sorted(tables["configs"]["x"].to_pylist()) == ["1", str(2**70)]

    def test_no_records_make_empty_tables(self):
        tables = merged_tables(None, [])
        assert records_of(tables) == []
        assert table_from_parquet(parquet_bytes(tables["trials"]), "trials", "").num_rows == 0


class TestNormalized:
    def test_tuples_numbers_and_order(self):
        record = make_record(accuracy=[(1, 0, "test", 1, 2), (0, 0, "test", 2, 2)])
        plain = normalized(record)
        assert plain["accuracy"] == [[0, 0, "test", 2, 2], [1, 0, "test", 1, 2]]
        assert record["accuracy"][0] == (1, 0, "test", 1, 2)  # the argument is untouched

    def test_half_a_surrogate_pair_does_not_stop_a_table(self):
        record = normalized(make_record(status="failed", message="bad name \udcff"))
        assert records_of(merged_tables(None, [record])) == [record]

    def test_numpy_numbers_are_refused_with_a_reason(self):
        import numpy as np

        with pytest.raises(StoreError, match="not plain JSON"):
            normalized(make_record(accuracy=[[0, 0, "test", np.int64(1), 2]]))


def broken(path: str, value: object):
    record = copy.deepcopy(make_record())
    *parents, last = path.split(".")
    part = record
    for key in parents:
        part = part[key]
    part[last] = value
    return record


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", "1", "schema version is '1'"),
        ("schema", 3, "newer clsweep"),
        ("trial.status", "fine", "trial.status is 'fine'"),
        ("trial.seed", True, "trial.seed is True"),
        ("trial.seed", 2**64, "does not fit"),
        ("trial.seed", 1, "trial.trial_id"),
        ("trial.extra", 1, "unknown \\['extra'\\]"),
        ("trial.stages", [1], "stages"),
        ("config.config_id", "other", "differ"),
        ("config.knobs", {"lam": "high"}, "config.knobs.lam"),
        ("config", [], "'config' is not an object"),
        ("accuracy", [], "no accuracy rows"),
        ("accuracy", [[0, 0, "train", 1, 2]], "accuracy row"),
        ("accuracy", [[0, 0, "test", 3, 2]], "accuracy row"),
        ("accuracy", [[0, 0, "test", 0, 0]], "accuracy row"),
        ("accuracy", [[0, 0, "test", 1, 2]] * 2, "twice"),
        ("more", 1, "its parts"),
    ],
)
def test_a_broken_record_is_refused_with_its_reason(path, value, message):
    with pytest.raises(StoreError, match=message):
        check_record(broken(path, value))


def test_an_id_that_would_leave_the_folder_is_refused():
    record = make_record()
    record["trial"]["config_id"] = record["config"]["config_id"] = "../x"
    record["trial"]["trial_id"] = "../x-0"
    with pytest.raises(StoreError, match="trial_id"):
        check_record(record)


class TestParquet:
    def data(self) -> bytes:
        return parquet_bytes(merged_tables(None, [normalized(make_record())])["trials"])

    def test_the_file_states_its_schema_version(self):
        import pyarrow.parquet as pq

        metadata = pq.read_schema(pa.BufferReader(self.data())).metadata
        assert metadata[b"clsweep_schema"] == b"2"  # of trials; other tables say 1

    def test_a_newer_schema_is_refused(self):
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        newer = {"clsweep_schema": str(TRIALS_VERSION + 1)}
        table = pa.table({"trial_id": ["a-0"]}).replace_schema_metadata(newer)
        pq.write_table(table, sink)
        with pytest.raises(StoreError, match="newer clsweep"):
            table_from_parquet(bytes(sink.getvalue()), "trials", "f")

    def test_other_tables_state_the_first_version(self):
        import pyarrow.parquet as pq

        for name in ("accuracy", "configs"):
            data = parquet_bytes(merged_tables(None, [normalized(make_record())])[name])
            assert pq.read_schema(pa.BufferReader(data)).metadata[b"clsweep_schema"] == b"1"

    def test_one_of_a_release_without_the_added_columns_is_read_and_gets_them(self):
        import pyarrow.parquet as pq

        tables = merged_tables(None, [normalized(make_record())])
        old = tables["trials"].drop_columns(list(ADDED_TRIAL_COLUMNS))
        sink = pa.BufferOutputStream()
        pq.write_table(old.replace_schema_metadata({"clsweep_schema": "1"}), sink)
        read = table_from_parquet(bytes(sink.getvalue()), "trials", "f")
        assert read.column_names == old.column_names
        more = normalized(make_record(seed=1))
        more["trial"]["versions"] |= {"code_commit": "ab12", "code_dirty": "false", "gpu": "H200"}
        merged = merged_tables({**tables, "trials": read}, [more])
        rows = merged["trials"].select(list(ADDED_TRIAL_COLUMNS)).to_pylist()
        assert [tuple(row.values()) for row in rows] == [
            (None, None, None, None),
            ("ab12", False, "H200", None),
        ]
        back = [record["trial"] for record in records_of(merged)]
        assert [one["versions"].get("gpu") for one in back] == [None, "H200"]
        assert all("gpu" not in one for one in back)

    def test_points_of_a_path_alone_have_a_column_and_its_version(self):
        import pyarrow.parquet as pq

        records = [normalized(make_record(seed=seed)) for seed in (0, 1)]
        plain = merged_tables(None, records[:1])["trials"]
        records[1]["trial"]["counters"] |= {PATH_POINT: 3.0}
        found = merged_tables(None, records)
        data = {"2": parquet_bytes(plain), "3": parquet_bytes(found["trials"])}
        for version, written in data.items():
            schema = pq.read_schema(pa.BufferReader(written))
            assert schema.metadata[b"clsweep_schema"] == version.encode()
            assert (PATH_POINT in schema.names) == (version == "3")
        read = table_from_parquet(data["3"], "trials", "f")
        assert read[PATH_POINT].to_pylist() == [None, 3]
        back = records_of({**found, "trials": read})
        assert back[1]["trial"]["counters"][PATH_POINT] == 3.0
        floats = read.set_column(
            read.column_names.index(PATH_POINT), PATH_POINT, pa.array([None, 3.0])
        )
        with pytest.raises(StoreError, match="path_point is of type double"):
            table_from_parquet(parquet_bytes(floats), "trials", "f")

    def test_an_added_column_of_another_type_is_damage(self):
        import pyarrow.parquet as pq

        table = merged_tables(None, [normalized(make_record())])["trials"]
        table = table.drop_columns(["gpu"]).append_column("gpu", pa.array([1]))
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata({"clsweep_schema": "2"}), sink)
        with pytest.raises(StoreError, match="column gpu is of type int64"):
            table_from_parquet(bytes(sink.getvalue()), "trials", "f")

    @pytest.mark.parametrize("cut", [0, 3, 10, 1000])
    def test_a_cut_file_is_damaged(self, cut):
        with pytest.raises(StoreError, match="damaged"):
            table_from_parquet(self.data()[:-cut] if cut else b"", "trials", "f")

    def test_a_flipped_byte_of_a_page_is_found(self):
        import pyarrow.parquet as pq

        records = [normalized(record) for record in make_study(n_seeds=2)]
        data = parquet_bytes(merged_tables(None, records)["accuracy"])
        group = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0)
        column = max((group.column(i) for i in range(7)), key=lambda c: c.total_compressed_size)
        middle = column.data_page_offset + column.total_compressed_size // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        with pytest.raises(StoreError, match="damaged"):
            table_from_parquet(flipped, "accuracy", "f")

    def test_a_foreign_table_is_damaged(self):
        with pytest.raises(StoreError, match="no column"):
            table_from_parquet(
                parquet_bytes(pa.table({"trial_id": ["a-0"]})), "trials", "some.parquet"
            )
