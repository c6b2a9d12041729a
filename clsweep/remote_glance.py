"""A results folder in an object store as it is at one moment, read without touching it.

Nothing is written there, and the lease is watched, not asked for. Records stay in a store (see
`folds.py`), so what was read is kept by size and time of change, and those that the latest fold
has put into the tables are not read at all. The tables are read first and the records listed
after them: a run that folds in between has only put into tables what is listed here, too.

All times are the store's own: of records, of markers, and of the lease, which says when it was
taken. They may be whole seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from clsweep.errors import StoreError
from clsweep.folders import RemotePath, Stamp, read_many
from clsweep.folds import FOLDED, fold_of, is_of_fold
from clsweep.integrity import record_from_bytes
from clsweep.leases import LeaseWatch
from clsweep.schema import NewerSchemaError
from clsweep.seen import (
    Ended,
    Glance,
    Numbers,
    Started,
    ended_of,
    folded_trials,
    told_apart,
    unreadable,
)

__all__ = ["RemoteReader"]

_TRIALS = "trials.parquet"


class _Folded(NamedTuple):
    """What the tables say.

    Attributes:
        files: stamps of the files that this was read from.
        trials: trial id -> the row of the table of trials.
        stamps: trial id -> stamp of the record that the row is of; empty if that is not known.
    """

    files: Mapping[str, Stamp]
    trials: Mapping[str, Ended]
    stamps: Mapping[str, Stamp]


class RemoteReader:
    """Looks at a results folder as often as asked, and reads anew only what has changed.

    Args:
        directory: the results folder.
    """

    def __init__(self, directory: RemotePath) -> None:
        self.directory = directory
        self._lease = LeaseWatch(directory)
        self._numbers = Numbers(directory)
        self._folded = _Folded({}, {}, {})
        self._records: dict[str, tuple[Stamp, Ended | str]] = {}
        self._starts: dict[str, tuple[Stamp, int]] = {}

    def look(self) -> Glance:
        """The folder as it is now; the first look waits until the lease is known to be held.

        Raises:
            StoreError: the table of trials is damaged, something is a newer clsweep's, or the
                store refuses.
        """
        lock = self._lease.look()
        folded = self._latest_fold()
        records, markers = self._listing()
        fresh = {key: at for key, at in records.items() if folded.stamps.get(key) != at}
        pending, warnings = self._pending(fresh)
        ended = _later(folded, pending) | {
            key: folded.trials[key]._replace(written_at=_seconds(at))
            for key, at in records.items()
            if key not in fresh
        }
        started = self._started(
            {
                key: at
                for key, at in markers.items()
                if key not in records or _seconds(at) > _seconds(records[key])
            }
        )
        return Glance(ended, started, lock, tuple(warnings))

    def config(self, config_id: str) -> Mapping[str, Any]:
        """The numbers of a configuration that has a record: `hyper` and `training`, maybe empty.

        Args:
            config_id: of a trial that was seen.
        """
        return self._numbers.of(config_id)

    # ------------------------------------------------------------------------- private pieces

    def _latest_fold(self) -> _Folded:
        listed = {path.name: at for path, at in self.directory.stamped("*")}
        files = {name: listed[name] for name in (FOLDED, _TRIALS) if name in listed}
        if self._folded.files != files:
            latest = fold_of(self.directory)
            (data,) = read_many([self.directory / _TRIALS])
            trials = self._trials(data)
            is_whole = is_of_fold(latest, "trials", data)
            stamps = {k: at for k, at in latest.stamps.items() if is_whole and k in trials}
            self._folded = _Folded(files, trials, stamps)
        return self._folded

    def _trials(self, data: bytes | None) -> dict[str, Ended]:
        if data is None:
            return {}
        from clsweep.tables import table_from_parquet

        where = str(self.directory / _TRIALS)
        return folded_trials(table_from_parquet(data, "trials", where))

    def _listing(self) -> tuple[dict[str, Stamp], dict[str, Stamp]]:
        """Stamps of records and of markers, by trial id."""
        records, markers = {}, {}
        for path, at in (self.directory / "records").stamped("*"):
            if path.name.startswith("."):
                continue
            if path.name.endswith(".json"):
                records[path.stem] = at
            elif path.name.endswith(".attempts"):
                markers[path.stem] = at
        return records, markers

    def _pending(self, stamps: Mapping[str, Stamp]) -> tuple[dict[str, Ended], list[str]]:
        self._records = {k: one for k, one in self._records.items() if stamps.get(k) == one[0]}
        changed = sorted(stamps.keys() - self._records.keys())
        contents = read_many([self._record(key) for key in changed])
        for key, data in zip(changed, contents, strict=True):
            if data is not None:  # else a run has set it aside meanwhile
                self._records[key] = (stamps[key], self._parsed(key, data, stamps[key]))
        return told_apart((key, self._records[key][1]) for key in sorted(self._records))

    def _parsed(self, key: str, data: bytes, stamp: Stamp) -> Ended | str:
        try:
            record = record_from_bytes(data, key, str(self._record(key)))
        except NewerSchemaError:
            raise
        except StoreError as error:
            return unreadable(key, error.found)
        self._numbers.note(record)
        return ended_of(record, _seconds(stamp))

    def _started(self, stamps: Mapping[str, Stamp]) -> dict[str, Started]:
        self._starts = {k: one for k, one in self._starts.items() if stamps.get(k) == one[0]}
        changed = sorted(stamps.keys() - self._starts.keys())
        paths = [self.directory / "records" / f"{key}.attempts" for key in changed]
        for key, data in zip(changed, read_many(paths), strict=True):
            if data is not None:  # else its trial has come to an end meanwhile
                self._starts[key] = (stamps[key], data.count(b"\n"))
        return {k: Started(k, n, _seconds(at)) for k, (at, n) in self._starts.items()}

    def _record(self, key: str) -> RemotePath:
        return self.directory / "records" / f"{key}.json"


def _later(folded: _Folded, pending: Mapping[str, Ended]) -> dict[str, Ended]:
    """Rows and records, of each trial the one that counts.

    A record counts before a row. But where it is not known which records the rows are of, a row
    may be the later one: of a folder that was copied to a disk, went on there, and came back.
    """
    older = {
        key
        for key, one in pending.items()
        if not folded.stamps
        and key in folded.trials
        and folded.trials[key].finished_at > one.finished_at
    }
    return {**folded.trials, **{key: one for key, one in pending.items() if key not in older}}


def _seconds(stamp: Stamp) -> float:
    return stamp[1] / 1e9
