"""Common style of the page's figures: layout, axes, texts and numbers.

Plotly reads a small part of HTML in every text, so that what a study or a user named goes through
`safe`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsweep.records.accuracy import mean_and_error

Figure = dict[str, Any]

GREY = "#666"
LAYOUT: Figure = {
    "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#222"},
    "paper_bgcolor": "white",
    "plot_bgcolor": "white",
    "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": "#222"}},
}


def axis() -> Figure:
    """A plain axis with a light grid."""
    return {
        "gridcolor": "#e6e6e6",
        "zeroline": False,
        "showline": True,
        "linecolor": GREY,
        "ticks": "outside",
        "tickcolor": GREY,
    }


def note(text: str) -> Figure:
    """A sentence in the middle of a figure that has nothing to draw."""
    place = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False}
    return {**place, "text": text, "font": {"size": 14, "color": GREY}}


def safe(text: str) -> str:
    """A user's text, so that plotly shows it letter by letter."""
    return html.escape(" ".join(text.split()), quote=False)


def mean_text(values: NDArray[np.float64]) -> str:
    """Mean and standard error in percent, of one accuracy in [0, 1] per seed."""
    mean, error = (100 * number for number in mean_and_error(values))
    if np.isnan(mean):
        return "–"
    return f"{mean:.1f}" if np.isnan(error) else f"{mean:.1f} ± {error:.1f}"


def rounded(values: Iterable[float]) -> list[float | None]:
    """Numbers for a file of moderate size; None for what is not a number."""
    return [round(float(v), 3) if np.isfinite(v) else None for v in values]
