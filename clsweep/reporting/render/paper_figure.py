"""The figure for one column of a paper: fronts that grey print and colour blindness leave apart.

Methods differ in marker and dashes, and their colours in lightness, from dark to light in the
order of the ranking. Fonts are embedded as TrueType outlines; publishers refuse those of Type 3.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from clsweep.records.accuracy import mean_and_error
from clsweep.reporting.curves import Curve
from clsweep.reporting.render.frame_exits import (
    draw_arrow,
    draw_heads,
    exits,
    head_style,
    nearest_inside,
)
from clsweep.reporting.render.plots import settings
from clsweep.reporting.render.styles import DASHES, GREY, MARKERS, Style, reference_styles
from clsweep.reporting.render.views import Array, View, front_points, in_percent, views
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.summary import ranking

_HEIGHT = 0.62
_LEGEND_LINE = 0.135
_FRAME = 0.25
# Lighter than this is too faint on white.
_LIGHTEST = 0.82
_EDGE = "0.15"
_SETTINGS: Any = {
    "font.size": 7.5,
    "legend.fontsize": 6.8,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.linewidth": 0.4,
    "lines.linewidth": 1.1,
    # TrueType outlines: text stays text, and no font is Type 3.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
}
_ARROW = 12.0
_LONGEST_LABEL = 40
_MOST_COLUMNS = 4


def figure_bytes(data: ReportData, width: float) -> bytes:
    """The figure as PDF, with its fonts; equal data give equal bytes.

    Args:
        data: what `report_building.build` computed.
        width: in inches.
    """
    with settings():
        matplotlib.rcParams.update(_SETTINGS)
        made = paper_figure(data, width)
        buffer = io.BytesIO()
        made.savefig(buffer, format="pdf", metadata={"CreationDate": None})
        return buffer.getvalue()


def paper_styles(curves: Sequence[Curve]) -> list[Style]:
    """One style per curve: lightness rises from the first to the last.

    Args:
        curves: in the order of the ranking.
    """
    shades = matplotlib.colormaps["viridis"](np.linspace(0, _LIGHTEST, max(len(curves), 2)))
    return [
        Style(
            matplotlib.colors.to_hex(shades[i]),
            MARKERS[i % len(MARKERS)],
            DASHES[i % len(DASHES)],
        )
        for i in range(len(curves))
    ]


def paper_figure(data: ReportData, width: float) -> Figure:
    """The figure before it is written.

    Args:
        data: what `report_building.build` computed.
        width: in inches.
    """
    comparison = data.comparison
    by_label = {curve.label: curve for curve in comparison.curves}
    curves = [by_label[row.label] for row in ranking(data)]
    view, _ = views(data)
    entries: list[tuple[Line2D, str]] = []
    made = Figure(layout="constrained")
    axes = made.add_subplot()
    axes.set(xlim=(view.left, view.right), ylim=(view.bottom, view.top))
    leaves = False
    for curve, look in zip(curves, paper_styles(curves), strict=True):
        leaves |= _add_curve(axes, curve, look, view)
        entries.append((Line2D([], [], **_line(look)), curve.label))
    for curve, style in zip(
        comparison.references, reference_styles(comparison.references), strict=True
    ):
        if curve.best is not None:
            xy = in_percent([curve.points[curve.best]])[0]
            entries += _add_reference(axes, curve.label, xy, style, view)
    end = comparison.source_end
    if end is not None:
        style = {"marker": "h", "ls": "none", "color": "black", "mfc": "none"}
        xy = 100 * end.corner_S2.mean(axis=0)
        entries += _add_reference(axes, end.label, xy, style, view)
    for curve in curves:
        if curve.best is not None:
            axes.plot(*in_percent([curve.points[curve.best]]).T, **_ring(), zorder=5)
    entries.append((Line2D([], [], **_ring()), "chosen"))
    if leaves:
        head = Line2D([], [], marker="v", **head_style(GREY))
        entries.append((head, "goes on outside"))
    sources = "task 1" if data.n_tasks <= 2 else f"tasks 1–{data.n_tasks - 1}"
    axes.set_xlabel(data.in_words(f"source accuracy, {sources} (%)"))
    axes.set_ylabel(data.in_words(f"target accuracy, task {data.n_tasks} (%)"))
    _add_legend(made, entries, width)
    return made


def _line(look: Style) -> dict[str, Any]:
    return {
        "color": look.colour,
        "marker": look.marker,
        "ls": look.dashes,
        "ms": 4.2,
        "mec": _EDGE,
        "mew": 0.45,
    }


def _ring() -> dict[str, Any]:
    return {"marker": "o", "ls": "none", "ms": 7.5, "mfc": "none", "mec": "black", "mew": 0.8}


def _add_curve(axes: Axes, curve: Curve, look: Style, view: View) -> bool:
    """The front with bars of one standard error; whether its line leaves the axes."""
    front = front_points(curve)
    if curve.points and len(curve.points[0].test_S2) > 1:
        for point in front:
            (x, wide), (y, high) = (mean_and_error(100 * one_S) for one_S in point.test_S2.T)
            for xs, ys in (((x - wide, x + wide), (y, y)), ((x, x), (y - high, y + high))):
                axes.plot(xs, ys, color=look.colour, lw=0.6, ls="solid", zorder=3)
    xy = in_percent(front)
    axes.plot(*xy.T, **_line(look), zorder=4, label=curve.label)
    found = list(exits(xy, view))
    draw_heads(axes, found, look.colour)
    return bool(found)


def _add_reference(
    axes: Axes, label: str, xy: Array, style: dict[str, Any], view: View
) -> list[tuple[Line2D, str]]:
    """Its mark and entry in the legend; of one outside an arrow with its numbers, and none."""
    look = {**style, "ms": 0.62 * style.get("ms", 9), "mew": 1.1}
    place = nearest_inside(xy, view)
    if place is None:
        axes.plot(*xy[:, None], **look, clip_on=False, zorder=6, label=label)
        return [(Line2D([], [], **look), label)]
    draw_arrow(axes, place, _ARROW)
    x, y = map(float, xy)
    is_right = place.x > (view.left + view.right) / 2
    is_high = place.y > (view.bottom + view.top) / 2
    aligned = {-1: "left", 1: "right", 0: "right" if is_right else "left"}[place.across]
    note = axes.annotate(
        f"{label} ({x:.1f}, {y:.1f})",
        (place.x, place.y),
        xytext=(-(_ARROW + 2) * place.across, -(_ARROW + 2) * place.up),
        textcoords="offset points",
        ha=aligned,
        va={-1: "bottom", 1: "top", 0: "top" if is_high else "bottom"}[place.up],
        fontsize=6.2,
        zorder=7,
        path_effects=[withStroke(linewidth=1.8, foreground="white")],
    )
    note.set_parse_math(False)
    return []


def _add_legend(made: Figure, entries: Sequence[tuple[Line2D, str]], width: float) -> None:
    """Below the axes, so that these have the whole width; and the height that all of it takes."""
    for n_columns in range(min(_MOST_COLUMNS, len(entries)), 0, -1):
        n_lines = math.ceil(len(entries) / n_columns)
        made.set_size_inches(width, _HEIGHT * width + _FRAME + _LEGEND_LINE * n_lines)
        legend = _legend(made, entries, n_columns)
        if n_columns == 1 or legend.get_window_extent().width <= made.bbox.width:
            return
        legend.remove()


def _legend(made: Figure, entries: Sequence[tuple[Line2D, str]], n_columns: int) -> Legend:
    names = [str(i) for i in range(len(entries))]
    legend = made.legend(
        [handle for handle, _ in entries],
        names,
        loc="outside lower center",
        ncols=n_columns,
        handlelength=2.6,
        columnspacing=1.0,
        borderpad=0.1,
        labelspacing=0.35,
    )
    legend.set_frame_on(False)
    # Set afterwards: a label may start with an underscore or hold a dollar sign.
    for text, (_, label) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(textwrap.shorten(label, _LONGEST_LABEL, placeholder=" …") or label)
    return legend
