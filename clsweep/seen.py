"""What was seen in a results folder at one moment, whichever kind of storage it lies in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.errors import StoreError
from clsweep.folders import Place
from clsweep.lock_state import LockState
from clsweep.schema import Record

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Ended",
    "Glance",
    "Numbers",
    "Started",
    "ended_of",
    "folded_trials",
    "table_in",
    "told_apart",
    "unreadable",
]

_COLUMNS = ("trial_id", "config_id", "label", "method", "seed", "status", "message", "finished_at")


class Ended(NamedTuple):
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


class Started(NamedTuple):
    """A trial that has started and not ended, or that has started once more since it ended.

    Attributes:
        trial_id: its identity.
        n_starts: starts since its last folded record.
        at: file time of its marker, seconds.
    """

    trial_id: str
    n_starts: int
    at: float


class Glance(NamedTuple):
    """What was seen.

    Attributes:
        ended: trial id -> its record's outcome.
        started: trial id -> its marker; of the run at work, or left behind by one that was killed.
        lock: who holds the folder.
        warnings: sentences about what could not be read; it stays where it is.
    """

    ended: dict[str, Ended]
    started: dict[str, Started]
    lock: LockState
    warnings: tuple[str, ...]


class Numbers:
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
            record: see `schema.py`.
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


def ended_of(record: Record, written_at: float) -> Ended:
    """What a record says of its trial's end.

    Args:
        record: see `schema.py`.
        written_at: file time, seconds.
    """
    trial: Mapping[str, Any] = record["trial"]
    return Ended._make([*(trial[name] for name in _COLUMNS), written_at])


def folded_trials(table: pa.Table | None) -> dict[str, Ended]:
    """What the table of trials says, by trial id.

    Args:
        table: None where there is none.
    """
    columns = [] if table is None else [table[name].to_pylist() for name in _COLUMNS]
    rows = (Ended._make([*values, None]) for values in zip(*columns, strict=True))
    return {row.trial_id: row for row in rows}


def unreadable(key: str, reason: str) -> str:
    """The warning about a record that cannot be read.

    Args:
        key: the trial that its file is named after.
        reason: why.
    """
    return (
        f"the record of trial {key} cannot be read ({reason}); its trial counts as not "
        "done, and a run will do it again"
    )


def told_apart(found: Iterable[tuple[str, Ended | str]]) -> tuple[dict[str, Ended], list[str]]:
    """Trials that have ended, and warnings.

    Args:
        found: trial id, and either.
    """
    ended, warnings = {}, []
    for key, one in found:
        if isinstance(one, str):
            warnings.append(one)
        else:
            ended[key] = one
    return ended, warnings


def table_in(directory: Place, name: str) -> pa.Table | None:
    """A table of a results folder; None where there is none.

    Args:
        directory: the results folder.
        name: the table's.

    Raises:
        StoreError: it is damaged, or cannot be read.
    """
    path = directory / f"{name}.parquet"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read a result table: {error}", where=str(path)) from error
    from clsweep.tables import table_from_parquet

    return table_from_parquet(data, name, str(path))
