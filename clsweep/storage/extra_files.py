"""The extras of trials in a results folder: a file each, put into two tables on a disk.

In an object store the files stay, and no table is made of them: two drivers could replace it by
an older one. See `records/trial_extras.py` for what is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clsweep.errors import StoreError
from clsweep.records.schema import trial_id_of
from clsweep.records.trial_extras import (
    EXTRA_TABLES,
    TrialExtras,
    extras_bytes,
    extras_from_bytes,
    extras_table,
    merged_extras,
)
from clsweep.storage.folder_base import Entry, Folder
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place
from clsweep.storage.table_files import table_data

if TYPE_CHECKING:
    import pyarrow as pa

_FOLDER = "extras"


def commit_extras(directory: Place, extras: TrialExtras) -> None:
    """Write a trial's extras so that no crash from now on can lose them.

    Args:
        directory: the results folder.
        extras: of one trial; earlier ones of it are replaced.

    Raises:
        StoreError: the storage refuses.
    """
    name = f"{_FOLDER}/{trial_id_of(extras.config_id, extras.seed)}.json"
    folder_of(directory).write(name, extras_bytes(extras))


def load_extras(directory: Place, warnings: list[str]) -> dict[str, pa.Table]:
    """The extras of all trials, by table.

    Args:
        directory: the results folder.
        warnings: a sentence is added for each file that is damaged; it is left where it is.

    Raises:
        StoreError: a table is damaged, or something was written by a newer clsweep.
    """
    folder = folder_of(directory)
    # Files first: what is compacted in between is then in both.
    fresh = [extras for _, extras in _files(folder, warnings)]
    return merged_extras(_tables(directory), fresh)


def compact_extras(folder: Folder, warnings: list[str]) -> None:
    """Put the files into the tables; the caller holds the folder's lock.

    Args:
        folder: the results folder.
        warnings: a sentence is added for each file that is damaged.

    Raises:
        StoreError: a table is damaged, or the disk refuses; no file is removed then.
    """
    if folder.keeps_records:
        return
    found = _files(folder, warnings)
    if not found:
        return
    from clsweep.records.tables import parquet_bytes

    merged = merged_extras(_tables(folder.place), [extras for _, extras in found])
    for name, table in merged.items():
        folder.write(f"{name}.parquet", parquet_bytes(table))
    for entry, _ in found:
        try:
            is_same = folder.stamp(f"{_FOLDER}/{entry.name}") == entry.stamp
        except FileNotFoundError:
            continue
        if is_same:  # else a worker has committed the trial anew since it was read
            folder.delete(f"{_FOLDER}/{entry.name}")


def _files(folder: Folder, warnings: list[str]) -> list[tuple[Entry, TrialExtras]]:
    found = []
    entries: Sequence[Entry] = [e for e in folder.listed(_FOLDER, (".json",)) if e.is_file]
    reads = folder.reads([f"{_FOLDER}/{entry.name}" for entry in entries])
    for entry, read in zip(entries, reads, strict=True):
        where = str(folder.place / _FOLDER / entry.name)
        try:
            extras = extras_from_bytes(read(), where)
        except FileNotFoundError:  # compacted since it was listed
            continue
        except OSError as error:
            raise StoreError(f"cannot read what a trial stored: {error}", where=where) from error
        except StoreError as error:
            warnings.append(f"{where} is passed over: {error.found}")
            continue
        if trial_id_of(extras.config_id, extras.seed) != entry.stem:
            warnings.append(f"{where} is passed over: it is of another trial")
            continue
        found.append((entry, extras))
    return found


def _tables(directory: Place) -> dict[str, pa.Table] | None:
    data = {name: table_data(directory, name) for name in EXTRA_TABLES}
    if not any(data.values()):
        return None
    found = merged_extras(None, [])
    for name, content in data.items():
        if content is not None:
            found[name] = extras_table(content, name, str(directory / f"{name}.parquet"))
    return found
