"""Small panels of the page, one per label: responses to the knob, and accuracy matrices.

Plain dictionaries of plotly, as in `reporting/render/page_fronts.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clsweep.records.accuracy import mean_and_error
from clsweep.reporting.curves import Curve, Point
from clsweep.reporting.render.page_style import (
    LAYOUT,
    Figure,
    axis,
    mean_text,
    note,
    rounded,
    safe,
)
from clsweep.reporting.render.styles import Style, curve_styles
from clsweep.text import axes_text

if TYPE_CHECKING:
    from clsweep.reporting.report_data import ReportData

_N_MATRIX_COLUMNS = 4
_MOST_BARS = 40
_MOST_CELLS_WITH_TEXT = 100
# Cividis (Nuñez, Anderton and Renslow 2018) at nine places: its lightness is even, in grey too.
_CIVIDIS = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#fee838",
)


def responses_figure(data: ReportData) -> Figure:
    """Both accuracies of every curve against the first number in which its configurations differ.

    Args:
        data: what `report_data.build` computed.
    """
    comparison = data.comparison
    shown = [
        (curve, look, name)
        for curve, look in zip(comparison.curves, curve_styles(comparison.curves), strict=True)
        if (name := _knob(curve)) is not None and curve.points
    ]
    figure = _panels([curve.label for curve, _, _ in shown], n_columns=3, height=230)
    for i, (curve, look, name) in enumerate(shown):
        number = "" if i == 0 else str(i + 1)
        figure["data"] += _response_traces(curve, look, name, number)
        figure["layout"][f"xaxis{number}"].update(_knob_axis(curve, name))
        figure["layout"][f"yaxis{number}"].update({"matches": "y"} if i else {})
    for trace in figure["data"][2:]:
        trace["showlegend"] = False
    figure["layout"]["legend"] = {"orientation": "h", "y": 1, "yanchor": "bottom", "yref": "paper"}
    figure["layout"]["legend"]["y"] = 1 + 34 / figure["layout"]["height"]
    if not shown:
        figure["layout"]["annotations"] = [note("no curve has more than one value of a number")]
    return figure


def matrices_figure(data: ReportData) -> Figure:
    """Mean test accuracy on each task after each task, of every label's best configuration.

    Args:
        data: what `report_data.build` computed.
    """
    matrices = data.details.matrices
    tall = 250 if data.n_tasks > 2 else 190
    figure = _panels(list(matrices), n_columns=_N_MATRIX_COLUMNS, height=tall)
    for i, acc in enumerate(matrices.values()):
        number = "" if i == 0 else str(i + 1)
        figure["data"].append(_heatmap(acc, number))
        # Tick labels of twenty tasks would run into each other.
        ticks = {"showgrid": False, "zeroline": False, "nticks": 10, "type": "category"}
        figure["layout"][f"xaxis{number}"].update({**ticks, "title": {"text": "on task"}})
        # Beside every panel, it would run into the panel on its left.
        title = {"title": {"text": "after task"}} if i % _N_MATRIX_COLUMNS == 0 else {}
        reverse = {"autorange": "reversed", **title}
        figure["layout"][f"yaxis{number}"].update({**ticks, **reverse})
    steps = [[i / (len(_CIVIDIS) - 1), colour] for i, colour in enumerate(_CIVIDIS)]
    bar = {"title": {"text": "%"}, "thickness": 12}
    figure["layout"]["coloraxis"] = {"colorscale": steps, "cmin": 0, "cmax": 100, "colorbar": bar}
    if not matrices:
        figure["layout"]["annotations"] = [note(data.comparison.emptiness)]
    return figure


# ------------------------------------------------------------------------- pieces of responses


def _knob(curve: Curve) -> str | None:
    """The first number in which configurations differ: the knob, where one varies."""
    for name, values in curve.grid.items():
        numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if len(numbers) == len(values) and len(numbers) > 1:
            return name
    return None


def _response_traces(curve: Curve, look: Style, knob: str, number: str) -> Iterator[Figure]:
    lines: dict[str, list[Point]] = {}
    for point in curve.points:
        rest = {name: value for name, value in point.axes.items() if name != knob}
        lines.setdefault(repr(rest), []).append(point)
    mode = "lines+markers"
    if len(lines) > 1 and all(len(points) == 1 for points in lines.values()):
        # A search changes every number at once: there is no line to draw.
        lines = {"": list(curve.points)}
        mode = "markers"
    for points in lines.values():
        points.sort(key=lambda point: float(point.axes[knob]))
        for index, name in enumerate(("source", "target")):
            means = [100 * float(point.test_S2[:, index].mean()) for point in points]
            errors = [100 * mean_and_error(point.test_S2[:, index])[1] for point in points]
            style = {"dash": "solid" if index == 0 else "dot", "width": 1.6, "color": look.colour}
            texts = (
                f"{safe(axes_text(point.axes))}<br>{name} {mean_text(point.test_S2[:, index])} %"
                for point in points
            )
            yield {
                "type": "scatter",
                "mode": mode,
                "name": f"{name} accuracy",
                "xaxis": f"x{number}",
                "yaxis": f"y{number}",
                "x": _placed(curve, knob, points),
                "y": rounded(means),
                "error_y": {
                    "type": "data",
                    "array": rounded(errors),
                    "thickness": 1,
                    "width": 0,
                    "visible": len(points) <= _MOST_BARS and len(points[0].test_S2) > 1,
                },
                "line": style,
                "marker": {
                    "color": look.colour,
                    "symbol": "circle" if index == 0 else "square-open",
                    "size": 6,
                },
                "text": list(texts),
                "hoverinfo": "text",
            }


def _knob_axis(curve: Curve, knob: str) -> Figure:
    """Logarithmic where the values are spread over a decade; zero stands a decade to the left."""
    title = {"title": {"text": safe(knob)}}
    values = _numbers_of(curve, knob)
    if not _is_log(values):
        return title
    made = {**title, "type": "log", "exponentformat": "power", "dtick": 1, "showexponent": "all"}
    positive = [v for v in values if v > 0]
    low, high = np.floor(np.log10(min(positive))), np.ceil(np.log10(max(positive)))
    stride = max(1, int(np.ceil((high - low) / 5)))
    decades = np.arange(low, high + 1, stride)
    places = [float(10**d) for d in decades]
    texts = [f"10<sup>{int(d)}</sup>" for d in decades]
    if min(values) == 0:
        places, texts = [min(positive) / 10, *places], ["0", *texts]
    del made["dtick"]
    return {**made, "tickvals": places, "ticktext": texts}


def _placed(curve: Curve, knob: str, points: Sequence[Point]) -> list[float]:
    values = _numbers_of(curve, knob)
    zero = min(v for v in values if v > 0) / 10 if _is_log(values) else 0.0
    return [float(point.axes[knob]) or zero for point in points]


def _numbers_of(curve: Curve, knob: str) -> list[float]:
    return [float(value) for value in curve.grid[knob]]


def _is_log(values: Sequence[float]) -> bool:
    positive = [v for v in values if v > 0]
    return min(values) >= 0 and bool(positive) and max(positive) >= 10 * min(positive)


# -------------------------------------------------------------------------- pieces of matrices


def _heatmap(acc: NDArray[np.float64], number: str) -> Figure:
    names = ["–", *(str(i + 1) for i in range(acc.shape[1]))]
    first = 0 if np.isfinite(acc[0]).any() else 1
    shown = 100 * acc[first:]
    z = [[None if np.isnan(v) else round(float(v), 2) for v in row] for row in shown]
    made: Figure = {
        "type": "heatmap",
        "xaxis": f"x{number}",
        "yaxis": f"y{number}",
        "x": names[1:],
        "y": names[first:],
        "z": z,
        "coloraxis": "coloraxis",
        "hovertemplate": "after task %{y}, on task %{x}: %{z:.1f} %<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }
    if shown.size <= _MOST_CELLS_WITH_TEXT and acc.shape[1] <= 6:
        made["texttemplate"] = "%{z:.0f}" if acc.shape[1] > 3 else "%{z:.1f}"
    return made


# ------------------------------------------------------------------------------------- layout


def _panels(titles: Sequence[str], n_columns: int, height: int) -> Figure:
    """An empty figure of small panels, one per title; `height` of each in pixels."""
    n = max(len(titles), 1)
    n_columns = min(n_columns, n)
    n_rows = -(-n // n_columns)
    total = n_rows * height + 40
    layout: Figure = {
        **LAYOUT,
        "height": total,
        "margin": {"l": 50, "r": 20, "t": 60, "b": 50},
        "annotations": [],
        "hovermode": "closest",
    }
    gap_x, gap_y = 0.25 / n_columns, 95 / (total - 110)
    wide = (1 - gap_x * (n_columns - 1)) / n_columns
    tall = (1 - gap_y * (n_rows - 1)) / n_rows
    for i, title in enumerate(titles):
        row, column = divmod(i, n_columns)
        left, top = column * (wide + gap_x), 1 - row * (tall + gap_y)
        number = "" if i == 0 else str(i + 1)
        bottom = max(top - tall, 0.0)
        layout[f"xaxis{number}"] = {
            **axis(),
            "domain": [left, min(left + wide, 1.0)],
            "anchor": f"y{number}",
        }
        layout[f"yaxis{number}"] = {**axis(), "domain": [bottom, top], "anchor": f"x{number}"}
        layout["annotations"].append(
            {
                "text": f"<b>{safe(_shortened(title))}</b>",
                "x": left,
                "y": top,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "left",
                "yanchor": "bottom",
                "yshift": 2,
                "showarrow": False,
            }
        )
    return {"data": [], "layout": layout}


def _shortened(text: str) -> str:
    return text if len(text) <= 28 else f"{text[:27]}…"
