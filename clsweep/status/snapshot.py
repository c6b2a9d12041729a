"""A results folder as it is at one moment, read without touching it: also while a run is at work.

Nothing is written, moved or locked. A run meanwhile commits records, and puts them into the
tables. On a disk it then deletes them, so that files come and go while they are read: `records/`
is listed first, its records are read next, the tables last (see `store` for why that misses
nothing), and whether a marker of a compacted trial is still there is asked after that. In an
object store records stay (see `compaction`): those that the latest compaction has put into the
tables are not read at all. There the tables are read first and the records listed after them: a
run that compacts in between has only put into tables what is listed here, too.

All times are file times: on a shared file system they are one clock's, the file server's, and in
an object store the store's own, maybe in whole seconds; whereas what a record says of itself was
written by the clock of whichever machine computed it.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from clsweep.errors import StoreError
from clsweep.records.schema import NewerSchemaError, Record
from clsweep.storage.compaction import (
    COMPACTED,
    Compaction,
    is_of_compaction,
    latest_compaction,
    outdated,
)
from clsweep.storage.folder_base import Entry
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.lock_state import LockState
from clsweep.storage.pending_records import pending_of, reads_of
from clsweep.storage.remote_path import Place, Stamp
from clsweep.storage.table_files import table_data, table_in, table_of
from clsweep.text import printable

if TYPE_CHECKING:
    import pyarrow as pa

    from clsweep.status.validation_points import ValidationPoints

_TRIALS = "trials.parquet"
# Of a host, as names of hosts go.
_LONGEST_NAME = 255
_Known = TypeVar("_Known")
_COLUMNS = ("trial_id", "config_id", "label", "method", "seed", "status", "message", "finished_at")


class EndedTrial(NamedTuple):
    """A trial that has a record.

    Attributes:
        trial_id: its identity.
        config_id: its configuration.
        label: the curve.
        method: the method.
        seed: the seed.
        status: 'ok', 'diverged', 'failed' or 'oom'.
        message: what went wrong.
        finished_at: when, as the record says, ISO 8601.
        written_at: file time of its record, seconds; None once there is only its row in a table.
    """

    trial_id: str
    config_id: str
    label: str
    method: str
    seed: int
    status: str
    message: str
    finished_at: str
    written_at: float | None


class StartedTrial(NamedTuple):
    """A trial that has started and not ended, or that has started once more since it ended.

    Attributes:
        trial_id: its identity.
        n_starts: starts since its last compacted record.
        at: file time of its marker, seconds.
        machine: where it started last; '' where the marker does not tell.
        process: its worker there; 0 where the marker does not tell.
    """

    trial_id: str
    n_starts: int
    at: float
    machine: str = ""
    process: int = 0


class Snapshot(NamedTuple):
    """What was seen.

    Attributes:
        ended: trial id -> its record's outcome.
        started: trial id -> its marker; of the run at work, or left behind by one that was killed.
        lock: who holds the folder.
        warnings: sentences about what could not be read; it stays where it is.
    """

    ended: dict[str, EndedTrial]
    started: dict[str, StartedTrial]
    lock: LockState
    warnings: tuple[str, ...]


class _Compacted(NamedTuple):
    """What the tables say.

    Attributes:
        files: stamps of the files that this was read from.
        trials: trial id -> the row of the table of trials.
        stamps: trial id -> stamp of the record that the row is of; empty where that is not known,
            or where no record stays.
    """

    files: Mapping[str, Stamp]
    trials: Mapping[str, EndedTrial]
    stamps: Mapping[str, Stamp]


class _Starts(NamedTuple):
    """What a marker says: how often its trial has started, and where last."""

    n: int
    machine: str = ""
    process: int = 0


class _Listing(NamedTuple):
    """Files of `records/` by trial id."""

    records: dict[str, Entry]
    markers: dict[str, Entry]


class SnapshotReader:
    """Reads a results folder as often as asked, and of it only what has changed.

    Args:
        directory: the results folder.
        points: where validation accuracies of the records that are read are kept, if anywhere.
    """

    def __init__(self, directory: Place, points: ValidationPoints | None = None) -> None:
        self._folder, self._points = folder_of(directory), points
        self._lock = self._folder.lock_watch()
        self._numbers = _Numbers(directory)
        self._compacted = _Compacted({}, {}, {})
        self._records: dict[str, tuple[Stamp, EndedTrial | str]] = {}
        self._starts: dict[str, tuple[Stamp, _Starts]] = {}

    def read(self) -> Snapshot:
        """The folder as it is now; of a lease the first reading waits until its holder is known.

        Raises:
            StoreError: the table of trials is damaged, something is a newer clsweep's, or the
                storage refuses.
        """
        lock = self._lock.read()
        if self._folder.keeps_records:
            compacted, listing = self._latest_compaction(), self._listing()
            pending, warnings = self._pending(listing, compacted.stamps)
            ended = _later(compacted, pending) | _unread(compacted, listing)
        else:
            listing = self._listing()
            pending, warnings = self._pending(listing, {})
            compacted = self._latest_compaction()
            ended = {**compacted.trials, **pending}
        started = self._started(listing, compacted)
        return Snapshot(ended, started, lock, tuple(warnings))

    def config(self, config_id: str) -> Mapping[str, Any]:
        """The numbers of a configuration that has a record: `hyper` and `training`, maybe empty.

        Args:
            config_id: of a trial that was seen.
        """
        return self._numbers.of(config_id)

    def _latest_compaction(self) -> _Compacted:
        files = self._folder.stamps((COMPACTED, _TRIALS))
        if self._compacted.files != files:
            directory = self._folder.place
            latest = (
                latest_compaction(self._folder)
                if self._folder.keeps_records
                else Compaction({}, {})
            )
            data = table_data(directory, "trials")
            trials = _rows_of(table_of(directory, "trials", data))
            is_whole = is_of_compaction(latest, "trials", data)
            stamps = {k: at for k, at in latest.stamps.items() if is_whole and k in trials}
            self._compacted = _Compacted(files, trials, stamps)
        return self._compacted

    def _listing(self) -> _Listing:
        found = _Listing({}, {})
        for entry in self._folder.listed("records", (".json", ".attempts")):
            if entry.name.startswith("."):
                continue
            if entry.name.endswith(".json"):
                found.records[entry.stem] = entry
            else:
                found.markers[entry.stem] = entry
        return found

    def _pending(
        self, listing: _Listing, compacted: Mapping[str, Stamp]
    ) -> tuple[dict[str, EndedTrial], list[str]]:
        """Trials whose records are not in the tables, and warnings about those that are damaged.

        Args:
            listing: what lies in `records/`.
            compacted: stamps of the records that are in the tables.
        """
        fresh = {k: one for k, one in listing.records.items() if compacted.get(k) != one.stamp}
        self._records = _unchanged(self._records, fresh)
        changed = [fresh[key] for key in sorted(fresh.keys() - self._records.keys())]
        for entry, read in reads_of(self._folder, changed):
            found = self._ended_or_warning(entry, read)
            if found is not None:
                self._records[entry.stem] = (entry.stamp, found)
        ended, warnings = {}, []
        for key in sorted(self._records):
            found = self._records[key][1]
            if isinstance(found, str):
                warnings.append(found)
            else:
                ended[key] = found
        return ended, warnings

    def _ended_or_warning(
        self, entry: Entry, read: Callable[[], bytes]
    ) -> EndedTrial | str | None:
        """What a record says; None if it is gone: a run has compacted it, or set it aside."""
        try:
            record = pending_of(self._folder, entry, read).record
        except FileNotFoundError:
            return None
        except NewerSchemaError:
            raise
        except (OSError, StoreError) as error:
            if isinstance(error, OSError) and error.errno == errno.ESTALE:
                return None  # how NFS says that it was replaced
            reason = error.found if isinstance(error, StoreError) else str(error)
            return (
                f"the record of trial {entry.stem} cannot be read ({reason}); its trial counts as "
                "not done, and a run will do it again"
            )
        self._numbers.note(record)
        if self._points is not None:
            self._points.note(record)
        trial: Mapping[str, Any] = record["trial"]
        return EndedTrial._make([*(trial[name] for name in _COLUMNS), _seconds(entry)])

    def _started(self, listing: _Listing, compacted: _Compacted) -> dict[str, StartedTrial]:
        """Trials that have started since their record was written, or have none."""
        records = listing.records
        markers = {
            key: marker
            for key, marker in listing.markers.items()
            if key not in records or marker.stamp[-1] > records[key].stamp[-1]
        }
        self._starts = _unchanged(self._starts, markers)
        changed = markers.keys() - self._starts.keys()
        if not self._folder.keeps_records:
            # Tables were read after the listing. Markers are removed before the records are, so
            # that one which is still left is a new start.
            changed |= markers.keys() & compacted.trials.keys() - records.keys()
        for marker, read in reads_of(self._folder, [markers[key] for key in sorted(changed)]):
            self._starts.pop(marker.stem, None)
            starts = _starts_of(marker, read)
            if starts is not None:
                self._starts[marker.stem] = (marker.stamp, starts)
        return {
            key: StartedTrial(key, one.n, _seconds(markers[key]), one.machine, one.process)
            for key, (_, one) in self._starts.items()
        }


class _Numbers:
    """The numbers of configurations: of the records that were read, else of the table.

    Args:
        directory: the results folder.
    """

    def __init__(self, directory: Place) -> None:
        self._directory = directory
        self._known: dict[str, Mapping[str, Any]] = {}

    def note(self, record: Record) -> None:
        """Keep those of a record.

        Args:
            record: see `records/schema.py`.
        """
        config = record["config"]
        self._known[record["trial"]["config_id"]] = {k: config[k] for k in ("hyper", "training")}

    def of(self, config_id: str) -> Mapping[str, Any]:
        """`hyper` and `training`, maybe empty.

        Args:
            config_id: of a trial that was seen.

        Raises:
            StoreError: the table of configurations is damaged, or a newer clsweep's.
        """
        if config_id not in self._known:
            table = table_in(self._directory, "configs")
            if table is not None:
                columns = table.select(["config_id", "hyper", "training"]).to_pylist()
                for row in columns:
                    numbers = {key: json.loads(row[key]) for key in ("hyper", "training")}
                    self._known.setdefault(row["config_id"], numbers)
        return self._known.get(config_id, {"hyper": {}, "training": {}})


def _rows_of(table: pa.Table | None) -> dict[str, EndedTrial]:
    """What the table of trials says, by trial id."""
    columns = [] if table is None else [table[name].to_pylist() for name in _COLUMNS]
    rows = (EndedTrial._make([*values, None]) for values in zip(*columns, strict=True))
    return {row.trial_id: row for row in rows}


def _later(compacted: _Compacted, pending: Mapping[str, EndedTrial]) -> dict[str, EndedTrial]:
    """Rows and records of a store that keeps both, of each trial the one that counts.

    A record counts before a row. But where it is not known which records the rows are of, a row
    may be the later one, see `outdated`.
    """
    older = set()
    if not compacted.stamps:
        finished = {key: one.finished_at for key, one in pending.items()}
        older = outdated(finished, {key: one.finished_at for key, one in compacted.trials.items()})
    return {**compacted.trials, **{key: one for key, one in pending.items() if key not in older}}


def _unread(compacted: _Compacted, listing: _Listing) -> dict[str, EndedTrial]:
    """Rows whose records were not read, since they are in the tables, with the records' times."""
    return {
        key: compacted.trials[key]._replace(written_at=_seconds(entry))
        for key, entry in listing.records.items()
        if compacted.stamps.get(key) == entry.stamp
    }


def _unchanged(
    known: Mapping[str, tuple[Stamp, _Known]], entries: Mapping[str, Entry]
) -> dict[str, tuple[Stamp, _Known]]:
    """What is known of the files that are as they were when it was read."""
    return {
        key: one for key, one in known.items() if key in entries and entries[key].stamp == one[0]
    }


def _starts_of(marker: Entry, read: Callable[[], bytes]) -> _Starts | None:
    """What a marker says; None if it is gone: its trial has come to an end meanwhile."""
    try:
        lines = read().splitlines(keepends=True) if marker.is_file else None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        lines = None
    if lines is None:  # one that is there and may not be read tells of one start
        return _Starts(1)
    machine, process, *_ = [
        *(lines[-1] if lines else b"").decode("utf-8", "replace").split(),
        "",
        "",
    ]
    is_number = process.isascii() and process.isdigit()
    return _Starts(
        sum(line.endswith(b"\n") for line in lines),
        printable(machine, one_line=True)[:_LONGEST_NAME],
        int(process[:9]) if is_number else 0,
    )


def _seconds(entry: Entry) -> float:
    return entry.stamp[-1] / 1e9
