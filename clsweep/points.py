"""The points of a report as a table: every configuration, its mean over seeds and every seed's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from clsweep import protocols
from clsweep.comparison import Comparison

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["points_table"]


def points_table(comparison: Comparison) -> pa.Table:
    """`fronts.parquet`: one row per configuration, split and seed, and one for the mean.

    What diverged with a seed is no point: it has the row of the mean, without accuracies.

    Args:
        comparison: what the report says.
    """
    import pyarrow as pa

    schema = pa.schema(
        [
            ("label", pa.string()),
            ("method", pa.string()),
            ("config_id", pa.string()),
            ("split", pa.string()),
            ("seed", pa.int64()),
            ("source_accuracy", pa.float64()),
            ("target_accuracy", pa.float64()),
            ("on_front", pa.bool_()),
            ("is_best", pa.bool_()),
            ("n_diverged", pa.int64()),
            ("target_error", pa.float64()),
        ]
    )
    rows = [dict(zip(schema.names, row, strict=True)) for row in _rows(comparison)]
    return pa.Table.from_pylist(rows, schema=schema)


def _rows(comparison: Comparison) -> Iterator[tuple[Any, ...]]:
    finetuned = protocols.best_finetuned(comparison.validation)
    for curve in comparison.all_curves:
        for index, point in enumerate(curve.points):
            marks = (bool(curve.on_front[index]), index == curve.best, 0)
            for split in ("validation", "test"):
                of_split = point.validation_S2 if split == "validation" else point.test_S2
                name = (curve.label, curve.method, point.config_id, split)
                error = None
                if finetuned is not None and split == "validation":
                    error = protocols.target_error(point.candidate, finetuned)
                yield (*name, None, *map(float, point.mean(split)), *marks, error)
                # Choosing seeds have validation rows, seeds that are shown have test rows.
                chosen_by = comparison.choose_on if split == "validation" else ()
                for seed, pair in zip(chosen_by or comparison.seeds, of_split, strict=True):
                    yield (*name, seed, *map(float, pair), *marks, None)
        for lost in curve.diverged:
            for split in ("validation", "test"):
                name = (curve.label, curve.method, lost.config_id, split)
                yield (*name, None, None, None, False, False, len(lost.seeds), None)
