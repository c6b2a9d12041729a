"""A small figure of the fronts in characters: a method is its rank, a reference its letter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from clsweep.reporting.curves import Curve
from clsweep.reporting.render.styles import LETTERS
from clsweep.reporting.render.views import front_points, in_percent
from clsweep.reporting.report_data import ReportData

# Ranks beyond 9 go on with small letters; references have capital ones.
RANKS = "123456789abcdefghijklmnopqrstuvwxyz"
_AXIS = 4
_BESIDE = 3


def front_lines(data: ReportData, order: Sequence[str], width: int, height: int) -> list[str]:
    """The front of every method, target accuracy upwards and source accuracy to the right.

    Where several points fall on one place, a chosen one is shown before others, and of those the
    one of the better rank; a reference goes beside them.

    Args:
        data: what `report_building.build` computed.
        order: labels of the methods by rank.
        width: characters of a line.
        height: lines, at least 4.
    """
    marks = list(_marks(data, order))
    if not marks:
        return []
    rows = height - 3
    xy = np.array([place for _, place in marks])
    low, high = np.floor(xy.min(axis=0)), np.ceil(xy.max(axis=0))
    metric = data.comparison.metric
    # What is worse than guessing stands at the edge: a metric without a least would squeeze all
    # else into a corner.
    least = 100 * (metric.bounds[0] if metric.is_accuracy else metric.guess)
    cut = ["≤" if end < least else "" for end in low]
    xy, high = np.maximum(xy, least), np.maximum(high, least + 1)
    # Both ends of an axis would have one number where all points have one accuracy.
    low = np.maximum(np.minimum(low, high - 1), least)
    span = np.maximum(high - low, 1.0)
    high = low + span
    texts = [f"{sign}{end:.0f}" for sign, end in zip(cut, low, strict=True)]
    ends = {0: f"{high[1]:.0f}", rows - 1: texts[1]}
    axis = max(_AXIS, *map(len, ends.values()))
    columns = width - axis - 1
    field = [[" "] * columns for _ in range(rows)]
    for (mark, _), place in zip(marks, xy, strict=True):
        x, y = (place - low) / span
        column, row = round(float(x) * (columns - 1)), round((1 - float(y)) * (rows - 1))
        if mark in LETTERS.values():
            row, column = _free_place(field, row, column)
        if field[row][column] == " ":
            field[row][column] = mark
    lines = ["target %; marks: ranks"]
    for row, line in enumerate(field):
        tick = "┤" if row in ends else "│"
        lines.append(f"{ends.get(row, ''):>{axis}}{tick}{''.join(line)}")
    lines.append(f"{'':{axis}}└{'─' * columns}")
    left, right = texts[0], f"{high[0]:.0f}"
    middle = "source %".center(columns - len(left) - len(right))
    lines.append(f"{'':{axis + 1}}{left}{middle}{right}")
    return lines


def _free_place(field: Sequence[Sequence[str]], row: int, column: int) -> tuple[int, int]:
    """The nearest free place beside a mark that stands where a reference is, or that place."""
    near = [
        (abs(down) + abs(right), row + down, column + right)
        for down in (-1, 0, 1)
        for right in range(-_BESIDE, _BESIDE + 1)
        if 0 <= row + down < len(field) and 0 <= column + right < len(field[0])
    ]
    free = [one for one in sorted(near) if field[one[1]][one[2]] == " "]
    return free[0][1:] if free else (row, column)


def _marks(data: ReportData, order: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Marks and places in percent; what comes first is not covered."""
    curves = {curve.label: curve for curve in data.comparison.curves}
    ranked = [(mark, curves[label]) for mark, label in zip(RANKS, order, strict=False)]
    for mark, curve in ranked:
        if curve.best is not None:
            yield from _places(mark, curve, [curve.best])
    for curve in data.comparison.references:
        if curve.method in LETTERS and curve.best is not None:
            yield from _places(LETTERS[curve.method], curve, [curve.best])
    for mark, curve in ranked:
        for place in in_percent(front_points(curve)):
            yield mark, place


def _places(mark: str, curve: Curve, indices: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    for place in in_percent(curve.points[i] for i in indices):
        yield mark, place
