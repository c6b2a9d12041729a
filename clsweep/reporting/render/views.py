"""The part of the plane of accuracies that a figure shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsweep.reporting.curves import Curve, Point

if TYPE_CHECKING:
    from clsweep.reporting.report_data import ReportData

_LEAST_GAP = 5.0
_LEAST_SPAN = 2.0
_MARGIN = 0.07

Array = NDArray[np.float64]


class View(NamedTuple):
    """Limits of the axes, in percent."""

    left: float
    right: float
    bottom: float
    top: float

    def holds(self, xy: Array) -> NDArray[np.bool_]:
        """Which points of shape [N, 2] lie inside."""
        low, high = (self.left, self.bottom), (self.right, self.top)
        return np.asarray(((xy >= low) & (xy <= high)).all(axis=1))


def views(data: ReportData) -> tuple[View, View | None]:
    """Where fronts compete, and everything (None when nothing lies outside of the first).

    Fronts compete where the mean of source and target accuracy is less than five points below
    the best; or less than as many as it takes to show what every label is chosen for in tables.

    Args:
        data: what `report_building.build` computed.
    """
    comparison = data.comparison
    everything = in_percent(p for c in comparison.all_curves for p in c.points)
    if not len(everything):
        return View(0.0, 100.0, 0.0, 100.0), None
    chosen = in_percent(p for c in comparison.curves for p in _choices(data, c))
    fronts = [in_percent(front_points(curve)) for curve in comparison.all_curves]
    drawn = np.concatenate([chosen, *fronts])
    averages = (chosen if len(chosen) else drawn).mean(axis=1)
    gap = max(_LEAST_GAP, float(np.ptp(averages)))
    most = 100 * comparison.metric.bounds[1]
    view = _around(drawn[drawn.mean(axis=1) >= averages.max() - gap], most)
    return view, None if view.holds(everything).all() else _around(everything, most)


def in_percent(points: Iterable[Point]) -> Array:
    """Mean coordinates in percent, shape [N, 2], without those that are not numbers."""
    xy: Array = np.array([100 * p.mean("test") for p in points]).reshape(-1, 2)
    return np.asarray(xy[np.isfinite(xy).all(axis=1)])


def front_points(curve: Curve) -> list[Point]:
    """The points that validation selects, in the order that they have on validation data.

    In the order of test data, points that differ by luck would make a steep curve zigzag.
    """
    picked = [p for p, on_front in zip(curve.points, curve.on_front, strict=True) if on_front]
    return sorted(picked, key=lambda p: tuple(p.mean("validation")))


def _choices(data: ReportData, curve: Curve) -> Iterator[Point]:
    """The points of a curve that tables print."""
    indices = [curve.best, *(r.chosen[curve.label] for r in data.comparison.requirements)]
    return (curve.points[i] for i in indices if i is not None)


def _around(xy: Array, most: float) -> View:
    low, high = xy.min(axis=0), xy.max(axis=0)
    span = np.maximum(high - low, _LEAST_SPAN)
    middle = (low + high) / 2
    reach = (0.5 + _MARGIN) * span
    # Beyond what is possible there is only room for a marker.
    right, top = np.minimum(middle + reach, most + _MARGIN * span)
    left, bottom = middle - reach
    return View(float(left), float(right), float(bottom), float(top))
