"""The figure of a regression with one input: true functions, and predictions after the last task.

A panel per label, as in the figure of von Oswald et al. 2020: all tasks side by side on one axis.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from clsweep.reporting.render.styles import GREY
from clsweep.text import key_text, number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clsweep.reporting.learnt_functions import LearntFunctions, Predicted

_COLUMNS = 3
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Beyond this share of the targets' span, above and below, a line leaves the panel.
_MARGIN = 0.35


def prediction_bytes(found: LearntFunctions, ending: str) -> bytes:
    """The figure as a file.

    Args:
        found: what is drawn.
        ending: 'png', 'svg' or 'pdf'.
    """
    settings: Any = {"font.size": 9, "svg.hashsalt": "clsweep", "legend.fontsize": 8}
    with mpl.rc_context(settings):
        made, sink = _figure(found), io.BytesIO()
        # Without a date equal figures are equal files.
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending, {})
        made.savefig(sink, format=ending, dpi=150, metadata=undated)
        return sink.getvalue()


def _figure(found: LearntFunctions) -> Figure:
    n = len(found.predicted)
    n_columns = min(_COLUMNS, n)
    n_rows = math.ceil(n / n_columns)
    made = Figure(figsize=(max(4.0, 2.7 * n_columns), 1.1 + 1.9 * n_rows), layout="constrained")
    panels = [*made.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True).flat]
    low = min(float(task.y.min()) for task in found.tasks)
    high = max(float(task.y.max()) for task in found.tasks)
    space = _MARGIN * (high - low)
    for axes, one in zip(panels, found.predicted, strict=False):
        _draw(axes, found, one)
        axes.set_ylim(low - space, high + space)
    for axes in panels[n:]:
        axes.set_visible(False)
    title = f"{found.name}: predictions after the last task, seed {found.seed}"
    made.suptitle(title, fontsize=10).set_parse_math(False)
    handles, labels = made.axes[0].get_legend_handles_labels()
    # More beside each other would be cut off at both sides of a narrow figure.
    made.legend(handles, labels, loc="outside lower center", ncols=n_columns, frameon=False)
    return made


def _draw(axes: Axes, found: LearntFunctions, one: Predicted) -> None:
    for place, (task, line) in enumerate(zip(found.tasks, one.lines, strict=True)):
        colour = _COLOURS[place % len(_COLOURS)]
        first = place == 0
        axes.plot(
            task.x,
            task.y,
            ".",
            color=colour,
            alpha=0.3,
            ms=4,
            mew=0,
            label="training examples" if first else None,
        )
        if task.true is not None:
            axes.plot(
                task.grid,
                task.true,
                color=GREY,
                ls=(0, (4, 2)),
                lw=1.0,
                label="true function" if first else None,
            )
        axes.plot(
            task.grid, line, color=colour, lw=1.8, label=f"predicted, task {place + 1}", zorder=3
        )
    knobs = ", ".join(f"{key_text(k)} = {number_text(v)}" for k, v in one.knobs.items())
    title = axes.set_title(f"{one.label}\n{knobs}" if knobs else one.label, fontsize=9)
    title.set_parse_math(False)
    axes.set_xlabel("x")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
