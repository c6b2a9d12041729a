"""A results folder: one JSON record per finished trial, folded into Parquet tables.

    DIR/versions.json        schema, the study's identity and name, package versions
    DIR/study.toml           the study with every default written out
    DIR/records/ID.json      one finished trial that is not folded yet
    DIR/records/ID.attempts  one line per start of a trial since its last folded record
    DIR/accuracy.parquet, configs.parquet, trials.parquet
    DIR/damaged/             records that could not be read; never deleted

A record is durable once `commit_record` returns. `compact` replaces the tables one by one, each by
a rename, and only then removes the records that are in all of them; wherever it is cut short,
tables and records together still hold every trial. Readers take records first and tables after,
in the reverse of the order of replacement, so that they miss nothing while a run compacts.
"""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Set
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep import binding
from clsweep.attempts import attempts_path
from clsweep.disk import FolderLock, disk_errors, write_atomically
from clsweep.errors import StoreError
from clsweep.integrity import record_bytes, record_from_bytes
from clsweep.printable import printable
from clsweep.schema import NewerSchemaError, Record, bad_record, normalized

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Store", "commit_record"]


# ------------------------------------------------ functions that need only a path (any process)


def commit_record(directory: Path, record: Record) -> Path:
    """Write a trial's record so that no crash from now on can lose it; returns its file.

    Args:
        directory: the results folder.
        record: see `schema.py`; an earlier record of the same trial is replaced.

    Raises:
        StoreError: the record breaks the schema, or the disk refuses it.
    """
    plain = normalized(record)
    path = directory / "records" / f"{plain['trial']['trial_id']}.json"
    write_atomically(path, record_bytes(plain))
    return path


# ------------------------------------------------------------------------------- the folder


class _Pending(NamedTuple):
    path: Path
    stamp: tuple[int, int, int]
    record: Record

    @property
    def trial_id(self) -> str:
        return str(self.record["trial"]["trial_id"])


