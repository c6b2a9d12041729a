"""What the page's script draws and chooses from: points, styles, marks of the slider, matrices.

Plain values for JSON, accuracies in percent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clsweep.records.accuracy import mean_and_error
from clsweep.records.metrics import Metric
from clsweep.reporting.comparison import Comparison
from clsweep.reporting.curves import Curve
from clsweep.reporting.render.styles import SOURCE_END, Style, curve_styles, reference_styles
from clsweep.reporting.render.views import views
from clsweep.reporting.report_data import ReportData
from clsweep.search.selection_protocols import assured_target, best_finetuned
from clsweep.text import axes_text, key_text

if TYPE_CHECKING:
    from clsweep.search.validation_table import Candidate

Values = dict[str, Any]

_STEP = 0.05
_LINE_WIDTH = 2


def page_values(data: ReportData) -> Values:
    """What the page's script works on.

    Args:
        data: what `report_building.build` computed.
    """
    comparison = data.comparison
    view, everything = views(data)
    sources = "task 1" if data.n_tasks <= 2 else f"mean of tasks 1–{data.n_tasks - 1}"
    has_points = any(curve.points for curve in comparison.all_curves)
    return {
        "name": data.name,
        "split": "test",
        "seeds": list(comparison.seeds),
        "axes": [f"source accuracy, {sources} (%)", f"target accuracy, task {data.n_tasks} (%)"],
        "metric": _metric(comparison.metric),
        "view": list(view),
        "everything": None if everything is None else list(everything),
        "emptiness": "" if has_points else comparison.emptiness,
        "notes": list(comparison.figure_notes) if has_points else [],
        "series": list(_series(comparison)),
        "picks": [{"name": n, "chosen": chosen} for n, chosen in _picks(data)],
        "slider": _slider(data),
        "matrices": {label: _matrix(acc) for label, acc in data.details.matrices.items()},
    }


def _metric(metric: Metric) -> Values:
    """Where it ends, and what guessing gives; null for no end."""
    low, high = (None if math.isinf(end) else 100 * end for end in metric.bounds)
    return {"low": low, "high": high, "guess": 100 * metric.guess}


# -------------------------------------------------------------------------------------- series


def _series(comparison: Comparison) -> Iterator[Values]:
    """Everything that is drawn in the figure of fronts: curves, references, the source end."""
    finetuned = best_finetuned(comparison.validation)
    looks = curve_styles(comparison.curves)
    for i_curve, (curve, look) in enumerate(zip(comparison.curves, looks, strict=True)):
        knob = knob_of(curve)
        yield {
            "label": curve.label,
            "kind": "curve",
            "style": style_values(i_curve, look),
            "absence": curve.absence,
            "isDrawn": not curve.only_seeds,
            "front": _front(curve),
            "knob": None if knob is None else _knob(curve, knob),
            "points": [
                _point(curve, i, knob, finetuned, comparison.margin)
                for i in range(len(curve.points))
            ],
        }
    marks = reference_styles(comparison.references)
    for curve, mark in zip(comparison.references, marks, strict=True):
        shown = [] if curve.best is None else [_point(curve, curve.best)]
        yield _mark(curve.label, mark["marker"], shown, curve.absence)
    end = comparison.source_end
    if end is not None:
        x, y = (_mean_and_error(end.corner_S2[:, i]) for i in (0, 1))
        place: Values = {"unmeasured": end.unmeasured, "x": x, "y": y}
        place["seeds"] = _rounded(100 * end.test_S2) if len(end.test_S2) > 1 else []
        yield _mark(end.label, SOURCE_END["marker"], [place], "")


def _mark(label: str, marker: str, points: list[Values], absence: str) -> Values:
    style = {"marker": marker}
    return {
        "label": label, "kind": "reference", "style": style, "absence": absence, "points": points,
    }  # fmt: skip


def style_values(place: int, look: Style) -> Values:
    """How a curve is drawn.

    Args:
        place: of its label among the curves; the page's colours go by it.
        look: its style.
    """
    dashes = look.dashes
    lengths = [] if isinstance(dashes, str) else [_LINE_WIDTH * length for length in dashes[1]]
    return {
        "place": place, "colour": look.colour, "marker": look.marker, "dashes": lengths,
    }  # fmt: skip


def _front(curve: Curve) -> list[int]:
    """Points of the front in the order of validation data, in which they were chosen."""
    found = [i for i, on_front in enumerate(curve.on_front) if on_front]
    return sorted(found, key=lambda i: tuple(curve.points[i].mean("validation")))


def _point(
    curve: Curve,
    index: int,
    knob: str | None = None,
    finetuned: Candidate | None = None,
    margin: float = 0.0,
) -> Values:
    """One configuration: where it is drawn, and what validation data choose by.

    `choice` is not rounded. Its target accuracy is less the margin, so that the slider chooses as
    the tables do.
    """
    point = curve.points[index]
    values_S2 = point.test_S2
    source, target = (float(v) for v in point.mean("validation"))
    if finetuned is not None:
        target = assured_target(point.candidate, finetuned, margin)
    made: Values = {
        "text": axes_text(point.axes),
        "x": _mean_and_error(values_S2[:, 0]),
        "y": _mean_and_error(values_S2[:, 1]),
        "seeds": _rounded(100 * values_S2) if len(values_S2) > 1 else [],
        "choice": [source, target],
        "validation": [
            *_mean_and_error(point.validation_S2[:, 0]),
            *_mean_and_error(point.validation_S2[:, 1]),
        ],
    }
    if knob in point.axes:
        made["knob"] = float(point.axes[knob])
    return made


def _mean_and_error(values_S: NDArray[np.float64]) -> list[float]:
    """Mean and standard error over seeds in percent."""
    return [round(100 * number, 3) for number in mean_and_error(values_S)]


def _rounded(values: NDArray[np.float64]) -> list[Any]:
    return np.round(values, 2).tolist()  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------- knob


def knob_of(curve: Curve) -> str | None:
    """The first number in which configurations differ: the knob, where one varies.

    Args:
        curve: of a label.
    """
    for name, values in curve.grid.items():
        numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if len(numbers) == len(values) and len(numbers) > 1:
            return name
    return None


def _knob(curve: Curve, knob: str) -> Values:
    """Its name, whether its axis is logarithmic, and the points of every line.

    A line has points that differ in the knob alone. A search changes every number at once: there
    is no line to draw then.
    """
    values = [float(value) for value in curve.grid[knob]]
    positive = [value for value in values if value > 0]
    is_log = min(values) >= 0 and bool(positive) and max(positive) >= 10 * min(positive)
    lines: dict[str, list[int]] = {}
    for i, point in enumerate(curve.points):
        if knob not in point.axes:
            continue  # another number has made it idle
        rest = {name: value for name, value in point.axes.items() if name != knob}
        lines.setdefault(repr(rest), []).append(i)
    has_lines = len(lines) == 1 or any(len(points) > 1 for points in lines.values())

    def at(i: int) -> float:
        return float(curve.points[i].axes[knob])

    return {
        "name": key_text(knob),
        "isLog": is_log,
        "low": min(values),
        "high": max(values),
        "lines": [sorted(points, key=at) for points in lines.values()] if has_lines else [],
    }


# ------------------------------------------------------------------------------------- choices


def _picks(data: ReportData) -> Iterator[tuple[str, dict[str, int | None]]]:
    """Rules of choosing by name, each with the index of the point that it picks per label."""
    yield "best average accuracy", {c.label: c.best for c in data.comparison.curves}
    for rule in data.protocols:
        if rule.kind != "average":
            found = data.scores[rule.name]
            yield f"protocol {rule.name}", {s.pick.label: s.index for s in found}


def _slider(data: ReportData) -> Values:
    """Range of the required target accuracy, its marks, and what it asks of validation data.

    As in the printed table, a requirement is fine-tuning's target accuracy less what is allowed:
    it reads as test accuracy and is met on validation data. Their difference for fine-tuning is
    `offset`; it is zero where there is no fine-tuning.
    """
    comparison = data.comparison
    tuned = max(
        (
            curve.points[curve.best]
            for curve in comparison.references
            if curve.method == "finetune" and curve.best is not None
        ),
        key=lambda point: float(point.mean("validation")[1]),
        default=None,
    )
    shown = math.nan if tuned is None else float(tuned.mean("test")[1])
    offset = 0.0 if tuned is None else shown - float(tuned.mean("validation")[1])
    reached = [
        100 * (float(point.mean("validation")[1]) + offset)
        for curve in comparison.curves
        for point in curve.points
    ]
    reached = [value for value in reached if math.isfinite(value)]
    low, high = (min(reached), max(reached)) if reached else (0.0, 100.0)
    marks: list[Values] = [
        {"text": _mark_text(r.drop), "value": 100 * (shown - r.drop)}
        for r in comparison.requirements
    ]
    ends = [low, high, *(mark["value"] for mark in marks)]
    return {
        "low": math.floor(min(ends) / _STEP) * _STEP,
        "high": math.ceil(max(ends) / _STEP) * _STEP,
        "step": _STEP,
        "start": marks[0]["value"] if marks else (low + high) / 2,
        "marks": marks,
        "offset": offset,
        "finetuning": None if tuned is None else 100 * shown,
    }


def _mark_text(drop: float) -> str:
    return f"{100 * drop:.3g} point{'s' * (drop != 0.01)} below fine-tuning"


def _matrix(acc: NDArray[np.float64]) -> Values:
    """Percent on each task after each task, without a row of nothing before training."""
    first = 0 if np.isfinite(acc[0]).any() else 1
    return {"first": first, "rows": np.round(100 * acc[first:], 1).tolist()}


def without_nan(value: Any) -> Any:
    """The same with None for every number that JSON has no name for.

    Args:
        value: plain values.
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
