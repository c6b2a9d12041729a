"""The figure of a report: fronts of source against target accuracy, for paper and screen."""

from __future__ import annotations

import contextlib
import io
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import AbstractPathEffect, withStroke

from clsweep.reporting.curves import BAND_QUANTILES, Curve, Point
from clsweep.reporting.render.styles import (
    GREY,
    RING,
    SOURCE_END,
    YELLOW,
    Style,
    curve_styles,
    reference_styles,
)
from clsweep.reporting.render.views import Array, View, front_points, in_percent, views
from clsweep.storage.disk import disk_errors, write_atomically
from clsweep.text import counted

if TYPE_CHECKING:
    from clsweep.reporting.report_data import ReportData

_LONGEST_NAME = 24
_SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    # Element ids of an SVG are otherwise drawn at random.
    "svg.hashsalt": "clsweep",
}
_ARROWS = {
    (-1, 0): "←",
    (1, 0): "→",
    (0, -1): "↓",
    (0, 1): "↑",
    (-1, -1): "↙",
    (-1, 1): "↖",
    (1, -1): "↘",
    (1, 1): "↗",
}


def draw(data: ReportData, stem: Path, endings: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write the figure where fronts compete, and all points if some lie outside; returns files.

    Args:
        data: what `report_data.build` computed.
        stem: path of the files without their ending; the second figure adds `_all` to it.
        endings: of 'png', 'svg' and 'pdf'.

    Raises:
        StoreError: the disk refuses them.
    """
    written = []
    for suffix, view in zip(("", "_all"), views(data), strict=True):
        paths = {e: stem.with_name(f"{stem.name}{suffix}.{e}") for e in endings}
        for ending, content in (_files(data, view, endings) if view else {}).items():
            write_atomically(paths[ending], content)
            written.append(paths[ending])
        for path in paths.values() if view is None else ():
            # A figure of an earlier report would not belong to this one.
            with disk_errors(path):
                path.unlink(missing_ok=True)
    return written


def figure(data: ReportData, view: View) -> Figure:
    """One figure.

    Args:
        data: what `report_data.build` computed.
        view: limits of the axes.
    """
    comparison = data.comparison
    entries = _legend_entries(data)
    made = Figure(figsize=(7.2, max(4.4, 0.6 + 0.22 * len(entries))), layout="constrained")
    axes = made.add_subplot()
    axes.set(xlim=(view.left, view.right), ylim=(view.bottom, view.top))
    _add_titles(axes, data)
    _add_requirements(axes, data, view)
    for curve, look in zip(comparison.curves, curve_styles(comparison.curves), strict=True):
        _add_curve(axes, curve, look)
    # Rings above every curve, so that none hides the choice of another.
    for curve in comparison.curves:
        if curve.best is not None:
            axes.plot(*in_percent([curve.points[curve.best]]).T, **RING, zorder=5)
    styles = reference_styles(comparison.references)
    for curve, style in zip(comparison.references, styles, strict=True):
        if curve.best is not None:
            for xy in in_percent([curve.points[curve.best]]):
                _add_reference(axes, curve.label, xy, style, view)
    if comparison.source_end is not None:
        xy = 100 * comparison.source_end.corner_S2.mean(axis=0)
        _add_reference(axes, comparison.source_end.label, xy, SOURCE_END, view)
    if not any(curve.points for curve in comparison.all_curves):
        axes.text(
            0.5, 0.5, comparison.emptiness, transform=axes.transAxes, ha="center", color=GREY
        )
    _add_legend(made, entries)
    return made


def _add_titles(axes: Axes, data: ReportData) -> None:
    n_seeds = len(data.comparison.seeds)
    over = f"mean over {n_seeds} seeds" if n_seeds > 1 else "one seed"
    title = axes.set_title(textwrap.fill(data.title, 64), loc="left", fontsize=10, pad=19)
    title.set_parse_math(False)
    others = len(data.comparison.choose_on)
    of_others = f" of {counted(others, 'other seed')}" if others else ""
    axes.annotate(
        f"chosen on validation data{of_others}, drawn on test data; {over}",
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 8),
        textcoords="offset points",
        fontsize=8,
        color=GREY,
    )
    sources = "task 1" if data.n_tasks <= 2 else f"mean of tasks 1–{data.n_tasks - 1}"
    axes.set_xlabel(f"source accuracy, {sources} (%)")
    axes.set_ylabel(f"target accuracy, task {data.n_tasks} (%)")


def _add_requirements(axes: Axes, data: ReportData, view: View) -> None:
    """Thin lines at the required target accuracies of the tables."""
    for requirement in data.comparison.requirements:
        y = 100 * requirement.target
        if view.bottom <= y <= view.top:
            axes.axhline(y, **_requirement_style(), zorder=1.5)
            axes.annotate(
                f"−{100 * requirement.drop:.3g}",
                (1, y),
                xycoords=axes.get_yaxis_transform(),
                # Nearer, the dotted line would run into the minus sign.
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=GREY,
            )


def _requirement_style() -> dict[str, Any]:
    return {"color": GREY, "lw": 0.8, "ls": (0, (1, 2))}


def _add_curve(axes: Axes, curve: Curve, look: Style) -> None:
    faint: dict[str, Any] = {
        "color": look.colour,
        "marker": look.marker,
        "ls": "none",
        "alpha": 0.45,
    }
    axes.plot(*in_percent(curve.points).T, **faint, ms=3.5, mew=0, zorder=2)
    if curve.band is not None:
        target, low, high = (100 * v for v in (curve.band.target, curve.band.low, curve.band.high))
        shown = np.isfinite(low) & np.isfinite(high)
        shade: dict[str, Any] = {"color": look.colour, "alpha": 0.1, "lw": 0}
        axes.fill_betweenx(target, low, high, where=shown, **shade, zorder=1)
    elif curve.points and len(curve.points[0].test_S2) > 1:
        _add_bars(axes, front_points(curve), look.colour)
    axes.plot(*in_percent(front_points(curve)).T, **line_style(look), zorder=4, label=curve.label)


def _add_bars(axes: Axes, points: list[Point], colour: str) -> None:
    """Least to greatest over seeds, in both directions."""
    for point in points:
        low, high = (100 * f(point.test_S2, axis=0) for f in (np.min, np.max))
        x, y = 100 * point.mean("test")
        for xs, ys in (((low[0], high[0]), (y, y)), ((x, x), (low[1], high[1]))):
            axes.plot(xs, ys, color=colour, lw=1, alpha=0.7, zorder=3)


def _add_reference(axes: Axes, label: str, xy: Array, style: dict[str, Any], view: View) -> None:
    """A black marker with its name; one outside of the view is noted at the border."""
    x, y = map(float, xy)
    shown_x = float(np.clip(x, view.left, view.right))
    shown_y = float(np.clip(y, view.bottom, view.top))
    axes.plot([shown_x], [shown_y], **style, clip_on=False, zorder=6, label=label)
    beyond = (int(np.sign(x - shown_x)), int(np.sign(y - shown_y)))
    # The legend has the whole of a name that would run over other names here.
    text = textwrap.wrap(label, _LONGEST_NAME)[0] if label.strip() else ""
    text += "…" if len(text) < len(label.strip()) else ""
    if any(beyond):
        text = f"{text} ({x:.1f}, {y:.1f}) {_ARROWS[beyond]}"
    to_left = shown_x > (view.left + view.right) / 2
    note = axes.annotate(
        text,
        (shown_x, shown_y),
        xytext=(-8 if to_left else 8, -8 if beyond[1] > 0 else 7),
        textcoords="offset points",
        ha="right" if to_left else "left",
        va="top" if beyond[1] > 0 else "bottom",
        fontsize=8,
        zorder=7,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )
    note.set_parse_math(False)


def _legend_entries(data: ReportData) -> list[tuple[Line2D | Patch, str]]:
    """Handles and their texts, from the curves down to what is explained once."""
    comparison = data.comparison
    entries: list[tuple[Line2D | Patch, str]] = []
    for curve, look in zip(comparison.curves, curve_styles(comparison.curves), strict=True):
        if not curve.only_seeds:
            entries.append((Line2D([], [], **line_style(look)), curve.label))
    styles = reference_styles(comparison.references)
    for curve, style in zip(comparison.references, styles, strict=True):
        if not curve.only_seeds:
            entries.append((Line2D([], [], **style), curve.label))
    if comparison.source_end is not None:
        entries.append((Line2D([], [], **SOURCE_END), comparison.source_end.label))
    dot: dict[str, Any] = {"marker": "o", "ls": "none", "color": GREY, "ms": 3.5, "mew": 0}
    entries.append((Line2D([], [], **RING), "best average accuracy"))
    entries.append((Line2D([], [], **dot), "each configuration"))
    n_seeds = len(comparison.seeds)
    if any(curve.band is not None for curve in comparison.curves):
        low, high = (round(100 * q) for q in BAND_QUANTILES)
        spread = (
            f"source kept at each target,\n{low}–{high} % range of {n_seeds} seeds,\n"
            "interpolated between them"
        )
        entries.append((Patch(color="0.85"), spread))
    elif n_seeds > 1:
        entries.append((Line2D([], [], color=GREY, lw=1), f"range over {n_seeds} seeds"))
    entries += [(Line2D([], [], ls="none"), text) for text in comparison.figure_notes]
    if comparison.requirements:
        entries.append(
            (Line2D([], [], **_requirement_style()), "required target: points\nbelow fine-tuning")
        )
    return entries


def _add_legend(made: Figure, entries: list[tuple[Line2D | Patch, str]]) -> None:
    handles = [handle for handle, _ in entries]
    names = [str(i) for i in range(len(entries))]
    legend = made.legend(handles, names, loc="outside right upper", handlelength=3.4)
    legend.set_frame_on(False)
    # Set afterwards: a label may start with an underscore or hold a dollar sign.
    for text, (_, label) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text("\n".join(textwrap.fill(line, 28) for line in label.splitlines()))


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """The same look and the same bytes whatever the user's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def _files(data: ReportData, view: View, endings: Sequence[str]) -> dict[str, bytes]:
    """One figure in several formats; its layout takes as long as drawing it, and is done once."""
    found = {}
    with settings():
        made = figure(data, view)
        made.draw_without_rendering()
        made.set_layout_engine(None)
        for ending in endings:
            buffer = io.BytesIO()
            metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
            made.savefig(buffer, format=ending, dpi=200, metadata=metadata)
            found[ending] = buffer.getvalue()
    return found


def line_style(look: Style) -> dict[str, Any]:
    """What `Line2D` takes for the front of a curve."""
    # Yellow alone is too faint on white.
    faint = look.colour == YELLOW
    outline: list[AbstractPathEffect] = [withStroke(linewidth=2.6, foreground="0.35")]
    return {
        "color": look.colour,
        "marker": look.marker,
        "ls": look.dashes,
        "lw": 1.6,
        # The outline widens the marker, too.
        "ms": 4.5 if faint else 6,
        "mec": "0.35" if faint else "white",
        "mew": 0.7,
        "path_effects": outline if faint else None,
    }