class Store:
    """The results of one study; many may read, one driver writes.

    Attributes:
        directory: the folder; it need not exist before `open_for_run`.
        warnings: sentences about damage that was set aside; the caller shows them.
        only_looks: whether damaged records stay where they are.
    """

    def __init__(self, directory: Path, *, only_looks: bool = False) -> None:
        self.directory, self.only_looks = directory, only_looks
        self.warnings: list[str] = []
        self._lock: FolderLock | None = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open_for_run(self, study_identity: str, resolved_toml: str, name: str) -> Store:
        """Bind the folder to a study and keep other drivers out until `close`.

        Args:
            study_identity: hash of what all trials of the study share.
            resolved_toml: the study with every default written out.
            name: the study's name, for messages.

        Raises:
            StoreError: another driver is at work; the folder belongs to another study, to a newer
                clsweep, or to something else; or the disk refuses.
        """
        binding.check_binding(self.directory, study_identity, resolved_toml)
        with disk_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(self.directory)
        try:
            binding.bind(self.directory, study_identity, resolved_toml, name)
            with disk_errors(self.directory):
                records = self.directory / "records"
                records.mkdir(exist_ok=True)
                # Left by processes that were killed: while the lock is ours, no other run writes.
                # Nothing asks how old they are, since clocks differ between machines, and jump.
                for path in records.glob(".*.tmp"):
                    path.unlink(missing_ok=True)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Let other drivers in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def commit(self, record: Record) -> Path:
        """`commit_record` into this folder."""
        return commit_record(self.directory, record)

    def load(self, split: str | None = None) -> list[Record]:
        """Every record, folded or not, sorted by configuration and seed; empty without a folder.

        A record that cannot be read is moved to `damaged/` and named in `warnings`: its trial is
        missing and will run again.

        Args:
            split: 'validation' or 'test' to leave out the accuracy rows of the other.

        Raises:
            StoreError: a table is damaged, or something was written by a newer clsweep.
        """
        from clsweep.tables import of_split, records_of, rows_of_split

        pending = {p.trial_id: p.record for p in self._pending()}
        tables = self._tables(pending.keys())
        if split is not None:
            pending = {key: rows_of_split(record, split) for key, record in pending.items()}
            tables = tables and {**tables, "accuracy": of_split(tables["accuracy"], split)}
        folded = [] if tables is None else records_of(tables)
        records = {record["trial"]["trial_id"]: record for record in folded} | pending
        return sorted(
            records.values(), key=lambda r: (r["trial"]["config_id"], r["trial"]["seed"])
        )

    def tables(self) -> dict[str, pa.Table]:
        """The tables with the records that are not folded yet; empty without any record.

        Raises:
            StoreError: a table is damaged, or something was written by a newer clsweep.
        """
        from clsweep.tables import merged_tables

        pending = {p.trial_id: p.record for p in self._pending()}
        tables = self._tables(pending.keys())
        if tables is None and not pending:
            return {}
        return merged_tables(tables, pending.values())

    def statuses(self) -> dict[str, str]:
        """Trial id to status of every record; reads no accuracy."""
        pending = {p.trial_id: str(p.record["trial"]["status"]) for p in self._pending()}
        trials = self._table("trials")
        if trials is None:
            return pending
        columns = (trials[name].to_pylist() for name in ("trial_id", "status"))
        return dict(zip(*columns, strict=True)) | pending

    def check_tables(self) -> None:
        """Find damage before work is done whose results could not be folded in.

        Raises:
            StoreError: a table is damaged or missing.
        """
        pending = self._pending()
        if self._tables({p.trial_id for p in pending}) is None:
            self._refuse_orphans(pending)

    def pending(self, trial_id: str) -> Record:
        """The record of a trial that this run has committed.

        Raises:
            StoreError: it cannot be read, or there is none.
        """
        path = self.directory / "records" / f"{trial_id}.json"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from error
        return record_from_bytes(data, trial_id, str(path))

    def study_table(self) -> dict[str, Any]:
        """What `study.toml` says, as plain values; empty when there is none."""
        return binding.study_table(self.directory)

    def compact(self) -> int:
        """Fold the records into the tables; returns how many.

        Raises:
            StoreError: a table is damaged, another driver is at work, or the disk refuses; no
                record is removed then.
        """
        if self._lock is not None:
            return self._fold()
        if not self.directory.is_dir():
            return 0
        self._lock = FolderLock(self.directory)
        try:
            return self._fold()
        finally:
            self.close()

    # ------------------------------------------------------------------------- private pieces

    def _fold(self) -> int:
        from clsweep.tables import TABLES, merged_tables, parquet_bytes

        pending = self._pending()
        if pending:
            tables = self._tables({p.trial_id for p in pending})
            if tables is None:
                self._refuse_orphans(pending)
            merged = merged_tables(tables, [p.record for p in pending])
            for name in TABLES:
                self._write(f"{name}.parquet", parquet_bytes(merged[name]))
        records = self.directory / "records"
        with disk_errors(records):
            for one in pending:
                # A worker may have committed the trial anew since it was read.
                if _stamp(one.path.stat()) == one.stamp:
                    attempts_path(self.directory, one.trial_id).unlink(missing_ok=True)
                    os.unlink(one.path)
        return len(pending)

    def _refuse_orphans(self, pending: list[_Pending]) -> None:
        """Never overwrite the accuracies of trials whose other table was taken away by hand."""
        accuracy = self._table("accuracy")
        if accuracy is None:
            return
        from clsweep.table_checks import trials_in

        if trials_in(accuracy) - {p.trial_id for p in pending}:
            raise self._missing_table("trials")

    def _missing_table(self, name: str) -> StoreError:
        return StoreError(
            f"{name}.parquet is missing while other tables of its trials are there",
            where=str(self.directory),
            next_step="put back a copy of the file; nothing was changed or deleted",
        )

    def _write(self, name: str, data: bytes) -> None:
        write_atomically(self.directory / name, data)

    def _pending(self) -> list[_Pending]:
        pending = []
        for path in sorted((self.directory / "records").glob("*.json")):
            # A file may vanish: a run that compacts has put its record into the tables.
            with contextlib.suppress(FileNotFoundError):
                try:
                    found = path.stat()
                    if not stat.S_ISREG(found.st_mode):  # a pipe or a device would never end
                        raise bad_record("it is no file", str(path))
                    record = record_from_bytes(path.read_bytes(), path.stem, str(path))
                except NewerSchemaError:
                    raise
                except StoreError as error:
                    self._set_aside(path, error)
                except FileNotFoundError:
                    raise
                except OSError as error:
                    raise _unreadable(path, error) from error
                else:
                    pending.append(_Pending(path, _stamp(found), record))
        return pending

    def _set_aside(self, path: Path, error: StoreError) -> None:
        target = self.directory / "damaged" / f"{path.stem}.{uuid.uuid4().hex}.json"
        try:
            if self.only_looks:
                raise PermissionError("only looked at")
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)
            moved = f"moved to {printable(str(target.relative_to(self.directory)))}"
        except OSError as refused:
            moved = f"left where it is: {refused.strerror or refused}"
        self.warnings.append(
            f"the record of trial {printable(path.stem)} is damaged ({error.found}); "
            f"it was {moved}, and the trial counts as not done"
        )

    def _table(self, name: str) -> pa.Table | None:
        path = self.directory / f"{name}.parquet"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read a result table: {error}", where=str(path)) from error
        from clsweep.tables import table_from_parquet

        return table_from_parquet(data, name, str(path))

    def _tables(self, replaced: Set[str] = frozenset()) -> dict[str, pa.Table] | None:
        """The tables; `replaced` are the trials that a record is about to replace."""
        from clsweep.tables import check_together

        tables = {}
        for name in ("trials", "configs", "accuracy"):
            table = self._table(name)
            if table is None and name == "trials":
                return None
            if table is None:
                raise self._missing_table(name)
            tables[name] = table
        check_together(tables, replaced, str(self.directory))
        return tables


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"a record cannot be read: {error.strerror or error}", where=str(path))


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return (found.st_ino, found.st_size, found.st_mtime_ns)
