"""Records as Parquet tables, and the records that the tables give back.

`accuracy` is long and holds exact counts, or the sums of a regression in columns of their own;
`configs` has one row per configuration and one nullable column per hyper of any method; `trials`
has one row per record. pyarrow is imported where a table is made or read, so that a command that
needs no table starts at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any, Final

from clsweep.errors import StoreError
from clsweep.records.accuracy import is_of_sums, rows_by_trial
from clsweep.records.checksums import TABLE_SEAL, broken_seal, sealed_table
from clsweep.records.schema import (
    ADDED_TRIAL_COLUMNS,
    PATH_POINT,
    REGRESSION_VERSION,
    SCHEMA_VERSION,
    TRIAL_TYPES,
    TRIALS_VERSION,
    Config,
    Record,
    Trial,
    bad_record,
    check_date,
    check_names,
    check_values,
    check_version,
)
from clsweep.records.table_checks import fault_between, fault_in

if TYPE_CHECKING:
    import pyarrow as pa

# The order in which tables are replaced: a reader believes `trials`, so it comes last.
TABLES = ("accuracy", "configs", "trials")
_VERSION_KEY = b"clsweep_schema"
_JSON_TRIAL_FIELDS: Final = ("versions", "counters")


def merged_tables(
    tables: Mapping[str, pa.Table] | None, records: Iterable[Record]
) -> dict[str, pa.Table]:
    """The tables with the records put in; a record replaces the row of the same trial.

    Rows are sorted by configuration and seed, so the tables do not depend on the order in which
    trials finished. Where the records of one configuration carry different labels, the one that
    finished last names it.

    Args:
        tables: the tables so far, by name, or None.
        records: normalized records, no two of the same trial.

    Raises:
        StoreError: some are of a regression, and others are not.
    """
    import pyarrow as pa

    fresh = {record["trial"]["trial_id"]: record for record in records}
    old = [] if tables is None else _kept_trials(tables, fresh)
    trials = old + [record["trial"] for record in fresh.values()]
    trials.sort(key=lambda trial: (trial["config_id"], trial["seed"]))
    named = [] if tables is None else _dated_configs(tables, old)
    named += [(r["trial"]["finished_at"], r["config"]) for r in fresh.values()]
    accuracy = [_accuracy_table(fresh.values())]
    if tables is not None:
        accuracy.append(_kept_accuracy(tables["accuracy"], {t["trial_id"] for t in old}))
    # A table without rows has the columns of counts, whatever comes after.
    accuracy = [table for table in accuracy if len(table)] or accuracy[:1]
    if len({is_of_sums(table) for table in accuracy}) > 1:
        raise bad_record("it is of a regression, and others of the folder are not", "")
    keys = ("config_id", "seed", "after_task", "on_task", "split")
    return {
        "accuracy": pa.concat_tables(accuracy)
        .sort_by([(key, "ascending") for key in keys])
        .combine_chunks(),
        "configs": _config_table(named),
        "trials": _trial_table(trials),
    }


def records_of(tables: Mapping[str, pa.Table]) -> list[Record]:
    """The records that the tables were made of, sorted by configuration and seed."""
    configs = {row["config_id"]: _config_of(row) for row in tables["configs"].to_pylist()}
    rows = rows_by_trial(tables["accuracy"])
    version = REGRESSION_VERSION if is_of_sums(tables["accuracy"]) else SCHEMA_VERSION
    return [
        {
            "schema": version,
            "trial": trial,
            "config": configs[trial["config_id"]].copy(),
            "accuracy": rows.get(trial["trial_id"], []),
        }
        for trial in _trials_of(tables["trials"])
    ]


def of_split(accuracy: pa.Table, split: str) -> pa.Table:
    """The rows of one split: 'validation' or 'test'."""
    import pyarrow.compute as pc

    return accuracy.filter(pc.equal(accuracy["split"], split))


def rows_of_split(record: Record, split: str) -> Record:
    """The record with the accuracy rows of one split: 'validation' or 'test'."""
    return {**record, "accuracy": [row for row in record["accuracy"] if row[2] == split]}


def parquet_bytes(table: pa.Table) -> bytes:
    """A Parquet file's bytes: zstd, checksums of pages and of the whole, the schema version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    there = set(table.column_names)
    number = 2 if set(ADDED_TRIAL_COLUMNS) <= there else SCHEMA_VERSION
    number = TRIALS_VERSION if PATH_POINT in there else number
    number = REGRESSION_VERSION if set(_columns("sums")) == there else number
    version = {_VERSION_KEY: str(number).encode()}
    pq.write_table(
        table.replace_schema_metadata({**version, **TABLE_SEAL}),
        sink,
        compression="zstd",
        write_page_checksum=True,
    )
    return sealed_table(bytes(sink.getvalue()))


