"""The fronts as plotly's plain dictionaries: `{"data": [...], "layout": {...}}`, in percent.

The page and the notebook draw the same dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clsweep.records.accuracy import mean_and_error
from clsweep.reporting.curves import Curve, Point
from clsweep.reporting.render.page_style import (
    GREY,
    LAYOUT,
    Figure,
    axis,
    mean_text,
    note,
    rounded,
    safe,
)
from clsweep.reporting.render.styles import SOURCE_END, Style, curve_styles, reference_styles
from clsweep.text import axes_text

if TYPE_CHECKING:
    from clsweep.reporting.report_data import ReportData

_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "p": "pentagon",
    "<": "triangle-left",
    ">": "triangle-right",
    "d": "diamond-tall",
    "h": "hexagon",
    "x": "x-thin",
    "+": "cross-thin",
    "*": "star",
    "1": "y-down",
    "2": "y-up",
    "3": "y-left",
    "4": "y-right",
}
_MOST_SEEDS = 10


def fronts_figure(data: ReportData) -> Figure:
    """Source against target accuracy of every configuration, with fronts and references.

    Args:
        data: what `report_data.build` computed.
    """
    comparison = data.comparison
    traces: list[Figure] = []
    looks = curve_styles(comparison.curves)
    for index, (curve, look) in enumerate(zip(comparison.curves, looks, strict=True)):
        # The page's script finds the label of a trace by its place.
        if curve.only_seeds:
            continue
        made = _curve_traces(curve, look, comparison.seeds)
        traces += [{**trace, "meta": index} for trace in made]
    styles = reference_styles(comparison.references)
    for curve, style in zip(comparison.references, styles, strict=True):
        if curve.best is not None:
            point = curve.points[curve.best]
            text = _hover(curve, point, comparison.seeds)
            traces.append(_reference_trace(curve.label, point.test_S2, style["marker"], text))
    if comparison.source_end is not None:
        end = comparison.source_end
        source, target = (mean_text(end.test_S2[:, i]) for i in (0, 1))
        test = f"source {source} %, {end.unmeasured}"
        if not end.unmeasured:
            test = f"source {source} · target {target} %"
        text = f"<b>{end.label}</b><br>test: {test}"
        traces.append(_reference_trace(end.label, end.corner_S2, SOURCE_END["marker"], text))
    sources = "task 1" if data.n_tasks <= 2 else f"mean of tasks 1–{data.n_tasks - 1}"
    layout: Figure = {
        **LAYOUT,
        "xaxis": {**axis(), "title": {"text": f"source accuracy, {sources} (%)"}},
        "yaxis": {**axis(), "title": {"text": f"target accuracy, task {data.n_tasks} (%)"}},
        "height": 560,
        "margin": {"l": 60, "r": 20, "t": 20, "b": 55},
        "hovermode": "closest",
        "legend": {"itemsizing": "trace", "tracegroupgap": 2},
    }
    if not any(curve.points for curve in comparison.all_curves):
        layout["annotations"] = [note(comparison.emptiness)]
    elif comparison.figure_notes:
        layout["annotations"] = [_below("; ".join(comparison.figure_notes))]
        layout["margin"]["b"] += 20
    return {"data": traces, "layout": layout}


def _below(text: str) -> Figure:
    """A line of text under the title of the x axis."""
    place = {"x": 0, "y": 0, "xref": "paper", "yref": "paper", "yshift": -50}
    anchors = {"xanchor": "left", "yanchor": "top", "showarrow": False}
    return {"text": safe(text), **place, **anchors, "font": {"size": 11, "color": GREY}}


def _curve_traces(curve: Curve, look: Style, seeds: Sequence[int]) -> Iterator[Figure]:
    """Front, and the configurations behind it; a click on the legend moves both."""
    group = {"legendgroup": safe(curve.label), "name": safe(curve.label)}
    pairs = list(zip(curve.points, curve.on_front, strict=True))
    front = [point for point, on_front in pairs if on_front]
    # In the order of validation data, as the points were chosen.
    front.sort(key=lambda point: tuple(point.mean("validation")))
    rest = [point for point, on_front in pairs if not on_front]
    marker = {"color": _ink(look.colour), "symbol": _SYMBOLS[look.marker]}
    yield {
        **group,
        **_xy(rest),
        "type": "scatter",
        "mode": "markers",
        "marker": {**marker, "size": 5, "opacity": 0.45},
        "text": [_hover(curve, point, seeds) for point in rest],
        "hoverinfo": "text",
        "showlegend": False,
    }
    yield {
        **group,
        **_xy(front),
        **_bars(front),
        "type": "scatter",
        "mode": "lines+markers",
        "line": {"color": _ink(look.colour), "width": 2, "dash": _dash(look.dashes)},
        "marker": {**marker, "size": 9, "line": {"color": _edge(look.colour), "width": 1}},
        "text": [_hover(curve, point, seeds) for point in front],
        "hoverinfo": "text",
    }


def _reference_trace(label: str, test_S2: NDArray[np.float64], marker: str, text: str) -> Figure:
    symbol = _SYMBOLS[marker]
    x, y = 100 * test_S2.mean(axis=0)
    return {
        "x": rounded([x]),
        "y": rounded([y]),
        "type": "scatter",
        "mode": "markers",
        "name": safe(label),
        "legendgroup": safe(label),
        "marker": {
            "color": "black",
            "symbol": symbol if symbol in ("star",) or "thin" in symbol else f"{symbol}-open",
            "size": 12,
            "line": {"color": "black", "width": 2},
        },
        "text": [text],
        "hoverinfo": "text",
    }


def _xy(points: Sequence[Point]) -> Figure:
    means = np.array([100 * point.mean("test") for point in points]).reshape(-1, 2)
    return {"x": rounded(means[:, 0]), "y": rounded(means[:, 1])}


def _bars(points: Sequence[Point]) -> Figure:
    """Mean ± standard error over seeds in both directions, as in the printed figure."""
    if not points or len(points[0].test_S2) < 2:
        return {}
    bars = {}
    for index, name in enumerate(("error_x", "error_y")):
        errors = [mean_and_error(100 * point.test_S2[:, index])[1] for point in points]
        bars[name] = {"type": "data", "array": rounded(errors), "thickness": 1, "width": 0}
    return bars


def _hover(curve: Curve, point: Point, seeds: Sequence[int]) -> str:
    """Label, configuration, means, and what every seed gave."""
    lines = [f"<b>{safe(curve.label)}</b>", safe(axes_text(point.axes))]
    for split, values in (("test", point.test_S2), ("validation", point.validation_S2)):
        source, target = (mean_text(values[:, i]) for i in (0, 1))
        lines.append(f"{split}: source {source} · target {target} %")
    if len(seeds) > 1:
        each = zip(seeds, 100 * point.test_S2, strict=True)
        lines += [f"seed {seed}: {s:.1f} · {t:.1f}" for seed, (s, t) in each][:_MOST_SEEDS]
    if len(seeds) > _MOST_SEEDS:
        lines.append(f"… and {len(seeds) - _MOST_SEEDS} more seeds")
    return "<br>".join(lines)


def _dash(dashes: Any) -> str:
    return dashes if isinstance(dashes, str) else ",".join(f"{2 * n:g}px" for n in dashes[1])


def _ink(colour: str) -> str:
    """The colour of lines and markers: yellow is too faint on white, and in grey."""
    return "#B0A000" if colour == "#F0E442" else colour


def _edge(colour: str) -> str:
    return "white" if colour == _ink(colour) else GREY
