"""Styles of labels in figures: colour, marker and line style, each enough to tell them apart.

One of the three may be lost to a grey print or to the reader's eyes. The palette is Okabe and
Ito's (2008). References are black and have strokes or a star where curves have filled shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from clsweep.reporting.curves import Curve

GREY = "0.45"
RING: dict[str, Any] = {
    "marker": "o",
    "ls": "none",
    "ms": 11,
    "mfc": "none",
    "mec": "black",
    "mew": 1.1,
}
YELLOW = "#F0E442"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", YELLOW)
MARKERS = ("o", "s", "^", "D", "v", "p", "<", ">", "d")
DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (9, 2)),
    (0, (2, 1.2)),
    (0, (9, 1.5, 3, 1.5)),
)
_REFERENCE_MARKERS = {"finetune": "x", "frozen": "+", "joint": "*", "scratch": "P"}
_OTHER_REFERENCES = ("1", "2", "3", "4")


class _OfMethod(Protocol):
    @property
    def method(self) -> str: ...


class Style(NamedTuple):
    """How one label is drawn."""

    colour: str
    marker: str
    dashes: Any


def curve_styles(curves: Sequence[object]) -> list[Style]:
    """One style per curve, in order; no two of fewer than 500 curves share all three.

    Args:
        curves: labels that trace a curve.
    """
    return [
        Style(*(options[i % len(options)] for options in (_COLOURS, MARKERS, DASHES)))
        for i in range(len(curves))
    ]


# Of the source end where tasks share a head, which no method of the study makes.
SOURCE_END: dict[str, Any] = {
    "marker": "h",
    "ls": "none",
    "color": "black",
    "mfc": "none",
    "ms": 10,
    "mew": 1.8,
}


def reference_styles(references: Sequence[_OfMethod]) -> list[dict[str, Any]]:
    """What `Line2D` takes for each reference, in order.

    Args:
        references: labels that mark an end of the plot.
    """
    others = iter(_OTHER_REFERENCES * (len(references) + 1))
    markers = [_REFERENCE_MARKERS.get(curve.method) or next(others) for curve in references]
    sizes = {"+": 11, "*": 12}
    return [
        {"marker": m, "ls": "none", "color": "black", "ms": sizes.get(m, 9), "mew": 1.8}
        for m in markers
    ]


# Of references where a figure is drawn with text.
LETTERS = {"finetune": "F", "joint": "J"}


def letter_of(reference: Curve) -> str:
    """The letter of a reference in the figure; empty where it is not drawn.

    Args:
        reference: one of the comparison's.
    """
    return LETTERS.get(reference.method, "") if reference.best is not None else ""
