"""Observe a results folder while a study runs, and what its tables have to hold in the end.

Nothing of clsweep is used: records, starts of trials and tables are read as the files they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from clsweep.records.schema import ADDED_TRIAL_COLUMNS

__all__ = ["Observer", "different", "lost"]

# Columns that say when, how long or how often, not what.
EXCLUDED = ("wall_seconds", "finished_at", "peak_memory_bytes", "attempts")


class Observer(threading.Thread):
    """Looks at the records of a folder twenty times a second, and forgets nothing.

    Attributes:
        records: trial id -> its record as it first lay there; None if it was gone when read.
        run_twice: sentences about trials that ran again after they had been committed.
    """

    def __init__(self, out: Path) -> None:
        super().__init__(daemon=True)
        self.folder = out / "records"
        self.records: dict[str, dict[str, Any] | None] = {}
        self.run_twice: list[str] = []
        self._stamps: dict[str, tuple[int, int, int] | None] = {}
        self._n_starts: dict[str, int] = {}
        self._over = threading.Event()

    def run(self) -> None:
        """Look until `close`."""
        while not self._over.wait(0.05):
            self.look()

    def close(self) -> None:
        """Look for the last time."""
        self._over.set()
        self.join()
        self.look()

    def look(self) -> None:
        """Note what is new, and what should not be."""
        now: dict[str, tuple[int, int, int]] = {}
        n_starts: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.folder):
                name, _, kind = entry.name.rpartition(".")
                with contextlib.suppress(FileNotFoundError):
                    if kind == "json":
                        stat = entry.stat()
                        now[name] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                    elif kind == "attempts":
                        n_starts[name] = Path(entry.path).read_bytes().count(b"\n")
        for name in now.keys() - self._stamps.keys():
            self.records[name] = None
            with contextlib.suppress(FileNotFoundError):
                self.records[name] = json.loads((self.folder / f"{name}.json").read_bytes())
            self._n_starts[name] = n_starts.get(name, 0)
            self._stamps[name] = now[name]
        for name, stamp in self._stamps.items():
            if name in now and now[name] != stamp:
                self._again(name, "committed")
                self._stamps[name] = now[name]
            if n_starts.get(name, 0) > self._n_starts[name]:
                self._again(name, "started")
            if name not in now:  # compacted: from now on there is no such file
                self._stamps[name] = None
            self._n_starts[name] = n_starts.get(name, 0)

    def _again(self, name: str, what: str) -> None:
        self.run_twice.append(f"{name} was {what} again after it had been committed")


def lost(records: dict[str, dict[str, Any] | None], out: Path) -> list[str]:
    """Records that have no row in the tables, or another."""
    trials = {row["trial_id"]: row for row in _rows(out, "trials")}
    configs = {row["config_id"]: row for row in _rows(out, "configs")}
    counts: dict[str, list[list[Any]]] = {name: [] for name in trials}
    for row in _rows(out, "accuracy"):
        columns = ("after_task", "on_task", "split", "n_correct", "n_total")
        counts[f"{row['config_id']}-{row['seed']}"].append([row[column] for column in columns])
    wrong = []
    for name, record in records.items():
        if name not in trials:
            wrong.append(f"lost: {name} has no row")
            continue
        if record is None:
            continue
        # Columns of their own for what stands among the versions as well.
        row = {k: v for k, v in trials[name].items() if k not in ADDED_TRIAL_COLUMNS}
        row |= {key: json.loads(row[key]) for key in ("versions", "counters")}
        config = dict(configs[row["config_id"]])
        knobs = dict(zip(config["knobs"], config["knob_values"], strict=True))
        config |= {key: json.loads(config[key]) for key in ("hyper", "training")}
        config["knobs"] = knobs
        found = (row, {key: config[key] for key in record["config"]}, sorted(counts[name]))
        if found != (record["trial"], record["config"], sorted(record["accuracy"])):
            wrong.append(f"lost: {name} has another row than its record had")
    return wrong


def different(expected: Path, out: Path) -> list[str]:
    """Tables that are not those of the undisturbed run."""
    wrong = [
        f"different: {name}.parquet"
        for name in ("accuracy", "configs")
        if (expected / f"{name}.parquet").read_bytes() != (out / f"{name}.parquet").read_bytes()
    ]
    one, other = ([_essence(row) for row in _rows(folder, "trials")] for folder in (expected, out))
    return wrong + ["different: trials.parquet"] * (one != other)


def _essence(row: dict[str, Any]) -> dict[str, Any]:
    counters = {k: v for k, v in json.loads(row["counters"]).items() if k != "cpu_seconds"}
    return {k: v for k, v in row.items() if k not in EXCLUDED} | {"counters": counters}


def _rows(out: Path, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / f"{table}.parquet").to_pylist()
    return rows
