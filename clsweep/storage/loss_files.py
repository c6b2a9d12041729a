"""Losses in a results folder: a file per job while a run is at work, one table when it ends.

    DIR/losses/JOB.parquet    of a job that has ended
    DIR/losses.parquet        of all jobs

On a disk the files go when they are in the table; in an object store they stay, and the table is
made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsweep.records.loss_table import losses_from_parquet, merged_losses
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place

if TYPE_CHECKING:
    import pyarrow as pa

_PARTS, _TABLE = "losses", "losses.parquet"


def write_losses(directory: Place, job: str, table: pa.Table) -> None:
    """Write the losses of one job, as a whole.

    Args:
        directory: the results folder.
        job: trial id, or key of a stage.
        table: of `loss_table`.

    Raises:
        StoreError: the storage refuses.
    """
    from clsweep.records.tables import parquet_bytes

    folder_of(directory).write(f"{_PARTS}/{job}.parquet", parquet_bytes(table))


def collect_losses(directory: Place) -> int:
    """Put the files of jobs into the table; returns how many there were.

    Args:
        directory: the results folder, held by this run.

    Raises:
        StoreError: a file is damaged, or the storage refuses.
    """
    from clsweep.records.tables import parquet_bytes

    folder = folder_of(directory)
    folder.clean(_PARTS)
    names = [f"{_PARTS}/{entry.name}" for entry in folder.listed(_PARTS, (".parquet",))]
    if not names:
        return 0
    pieces = [
        losses_from_parquet(read(), str(directory / name))
        for name, read in zip(names, folder.reads(names), strict=True)
    ]
    path = directory / _TABLE
    try:
        before = losses_from_parquet(path.read_bytes(), str(path))
    except FileNotFoundError:
        before = None
    folder.write(_TABLE, parquet_bytes(merged_losses(before, pieces)))
    if not folder.keeps_records:
        for name in names:
            folder.delete(name)
    return len(names)
