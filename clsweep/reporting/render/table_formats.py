"""A table of a report in every format: terminal, HTML, LaTeX and CSV."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from clsweep.reporting.render.latex import escaped, table_row
from clsweep.reporting.report_table import Cell, ReportTable

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def rich_table(table: ReportTable) -> Table:
    """The table for a terminal; `terminal_width.Fitted` divides it where that is narrow."""
    made = Table(
        title=Text(table.title, style="bold"),
        caption=Text(table.caption, style="dim"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        padding=(0, 1),
    )
    for column in table.columns:
        # Numbers are never wrapped: a narrow terminal wraps names instead.
        if column.is_number:
            made.add_column(column.heading, justify="right", no_wrap=True)
        else:
            made.add_column(column.heading, overflow="fold")
    for section in table.sections:
        made.add_section()
        if section.heading:
            made.add_row(Text(section.heading, style="italic"))
        for row in section.rows:
            made.add_row(*(Text(str(cell)) for cell in row))
    return made


def html_text(table: ReportTable, index: int | str) -> str:
    """The table as a figure of HTML; one with headings inside cannot be sorted.

    Args:
        table: what is written; every text of it is escaped.
        index: part of the figure's id, unlike that of any other table of the page.
    """
    sides = [' class="number"' if column.is_number else "" for column in table.columns]
    head = "".join(
        f'<th scope="col"{side}>{html.escape(column.name)}</th>'
        for column, side in zip(table.columns, sides, strict=True)
    )
    rows = []
    for i, section in enumerate(table.sections):
        start = ' class="start"' if i and not section.heading else ""
        if section.heading:
            spanning = f'<th colspan="{len(sides)}">{html.escape(section.heading)}</th>'
            rows.append(f'<tr class="group">{spanning}</tr>')
        for row in section.rows:
            cells = "".join(
                f"<td{side}>{html.escape(_plain(cell))}</td>"
                for cell, side in zip(row, sides, strict=True)
            )
            rows.append(f"<tr{start}>{cells}</tr>")
            start = ""
    kind = "" if _has_headings(table) else ' class="sortable"'
    return (
        f'<figure class="table" id="table-{index}" tabindex="0">'
        f"<h3>{html.escape(table.title)}</h3>"
        f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f"<figcaption>{html.escape(table.caption)}</figcaption></figure>"
    )


def csv_bytes(table: ReportTable) -> bytes:
    """Comma-separated values; a standard error has a column of its own, and so have headings.

    A spreadsheet computes what starts with `=`, `+`, `-` or `@`: in columns of text, an apostrophe
    before it keeps it text.

    Args:
        table: what is written, without title and caption.
    """
    rows = [row for section in table.sections for row in section.rows]
    with_error = [
        any(isinstance(cell, Cell) and cell.error_text for cell in cells)
        for cells in (zip(*rows, strict=True) if rows else [()] * len(table.columns))
    ]
    has_headings = _has_headings(table)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ["group"] if has_headings else []
    for column, split in zip(table.columns, with_error, strict=True):
        names += [column.name, f"{column.name} error"] if split else [column.name]
    writer.writerow(names)
    for section in table.sections:
        for row in section.rows:
            cells = [section.heading] if has_headings else []
            for cell, column, split in zip(row, table.columns, with_error, strict=True):
                if split:
                    cells += _mean_and_error(cell)
                else:
                    cells.append(_plain(cell) if column.is_number else _no_formula(_plain(cell)))
            writer.writerow(cells)
    return out.getvalue().encode()


def latex_bytes(table: ReportTable) -> bytes:
    r"""A `tabular` for the package booktabs, to be used with `\input`.

    Args:
        table: what is written; title and caption become comments.
    """
    alignment = "".join("r" if column.is_number else "l" for column in table.columns)
    lines = [
        f"% {' '.join(f'{table.title}; {table.caption}'.split())}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _latex_row([column.name for column in table.columns]),
        r"\midrule",
    ]
    width = len(table.columns)
    for i, section in enumerate(table.sections):
        if i:
            lines.append(r"\midrule")
        if section.heading:
            heading = rf"\emph{{{escaped(section.heading)}}}"
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{{heading}}} \\")
        lines += map(_latex_row, section.rows)
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines).encode()


def _has_headings(table: ReportTable) -> bool:
    return any(section.heading for section in table.sections)


def _mean_and_error(cell: Cell | str) -> tuple[str, str]:
    """Two cells of CSV; a mark goes with the error, or with the mean where there is none."""
    if isinstance(cell, str):
        return _plain(cell), ""
    if cell.error_text:
        return cell.mean_text, f"{cell.error_text} {cell.mark}".strip()
    return _plain(cell), ""


def _plain(cell: Cell | str) -> str:
    # A blank at the end stands where other cells of the column have a mark.
    return str(cell).rstrip()


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _latex_row(cells: Sequence[Cell | str]) -> str:
    return table_row([escaped(str(cell)) for cell in cells])
