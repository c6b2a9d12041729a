"""Records that are not in the tables yet: read one by one, and set aside where damaged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from clsweep.errors import StoreError
from clsweep.records.checksums import record_from_bytes
from clsweep.records.schema import NewerSchemaError, Record, bad_record
from clsweep.storage.folder_base import Entry, Folder
from clsweep.storage.remote_path import Place, Stamp
from clsweep.text import printable


class Pending(NamedTuple):
    """A record that is not compacted.

    Attributes:
        trial_id: the trial's, after which the file is named.
        path: where it lies.
        stamp: by which a change is noticed.
        record: see `records/schema.py`.
    """

    trial_id: str
    path: Place
    stamp: Stamp
    record: Record


def pending_in(
    folder: Folder, entries: Sequence[Entry], warnings: list[str], read_only: bool
) -> list[Pending]:
    """The records in files of `records/`; one that is damaged is moved to `damaged/`.

    Args:
        folder: the results folder.
        entries: the files; those that have vanished are left out.
        warnings: a sentence is added for each that is damaged.
        read_only: whether those stay where they are.

    Raises:
        StoreError: one was written by a newer clsweep, or may not be read.
    """
    found = []
    for entry, read in reads_of(folder, entries):
        path = folder.place / "records" / entry.name
        try:
            found.append(pending_of(folder, entry, read))
        except FileNotFoundError:
            continue  # a run that compacts has put its record into the tables
        except NewerSchemaError:
            raise
        except StoreError as error:
            warnings.append(_set_aside(folder, path.stem, error, read_only))
        except OSError as error:
            raise unreadable(path, error) from error
    return found


def reads_of(
    folder: Folder, entries: Sequence[Entry]
) -> Iterable[tuple[Entry, Callable[[], bytes]]]:
    """Files of `records/`, each with a function that reads it, see `Folder.reads`.

    Args:
        folder: the results folder.
        entries: the files.
    """
    reads = folder.reads([f"records/{entry.name}" for entry in entries])
    return zip(entries, reads, strict=True)


def pending_of(folder: Folder, entry: Entry, read: Callable[[], bytes]) -> Pending:
    """One record.

    Args:
        folder: the results folder.
        entry: its file, as it was before it was read.
        read: gives its content.

    Raises:
        StoreError: it is damaged, or was written by a newer clsweep (`NewerSchemaError`).
        FileNotFoundError: it has vanished.
        OSError: it may not be read.
    """
    path = folder.place / "records" / entry.name
    if not entry.is_file:  # a pipe or a device would never end
        raise bad_record("it is no file", str(path))
    trial_id = path.stem
    return Pending(trial_id, path, entry.stamp, record_from_bytes(read(), trial_id, str(path)))


def unreadable(path: Place, error: OSError) -> StoreError:
    """What is raised for a record that may not be read.

    Args:
        path: its file.
        error: why.
    """
    return StoreError(f"a record cannot be read: {error.strerror or error}", where=str(path))


def _set_aside(folder: Folder, key: str, error: StoreError, read_only: bool) -> str:
    """Move a record out of the way; returns what happened, as a sentence."""
    name = f"damaged/{key}.{time.time_ns()}.json"
    try:
        if read_only:
            raise PermissionError("only looked at")
        folder.move(f"records/{key}.json", name)
        moved = f"moved to {printable(name)}"
    except OSError as refused:
        moved = f"left where it is: {refused.strerror or refused}"
    except StoreError as refused:
        moved = f"left where it is: {refused.found}"
    return (
        f"the record of trial {printable(key)} is damaged ({error.found}); "
        f"it was {moved}, and the trial counts as not done"
    )
