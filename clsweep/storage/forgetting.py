"""Taking trials out of a results folder, so that a run computes them again.

Nothing is deleted: the record of a trial, and its network if one is kept, go to `forgotten/`.

    DIR/forgotten/TRIAL_ID.TIME.json, .safetensors

The records of the trials are written to `records/` before a table is replaced, and moved after
all are. Wherever that is cut short, tables and records together still hold every trial that has
not been moved.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Set

from clsweep.errors import StoreError
from clsweep.records.checksums import sealed_json
from clsweep.records.schema import normalized
from clsweep.storage.attempts import forget
from clsweep.storage.folder_base import Folder
from clsweep.storage.saved_files import model_name
from clsweep.storage.table_files import parsed_tables

FORGOTTEN = "forgotten"
# A table of fewer trials must never stand beside one that needs them: what `trials` says has its
# configuration at every moment, and the accuracies that go first are those of pending records.
_ORDER = ("accuracy", "trials", "configs")


def refuse_object_store(folder: Folder) -> None:
    """Refuse where records are never deleted.

    Args:
        folder: the results folder.

    Raises:
        StoreError: it lies in an object store.
    """
    if folder.keeps_records:
        raise StoreError(
            "in an object store no record is deleted: another driver may be writing the tables "
            "from it, and no lock would tell",
            where=str(folder.place),
            next_step="copy the folder to a disk, forget the trials there, and go on there, or "
            "copy it to another place of the store",
        )


def forget_trials(folder: Folder, trial_ids: Set[str], check: Callable[[], None]) -> int:
    """Move trials to `forgotten/`; returns how many.

    Args:
        folder: the results folder on a disk, whose lock is this process's, with all records in
            the tables.
        trial_ids: the trials.
        check: raises if the folder is another driver's by now.

    Raises:
        StoreError: a table is damaged, or the disk refuses; every trial is still there then, or
            has been moved.
    """
    from clsweep.records.tables import merged_tables, parquet_bytes, records_of

    refuse_object_store(folder)
    tables = parsed_tables(folder.place)
    records = [] if tables is None else records_of(tables)
    gone = [one for one in records if one["trial"]["trial_id"] in trial_ids]
    if not gone:
        return 0
    for record in gone:
        name = f"records/{record['trial']['trial_id']}.json"
        folder.write(name, sealed_json(normalized(record)))
    kept = [one for one in records if one["trial"]["trial_id"] not in trial_ids]
    left = merged_tables(None, kept)
    check()
    for name in _ORDER:
        folder.write(f"{name}.parquet", parquet_bytes(left[name]))
    at = time.time_ns()
    for record in gone:
        _put_aside(folder, record["trial"]["trial_id"], at)
    return len(gone)


def _put_aside(folder: Folder, trial_id: str, at: int) -> None:
    try:
        # The network first: without its record it would count as that of the next trial.
        with contextlib.suppress(FileNotFoundError):
            folder.move(model_name(trial_id), f"{FORGOTTEN}/{trial_id}.{at}.safetensors")
        forget(folder.place, trial_id)
        folder.move(f"records/{trial_id}.json", f"{FORGOTTEN}/{trial_id}.{at}.json")
    except OSError as error:
        raise StoreError(
            f"a trial cannot be moved: {error.strerror or error}",
            where=str(folder.place / FORGOTTEN),
            next_step="see that the folder can be written to, and give the command again; trials "
            "that were not moved are still there",
        ) from error
