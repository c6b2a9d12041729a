"""The figure of a report: fronts of source against target accuracy, for paper and screen."""

from __future__ import annotations

import contextlib
import io
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke

from clsweep.records.accuracy import mean_and_error
from clsweep.reporting.curves import Curve, Point
from clsweep.reporting.render.frame_exits import (
    draw_arrow,
    draw_heads,
    exits,
    head_style,
    nearest_inside,
)
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
_NAME_SIZE = 8
# Between a marker and its name, and about what the axes measure, in points.
_APART = 8
_AXES_POINTS = np.array([290.0, 250.0])
# In the order in which they are preferred.
_SIDES = ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
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
_ARROW = 18.0


def draw(data: ReportData, stem: Path, endings: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write the figure where fronts compete, and all points if some lie outside; returns files.

    Args:
        data: what `report_building.build` computed.
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
        data: what `report_building.build` computed.
        view: limits of the axes.
    """
    comparison = data.comparison
    entries = _legend_entries(data, view)
    made = Figure(figsize=(7.2, max(4.4, 0.6 + 0.22 * len(entries))), layout="constrained")
    axes = made.add_subplot()
    axes.set(xlim=(view.left, view.right), ylim=(view.bottom, view.top))
    _add_titles(axes, data)
    _add_requirements(axes, data, view)
    for curve, look in zip(comparison.curves, curve_styles(comparison.curves), strict=True):
        _add_curve(axes, curve, look, view)
    # Rings above every curve, so that none hides the choice of another.
    for curve in comparison.curves:
        if curve.best is not None:
            axes.plot(*in_percent([curve.points[curve.best]]).T, **RING, zorder=5)
    styles = reference_styles(comparison.references)
    taken: list[_Box] = []
    for curve, style in zip(comparison.references, styles, strict=True):
        if curve.best is not None:
            for xy in in_percent([curve.points[curve.best]]):
                _add_reference(axes, curve.label, xy, style, view, taken)
    if comparison.source_end is not None:
        xy = 100 * comparison.source_end.corner_S2.mean(axis=0)
        _add_reference(axes, comparison.source_end.label, xy, SOURCE_END, view, taken)
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
    axes.set_xlabel(data.in_words(f"source accuracy, {sources} (%)"))
    axes.set_ylabel(data.in_words(f"target accuracy, task {data.n_tasks} (%)"))


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


def _add_curve(axes: Axes, curve: Curve, look: Style, view: View) -> None:
    """Its front with bars over seeds, and behind it every seed and what is on no front.

    Heads of arrows say where its line goes on outside of the view.
    """
    front = front_points(curve)
    rest = [p for p, on_front in zip(curve.points, curve.on_front, strict=True) if not on_front]
    hollow: dict[str, Any] = {"mfc": "white", "mec": look.colour, "mew": 0.8}
    marks: dict[str, Any] = {"marker": look.marker, "ls": "none", "alpha": 0.6}
    axes.plot(*in_percent(rest).T, **marks, **hollow, ms=4, zorder=2)
    if curve.points and len(curve.points[0].test_S2) > 1:
        each = 100 * np.concatenate([point.test_S2 for point in front])
        faint: dict[str, Any] = {"marker": ".", "ls": "none", "color": look.colour, "alpha": 0.45}
        axes.plot(*each.T, **faint, ms=3.5, mew=0, zorder=2.5)
        _add_bars(axes, front, look.colour)
    xy = in_percent(front)
    axes.plot(*xy.T, **line_style(look), zorder=4, label=curve.label)
    draw_heads(axes, exits(xy, view), look.colour)


def _add_bars(axes: Axes, points: list[Point], colour: str) -> None:
    """Mean ± standard error over seeds, in both directions."""
    for point in points:
        (x, wide), (y, high) = (mean_and_error(100 * values_S) for values_S in point.test_S2.T)
        for xs, ys in (((x - wide, x + wide), (y, y)), ((x, x), (y - high, y + high))):
            axes.plot(xs, ys, color=colour, lw=1.1, alpha=0.75, zorder=3)


class _Box(NamedTuple):
    """Where a name stands, in percent."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: _Box) -> bool:
        """Whether two names would run into each other."""
        across = self.left <= other.right and other.left <= self.right
        return across and self.bottom <= other.top and other.bottom <= self.top


def _add_reference(
    axes: Axes, label: str, xy: Array, style: dict[str, Any], view: View, taken: list[_Box]
) -> None:
    """A black marker with its name; of one outside of the view an arrow there, and no marker."""
    x, y = map(float, xy)
    shown_x, shown_y, *beyond = x, y, 0, 0
    place = nearest_inside(xy, view)
    if place is None:
        axes.plot([x], [y], **style, clip_on=False, zorder=6, label=label)
    else:
        draw_arrow(axes, place, _ARROW)
        back = _ARROW * _per_point(view) * (place.across, place.up)
        shown_x, shown_y = place.x - float(back[0]), place.y - float(back[1])
        beyond = [place.across, place.up]
    # The legend has the whole of a name that would run over other names here.
    text = textwrap.wrap(label, _LONGEST_NAME)[0] if label.strip() else ""
    text += "…" if len(text) < len(label.strip()) else ""
    if place is not None:
        text = f"{text} ({x:.1f}, {y:.1f})"
    across, up = _freest(axes, (shown_x, shown_y), text, (beyond[0], beyond[1]), view, taken)
    note = axes.annotate(
        text,
        (shown_x, shown_y),
        xytext=(_APART * across, _APART * up),
        textcoords="offset points",
        ha={-1: "right", 0: "center", 1: "left"}[across],
        va={-1: "top", 0: "center", 1: "bottom"}[up],
        fontsize=_NAME_SIZE,
        zorder=7,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )
    note.set_parse_math(False)


def _freest(
    axes: Axes,
    xy: tuple[float, float],
    text: str,
    beyond: tuple[int, int],
    view: View,
    taken: list[_Box],
) -> tuple[int, int]:
    """The side of a marker, to the right (1) or left (-1) and above or below, with most room.

    What is drawn already counts by the marks and pieces of lines under the name; other names, and
    leaving the axes, count for more. The place is added to those that are taken.
    """
    per_point = _per_point(view)
    wide, high = np.array([0.55 * _NAME_SIZE * len(text), 1.2 * _NAME_SIZE]) * per_point
    drawn = _drawn_points(axes)
    found: list[tuple[float, tuple[int, int], _Box]] = []
    # The name of an arrow goes behind it where that is as free as other sides.
    behind = (-beyond[0], -beyond[1])
    for across, up in sorted(_SIDES, key=lambda side: side != behind):
        if beyond[0] * across > 0 or beyond[1] * up > 0:
            continue
        x, y = np.array(xy) + _APART * per_point * (across, up)
        left, bottom = x - wide * (1 - across) / 2, y - high * (1 - up) / 2
        box = _Box(left, bottom, left + wide, bottom + high)
        inside = (drawn >= box[:2]) & (drawn <= box[2:])
        cost = float(inside.all(axis=1).sum()) + 200 * sum(map(box.meets, taken))
        cost += 200 * (box.left < view.left or box.right > view.right)
        cost += 200 * (box.bottom < view.bottom or box.top > view.top + high)
        found.append((cost, (across, up), box))
    _, side, box = min(found, key=lambda one: one[0])
    taken.append(box)
    return side


def _per_point(view: View) -> Array:
    """What a point of print measures on both axes, about."""
    return np.asarray([view.right - view.left, view.top - view.bottom] / _AXES_POINTS)


def _drawn_points(axes: Axes) -> Array:
    """Places on the lines and at the marks that are drawn, shape [N, 2]."""
    found = [np.empty((0, 2))]
    for line in axes.lines:
        xy = np.asarray(line.get_xydata(), dtype=np.float64)
        if line.get_transform() != axes.transData or not len(xy):
            continue
        if line.get_linestyle() not in ("None", "none", "") and len(xy) > 1:
            share = np.linspace(0, 1, 60)[:, None]
            found += [a + share * (b - a) for a, b in zip(xy[:-1], xy[1:], strict=True)]
        found.append(xy)
    return np.concatenate(found)


def _legend_entries(data: ReportData, view: View) -> list[tuple[Line2D, str]]:
    """Handles and their texts, from the curves down to what is explained once."""
    comparison = data.comparison
    entries: list[tuple[Line2D, str]] = []
    for curve, look in zip(comparison.curves, curve_styles(comparison.curves), strict=True):
        if not curve.only_seeds:
            entries.append((Line2D([], [], **line_style(look)), curve.label))
    styles = reference_styles(comparison.references)
    for curve, style in zip(comparison.references, styles, strict=True):
        if not curve.only_seeds:
            entries.append(_reference_entry(curve.label, _end_of(curve), style, view))
    if comparison.source_end is not None:
        xy = 100 * comparison.source_end.corner_S2.mean(axis=0)
        entries.append(_reference_entry(comparison.source_end.label, xy, SOURCE_END, view))
    entries.append((Line2D([], [], **RING), "chosen: best average\non validation data"))
    n_seeds = len(comparison.seeds)
    if n_seeds > 1:
        bar: dict[str, Any] = {"color": GREY, "lw": 0.9, "marker": "|", "ms": 8, "mew": 0.9}
        entries.append((Line2D([], [], **bar), f"mean ± standard error\nof {n_seeds} seeds"))
        dot: dict[str, Any] = {"marker": ".", "ls": "none", "color": GREY, "ms": 4, "mew": 0}
        entries.append((Line2D([], [], **dot), "one seed"))
    if any(not curve.on_front.all() for curve in comparison.curves):
        hollow: dict[str, Any] = {"marker": "o", "ls": "none", "mfc": "white", "mec": GREY}
        entries.append((Line2D([], [], **hollow, ms=4, mew=0.8), "not on the front"))
    if any(any(exits(in_percent(front_points(c)), view)) for c in comparison.curves):
        head = Line2D([], [], marker="v", **head_style(GREY))
        entries.append((head, "line goes on outside"))
    entries += [(Line2D([], [], ls="none"), text) for text in comparison.figure_notes]
    if comparison.requirements:
        entries.append(
            (Line2D([], [], **_requirement_style()), "target so many points\nbelow fine-tuning")
        )
    return entries


def _end_of(curve: Curve) -> Array | None:
    return None if curve.best is None else in_percent([curve.points[curve.best]])[0]


def _reference_entry(
    label: str, xy: Array | None, style: dict[str, Any], view: View
) -> tuple[Line2D, str]:
    """Its marker; of one outside of the view none, since it stands nowhere, and where it lies."""
    if xy is None or nearest_inside(xy, view) is None:
        return Line2D([], [], **style), label
    return Line2D([], [], ls="none"), f"{label}: outside,\nat ({xy[0]:.1f}, {xy[1]:.1f})"


def _add_legend(made: Figure, entries: list[tuple[Line2D, str]]) -> None:
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
        engine = made.get_layout_engine()
        if engine is not None:
            engine.execute(made)
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
