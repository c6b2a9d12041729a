"""Where lines leave the part of the plane that a figure shows, so that none ends unmarked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clsweep.reporting.render.views import Array, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEADS = {(-1, 0): "<", (1, 0): ">", (0, -1): "v", (0, 1): "^"}


class Exit(NamedTuple):
    """A place on the frame where a line goes on outside.

    Attributes:
        x: of the place, in percent.
        y: of the place.
        across: -1 to the left, 1 to the right, 0 neither.
        up: -1 downwards, 1 upwards, 0 neither.
    """

    x: float
    y: float
    across: int
    up: int


def exits(xy: Array, view: View) -> Iterator[Exit]:
    """Where a line between points leaves the view, or comes into it, from the first to the last.

    Args:
        xy: its points in percent, shape [N, 2].
        view: what is shown.
    """
    inside = view.holds(xy)
    for start, end, starts_in, ends_in in zip(
        xy[:-1], xy[1:], inside[:-1], inside[1:], strict=True
    ):
        if starts_in != ends_in:
            yield _crossing(start, end, view) if starts_in else _crossing(end, start, view)


def _crossing(inner: Array, outer: Array, view: View) -> Exit:
    """Where the way from a point inside to one outside meets the frame first."""
    step = outer - inner
    limits = np.where(step > 0, (view.right, view.top), (view.left, view.bottom))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(step != 0, (limits - inner) / step, np.inf)
    axis = int(np.argmin(shares))
    x, y = inner + float(shares[axis]) * step
    direction = int(np.sign(step[axis]))
    return Exit(float(x), float(y), *((direction, 0) if axis == 0 else (0, direction)))


def nearest_inside(xy: Array, view: View) -> Exit | None:
    """The place on the frame that is nearest to a point outside; None for a point inside.

    Args:
        xy: in percent, shape [2].
        view: what is shown.
    """
    x, y = map(float, xy)
    shown_x = float(np.clip(x, view.left, view.right))
    shown_y = float(np.clip(y, view.bottom, view.top))
    across, up = int(np.sign(x - shown_x)), int(np.sign(y - shown_y))
    return Exit(shown_x, shown_y, across, up) if across or up else None


def head_style(colour: str) -> dict[str, Any]:
    """What `Line2D` takes for the head of an arrow: hollow, since points are filled.

    Args:
        colour: of its edge.
    """
    return {"ls": "none", "ms": 5.0, "mfc": "white", "mec": colour, "mew": 1.0}


def draw_heads(axes: Axes, found: Iterable[Exit], colour: str) -> None:
    """A head of an arrow where each line goes on outside.

    Args:
        axes: where.
        found: places on the frame.
        colour: of the line.
    """
    for one in found:
        axes.plot(
            [one.x],
            [one.y],
            marker=_HEADS[one.across, one.up],
            **head_style(colour),
            clip_on=False,
            zorder=6,
        )


def draw_arrow(axes: Axes, place: Exit, length: float) -> None:
    """An arrow that ends on the frame and shows where something lies outside.

    Args:
        axes: where.
        place: where it ends.
        length: in points.
    """
    axes.annotate(
        "",
        (place.x, place.y),
        xytext=(-length * place.across, -length * place.up),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.0, "shrinkA": 0, "shrinkB": 0},
        zorder=6,
    )
