"""The pieces of the terminal's tables: how a table looks, and how numbers become its cells.

Accuracies are fractions everywhere else; here they become percent.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table
from rich.text import Text

from clsweep.measures import mean_and_error

__all__ = [
    "NOTHING",
    "bullet",
    "bytes_text",
    "count_text",
    "duration_text",
    "mean_of",
    "mean_text",
    "percent_text",
    "plain_table",
]

NOTHING = "–"


def plain_table(title: str, columns: list[str], caption: str, with_choice: bool = True) -> Table:
    """A table without rows: the method, what was chosen, and columns of numbers.

    Args:
        title: above it.
        columns: of numbers.
        caption: below it.
        with_choice: whether it has the column of what was chosen.
    """
    table = Table(
        title=Text(title, style="bold"),
        caption=Text(caption, style="dim"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        padding=(0, 1),
    )
    table.add_column("method", overflow="fold")
    if with_choice:
        table.add_column("chosen", overflow="fold")
    for column in columns:
        # Numbers are never folded: a narrow terminal folds names instead.
        table.add_column(column, justify="right", no_wrap=True)
    return table


def bullet(note: str) -> Table:
    """A sentence whose further lines start under the first."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    # A label that is longer than the line would be cut.
    grid.add_column(overflow="fold")
    grid.add_row(Text("•"), Text(note))
    return grid


def percent_text(values: NDArray[np.float64], sign: bool = False) -> str:
    """Mean ± standard error of accuracies, in percent."""
    return mean_text(values, 100, 1, sign)


def mean_text(values: NDArray[np.float64], factor: float, digits: int, sign: bool = False) -> str:
    """Mean ± standard error; without the error where there is one seed."""
    mean, error = (factor * number for number in mean_and_error(values))
    if np.isnan(mean):
        return NOTHING
    # Adding zero turns a rounded "-0.0" into "0.0".
    mean = round(mean, digits) + 0.0
    text = f"{mean:+.{digits}f}" if sign else f"{mean:.{digits}f}"
    return text if np.isnan(error) else f"{text} ± {error:.{digits}f}"


def mean_of(values: Iterable[float]) -> float:
    """The mean; NaN of nothing."""
    found = list(values)
    return float(np.mean(found)) if found else float("nan")


def count_text(mean: float) -> str:
    """A whole number with separators."""
    return NOTHING if np.isnan(mean) else f"{mean:,.0f}"


def duration_text(seconds: float) -> str:
    """Seconds in the largest unit of which there are two."""
    if np.isnan(seconds):
        return NOTHING
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def bytes_text(n: float) -> str:
    """A size in decimal units."""
    if np.isnan(n):
        return NOTHING
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f} B"
