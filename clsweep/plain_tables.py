"""The tables of a report as plain text cells, for HTML, LaTeX and CSV.

They are read off the tables that the terminal shows, so that every output has the same numbers
and a table that is added there is in all of them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["FORMULA_STARTS", "PlainTable", "csv_bytes", "latex_bytes", "plain", "plain_tables"]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_ERROR = " ± "
# Of the characters that tables use, those that LaTeX wants to be spelt out.
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "†": r"\dag{}",
    "λ": r"$\lambda$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "…": r"\ldots{}",
}


@dataclass(frozen=True)
class PlainTable:
    """One table.

    Attributes:
        title: above it.
        caption: below it; may be empty.
        columns: headings.
        rows: cells as text; a row with one cell heads those that follow.
        starts: indices of rows that a line is drawn above.
        is_number: per column, whether it is set to the right.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    starts: frozenset[int]
    is_number: tuple[bool, ...]

    @property
    def slug(self) -> str:
        """The title as part of a file's name."""
        words = re.sub(r"\(.*?\)", "", self.title.lower())
        return re.sub(r"[^a-z0-9]+", "_", words).strip("_") or "table"


def plain_tables(shown: Iterable[RenderableType]) -> tuple[PlainTable, ...]:
    """The titled tables among what `summary.tables` shows.

    Args:
        shown: tables, and other things, which are left out.
    """
    return tuple(plain(one) for one in shown if isinstance(one, Table) and one.title)


def plain(table: Table) -> PlainTable:
    """One table of the terminal as plain text."""
    columns = [[_text(cell) for cell in column.cells] for column in table.columns]
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    starts = {i + 1 for i, row in enumerate(table.rows) if row.end_section and i + 1 < len(rows)}
    for row in rows:
        if row[0] and not any(row[1:]):
            del row[1:]
    return PlainTable(
        title=_text(table.title),
        caption=_text(table.caption),
        columns=tuple(_heading(_text(column.header)) for column in table.columns),
        rows=tuple(tuple(row) for row in rows),
        starts=frozenset(starts),
        is_number=tuple(column.justify == "right" for column in table.columns),
    )


def _heading(text: str) -> str:
    """A heading on one line; what the terminal breaks within a word is joined again."""
    return " ".join(text.replace("-\n", "").split())


def csv_bytes(table: PlainTable) -> bytes:
    """Comma-separated values; `mean ± error` becomes two columns, a heading row a column.

    A spreadsheet computes what starts with `=`, `+`, `-` or `@`: in columns of text, an apostrophe
    before it keeps it text.

    Args:
        table: what is written, without title and caption.
    """
    width = len(table.columns)
    with_error = [
        any(len(row) == width and _ERROR in row[i] for row in table.rows) for i in range(width)
    ]
    has_headings = any(len(row) < width for row in table.rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ["group"] if has_headings else []
    for name, split in zip(table.columns, with_error, strict=True):
        names += [name, f"{name} error"] if split else [name]
    writer.writerow(names)
    group = ""
    for row in table.rows:
        if len(row) < width:
            group = row[0]
            continue
        cells = [group] if has_headings else []
        for cell, split, number in zip(row, with_error, table.is_number, strict=True):
            mean, _, error = cell.partition(_ERROR)
            cells += [mean, error] if split else [cell if number else _no_formula(cell)]
        writer.writerow(cells)
    return out.getvalue().encode()


def latex_bytes(table: PlainTable) -> bytes:
    r"""A `tabular` for the package booktabs, to be used with `\input`.

    Args:
        table: what is written; title and caption become comments.
    """
    width = len(table.columns)
    alignment = "".join("r" if number else "l" for number in table.is_number)
    lines = [
        *(f"% {line}" for line in _one_line(f"{table.title}; {table.caption}")),
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _latex_row(table.columns),
        r"\midrule",
    ]
    for i, row in enumerate(table.rows):
        if i in table.starts:
            lines.append(r"\midrule")
        if len(row) < width:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\emph{{{_latex(row[0])}}}}} \\")
        else:
            lines.append(_latex_row(row))
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines).encode()


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))


def _one_line(text: str) -> list[str]:
    return [" ".join(text.split())]


def _text(cell: object) -> str:
    if isinstance(cell, Text):
        return cell.plain.strip()
    return "" if cell is None else str(cell).strip()
