"""A table of a report as data, and how numbers become its cells.

A table is made once and then rendered for the terminal, HTML, LaTeX and CSV (`table_formats.py`).
Accuracies are fractions everywhere else; here they become percent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clsweep.records.accuracy import mean_and_error

NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """A number of a table; `str` gives it as it is printed.

    Attributes:
        mean: the number, in the unit of its column; NaN where there is none.
        error: its standard error; NaN where there is one seed.
        digits: after the point, of both.
        sign: whether a number above zero has a plus.
        mark: printed behind it; a blank where other numbers of the column have one.
    """

    mean: float
    error: float = math.nan
    digits: int = 1
    sign: bool = False
    mark: str = ""

    @property
    def mean_text(self) -> str:
        """The number without error and mark."""
        if math.isnan(self.mean):
            return NOTHING
        # Adding zero turns a rounded "-0.0" into "0.0".
        mean = round(self.mean, self.digits) + 0.0
        return f"{mean:{'+' * self.sign}.{self.digits}f}"

    @property
    def error_text(self) -> str:
        """The standard error; empty where there is none."""
        if math.isnan(self.mean) or math.isnan(self.error):
            return ""
        return f"{self.error:.{self.digits}f}"

    def __str__(self) -> str:
        text = f"{self.mean_text} ± {self.error_text}" if self.error_text else self.mean_text
        return f"{text} {self.mark}" if self.mark else text


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading on one line.
        heading: its heading as the terminal shows it, perhaps on several lines.
        is_number: whether it is set to the right, and never wrapped.
    """

    name: str
    heading: str
    is_number: bool = True


@dataclass(frozen=True)
class Section:
    """Rows of a table between two lines.

    Attributes:
        rows: one cell per column: a number, or a text.
        heading: above the rows; empty for none.
    """

    rows: Sequence[Sequence[Cell | str]]
    heading: str = ""


@dataclass(frozen=True)
class ReportTable:
    """One table of a report.

    Attributes:
        title: above it.
        caption: below it; may be empty.
        columns: from left to right.
        sections: from top to bottom; none is empty.
        key: what `--tables` calls it; empty for its slug.
    """

    title: str
    caption: str
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    key: str = ""

    @property
    def name(self) -> str:
        """What `--tables` calls it."""
        return self.key or self.slug

    @property
    def slug(self) -> str:
        """The title as part of a file's name."""
        words = re.sub(r"\(.*?\)", "", self.title.lower().replace("²", "2"))
        return re.sub(r"[^a-z0-9]+", "_", words).strip("_") or "table"


def worded(table: ReportTable, told: Callable[[str], str]) -> ReportTable:
    """The table with other words; it keeps its name.

    Args:
        table: the table; its numbers, and what stands in columns of text, stay.
        told: a text -> what is said instead.
    """
    columns = tuple(
        replace(column, name=told(column.name), heading=told(column.heading))
        for column in table.columns
    )
    sections = tuple(replace(one, heading=told(one.heading)) for one in table.sections)
    return ReportTable(told(table.title), told(table.caption), columns, sections, table.name)


def report_table(
    title: str,
    columns: Iterable[str | Column],
    caption: str,
    sections: Iterable[Section],
    with_choice: bool = True,
    key: str = "",
) -> ReportTable:
    """A table with the method, what was chosen, and columns of numbers.

    Args:
        title: above it.
        columns: of numbers; a heading whose lines are broken between words stands for its column.
        caption: below it.
        sections: from top to bottom; what has neither rows nor a heading is left out.
        with_choice: whether it has the column of what was chosen.
        key: what `--tables` calls it; empty for its slug.
    """
    texts = ["method", "chosen"] if with_choice else ["method"]
    numbers = (
        Column(column.replace("\n", " "), column) if isinstance(column, str) else column
        for column in columns
    )
    return ReportTable(
        title=title,
        caption=caption,
        columns=(*(Column(text, text, is_number=False) for text in texts), *numbers),
        sections=tuple(section for section in sections if section.rows or section.heading),
        key=key,
    )


def percent_cell(values: NDArray[np.float64], sign: bool = False, mark: str = "") -> Cell:
    """Mean and standard error of accuracies, in percent."""
    return mean_cell(values, 100, 1, sign, mark)


def mean_cell(
    values: NDArray[np.float64], factor: float, digits: int, sign: bool = False, mark: str = ""
) -> Cell:
    """Mean and standard error; without the error where there is one seed."""
    mean, error = (float(factor * number) for number in mean_and_error(values))
    return Cell(mean, error, digits, sign, mark)


def mean_of(values: Iterable[float]) -> float:
    """The mean; NaN of nothing."""
    found = list(values)
    return float(np.mean(found)) if found else float("nan")


def signed_text(number: str) -> str:
    """With a sign of its own width, and none for what rounds to zero.

    Args:
        number: written with a hyphen where it is below zero.
    """
    if number.startswith("-"):
        return f"−{number[1:]}"
    return f"+{number}" if float(number) else number


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