def table_from_parquet(data: bytes, name: str, where: str) -> pa.Table:
    """The table in a Parquet file's bytes.

    Args:
        data: the bytes of the whole file.
        name: one of `TABLES`, whose columns are checked.
        where: the file, for messages.

    Raises:
        StoreError: the file is damaged, is not the table of that name, or comes from a newer
            clsweep.
    """
    newest = {"trials": TRIALS_VERSION, "accuracy": REGRESSION_VERSION}.get(name, SCHEMA_VERSION)
    table = sound_parquet(data, where, newest)
    columns = _columns("sums" if name == "accuracy" and is_of_sums(table) else name)
    fault = fault_in(table, name, columns)
    if fault:
        raise damaged_table(fault, where)
    if name == "configs":
        return table
    added = (*ADDED_TRIAL_COLUMNS, PATH_POINT)
    there = [column for column in added if column in table.column_names]
    return table.select([*columns, *(there if name == "trials" else ())])


def sound_parquet(data: bytes, where: str, newest: int = SCHEMA_VERSION) -> pa.Table:
    """The table in a Parquet file's bytes, whatever its columns.

    Args:
        data: the bytes of the whole file.
        where: the file, for messages.
        newest: the latest schema version that is known of such a table.

    Raises:
        StoreError: the file is damaged, or comes from a newer clsweep.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fault = broken_seal(data)
    if fault:
        raise damaged_table(fault, where)
    try:
        file = pq.ParquetFile(_own_buffer(data), page_checksum_verification=True)
        version = (file.schema_arrow.metadata or {}).get(_VERSION_KEY, b"0")
        check_version(int(version), where, newest)
        table = file.read()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged_table(str(error), where) from error
    return table


def _own_buffer(data: bytes) -> pa.BufferReader:
    """The bytes, in memory of Arrow's own.

    One of its threads may drop them last. With Python's bytes that aborts a Python that is ending.
    """
    import pyarrow as pa

    buffer = pa.allocate_buffer(len(data))
    memoryview(buffer).cast("B")[:] = data
    return pa.BufferReader(buffer)


def check_same_trials(tables: Mapping[str, pa.Table], replaced: Set[str], where: str) -> None:
    """Refuse tables of which one is from elsewhere.

    Args:
        tables: all three, by name.
        replaced: trials that a record is about to replace.
        where: their folder, for messages.

    Raises:
        StoreError: they do not belong together.
    """
    fault = fault_between(tables, replaced)
    if fault:
        raise damaged_table(fault, where)


def damaged_table(found: str, where: str) -> StoreError:
    """What is raised for a table that cannot be used.

    Args:
        found: what is wrong with it.
        where: its file.
    """
    first_line = found.strip().splitlines()[0] if found.strip() else "unreadable"
    return StoreError(
        f"a result table is damaged: {first_line}",
        where=where,
        next_step="put back a copy of the file; nothing was changed or deleted",
    )


def _columns(name: str) -> dict[str, pa.DataType]:
    """The columns that every table of a name has; 'sums' for the accuracies of a regression."""
    import pyarrow as pa

    if name in ("accuracy", "sums"):
        place = {
            "config_id": pa.string(),
            "seed": pa.int64(),
            "after_task": pa.int32(),
            "on_task": pa.int32(),
            "split": pa.string(),
        }
        if name == "accuracy":
            return {**place, "n_correct": pa.int64(), "n_total": pa.int64()}
        sums = dict.fromkeys(("fourth_power", "squared_deviation"), pa.float64())
        counted = {"squared_error": pa.float64(), "n_total": pa.int64()}
        return {**place, **counted, **sums, "metric": pa.string()}
    if name == "configs":
        strings = ("config_id", "method", "label", "training", "hyper")
        lists = {"knobs": pa.list_(pa.string()), "knob_values": pa.list_(pa.float64())}
        return {**dict.fromkeys(strings, pa.string()), "is_reference": pa.bool_(), **lists}
    kinds = {int: pa.int64(), str: pa.string(), list: pa.list_(pa.string()), dict: pa.string()}
    return {
        name: pa.float64() if isinstance(kind, tuple) else kinds[kind]
        for name, kind in TRIAL_TYPES.items()
    }


def _accuracy_table(records: Iterable[Record]) -> pa.Table:
    import pyarrow as pa

    records = list(records)
    versions = {record["schema"] for record in records if record["accuracy"]}
    if len(versions) > 1:
        raise bad_record("it is of a regression, and others of the folder are not", "")
    name = "sums" if REGRESSION_VERSION in versions else "accuracy"
    schema = pa.schema(list(_columns(name).items()))
    rows = [
        (record["trial"]["config_id"], record["trial"]["seed"], *row)
        for record in records
        for row in record["accuracy"]
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _kept_accuracy(accuracy: pa.Table, trial_ids: set[str]) -> pa.Table:
    """Rows of the named trials; a compaction that was cut short may have left others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    seed = accuracy["seed"].cast(pa.string())
    ids = pc.binary_join_element_wise(accuracy["config_id"], seed, "-")
    kept = accuracy.filter(pc.is_in(ids, pa.array(sorted(trial_ids), pa.string())))
    return kept.replace_schema_metadata(None)


