"""The tables that a report writes: every point, what protocols chose, every pair of methods."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clsweep.reporting.comparison import Comparison
from clsweep.reporting.curves import Point
from clsweep.reporting.inference import Difference
from clsweep.reporting.judgement import Judgement
from clsweep.reporting.protocol_scores import Crossfit, Score
from clsweep.reporting.sampling_error import image_errors
from clsweep.search import selection_protocols

if TYPE_CHECKING:
    import pyarrow as pa

_Images = tuple[Any, ...]
_UNKNOWN = (None, None)


def points_table(comparison: Comparison, shares_images: bool = False) -> pa.Table:
    """`fronts.parquet`: one row per configuration, split and seed, and one for the mean.

    What diverged with a seed is no point: it has the row of the mean, without accuracies.

    Args:
        comparison: what the report says.
        shares_images: whether all tasks show the same test images.
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
            *((name, pa.int64()) for name in ("n_source_images", "n_target_images")),
            *((f"{name}_image_error", pa.float64()) for name in ("average", "source", "target")),
        ]
    )
    found = _rows(comparison, shares_images)
    rows = [dict(zip(schema.names, row, strict=True)) for row in found]
    return pa.Table.from_pylist(rows, schema=schema)


def picks_table(comparison: Comparison, scored: Sequence[Score]) -> bytes:
    """`protocols.parquet`: one row per protocol and label.

    Args:
        comparison: the study.
        scored: of any protocols.
    """
    import pyarrow as pa

    from clsweep.records.tables import parquet_bytes

    numbers = ("average", "source", "target")
    schema = pa.schema(
        [
            ("protocol", pa.string()),
            ("meaning", pa.string()),
            ("needs_source", pa.bool_()),
            ("label", pa.string()),
            ("method", pa.string()),
            ("config_id", pa.string()),
            ("remark", pa.string()),
            ("hyper", pa.string()),
            ("training", pa.string()),
            *((f"validation_{name}_accuracy", pa.float64()) for name in numbers),
            *((f"test_{name}_accuracy", pa.float64()) for name in numbers),
            ("test_optimum_config_id", pa.string()),
            ("test_regret", pa.float64()),
            *((f"crossfit_{name}_accuracy", pa.float64()) for name in numbers),
            ("n_folds", pa.int64()),
            ("n_folds_other", pa.int64()),
        ]
    )
    rows = [dict(zip(schema.names, row, strict=True)) for row in _pick_rows(comparison, scored)]
    return parquet_bytes(pa.Table.from_pylist(rows, schema=schema))


