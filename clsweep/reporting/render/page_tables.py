"""The two large tables of the page: all numbers of every label, and all its costs.

Each is made of the tables that the terminal prints, row beside row. The columns of one printed
table are a group, which a box switches on and off.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from clsweep.reporting.render.page_terms import explained, term_of_heading
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import Cell, Column, ReportTable, Section
from clsweep.reporting.summary import ranking

_NUMBERS = ("protocol", "average", "required", "fronts", "luck", "choices", "transfer", "regret")
_OF_USERS = ("per-class", "measures")
_COSTS = ("trials", "costs", "memory")
_SHOWN = ("protocol", "average", "required", "per-class", "measures")
# What stands over the columns of a table, and beside its box.
_NAMES = {
    "protocol": "chosen by the protocol",
    "average": "best average accuracy (%)",
    "required": "source kept at a required target (%)",
    "fronts": "95 % intervals, width of the good range",
    "luck": "luck of seeds and images (%)",
    "choices": "luck of the choice (%)",
    "transfer": "transfer and forgetting (points)",
    "regret": "regret of each protocol (points)",
    "per-class": "accuracy per class (%)",
    "measures": "measures of your own",
    "trials": "all trials",
    "costs": "a finished trial (means)",
    "memory": "what the method keeps (means)",
}


class _Part(NamedTuple):
    """Columns of one section of a printed table.

    Attributes:
        table: its name.
        heading: over the columns.
        columns: without that of the method.
        rows: label to cells; of a label that is there twice, the first.
        last: the cells of the last row.
    """

    table: str
    heading: str
    columns: tuple[Column, ...]
    rows: dict[str, Sequence[Cell | str]]
    last: Sequence[Cell | str]


def numbers_html(data: ReportData, tables: Sequence[ReportTable]) -> str:
    """One sortable table of every accuracy and what is computed from accuracies.

    Args:
        data: what `report_building.build` computed.
        tables: its tables.
    """
    found = {table.name: table for table in tables}
    made = [found[name] for name in (*_NUMBERS, *_OF_USERS) if name in found]
    return _merged_html("numbers", "All numbers", data, made, _SHOWN)


def costs_html(data: ReportData, tables: Sequence[ReportTable]) -> str:
    """One sortable table of trials, time and memory.

    Args:
        data: what `report_building.build` computed.
        tables: its tables.
    """
    found = {table.name: table for table in tables}
    made = [found[name] for name in _COSTS if name in found]
    return _merged_html("costs", "Costs", data, made, _COSTS)


def swatch(place: int | None) -> str:
    """The colour of a label in the figures, beside its name.

    Args:
        place: among the labels that trace a curve; None for a reference.
    """
    kind = "reference" if place is None else f"s{place % 7}"
    return f'<span class="swatch {kind}" aria-hidden="true"></span>'


def places_of(data: ReportData) -> dict[str, int]:
    """Label to its place among the labels that trace a curve.

    Args:
        data: what `report_building.build` computed.
    """
    return {curve.label: place for place, curve in enumerate(data.comparison.curves)}


def _merged_html(
    name: str,
    title: str,
    data: ReportData,
    tables: Sequence[ReportTable],
    shown: Collection[str],
) -> str:
    order = [row.label for row in ranking(data)]
    needs = _needs(tables)
    parts = [part for table in tables for part in _parts(table)]
    boxes = "".join(
        f'<label><input type="checkbox" data-group="{table.name}"'
        f"{' checked' * (table.name in shown)}> {html.escape(_NAMES[table.name])}</label>"
        for table in tables
    )
    captions = "".join(
        f'<p data-group="{table.name}"><b>{html.escape(_NAMES[table.name])}:</b> '
        f"{explained(table.caption)}</p>"
        for table in tables
        if table.caption
    )
    groups = "".join(
        f'<th scope="colgroup" colspan="{len(p.columns)}" data-group="{p.table}">'
        f"{html.escape(p.heading)}</th>"
        for p in parts
    )
    of_needs = _heading("memory", Column("needs", "", is_number=False), "") * bool(needs)
    heads = "".join(_heading(p.table, column, p.table) for p in parts for column in p.columns)
    before = f'<th colspan="{1 + bool(needs)}"><span class="hidden">method</span></th>'
    method = _heading(name, Column("method", "", is_number=False), "")
    return (
        f'<fieldset class="boxes" data-table="{name}-table"><legend>columns</legend>{boxes}'
        '<button type="button" data-all>all</button></fieldset>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}, table">'
        f'<table class="sortable wide" id="{name}-table" data-file="{name}">'
        f"<thead><tr>{before}{groups}</tr><tr>{method}{of_needs}{heads}</tr></thead>"
        f"<tbody>{''.join(_rows(data, order, parts, needs))}</tbody></table></div>"
        f'<p class="buttons"><button type="button" data-csv="{name}-table">Save data (CSV)'
        f'</button></p><div class="captions">{captions}</div>'
    )


def _needs(tables: Sequence[ReportTable]) -> dict[str, str]:
    """Label to what its method needs: what groups of the printed tables of costs are headed by."""
    return {
        str(row[0]): section.heading.removeprefix("needs ")
        for table in tables
        if table.name == "costs"
        for section in table.sections
        for row in section.rows
    }


def _parts(table: ReportTable) -> Iterator[_Part]:
    """A table as columns; sections with headings of their own have columns of their own."""
    columns = table.columns[1:]
    sections = table.sections
    if table.name in _COSTS or not any(section.heading for section in sections):
        rows = [row for section in sections for row in section.rows]
        sections = (Section(rows),)
    for section in sections:
        by_label: dict[str, Sequence[Cell | str]] = {}
        for row in section.rows:
            by_label.setdefault(str(row[0]), row[1:])
        last = section.rows[-1][1:] if section.rows else ()
        heading = section.heading or _NAMES[table.name]
        yield _Part(table.name, heading, columns, by_label, last)


def _heading(table: str, column: Column, group: str) -> str:
    side = ' class="number"' if column.is_number else ""
    key = term_of_heading(table, column.name)
    about = f' data-term="{key}"' if key else ""
    of_group = f' data-group="{group}"' if group else ""
    return f'<th scope="col"{side}{about}{of_group}>{html.escape(column.name)}</th>'


def _rows(
    data: ReportData, order: Sequence[str], parts: Sequence[_Part], needs: Mapping[str, str]
) -> Iterator[str]:
    """Methods in order, then references, then the source end, where it is known."""
    places = places_of(data)
    references = [curve.label for curve in data.comparison.references]
    for label in (*order, *references):
        found = [part.rows.get(label, ()) for part in parts]
        yield _row(label, places.get(label), parts, found, needs)
    end = data.comparison.source_end
    if end is not None and any(part.table == "average" for part in parts):
        found = [part.last if part.table == "average" else () for part in parts]
        yield _row(end.label, None, parts, found, {})


def _row(
    label: str,
    place: int | None,
    parts: Sequence[_Part],
    found: Sequence[Sequence[Cell | str]],
    needs: Mapping[str, str],
) -> str:
    kind = ' class="reference"' if place is None else ""
    texts = [f'<th scope="row">{swatch(place)}{html.escape(label)}</th>']
    if needs:
        texts.append(f"<td>{html.escape(needs.get(label, ''))}</td>")
    for part, cells in zip(parts, found, strict=True):
        for i, column in enumerate(part.columns):
            side = ' class="number"' if column.is_number else ""
            text = html.escape(str(cells[i]).rstrip()) if cells else ""
            texts.append(f"<td{side}>{text}</td>")
    return f"<tr{kind}>{''.join(texts)}</tr>"