def _trial_table(trials: list[Trial]) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema(list(_columns("trials").items()))
    rows = [
        dict(trial) | {name: json.dumps(trial[name]) for name in _JSON_TRIAL_FIELDS}
        for trial in trials
    ]
    # Plain columns of what stands among versions and counters, for whoever queries the table.
    made = pa.Table.from_pylist(rows, schema=schema)
    for name in ADDED_TRIAL_COLUMNS:
        values = [trial["versions"].get(name) for trial in trials]
        if name == "code_dirty":
            flags = [None if value is None else value == "true" for value in values]
            made = made.append_column(name, pa.array(flags, pa.bool_()))
        else:
            made = made.append_column(name, pa.array(values, pa.string()))
    points = [trial["counters"].get(PATH_POINT) for trial in trials]
    if any(point is not None for point in points):  # a table without stays readable to all
        whole = [None if point is None else int(point) for point in points]
        made = made.append_column(PATH_POINT, pa.array(whole, pa.int64()))
    return made


def _trials_of(table: pa.Table) -> list[Trial]:
    rows = table.select(list(_columns("trials"))).to_pylist()
    for row in rows:
        row.update({name: _object(row[name], name) for name in _JSON_TRIAL_FIELDS})
        check_date(row["finished_at"], "trials.parquet")
        check_names(row["stages"], "stages", "trials.parquet")
    trials: list[Trial] = rows
    return trials


def _object(text: str, name: str) -> dict[str, Any]:
    """A column of JSON, row by row."""
    where = f"column {name} of a result table"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged_table(f"no sound JSON: {error}", where) from error
    check_values(found, name, where)
    return dict(found)


def _names(knobs: list[Any]) -> list[str]:
    if not all(isinstance(name, str) for name in knobs):
        raise damaged_table("a knob has no name", "column knobs of a result table")
    check_names(knobs, "knobs", "column knobs of a result table")
    return knobs


def _kept_trials(tables: Mapping[str, pa.Table], fresh: Mapping[str, Record]) -> list[Trial]:
    return [trial for trial in _trials_of(tables["trials"]) if trial["trial_id"] not in fresh]


def _config_of(row: Mapping[str, Any]) -> Config:
    return {
        "config_id": row["config_id"],
        "label": row["label"],
        "method": row["method"],
        "hyper": _object(row["hyper"], "hyper"),
        "training": _object(row["training"], "training"),
        "knobs": dict(zip(_names(row["knobs"]), row["knob_values"], strict=True)),
        "is_reference": row["is_reference"],
    }


def _dated_configs(
    tables: Mapping[str, pa.Table], trials: list[Trial]
) -> list[tuple[str, Config]]:
    dates: dict[str, str] = {}
    for trial in trials:
        dates[trial["config_id"]] = max(dates.get(trial["config_id"], ""), trial["finished_at"])
    configs = (_config_of(row) for row in tables["configs"].to_pylist())
    return [(dates[c["config_id"]], c) for c in configs if c["config_id"] in dates]


def _config_table(dated: list[tuple[str, Config]]) -> pa.Table:
    import pyarrow as pa

    latest: dict[str, Config] = {}
    for _, config in sorted(dated, key=lambda pair: (pair[0], json.dumps(pair[1]))):
        latest[config["config_id"]] = config
    configs = [latest[config_id] for config_id in sorted(latest)]
    rows = {
        "config_id": pa.array([c["config_id"] for c in configs], pa.string()),
        "method": pa.array([c["method"] for c in configs], pa.string()),
        "label": pa.array([c["label"] for c in configs], pa.string()),
        "is_reference": pa.array([c["is_reference"] for c in configs], pa.bool_()),
        "training": pa.array([json.dumps(c["training"]) for c in configs], pa.string()),
        "hyper": pa.array([json.dumps(c["hyper"]) for c in configs], pa.string()),
        "knobs": pa.array([list(c["knobs"]) for c in configs], pa.list_(pa.string())),
        "knob_values": pa.array(
            [list(c["knobs"].values()) for c in configs], pa.list_(pa.float64())
        ),
    }
    for name in sorted({name for config in configs for name in config["hyper"]}):
        column = name if name not in rows else f"hyper.{name}"
        rows[column] = _hyper_column([config["hyper"].get(name) for config in configs])
    return pa.table(rows)


def _hyper_column(values: list[Any]) -> pa.Array:
    """One column for a hyper of any method; kinds that do not mix are written as JSON."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    fits = all(-(2**63) <= value < 2**63 for value in values if type(value) is int)
    by_kind = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    if kinds == {int, float}:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if len(kinds) == 1 and kinds <= set(by_kind) and fits:
        return pa.array(values, by_kind[kinds.pop()])
    return pa.array([None if v is None else json.dumps(v) for v in values], pa.string())