def pairs_table(
    judgement: Judgement,
    image_errors: Mapping[frozenset[str], tuple[float, float]] | None = None,
) -> bytes:
    """`pairs.parquet`: one row per measure and pair of labels.

    Args:
        judgement: what `judge` found.
        image_errors: two labels to the least and the most error that the test images give the
            difference of their averages; None where it is not known.
    """
    import pyarrow as pa

    from clsweep.records.tables import parquet_bytes

    schema = pa.schema(
        [
            ("measure", pa.string()),
            ("above", pa.string()),
            ("below", pa.string()),
            ("test_difference", pa.float64()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("n_seeds", pa.int64()),
            ("n_seeds_above", pa.int64()),
            ("interval", pa.string()),
            ("is_claim", pa.bool_()),
            ("crossfit_difference", pa.float64()),
            ("selection", pa.string()),
            ("n_at_once", pa.int64()),
            ("image_error_least", pa.float64()),
            ("image_error_most", pa.float64()),
        ]
    )
    found = _pair_rows(judgement, image_errors or {})
    rows = [dict(zip(schema.names, row, strict=True)) for row in found]
    return parquet_bytes(pa.Table.from_pylist(rows, schema=schema))


def _rows(comparison: Comparison, shares_images: bool) -> Iterator[tuple[Any, ...]]:
    finetuned = selection_protocols.best_finetuned(comparison.validation)
    for curve in comparison.all_curves:
        for index, point in enumerate(curve.points):
            marks = (bool(curve.on_front[index]), index == curve.best, 0)
            for split in ("validation", "test"):
                is_test = split == "test"
                of_split = point.test_S2 if is_test else point.validation_S2
                mean, images = _images(point, shares_images) if is_test else _nothing(of_split)
                name = (curve.label, curve.method, point.config_id, split)
                error = None
                if finetuned is not None and split == "validation":
                    error = selection_protocols.target_error(point.candidate, finetuned)
                yield (*name, None, *map(float, point.mean(split)), *marks, error, *mean)
                # Choosing seeds have validation rows, seeds that are shown have test rows.
                chosen_by = comparison.choose_on if split == "validation" else ()
                seeds = chosen_by or comparison.seeds
                for seed, pair, of_seed in zip(seeds, of_split, images, strict=True):
                    yield (*name, seed, *map(float, pair), *marks, None, *of_seed)
        for lost in curve.diverged:
            for split in ("validation", "test"):
                name = (curve.label, curve.method, lost.config_id, split)
                yield (*name, None, None, None, False, False, len(lost.seeds), *[None] * 6)


def _images(point: Point, is_shared: bool) -> tuple[_Images, list[_Images]]:
    """Numbers of test images and their errors: of the mean over seeds, and of every seed."""
    errors_S3 = image_errors(point.counts_ST2, is_shared, point.errors_ST)
    totals_ST = point.counts_ST2[..., 1]
    n_S2 = np.stack([totals_ST[:, :-1].sum(axis=1), totals_ST[:, -1]], axis=1)
    if np.isnan(totals_ST).any():
        return _nothing(n_S2)
    found = [(*map(int, n), *e) for n, e in zip(n_S2, errors_S3.tolist(), strict=True)]
    # Where seeds test on classes of unequal size, the mean has no number of images.
    same = [int(n[0]) if (n == n[0]).all() else None for n in n_S2.T]
    return (*same, *errors_S3.mean(axis=0).tolist()), found


def _nothing(of_split: NDArray[np.float64]) -> tuple[_Images, list[_Images]]:
    nothing = (None,) * 5
    return nothing, [nothing] * len(of_split)


def _pick_rows(comparison: Comparison, scored: Sequence[Score]) -> Iterator[tuple[object, ...]]:
    curves = {curve.label: curve for curve in comparison.curves}
    for score in scored:
        curve = curves[score.pick.label]
        protocol = score.protocol
        name = (protocol.name, protocol.meaning, protocol.needs_source, curve.label, curve.method)
        best = None if score.optimum is None else curve.points[score.optimum].config_id
        if score.index is None:
            nothing = [None] * 6
            yield (*name, None, score.pick.remark, None, None, *nothing, best, *nothing)
            continue
        point = curve.points[score.index]
        candidate = point.candidate
        yield (
            *name,
            candidate.config_id,
            score.pick.remark,
            json.dumps(candidate.hyper),
            json.dumps(candidate.training),
            float(np.mean(candidate.average_S)),
            *map(float, point.mean("validation")),
            float(np.mean(point.measures["average_accuracy"])),
            *map(float, point.mean("test")),
            best,
            float(np.mean(score.regret_S)),
            *_crossfit_row(score.crossfit),
        )


def _crossfit_row(found: Crossfit | None) -> tuple[float | int | None, ...]:
    if found is None:
        return (None,) * 5
    means = [float(np.mean(v)) for v in (found.average_S, found.source_S, found.target_S)]
    sound = [None if np.isnan(mean) else mean for mean in means]
    return (*sound, len(found.average_S), found.n_other)


def _pair_rows(
    judgement: Judgement, image_errors: Mapping[frozenset[str], tuple[float, float]]
) -> Iterator[tuple[object, ...]]:
    area = "normalised_hypervolume" if judgement.is_normalised else "hypervolume"
    names = [f"source_accuracy_at_-{100 * drop:g}" for drop in judgement.drops]
    of_choices = [judgement.average_pairs, *judgement.source_pairs]
    keys = ["average", *(f"{100 * drop:g}" for drop in judgement.drops)]
    n_at_once = sum(map(len, of_choices))
    for measure, key, pairs in zip(["average_accuracy", *names], keys, of_choices, strict=True):
        found = judgement.crossfit.get(key, {})
        for d in pairs:
            crossfit = _crossfit_difference(d, found)
            known = image_errors if measure == "average_accuracy" else {}
            images = known.get(frozenset((d.above, d.below)), _UNKNOWN)
            yield (*_pair_row(measure, d), crossfit, judgement.selection, n_at_once, *images)
    selection = judgement.selection if judgement.selection == "other seeds" else "shared"
    for d in judgement.hypervolume_pairs:
        yield (*_pair_row(area, d), None, selection, len(judgement.hypervolume_pairs), *_UNKNOWN)


def _pair_row(measure: str, d: Difference) -> tuple[object, ...]:
    i = d.interval
    numbers = (i.mean, i.low, i.high, i.n, d.n_above)
    return (measure, d.above, d.below, *numbers, i.kind, d.is_claim)


def _crossfit_difference(
    difference: Difference, found: Mapping[str, NDArray[np.float64]]
) -> float | None:
    """Of the cross-fitted means; None where one of them is missing.

    Args:
        difference: of two labels.
        found: label to its cross-fitted values.
    """
    means = [float(np.mean(found.get(n, np.nan))) for n in (difference.above, difference.below)]
    return None if np.isnan(means).any() else means[0] - means[1]
