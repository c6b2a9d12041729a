"""How good each front is, and which method is above which: with intervals, from test accuracies.

Choices are those of validation data. Of every label:

    best average            A* = ACC of the choice by 'average'         Lee et al. 2020 (ResCL)
    source at a target      S*(τ) = S of the choice by 'required', τ below T_FT            same
    normalised hypervolume  area beyond (S_FT, T_frozen) / ((S_frozen − S_FT)(T_FT − T_frozen))

Hypervolume is one number per seed: of the test points that the seed's own validation front picks,
and between the seed's own references; more than 1 is possible. Nothing is interpolated: S*(τ) and
the area step from one configuration to the next, so that a finer grid can only gain.

The good region is the range of the knob within which the mean validation ACC stays within a point
of its best, over grid values next to each other; at each value of the knob the other numbers are
at their best. It ends at grid values, so that the true region is a little wider.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsweep import fronts
from clsweep.comparison import Comparison
from clsweep.curves import Curve, Point, picked_per_seed
from clsweep.declarations import search_range
from clsweep.inference import ACCURACY, Bounds, Difference, Interval, differences, interval
from clsweep.methods import METHODS

__all__ = ["FrontQuality", "GoodRegion", "Judgement", "judge", "pairs_table"]

Array = NDArray[np.float64]

_TOLERANCE = 0.01
_ROUNDING = 1e-12
# A front can enclose more than the references do.
_NORMALISED: Bounds = (0.0, math.inf)


@dataclass(frozen=True)
class GoodRegion:
    """Where the knob may lie.

    Attributes:
        knob: its name.
        low: the smallest good value of the grid.
        high: the largest.
        at_edge: whether the region reaches an end of the grid, and may be wider.
    """

    knob: str
    low: float
    high: float
    at_edge: bool

    @property
    def decades(self) -> float:
        """Width on a logarithmic scale."""
        return math.log10(self.high / self.low)


@dataclass(frozen=True)
class FrontQuality:
    """One label's front in numbers; None where something it needs is missing.

    Attributes:
        label: the label.
        best_average: of the choice with the best average.
        source_at: one per requirement of the comparison.
        hypervolume: beyond the comparison's reference point.
        normalised: hypervolume between the references.
        normalised_S: the same per seed; empty where it is None.
        region: of the primary knob, where it is searched on a logarithmic scale.
    """

    label: str
    best_average: Interval | None
    source_at: tuple[Interval | None, ...]
    hypervolume: Interval | None
    normalised: Interval | None
    normalised_S: Array
    region: GoodRegion | None


@dataclass(frozen=True)
class Judgement:
    """All fronts, and every pair of labels.

    Attributes:
        fronts: one per label that traces a curve.
        average_pairs: by the best average accuracy.
        hypervolume_pairs: by hypervolume, normalised where it can be.
        is_normalised: whether it can.
        remark: why it cannot; else empty.
    """

    fronts: tuple[FrontQuality, ...] = ()
    average_pairs: tuple[Difference, ...] = ()
    hypervolume_pairs: tuple[Difference, ...] = ()
    is_normalised: bool = False
    remark: str = ""


def judge(comparison: Comparison) -> Judgement:
    """Everything above, for all labels that trace a curve.

    Args:
        comparison: what the report compares.
    """
    corners, remark = _corners(comparison)
    qualities = tuple(_quality(c, comparison, corners) for c in comparison.curves)
    ready = [(c, q) for c, q in zip(comparison.curves, qualities, strict=True) if c.points]
    labels = [curve.label for curve, _ in ready]
    averages = [_average_S(curve) for curve, _ in ready]
    areas = [q.normalised_S if corners is not None else c.hypervolumes for c, q in ready]
    of_areas = ACCURACY if corners is None else _NORMALISED
    return Judgement(
        fronts=qualities,
        average_pairs=differences(labels, np.array(averages), ACCURACY) if ready else (),
        hypervolume_pairs=differences(labels, np.array(areas), of_areas) if ready else (),
        is_normalised=corners is not None,
        remark=remark,
    )


def pairs_table(judgement: Judgement) -> bytes:
    """`pairs.parquet`: one row per measure and pair of labels.

    Args:
        judgement: what `judge` found.
    """
    import pyarrow as pa

    from clsweep.tables import parquet_bytes

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
        ]
    )
    rows = [dict(zip(schema.names, row, strict=True)) for row in _pair_rows(judgement)]
    return parquet_bytes(pa.Table.from_pylist(rows, schema=schema))


def _pair_rows(judgement: Judgement) -> Iterator[tuple[object, ...]]:
    area = "normalised_hypervolume" if judgement.is_normalised else "hypervolume"
    for measure, pairs in (
        ("average_accuracy", judgement.average_pairs),
        (area, judgement.hypervolume_pairs),
    ):
        for d in pairs:
            i = d.interval
            numbers = (i.mean, i.low, i.high, i.n, d.n_above)
            yield (measure, d.above, d.below, *numbers, i.kind, d.is_claim)


def _quality(curve: Curve, comparison: Comparison, corners: Array | None) -> FrontQuality:
    if not curve.points:
        nothing = tuple(None for _ in comparison.requirements)
        return FrontQuality(curve.label, None, nothing, None, None, np.array([]), None)
    kept = []
    for requirement in comparison.requirements:
        index = requirement.chosen[curve.label]
        kept.append(
            None if index is None else interval(curve.points[index].test_S2[:, 0], ACCURACY)
        )
    normalised_S = np.array([]) if corners is None else _normalised(curve, corners)
    return FrontQuality(
        label=curve.label,
        best_average=None if curve.best is None else interval(_average_S(curve), ACCURACY),
        source_at=tuple(kept),
        hypervolume=interval(curve.hypervolumes, ACCURACY),
        normalised=None if corners is None else interval(normalised_S, _NORMALISED),
        normalised_S=normalised_S,
        region=_good_region(curve),
    )


def _average_S(curve: Curve) -> Array:
    if curve.best is None:
        return np.full(len(curve.points[0].test_S2), np.nan)
    return curve.points[curve.best].measures["average_accuracy"]


def _corners(comparison: Comparison) -> tuple[Array | None, str]:
    """Per seed (S_FT, T_frozen, S_frozen, T_FT), or why there are none."""
    ends = {}
    for name in ("finetune", "frozen"):
        made = [c for c in comparison.references if c.method == name and c.best is not None]
        if not made:
            return None, f"no finished '{name}' reference"
        ends[name] = max((c.points[c.best or 0] for c in made), key=_validation_target).test_S2
    tuned, frozen = ends["finetune"], ends["frozen"]
    corners = np.column_stack([tuned[:, 0], frozen[:, 1], frozen[:, 0], tuned[:, 1]])
    if not ((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])).all():
        return None, "fine-tuning and the frozen trunk do not span a rectangle with every seed"
    return corners, ""


def _validation_target(point: Point) -> float:
    return float(point.mean("validation")[1])


def _normalised(curve: Curve, corners: Array) -> Array:
    picked = picked_per_seed(curve.points, len(corners))
    areas = [
        fronts.hypervolume_2d(points, (low_source, low_target))
        / ((high_source - low_source) * (high_target - low_target))
        for points, (low_source, low_target, high_source, high_target) in zip(
            picked, corners, strict=True
        )
    ]
    return np.array(areas)


def _good_region(curve: Curve) -> GoodRegion | None:
    knob = _primary_log_knob(curve)
    if knob is None:
        return None
    best_at: dict[float, float] = {}
    for point in curve.points:
        value = point.candidate.knobs.get(knob, 0.0)
        if value > 0:
            average = float(np.mean(point.candidate.average_S))
            best_at[value] = max(average, best_at.get(value, -math.inf))
    for lost in curve.diverged:
        # Good on both sides of a value that diverged is no region.
        if (value := lost.knobs.get(knob, 0.0)) > 0:
            best_at.setdefault(value, -math.inf)
    values = sorted(best_at)
    if all(average == -math.inf for average in best_at.values()):
        return None
    if len(values) < 2 or any(math.isnan(average) for average in best_at.values()):
        return None
    first, last = _run_around_best([best_at[value] for value in values])
    grid = [v for v in curve.grid.get(knob, ()) if isinstance(v, (int, float)) and v > 0]
    at_edge = values[first] <= min(grid) or values[last] >= max(grid)
    return GoodRegion(knob, values[first], values[last], at_edge)


def _primary_log_knob(curve: Curve) -> str | None:
    if curve.method not in METHODS:
        return None
    fields = METHODS[curve.method].hyper.model_fields
    for name in curve.points[0].candidate.knobs:
        if name in curve.grid and name in fields:
            searched = search_range(fields[name])
            return name if searched is not None and searched[2] else None
    return None


def _run_around_best(averages: Sequence[float]) -> tuple[int, int]:
    """First and last index of the good values next to the best one."""
    best = int(np.argmax(averages))
    good = [average >= averages[best] - _TOLERANCE - _ROUNDING for average in averages]
    first, last = best, best
    while first > 0 and good[first - 1]:
        first -= 1
    while last < len(good) - 1 and good[last + 1]:
        last += 1
    return first, last
