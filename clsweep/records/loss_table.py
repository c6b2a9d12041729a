"""`losses.parquet`: training losses of trials and stages, thinned, see `loss_curves.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from clsweep.errors import StoreError
from clsweep.records.checksums import broken_seal

if TYPE_CHECKING:
    import pyarrow as pa

_ORDER = ("config_id", "seed", "job", "task", "n_phase", "step")


def loss_schema() -> pa.Schema:
    """The columns.

    job: trial id, or key of a stage. kind: 'trial', 'source' or 'finetuned'. config_id: '' for a
    stage, which many share. The others: see `loss_curves.LossRow`.
    """
    import pyarrow as pa

    return pa.schema(
        {
            "job": pa.string(),
            "kind": pa.string(),
            "config_id": pa.string(),
            "label": pa.string(),
            "seed": pa.int64(),
            "task": pa.int32(),
            "phase": pa.string(),
            "n_phase": pa.int32(),
            "step": pa.int64(),
            "loss": pa.float64(),
        }
    )


def loss_table(
    of_job: tuple[str, str, str, str, int], rows: Iterable[tuple[int, str, int, int, float]]
) -> pa.Table:
    """The losses of one job.

    Args:
        of_job: job, kind, config_id, label, seed.
        rows: task, phase, n_phase, step, loss.
    """
    import pyarrow as pa

    schema = loss_schema()
    columns = list(zip(*((*of_job, *row) for row in rows), strict=True)) or [()] * len(schema)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def merged_losses(before: pa.Table | None, pieces: Sequence[pa.Table]) -> pa.Table:
    """The table with the losses of further jobs; those of a job replace what there was of it.

    Args:
        before: the table so far, or None.
        pieces: one table per job.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = list(pieces)
    if before is not None:
        jobs = pa.array({job for part in parts for job in part["job"].unique().to_pylist()})
        known = pc.is_in(before["job"], jobs.cast(pa.string()))
        parts.append(before.filter(pc.invert(known)))
    keys = [(name, "ascending") for name in _ORDER]
    return pa.concat_tables(parts).sort_by(keys).combine_chunks()


def losses_from_parquet(data: bytes, where: str) -> pa.Table:
    """The table in a file.

    Args:
        data: the whole file.
        where: the file, for messages.

    Raises:
        StoreError: it is damaged, or another table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fault, schema = broken_seal(data), loss_schema()
    try:
        if not fault:
            table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
            table.validate(full=True)
            found: pa.Table = table.replace_schema_metadata(None)
            if found.schema.equals(schema) and not any(c.null_count for c in found.columns):
                return found
            fault = "its columns are others"
    except (pa.ArrowException, OSError, ValueError) as error:
        fault = str(error).splitlines()[0]
    raise StoreError(
        f"a table of losses is damaged: {fault}",
        where=where,
        next_step="delete the file: no result depends on it",
    )
