"""Judging the fronts of a comparison and every pair of labels; `judgement` has the equations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clsweep.methods import known_entry
from clsweep.methods.hyper_fields import search_range
from clsweep.reporting.comparison import Comparison
from clsweep.reporting.curves import Curve, Point, picked_per_seed
from clsweep.reporting.inference import (
    ACCURACY,
    Bounds,
    Difference,
    Interval,
    differences,
    differences_of,
    interval,
)
from clsweep.reporting.judgement import Array, FrontQuality, GoodRegion, Judgement
from clsweep.reporting.protocol_scores import Score
from clsweep.search import pareto
from clsweep.search.cross_fitting import halved_average, halved_required, read_by_halves

_TOLERANCE = 0.01


_ROUNDING = 1e-12


# A front can enclose more than the references do.
_NORMALISED: Bounds = (0.0, math.inf)


def judge(
    comparison: Comparison, scored: Mapping[str, Sequence[Score]] | None = None
) -> Judgement:
    """Everything above, for all labels that trace a curve.

    Args:
        comparison: what the report compares.
        scored: protocol to its scores, for cross-fitted means beside the plain ones.
    """
    corners, remark = _corners(comparison)
    read = {c.label: _read(c, comparison) for c in comparison.curves if c.points}
    qualities = tuple(_quality(c, comparison, read, corners) for c in comparison.curves)
    # The points of a path are no independent trials, and are told apart from nothing.
    ready = [
        (c, q)
        for c, q in zip(comparison.curves, qualities, strict=True)
        if c.points and not c.is_path
    ]
    labels = [curve.label for curve, _ in ready]
    areas = [q.normalised_S if corners is not None else c.hypervolumes for c, q in ready]
    of_areas = ACCURACY if corners is None else _NORMALISED
    nothing: list[tuple[Difference, ...]] = [()] * (1 + len(comparison.requirements))
    averages, *sources = _pairs(labels, read, comparison.metric.bounds) if ready else nothing
    n_seeds = len(comparison.seeds)
    alone = "cross-fitted" if n_seeds > 1 else "shared"
    return Judgement(
        fronts=qualities,
        average_pairs=averages,
        source_pairs=tuple(sources),
        drops=tuple(r.drop for r in comparison.requirements),
        selection="other seeds" if comparison.choose_on else alone,
        crossfit=_crossfit(scored or {}),
        hypervolume_pairs=differences(labels, np.array(areas), of_areas) if ready else (),
        is_normalised=corners is not None,
        remark=remark,
    )


@dataclass(frozen=True)
class _Read:
    """Test values per seed of a label's choices: [0] the best average, then each requirement's.

    Attributes:
        plain: of what all seeds that choose have chosen; NaN where they chose nothing.
        halved: by halves of the seeds; None where no seed does both.
    """

    plain: tuple[Array, ...]
    halved: tuple[Array, ...] | None


def _read(curve: Curve, comparison: Comparison) -> _Read:
    test_PS = np.array([p.measures["average_accuracy"] for p in curve.points])
    source_PS = np.array([p.test_S2[:, 0] for p in curve.points])
    picks = [(curve.best, test_PS)]
    picks += [(r.chosen[curve.label], source_PS) for r in comparison.requirements]
    plain = tuple(values[i] if i is not None else np.nan * values[0] for i, values in picks)
    if comparison.choose_on or len(comparison.seeds) < 2:
        return _Read(plain, None)
    own = [point.candidate for point in curve.points]
    tuned = comparison.validation.references("finetune")
    halved = [read_by_halves(test_PS, halved_average(own))]
    halved += [
        read_by_halves(source_PS, halved_required(own, tuned, r.drop, comparison.margin))
        for r in comparison.requirements
    ]
    return _Read(
        plain,
        tuple(h if p is not None else np.nan * h for (p, _), h in zip(picks, halved, strict=True)),
    )


def _pairs(
    labels: Sequence[str], read: Mapping[str, _Read], limits: Bounds
) -> list[tuple[Difference, ...]]:
    """By every measure, differences whose intervals enclose those of plain and halved values."""
    values = _by_measure([read[label].plain for label in labels])
    bounds = [limits] * len(values)
    plain = differences_of(labels, values, bounds)
    halved = [h for label in labels if (h := read[label].halved) is not None]
    if not halved:
        return list(plain)
    other = differences_of(labels, _by_measure(halved), bounds)
    return [_enclosing_pairs(p, h) for p, h in zip(plain, other, strict=True)]


def _by_measure(values: Sequence[tuple[Array, ...]]) -> list[Array]:
    return [np.array(of_labels) for of_labels in zip(*values, strict=True)]


def _enclosing_pairs(
    plain: Sequence[Difference], halved: Sequence[Difference]
) -> tuple[Difference, ...]:
    found = {frozenset((d.above, d.below)): d for d in halved}
    return tuple(_enclosing_pair(d, found[frozenset((d.above, d.below))]) for d in plain)


def _enclosing_pair(plain: Difference, halved: Difference) -> Difference:
    of_halves = halved.interval
    if halved.above != plain.above:
        ends = (-of_halves.high, -of_halves.low)
        of_halves = replace(of_halves, mean=-of_halves.mean, low=ends[0], high=ends[1])
    enclosing = _enclosing(plain.interval, of_halves)
    # Both have the same seeds: an interval that leaves out zero is a claim by both.
    claim = plain.is_claim and enclosing.low > _ROUNDING
    return replace(plain, interval=enclosing, is_claim=claim)


def _enclosing(plain: Interval, halved: Interval) -> Interval:
    """Around both; around a mean alone where halves are all equal and have no interval."""
    if plain.kind == "none":
        return plain
    low, high = (halved.mean,) * 2 if halved.kind == "none" else (halved.low, halved.high)
    return replace(plain, low=min(plain.low, low), high=max(plain.high, high))


def _interval(read: _Read, place: int, bounds: Bounds) -> Interval | None:
    if np.isnan(read.plain[place]).all():
        return None
    plain = interval(read.plain[place], bounds)
    if read.halved is None:
        return plain
    return _enclosing(plain, interval(read.halved[place], bounds))


def _crossfit(scored: Mapping[str, Sequence[Score]]) -> dict[str, dict[str, Array]]:
    found: dict[str, dict[str, Array]] = {}
    for of_protocol in scored.values():
        for score in of_protocol:
            if score.crossfit is None or score.protocol.kind not in ("average", "required"):
                continue
            is_average = score.protocol.kind == "average"
            key = "average" if is_average else f"{score.protocol.number:g}"
            values = score.crossfit.average_S if is_average else score.crossfit.source_S
            found.setdefault(key, {})[score.pick.label] = values
    return found


def _quality(
    curve: Curve, comparison: Comparison, read: Mapping[str, _Read], corners: Array | None
) -> FrontQuality:
    if not curve.points:
        nothing = tuple(None for _ in comparison.requirements)
        return FrontQuality(curve.label, None, nothing, None, None, np.array([]), None)
    own, bounds = read[curve.label], comparison.metric.bounds
    kept = [_interval(own, 1 + i, bounds) for i in range(len(comparison.requirements))]
    normalised_S = np.array([]) if corners is None else _normalised(curve, corners)
    return FrontQuality(
        label=curve.label,
        best_average=None if curve.best is None else _interval(own, 0, bounds),
        source_at=tuple(kept),
        hypervolume=interval(curve.hypervolumes, ACCURACY),
        normalised=None if corners is None else interval(normalised_S, _NORMALISED),
        normalised_S=normalised_S,
        region=_good_region(curve),
    )


def _corners(comparison: Comparison) -> tuple[Array | None, str]:
    """Per seed (S_FT, T_src, S_src, T_FT), or why there are none."""
    ends = {}
    for name in ("finetune",) if comparison.one_head else ("finetune", "frozen"):
        made = [c for c in comparison.references if c.method == name and c.best is not None]
        if not made:
            return None, f"no finished '{name}' reference"
        ends[name] = max((c.points[c.best or 0] for c in made), key=_validation_target).test_S2
    if comparison.one_head and comparison.source_end is None:
        return None, "fine-tuning has no accuracies from before the last task"
    tuned, name = ends["finetune"], comparison.source_name
    source = ends["frozen"] if comparison.source_end is None else comparison.source_end.corner_S2
    corners = np.column_stack([tuned[:, 0], source[:, 1], source[:, 0], tuned[:, 1]])
    if not ((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])).all():
        return None, f"fine-tuning and {name} do not span a rectangle with every seed"
    return corners, ""


def _validation_target(point: Point) -> float:
    return float(point.mean("validation")[1])


def _normalised(curve: Curve, corners: Array) -> Array:
    picked = picked_per_seed(curve.points, len(corners))
    areas = [
        pareto.hypervolume_2d(points, (low_source, low_target))
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
    return GoodRegion(values[first], values[last], at_edge)


def _primary_log_knob(curve: Curve) -> str | None:
    entry = known_entry(curve.method)
    if entry is None:
        return None
    fields = entry.hyper.model_fields
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
