"""How records and tables lie in an object store, where nothing is ever renamed or appended to.

    DIR/records/ID.json   one record per trial, kept for good
    DIR/*.parquet         the tables, as on a disk: made of the records, replaced one by one
    DIR/folded.json       written last: which tables belong together, which records are in them

On a disk a fold deletes the records that it has put into the tables, and a lock of the kernel
keeps a second driver from replacing those tables by older ones. No object store has such a lock.
So the records stay: whatever two drivers do to each other's tables, whatever is cut short where,
no trial is lost, and a trial has one record and one row, since both are named by it.

`folded.json` spares reading them all. A record is read from the tables where it holds the record's
size and time of change, and the tables are those whose checksums it holds; otherwise the record
itself is read, and wins. A folder copied here from a disk has rows without records: they count,
and the first fold gives each its record before it replaces a table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from clsweep.attempts import attempts_path
from clsweep.folders import RemotePath, Stamp, at_once, read_many
from clsweep.integrity import record_bytes
from clsweep.pending import Pending, pending_of
from clsweep.schema import normalized

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FOLDED", "Contents", "Fold", "contents_of", "fold", "fold_of", "is_of_fold"]

FOLDED = "folded.json"
_KEYS = ("config_id", "seed")


class Contents(NamedTuple):
    """What lies in a results folder.

    Attributes:
        pending: the records that are not in the tables.
        tables: None before the first fold.
        stamps: trial id to stamp, of all records in an object store.
        is_whole: whether the tables are those of the latest fold into an object store.
    """

    pending: list[Pending]
    tables: dict[str, pa.Table] | None
    stamps: Mapping[str, Stamp] = {}
    is_whole: bool = True


class Fold(NamedTuple):
    """What the latest fold wrote.

    Attributes:
        checksums: of the tables' files, by name.
        stamps: trial id to the stamp of the record that is in the tables.
    """

    checksums: dict[str, str]
    stamps: dict[str, Stamp]


def fold_of(directory: RemotePath) -> Fold:
    """The latest fold; empty where there is none, or none that can be read.

    Args:
        directory: the results folder.
    """
    try:
        found = json.loads((directory / FOLDED).read_bytes())
        stamps = {str(key): tuple(map(int, stamp)) for key, stamp in found["records"].items()}
        return Fold({str(key): str(value) for key, value in found["tables"].items()}, stamps)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        # Nothing rests on it: all records are read instead.
        return Fold({}, {})


def is_of_fold(latest: Fold, name: str, data: bytes | None) -> bool:
    """Whether a table is the one that the latest fold wrote.

    Args:
        latest: the latest fold.
        name: the table's.
        data: its file; None where there is none.
    """
    return data is not None and latest.checksums.get(name) == _checksum(data)


def contents_of(
    directory: RemotePath,
    latest: Fold,
    data: Mapping[str, bytes | None],
    tables: dict[str, pa.Table] | None,
    warnings: list[str],
    only_looks: bool,
) -> Contents:
    """What lies in a results folder; its records are read after its tables.

    Args:
        directory: the results folder.
        latest: the latest fold, read before the tables.
        data: the tables' files, by name; None for one that is missing.
        tables: what is in them.
        warnings: a sentence is added for each record that is damaged.
        only_looks: whether those stay where they are.
    """
    is_whole = latest.checksums == {name: _checksum(one) for name, one in data.items()}
    known = latest.stamps if is_whole else {}
    listed = (directory / "records").stamped("*.json")
    fresh = [(path, stamp) for path, stamp in listed if known.get(path.stem) != stamp]
    contents = read_many([path for path, _ in fresh])
    read = (
        pending_of(directory, path, stamp, partial(bytes, content), warnings, only_looks)
        for (path, stamp), content in zip(fresh, contents, strict=True)
        if content is not None
    )
    pending = [one for one in read if one is not None]
    damaged = {path.stem for path, _ in fresh} - {one.path.stem for one in pending}
    stamps = {path.stem: stamp for path, stamp in listed if path.stem not in damaged}
    if tables is not None and not is_whole:
        tables = _together(directory, tables, stamps)
        pending = _newest(pending, tables) if tables else pending
    return Contents(pending, tables, stamps, is_whole)


def fold(directory: RemotePath, found: Contents, check: Callable[[], None]) -> int:
    """Make the tables anew; returns how many records were not in them.

    Args:
        directory: the results folder.
        found: what lies in it.
        check: raises if the folder is another driver's by now.

    Raises:
        StoreError: it is, or the store refuses.
    """
    from clsweep.tables import TABLES, merged_tables, parquet_bytes, records_of

    if not found.pending and (found.is_whole or found.tables is None):
        return 0
    merged = merged_tables(found.tables, [one.record for one in found.pending])
    rows = set(merged["trials"]["trial_id"].to_pylist())
    fresh = {one.trial_id for one in found.pending}
    # Before a table is replaced, nothing may be in the tables alone.
    with_record = fresh | (found.stamps.keys() if found.is_whole else set())
    for record in records_of(merged) if rows - with_record else ():
        if (key := record["trial"]["trial_id"]) not in with_record:
            content = record_bytes(normalized(record))
            (directory / "records" / f"{key}.json").write_bytes(content)
    check()
    checksums = {}
    for name in TABLES:
        data = parquet_bytes(merged[name])
        (directory / f"{name}.parquet").write_bytes(data)
        checksums[name] = _checksum(data)
    # One that was written just now is read again next time: who wrote it last is not known.
    stamps = {key: found.stamps[key] for key in sorted(rows & with_record)}
    content = json.dumps({"tables": checksums, "records": stamps}).encode()
    (directory / FOLDED).write_bytes(content)
    at_once(lambda key: attempts_path(directory, key).unlink(missing_ok=True), sorted(fresh))
    return len(fresh)


def _together(
    directory: RemotePath, tables: dict[str, pa.Table], stamps: Mapping[str, Stamp]
) -> dict[str, pa.Table] | None:
    """The tables; None for those of two folds, as long as nothing is in them alone.

    Raises:
        StoreError: they do not belong together, and hold what no record holds.
    """
    from clsweep.table_checks import fault_between
    from clsweep.tables import check_together

    alone = set(tables["trials"]["trial_id"].to_pylist()) - stamps.keys()
    if not alone and fault_between(tables, set()):
        return None
    check_together(tables, stamps.keys(), str(directory))
    return tables


def _newest(pending: Sequence[Pending], tables: Mapping[str, pa.Table]) -> list[Pending]:
    """Without the records of which the tables hold a later version that is whole.

    So it is where a folder was copied to a disk, went on there, and was copied back.
    """
    with_rows = set(zip(*(tables["accuracy"][key].to_pylist() for key in _KEYS), strict=True))
    trials = tables["trials"].select([*_KEYS, "trial_id", "finished_at", "status"])
    later = {
        row["trial_id"]: row["finished_at"]
        for row in trials.to_pylist()
        if row["status"] != "ok" or tuple(row[key] for key in _KEYS) in with_rows
    }
    return [
        one for one in pending if later.get(one.trial_id, "") <= one.record["trial"]["finished_at"]
    ]


def _checksum(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()
