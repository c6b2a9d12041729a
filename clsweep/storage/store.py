"""A results folder: one JSON record per finished trial, put into Parquet tables.

    DIR/versions.json        schema, the study's identity and name, package versions
    DIR/study.toml           the study with every default written out
    DIR/methods.json         what is known about methods of the user's own, if it has any
    DIR/records/ID.json      one finished trial that is not compacted yet
    DIR/records/ID.attempts  one line per start of a trial since its last compacted record
    DIR/accuracy.parquet, configs.parquet, trials.parquet
    DIR/extras/              see `storage/extra_files.py`
    DIR/damaged/             records that could not be read; never deleted
    DIR/forgotten/           records that somebody has taken out; never deleted

A record is durable once `commit_record` returns. `compact` replaces the tables one by one, each by
a rename, and only then removes the records that are in all of them; wherever it is cut short,
tables and records together still hold every trial. Readers take records first and tables after,
in the reverse of the order of replacement, so that they miss nothing while a run compacts. In an
object store records are never removed: see `storage/compaction.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from types import TracebackType
from typing import TYPE_CHECKING, Any

from clsweep.records.checksums import record_from_bytes, sealed_json
from clsweep.records.recorded_inputs import (
    Input,
    changed_inputs_error,
    decoding_change,
    difference,
    recorded_fingerprints,
    unknown_text,
)
from clsweep.records.schema import Record, normalized
from clsweep.storage import study_binding
from clsweep.storage.compaction import Contents, compact, contents_of, refuse_orphans, trials_of
from clsweep.storage.extra_files import compact_extras
from clsweep.storage.folder_base import Lock
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.forgetting import forget_trials, refuse_object_store
from clsweep.storage.pending_records import unreadable
from clsweep.storage.remote_path import Place

if TYPE_CHECKING:
    import pyarrow as pa


def commit_record(directory: Place, record: Record) -> Place:
    """Write a trial's record so that no crash from now on can lose it; returns its file.

    Args:
        directory: the results folder.
        record: see `records/schema.py`; an earlier record of the same trial is replaced.

    Raises:
        StoreError: the record breaks the schema, or the disk refuses it.
    """
    plain = normalized(record)
    name = f"records/{plain['trial']['trial_id']}.json"
    folder_of(directory).write(name, sealed_json(plain))
    return directory / name


class Store:
    """The results of one study; many may read, one driver writes.

    Attributes:
        directory: the folder; it need not exist before `open_for_run`.
        warnings: sentences about damage that was set aside; the caller shows them.
        read_only: whether damaged records stay where they are.
    """

    def __init__(self, directory: Place, *, read_only: bool = False) -> None:
        self.directory, self.read_only = directory, read_only
        self._folder = folder_of(directory)
        self.warnings: list[str] = []
        self._lock: Lock | None = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open_for_run(
        self,
        study_identity: str,
        resolved_toml: str,
        name: str,
        declared: Callable[[], str] = str,
    ) -> Store:
        """Bind the folder to a study and keep other drivers out until `close`.

        Args:
            study_identity: hash of what all trials of the study share.
            resolved_toml: the study with every default written out.
            name: the study's name, for messages.
            declared: gives what it says of code that is not clsweep's, '' for nothing; called
                once nobody else can write into the folder.

        Raises:
            StoreError: another driver is at work; the folder belongs to another study, to a newer
                clsweep, or to something else; or the disk refuses.
        """
        study_binding.check_binding(self.directory, study_identity, resolved_toml)
        self._folder.make()
        self._lock = self._folder.lock()
        try:
            study_binding.bind(self.directory, study_identity, resolved_toml, name, declared)
            self._folder.clean("records")
        except BaseException:
            self.close()
            raise
        return self

    def check_inputs(self, inputs: Sequence[Input]) -> list[Input]:
        """Refuse to mix results of other data, weights or code; writes nothing.

        Args:
            inputs: what the study's results would be computed from now.

        Returns:
            Those of which the folder's results do not say what they were.

        Raises:
            StoreError: the folder's results were computed from something else.
        """
        if not study_binding.holds_trials(self.directory):
            return []
        bound, recorded = study_binding.bound_inputs(self.directory), self._recorded_inputs()
        differences, unknown = [], []
        for one in inputs:
            fingerprint, parts, _ = bound.get(one.name, ("", {}, 0))
            found = [difference(one, fingerprint, parts)]
            others = recorded.get(one.name, set()) - {fingerprint}
            found += [difference(one, value) for value in sorted(others)]
            if not fingerprint and not others and one.fingerprint:
                unknown.append(one)
                found.append(decoding_change(one))
            differences += [text for text in found if text]
        if differences:
            raise changed_inputs_error(differences, str(self.directory))
        return unknown

    def bind_inputs(self, inputs: Sequence[Input]) -> None:
        """Write down what this folder's results are computed from; it is open for a run.

        Args:
            inputs: see `check_inputs`.

        Raises:
            StoreError: see `check_inputs`; or the disk refuses.
        """
        unknown = self.check_inputs(inputs)
        if not study_binding.holds_trials(self.directory):
            study_binding.forget_inputs(self.directory)
        study_binding.bind_inputs(self.directory, inputs)
        if unknown:
            self.warnings.append(unknown_text(unknown))

    def _recorded_inputs(self) -> dict[str, set[str]]:
        """Name to every fingerprint that a record holds."""
        found: dict[str, set[str]] = {}
        texts = set()
        for row in self.trials("trial_id", "versions"):
            versions = row["versions"]
            if isinstance(versions, str):  # a row of the table
                if versions in texts:
                    continue
                texts.add(versions)
                versions = json.loads(versions)
            for name, value in recorded_fingerprints(versions).items():
                found.setdefault(name, set()).add(value)
        return found

    def close(self) -> None:
        """Let other drivers in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def lost(self) -> str:
        """Why the folder is no longer this driver's; '' while it is."""
        return self._lock.lost if self._lock is not None else ""

    def commit(self, record: Record) -> Place:
        """`commit_record` into this folder."""
        return commit_record(self.directory, record)

    def load(self, split: str | None = None) -> list[Record]:
        """Every record, in tables or not, by configuration and seed; empty without a folder.

        A record that cannot be read is moved to `damaged/` and named in `warnings`: its trial is
        missing and will run again.

        Args:
            split: 'validation' or 'test' to leave out the accuracy rows of the other.

        Raises:
            StoreError: a table is damaged, or something was written by a newer clsweep.
        """
        from clsweep.records.tables import of_split, records_of, rows_of_split

        found = self._contents()
        pending = {p.trial_id: p.record for p in found.pending}
        tables = found.tables
        if split is not None:
            pending = {key: rows_of_split(record, split) for key, record in pending.items()}
            tables = tables and {**tables, "accuracy": of_split(tables["accuracy"], split)}
        compacted = [] if tables is None else records_of(tables)
        records = {record["trial"]["trial_id"]: record for record in compacted} | pending
        return sorted(
            records.values(), key=lambda r: (r["trial"]["config_id"], r["trial"]["seed"])
        )

    def tables(self) -> dict[str, pa.Table]:
        """The tables with the records that are not compacted yet; empty without any record.

        Raises:
            StoreError: a table is damaged, or something was written by a newer clsweep.
        """
        from clsweep.records.tables import merged_tables

        found = self._contents()
        if found.tables is None and not found.pending:
            return {}
        return merged_tables(found.tables, [p.record for p in found.pending])

    def statuses(self) -> dict[str, str]:
        """Trial id to status of every record; reads no accuracy."""
        return {row["trial_id"]: row["status"] for row in self.trials("trial_id", "status")}

    def trials(self, *fields: str) -> list[dict[str, Any]]:
        """Fields of the 'trial' part of every record; reads no accuracy.

        Args:
            fields: names of fields that are plain columns of the table; 'trial_id' among them.

        Raises:
            StoreError: a table is damaged, or something was written by a newer clsweep.
        """
        records, trials = trials_of(self._folder, self.warnings, self.read_only)
        known: dict[str, Mapping[str, Any]] = {p.trial_id: p.record["trial"] for p in records}
        pending = {key: {f: trial[f] for f in fields} for key, trial in known.items()}
        compacted = trials.select(fields).to_pylist() if trials else []
        return [*({row["trial_id"]: row for row in compacted} | pending).values()]

    def check_tables(self) -> None:
        """Find damage before work is done whose results could not be put into the tables.

        Raises:
            StoreError: a table is damaged or missing.
        """
        refuse_orphans(self._folder, self._contents())

    def pending(self, trial_id: str, split: str | None = None) -> Record:
        """The record of a trial that this run has committed.

        Args:
            trial_id: which.
            split: 'validation' or 'test' to leave out the accuracy rows of the other.

        Raises:
            StoreError: it cannot be read, or there is none.
        """
        path = self.directory / "records" / f"{trial_id}.json"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from error
        record = record_from_bytes(data, trial_id, str(path))
        if split is None:
            return record
        from clsweep.records.tables import rows_of_split

        return rows_of_split(record, split)

    def study_table(self) -> dict[str, Any]:
        """What `study.toml` says, as plain values; empty when there is none."""
        return study_binding.study_table(self.directory)

    def compact(self) -> int:
        """Put the records into the tables; returns how many.

        Raises:
            StoreError: a table is damaged, another driver is at work, or the disk refuses; no
                record is removed then.
        """
        if self._lock is not None:
            return self._compact(self._lock)
        if not self.directory.is_dir():
            return 0
        self._lock = self._folder.lock()
        try:
            return self._compact(self._lock)
        finally:
            self.close()

    def forget(self, trial_ids: Set[str]) -> int:
        """Take trials out of the tables, and move their records to `forgotten/`; returns how many.

        Args:
            trial_ids: the trials.

        Raises:
            StoreError: the folder lies in an object store, another driver is at work, a table is
                damaged, or the disk refuses.
        """
        refuse_object_store(self._folder)
        self._lock = self._folder.lock()
        try:
            self._folder.clean("records")
            self._compact(self._lock)
            return forget_trials(self._folder, trial_ids, self._lock.check)
        finally:
            self.close()

    def _contents(self) -> Contents:
        return contents_of(self._folder, self.warnings, self.read_only)

    def _compact(self, lock: Lock) -> int:
        n = compact(self._folder, lock.check, self.warnings, self.read_only)
        compact_extras(self._folder, self.warnings)
        return n
