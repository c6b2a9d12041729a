"""The next value of a knob that draws a front without wide gaps.

    1. a coarse grid over the range;
    2. wherever two neighbouring points of the curve lie further apart than the gap, the value
       halfway between them, the widest gap first;
    3. beyond an end that is not saturated, a coarse step further: the plastic end while its target
       accuracy is below fine-tuning's by more than the gap, the stable end while learning the
       last task costs it more than the gap in source accuracy: with two tasks, while it lies below
       the source model. Unlike the frozen trunk, that tells the end also where tasks share a head.

Neighbours are neighbours in the knob, distances those between (source, target) accuracies. Points
that another beats by more than the gap in both accuracies are no part of the curve: past them lie
the values at which training has broken down, and no front. A pure function of what is known; the
same results give the same value, whoever asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from clsweep.study.grid import range_values
from clsweep.study.search_axes import Axis

Accuracies = tuple[float, float]

# A jump of the curve has no points to find in it: below this share of the range it is left alone.
_NARROWEST = 1 / 256


class Ends(NamedTuple):
    """The accuracies that the ends of a front strive for; NaN where they are not known.

    Attributes:
        target: fine-tuning's target accuracy.
        source: value of the knob -> the source accuracy that the network had with it before it
            learnt the last task.
    """

    target: float
    source: Callable[[float], float]


class _Candidate(NamedTuple):
    worth: float
    value: float


def coarse_values(axis: Axis, n: int) -> tuple[float, ...]:
    """The values that a front is first drawn with, evenly spaced on the axis' scale.

    Args:
        axis: the knob.
        n: how many, at least 2; fewer where whole numbers coincide.
    """
    grid = range_values(axis.low, axis.high, n, log=axis.log, whole=axis.whole)
    return tuple(dict.fromkeys(axis.rounded(value) for value in grid))


def next_value(
    axis: Axis, known: Mapping[float, Accuracies | None], *, coarse: int, gap: float, ends: Ends
) -> float | None:
    """The value to try next; None when the front is drawn.

    Args:
        axis: the knob.
        known: value -> (source, target) accuracy; None for one of which a trial failed, diverged
            or was stopped for being beaten, or still runs.
        coarse: values of the coarse grid.
        gap: largest distance of neighbouring points, in accuracy.
        ends: what the ends strive for.
    """
    for value in coarse_values(axis, coarse):
        if value not in known:
            return value
    curve = _curve(axis, known, gap)
    found = [*_between(axis, known, curve, gap), *_beyond(axis, known, curve, coarse, gap, ends)]
    return max(found, key=lambda c: (c.worth, -c.value)).value if found else None


def _curve(
    axis: Axis, known: Mapping[float, Accuracies | None], gap: float
) -> list[tuple[float, Accuracies]]:
    """(value, accuracies) in the order of the knob, without what is clearly beaten."""
    points = [(value, known[value]) for value in sorted(known)]
    sound = [(value, point) for value, point in points if point is not None]
    return [
        (value, point)
        for value, point in sound
        if not any(other[0] - point[0] > gap and other[1] - point[1] > gap for _, other in sound)
    ]


def _between(
    axis: Axis,
    known: Mapping[float, Accuracies | None],
    curve: list[tuple[float, Accuracies]],
    gap: float,
) -> Iterator[_Candidate]:
    narrowest = _NARROWEST * (axis.position(axis.high) - axis.position(axis.low))
    for (low, one), (high, other) in pairwise(curve):
        distance = math.dist(one, other)
        if distance <= gap:
            continue
        # What lies between two neighbours of the curve has failed or diverged, is beaten, with its
        # accuracies or stopped without, or still runs.
        cuts = [axis.position(value) for value in sorted(known) if low <= value <= high]
        start, end = max(pairwise(cuts), key=lambda part: part[1] - part[0])
        middle = axis.value_at((start + end) / 2)
        if end - start >= narrowest and middle not in known:
            yield _Candidate(distance / (len(cuts) - 1), middle)


def _beyond(
    axis: Axis,
    known: Mapping[float, Accuracies | None],
    curve: list[tuple[float, Accuracies]],
    coarse: int,
    gap: float,
    ends: Ends,
) -> Iterator[_Candidate]:
    if not curve:
        return
    (low, first), (high, last) = curve[0], curve[-1]
    plastic_is_low = first[1] - first[0] >= last[1] - last[0]
    missing_low = ends.target - first[1] if plastic_is_low else ends.source(low) - first[0]
    missing_high = ends.source(high) - last[0] if plastic_is_low else ends.target - last[1]
    step = (axis.position(axis.high) - axis.position(axis.low)) / (coarse - 1)
    for at, missing, outermost, sign in (
        (low, missing_low, min(known), -1),
        (high, missing_high, max(known), 1),
    ):
        # NaN, of a reference that is not there, is not more than the gap.
        if at != outermost or not missing > gap:
            continue
        value = axis.value_at(axis.position(at) + sign * step)
        if value not in known:
            yield _Candidate(missing, value)
