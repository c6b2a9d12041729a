"""A results folder as it is at one moment, read without touching it: also while a run is at work.

Nothing is written, moved or locked. A run meanwhile commits records, and at its end folds them
into the tables, so that files come and go while they are read. `records/` is listed first, its
records are read next, the tables last (see `store.py` for why that misses nothing), and whether a
marker of a folded trial is still there is asked after that.

All times are file times: on a shared file system they are one clock's, the file server's, whereas
what a record says of itself was written by the clock of whichever machine computed it.

A folder in an object store is read by `remote_glance.py`, from which this differs in everything
but what is seen.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clsweep.errors import StoreError
from clsweep.integrity import record_from_bytes
from clsweep.lock_state import lock_state
from clsweep.schema import NewerSchemaError, bad_record
from clsweep.seen import (
    Ended,
    Glance,
    Numbers,
    Started,
    ended_of,
    folded_trials,
    table_in,
    told_apart,
    unreadable,
)

__all__ = ["FolderReader"]

_Stamp = tuple[int, int, int]  # inode, size, time in ns


class _Listing(NamedTuple):
    """Files of `records/` by trial id."""

    records: dict[str, _Stamp]
    markers: dict[str, _Stamp]


class FolderReader:
    """Looks at a results folder as often as asked, and reads anew only what has changed.

    Args:
        directory: the results folder.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._records: dict[str, tuple[_Stamp, Ended | str]] = {}
        self._numbers = Numbers(directory)
        self._folded: tuple[_Stamp | None, dict[str, Ended]] = (None, {})

    def look(self) -> Glance:
        """The folder as it is now.

        Raises:
            StoreError: the table of trials is damaged, or something is a newer clsweep's.
        """
        lock = lock_state(self.directory)
        listing = self._listing()
        pending, warnings = self._pending(listing.records)
        folded = self._folded_trials()
        markers = {
            key: stamp
            for key, stamp in listing.markers.items()
            if self._has_not_ended(key, stamp, listing, folded)
        }
        started = {
            key: Started(key, self._n_starts(key), stamp[2] / 1e9)
            for key, stamp in markers.items()
        }
        return Glance(folded | pending, started, lock, tuple(warnings))

    def config(self, config_id: str) -> Mapping[str, Any]:
        """The numbers of a configuration that has a record: `hyper` and `training`, maybe empty.

        Args:
            config_id: of a trial that was seen.
        """
        return self._numbers.of(config_id)

    # ------------------------------------------------------------------------- private pieces

    def _listing(self) -> _Listing:
        found = _Listing({}, {})
        for name, path in self._names():
            key, ending = os.path.splitext(name)
            if name.startswith(".") or ending not in (".json", ".attempts"):
                continue
            with contextlib.suppress(OSError):  # folded meanwhile
                (found.records if ending == ".json" else found.markers)[key] = _stamp(path)
        return found

    def _names(self) -> Iterator[tuple[str, str]]:
        try:
            with os.scandir(self.directory / "records") as entries:
                yield from ((entry.name, entry.path) for entry in entries)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"the records cannot be listed: {error.strerror or error}",
                where=str(self.directory / "records"),
            ) from error

    def _pending(self, stamps: Mapping[str, _Stamp]) -> tuple[dict[str, Ended], list[str]]:
        for key in self._records.keys() - stamps.keys():
            del self._records[key]
        found = []
        for key, stamp in sorted(stamps.items()):
            if key not in self._records or self._records[key][0] != stamp:
                try:
                    self._records[key] = (stamp, self._read_record(key, stamp))
                except FileNotFoundError:  # a run has folded it; the tables have it
                    continue
            found.append((key, self._records[key][1]))
        return told_apart(found)

    def _read_record(self, key: str, stamp: _Stamp) -> Ended | str:
        path = self.directory / "records" / f"{key}.json"
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device would never end
                raise bad_record("it is no file", str(path))
            record = record_from_bytes(path.read_bytes(), key, str(path))
        except (FileNotFoundError, NewerSchemaError):
            raise
        except (OSError, StoreError) as error:
            if isinstance(error, OSError) and error.errno == errno.ESTALE:
                raise FileNotFoundError from error  # how NFS says that it was replaced
            reason = error.found if isinstance(error, StoreError) else str(error)
            return unreadable(key, reason)
        self._numbers.note(record)
        return ended_of(record, stamp[2] / 1e9)

    def _folded_trials(self) -> dict[str, Ended]:
        try:
            stamp = _stamp(self.directory / "trials.parquet")
        except OSError:
            return {}
        if self._folded[0] != stamp:
            self._folded = (stamp, folded_trials(table_in(self.directory, "trials")))
        return self._folded[1]

    def _has_not_ended(
        self,
        key: str,
        stamp: _Stamp,
        listing: _Listing,
        folded: Mapping[str, Ended],
    ) -> bool:
        """Whether the trial has started since its record was written, or has none."""
        if key in listing.records:
            return stamp[2] > listing.records[key][2]
        # Markers are removed before the records are, so that one which is left is a new start.
        return key not in folded or self._marker(key).exists()

    def _n_starts(self, key: str) -> int:
        try:
            return self._marker(key).read_bytes().count(b"\n")
        except OSError:
            return 1

    def _marker(self, key: str) -> Path:
        return self.directory / "records" / f"{key}.attempts"


def _stamp(path: Path | str) -> _Stamp:
    found = os.stat(path)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
