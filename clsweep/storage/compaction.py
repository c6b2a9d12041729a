"""Compaction of records into tables, and what lies in a results folder before and after.

In an object store nothing is ever renamed or appended to:

    DIR/records/ID.json   one record per trial, kept for good
    DIR/*.parquet         the tables, as on a disk: made of the records, replaced one by one
    DIR/folded.json       written last: which tables belong together, which records are in them

On a disk a compaction deletes the records that it has put into the tables, and a lock of the
kernel keeps a second driver from replacing those tables by older ones. No object store has such a
lock. So the records stay: whatever two drivers do to each other's tables, whatever is cut short
where, no trial is lost, and a trial has one record and one row, since both are named by it.

`folded.json` spares reading them all. A record is read from the tables where it holds the record's
size and time of change, and the tables are those whose checksums it holds; otherwise the record
itself is read, and wins. A folder copied here from a disk has rows without records: they count,
and the first compaction gives each its record before it replaces a table.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from clsweep.records.checksums import sealed_json
from clsweep.records.schema import normalized
from clsweep.storage.attempts import forget
from clsweep.storage.folder_base import Entry, Folder
from clsweep.storage.pending_records import Pending, pending_in
from clsweep.storage.remote_path import Stamp, at_once
from clsweep.storage.table_files import (
    READ_ORDER,
    missing_table,
    parsed_tables,
    table_data,
    table_in,
)

if TYPE_CHECKING:
    import pyarrow as pa

COMPACTED = "folded.json"
_KEYS = ("config_id", "seed")


class Contents(NamedTuple):
    """What lies in a results folder.

    Attributes:
        pending: the records that are not in the tables.
        tables: None before the first compaction.
        stamps: trial id to stamp, of all records in an object store.
        is_whole: whether the tables are those of the latest compaction into an object store.
    """

    pending: list[Pending]
    tables: dict[str, pa.Table] | None
    stamps: Mapping[str, Stamp] = {}
    is_whole: bool = True


class Compaction(NamedTuple):
    """What the latest compaction wrote.

    Attributes:
        checksums: of the tables' files, by name.
        stamps: trial id to the stamp of the record that is in the tables.
    """

    checksums: dict[str, str]
    stamps: dict[str, Stamp]


def latest_compaction(folder: Folder) -> Compaction:
    """The latest compaction; empty where there is none, or none that can be read.

    Args:
        folder: the results folder, in an object store.
    """
    try:
        found = json.loads((folder.place / COMPACTED).read_bytes())
        stamps = {str(key): tuple(map(int, stamp)) for key, stamp in found["records"].items()}
        return Compaction({str(key): str(value) for key, value in found["tables"].items()}, stamps)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        # Nothing rests on it: all records are read instead.
        return Compaction({}, {})


def is_of_compaction(latest: Compaction, name: str, data: bytes | None) -> bool:
    """Whether a table is the one that the latest compaction wrote.

    Args:
        latest: the latest compaction.
        name: the table's.
        data: its file; None where there is none.
    """
    return data is not None and latest.checksums.get(name) == _checksum(data)


def contents_of(folder: Folder, warnings: list[str], read_only: bool) -> Contents:
    """What lies in a results folder.

    Args:
        folder: the results folder.
        warnings: a sentence is added for each record that is damaged.
        read_only: whether those stay where they are.

    Raises:
        StoreError: a table is damaged, or something was written by a newer clsweep.
    """
    if folder.keeps_records:
        return _contents_beside_records(folder, warnings, read_only)
    # In this order: see `store`.
    pending = pending_in(folder, _records_in(folder), warnings, read_only)
    return Contents(pending, _tables_with(folder, pending))


def trials_of(
    folder: Folder, warnings: list[str], read_only: bool
) -> tuple[list[Pending], pa.Table | None]:
    """Records that are not in the tables, and the table of trials.

    No accuracy is read from a disk; in an object store all tables tell what is compacted.

    Args:
        folder: the results folder.
        warnings: a sentence is added for each record that is damaged.
        read_only: whether those stay where they are.

    Raises:
        StoreError: a table is damaged, or something was written by a newer clsweep.
    """
    if folder.keeps_records:
        found = contents_of(folder, warnings, read_only)
        return found.pending, (found.tables or {}).get("trials")
    pending = pending_in(folder, _records_in(folder), warnings, read_only)
    return pending, table_in(folder.place, "trials")


def compact(
    folder: Folder, check: Callable[[], None], warnings: list[str], read_only: bool
) -> int:
    """Put the records into the tables; returns how many were not in them.

    Args:
        folder: the results folder, whose lock is this process's.
        check: raises if the folder is another driver's by now.
        warnings: a sentence is added for each record that is damaged.
        read_only: whether those stay where they are.

    Raises:
        StoreError: it is another driver's, a table is damaged, or the storage refuses.
    """
    if folder.keeps_records:
        found = contents_of(folder, warnings, read_only)
        refuse_orphans(folder, found)
        return _compact_beside_records(folder, found, check)
    pending = pending_in(folder, _records_in(folder), warnings, read_only)
    if pending:
        found = Contents(pending, _tables_with(folder, pending))
        refuse_orphans(folder, found)
        _replace_tables(folder, found)
    for one in pending:
        # A worker may have committed the trial anew since it was read.
        name = f"records/{one.path.name}"
        with contextlib.suppress(FileNotFoundError):
            if folder.stamp(name) == one.stamp:
                forget(folder.place, one.trial_id)
                folder.delete(name)
    return len(pending)


def refuse_orphans(folder: Folder, found: Contents) -> None:
    """Never overwrite the accuracies of trials whose other table was taken away by hand.

    Args:
        folder: the results folder.
        found: what lies in it.

    Raises:
        StoreError: there are such accuracies.
    """
    if found.tables is not None:
        return
    accuracy = table_in(folder.place, "accuracy")
    if accuracy is None:
        return
    from clsweep.records.table_checks import trials_in

    if trials_in(accuracy) - {p.trial_id for p in found.pending}:
        raise missing_table(folder.place, "trials")


def outdated(records: Mapping[str, str], rows: Mapping[str, str]) -> set[str]:
    """Trials of which a table holds a later version than their record.

    So it is where a folder was copied to a disk, went on there, and was copied back.

    Args:
        records: trial id to the time at which it finished, ISO 8601.
        rows: the same of the rows.
    """
    return {key for key, finished_at in records.items() if rows.get(key, "") > finished_at}


def _records_in(folder: Folder) -> list[Entry]:
    return folder.listed("records", (".json",))


def _tables_with(folder: Folder, pending: Sequence[Pending]) -> dict[str, pa.Table] | None:
    """The tables, which fit together but for the trials that a record is about to replace."""
    from clsweep.records.tables import check_same_trials

    tables = parsed_tables(folder.place)
    if tables is not None:
        check_same_trials(tables, {p.trial_id for p in pending}, str(folder.place))
    return tables


def _contents_beside_records(folder: Folder, warnings: list[str], read_only: bool) -> Contents:
    """Records are listed after the tables: what is compacted in between is listed, too."""
    latest = latest_compaction(folder)
    data = {name: table_data(folder.place, name) for name in READ_ORDER}
    tables = parsed_tables(folder.place, data)
    is_whole = latest.checksums == {name: _checksum(one) for name, one in data.items()}
    known = latest.stamps if is_whole else {}
    listed = _records_in(folder)
    fresh = [entry for entry in listed if known.get(entry.stem) != entry.stamp]
    pending = pending_in(folder, fresh, warnings, read_only)
    damaged = {entry.stem for entry in fresh} - {one.path.stem for one in pending}
    stamps = {entry.stem: entry.stamp for entry in listed if entry.stem not in damaged}
    if tables is not None and not is_whole:
        tables = _together(folder, tables, stamps)
        pending = _newest(pending, tables) if tables else pending
    return Contents(pending, tables, stamps, is_whole)


def _replace_tables(folder: Folder, found: Contents) -> None:
    from clsweep.records.tables import TABLES, merged_tables, parquet_bytes

    merged = merged_tables(found.tables, [one.record for one in found.pending])
    for name in TABLES:
        folder.write(f"{name}.parquet", parquet_bytes(merged[name]))


def _compact_beside_records(folder: Folder, found: Contents, check: Callable[[], None]) -> int:
    from clsweep.records.tables import TABLES, merged_tables, parquet_bytes, records_of

    if not found.pending and (found.is_whole or found.tables is None):
        return 0
    merged = merged_tables(found.tables, [one.record for one in found.pending])
    rows = set(merged["trials"]["trial_id"].to_pylist())
    fresh = {one.trial_id for one in found.pending}
    # Before a table is replaced, nothing may be in the tables alone.
    with_record = fresh | (found.stamps.keys() if found.is_whole else set())
    for record in records_of(merged) if rows - with_record else ():
        if (key := record["trial"]["trial_id"]) not in with_record:
            folder.write(f"records/{key}.json", sealed_json(normalized(record)))
    check()
    checksums = {}
    for name in TABLES:
        data = parquet_bytes(merged[name])
        folder.write(f"{name}.parquet", data)
        checksums[name] = _checksum(data)
    # One that was written just now is read again next time: who wrote it last is not known.
    stamps = {key: found.stamps[key] for key in sorted(rows & with_record)}
    folder.write(COMPACTED, json.dumps({"tables": checksums, "records": stamps}).encode())
    at_once(lambda key: forget(folder.place, key), sorted(fresh))
    return len(fresh)


def _together(
    folder: Folder, tables: dict[str, pa.Table], stamps: Mapping[str, Stamp]
) -> dict[str, pa.Table] | None:
    """The tables; None for those of two compactions, as long as nothing is in them alone.

    Raises:
        StoreError: they do not belong together, and hold what no record holds.
    """
    from clsweep.records.table_checks import fault_between
    from clsweep.records.tables import check_same_trials

    alone = set(tables["trials"]["trial_id"].to_pylist()) - stamps.keys()
    if not alone and fault_between(tables, set()):
        return None
    check_same_trials(tables, stamps.keys(), str(folder.place))
    return tables


def _newest(pending: Sequence[Pending], tables: Mapping[str, pa.Table]) -> list[Pending]:
    """Without the records of which the tables hold a later version that is whole."""
    with_rows = set(zip(*(tables["accuracy"][key].to_pylist() for key in _KEYS), strict=True))
    trials = tables["trials"].select([*_KEYS, "trial_id", "finished_at", "status"])
    whole = {
        row["trial_id"]: row["finished_at"]
        for row in trials.to_pylist()
        if row["status"] != "ok" or tuple(row[key] for key in _KEYS) in with_rows
    }
    finished = {one.trial_id: one.record["trial"]["finished_at"] for one in pending}
    older = outdated(finished, whole)
    return [one for one in pending if one.trial_id not in older]


def _checksum(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()
