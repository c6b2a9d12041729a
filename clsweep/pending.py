"""Records that are not in the tables yet: read one by one, and set aside where damaged."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from clsweep.errors import StoreError
from clsweep.folders import Place, RemotePath, Stamp
from clsweep.integrity import record_from_bytes
from clsweep.printable import printable
from clsweep.schema import NewerSchemaError, Record, bad_record

__all__ = ["Pending", "local_pending", "pending_of", "stamp_of", "unreadable"]


class Pending(NamedTuple):
    """A record that is not folded.

    Attributes:
        path: where it lies.
        stamp: by which a change is noticed.
        record: see `schema.py`.
    """

    path: Place
    stamp: Stamp
    record: Record

    @property
    def trial_id(self) -> str:
        """The trial's."""
        return str(self.record["trial"]["trial_id"])


def local_pending(directory: Path, warnings: list[str], only_looks: bool) -> list[Pending]:
    """The records in a local folder.

    Args:
        directory: the results folder.
        warnings: a sentence is added for each that is damaged.
        only_looks: whether those stay where they are.

    Raises:
        StoreError: one was written by a newer clsweep, or may not be read.
    """
    found = []
    for path in sorted((directory / "records").glob("*.json")):
        # A file may vanish: a run that compacts has put its record into the tables.
        with contextlib.suppress(FileNotFoundError):
            status = _status(path)
            is_file = stat.S_ISREG(status.st_mode)  # a pipe or a device would never end
            read = path.read_bytes if is_file else None
            one = pending_of(directory, path, stamp_of(status), read, warnings, only_looks)
            found += [one] if one else []
    return found


def pending_of(
    directory: Place,
    path: Place,
    stamp: Stamp,
    read: Callable[[], bytes] | None,
    warnings: list[str],
    only_looks: bool,
) -> Pending | None:
    """One record; None if it is damaged, and then it is moved to `damaged/`.

    Args:
        directory: the results folder.
        path: the record's file.
        stamp: as it was before the file was read.
        read: gives its content; None for what is no file.
        warnings: a sentence is added if it is damaged.
        only_looks: whether it stays where it is then.

    Raises:
        StoreError: it was written by a newer clsweep, or may not be read.
        FileNotFoundError: it has vanished.
    """
    try:
        if read is None:
            raise bad_record("it is no file", str(path))
        return Pending(path, stamp, record_from_bytes(read(), path.stem, str(path)))
    except NewerSchemaError:
        raise
    except StoreError as error:
        warnings.append(_set_aside(directory, path, error, only_looks))
        return None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error


def stamp_of(status: os.stat_result) -> Stamp:
    """By which a change of a local file is noticed."""
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def unreadable(path: Place, error: OSError) -> StoreError:
    """What is raised for a record that may not be read.

    Args:
        path: its file.
        error: why.
    """
    return StoreError(f"a record cannot be read: {error.strerror or error}", where=str(path))


def _set_aside(directory: Place, path: Place, error: StoreError, only_looks: bool) -> str:
    """Move a record out of the way; returns what happened, as a sentence."""
    name = f"damaged/{path.stem}.{time.time_ns()}.json"
    try:
        if only_looks:
            raise PermissionError("only looked at")
        _move(path, directory / name)
        moved = f"moved to {printable(name)}"
    except OSError as refused:
        moved = f"left where it is: {refused.strerror or refused}"
    except StoreError as refused:
        moved = f"left where it is: {refused.found}"
    return (
        f"the record of trial {printable(path.stem)} is damaged ({error.found}); "
        f"it was {moved}, and the trial counts as not done"
    )


def _move(path: Place, target: Place) -> None:
    if isinstance(path, RemotePath) or isinstance(target, RemotePath):
        target.write_bytes(path.read_bytes())
        path.unlink()
        return
    target.parent.mkdir(exist_ok=True)
    os.replace(path, target)
