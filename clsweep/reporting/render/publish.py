"""Printing a report and writing its files, by format: the page, figures for papers, and tables."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.text import Text

from clsweep.errors import StoreError, StudyError, closest_name
from clsweep.records.tables import parquet_bytes
from clsweep.reporting.embedding_results import load_maps
from clsweep.reporting.ledger import count_looks
from clsweep.reporting.render.one_screen import OneScreen, print_more
from clsweep.reporting.render.table_formats import (
    FORMULA_STARTS,
    csv_bytes,
    latex_bytes,
    rich_table,
)
from clsweep.reporting.render.tables import on_terminal, tables
from clsweep.reporting.render.terminal_width import Fitted
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import worded
from clsweep.reporting.result_tables import pairs_table, picks_table, points_table
from clsweep.reporting.results_reader import check_folders
from clsweep.storage.disk import write_atomically
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place, place_of
from clsweep.text import command, counted, printable

if TYPE_CHECKING:
    from os import PathLike

    import pyarrow as pa

    from clsweep.reporting.report_table import ReportTable

FORMATS = ("html", "png", "svg", "pdf", "latex", "csv")
DEFAULT_FORMATS = ("html", "png", "svg")
_FIGURES = ("png", "svg", "pdf")
_TABLES = {"latex": ("tex", latex_bytes), "csv": ("csv", csv_bytes)}
# Tables that are there because somebody has asked for them.
_ASKED_FOR = ("protocol", "per-class", "measures")
TEXT_WIDTH = 110
_MOST_NAMED = 5
# Inches of a column of a paper, and of figures that somebody may want.
COLUMN, NARROWEST, WIDEST = 3.25, 2.0, 12.0


def report(
    *directories: Place | PathLike[str] | str,
    out: Place | PathLike[str] | str | None = None,
    console: Console | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    protocol: str | None = None,
    tuned_on: Place | PathLike[str] | str | None = None,
    full: bool = False,
    only: Sequence[str] = (),
    measures: Sequence[str] = (),
    paper: bool = False,
    width: float | None = None,
    embeddings: bool = False,
) -> ReportData:
    """Print what studies found, and write page, figures, points, choices and the text in full.

    Args:
        directories: results folders of one benchmark, paths or URIs.
        out: the local folder where files are written; None for the results folder, or for
            `results/NAME` where that is in an object store; for one under the names of all, beside
            the first, where there are several.
        console: where to print; None for standard output.
        formats: of `publish.FORMATS`.
        protocol: see `build`.
        tuned_on: see `build`.
        full: whether all tables and caveats are printed instead of one screen.
        only: the names of tables to print instead, such as 'pairs'.
        measures: see `build`.
        paper: whether a folder `paper` is written beside them: figure, table, paragraph, BibTeX.
        width: of the paper's figure in inches; None for one column.
        embeddings: whether maps of task embeddings are drawn, as `clsweep embeddings` left them.

    Raises:
        StoreError: see `build`; a folder does not exist, or the files cannot be written.
        StudyError: see `build`; there is no such format or table, `out` is not local, or the width
            is of no figure, or without `paper`.
    """
    check_formats(formats)
    _check_width(width, paper)
    places = [place_of(directory) for directory in directories]
    elsewhere = place_of(tuned_on) if tuned_on else None
    folder = folder_of(place_of(out)).local_path if out else None
    if out and folder is None:
        raise StudyError(
            f"a report cannot be written to {place_of(out)}",
            expected="a local folder: its files are made to be opened",
            where="--out",
        )
    check_folders(places if elsewhere is None else [*places, elsewhere])
    maps = load_maps(places) if embeddings else ()
    data = build(*places, protocol=protocol, tuned_on=elsewhere, measures=measures)
    data = replace(data, embeddings=maps)
    folder = folder or _folder(places, data.name)
    console = console or Console()
    data = publish(data, folder, console, formats, full, only)
    if paper:
        _publish_paper(data, folder / "paper", console, width)
    return data


def _check_width(width: float | None, paper: bool) -> None:
    """Refuse the width of no figure, before anything is read."""
    if width is None:
        return
    if not paper:
        raise StudyError(
            "no figure for a paper is asked for", expected="`--paper` with it", where="--width"
        )
    if not NARROWEST <= width <= WIDEST:
        raise StudyError(
            f"a figure {width:g} inches wide",
            expected=f"{NARROWEST:g} to {WIDEST:g} inches; a column has about {COLUMN:g}",
            where="--width",
        )


def _publish_paper(data: ReportData, folder: Path, console: Console, width: float | None) -> None:
    from clsweep.reporting.render.paper import write_paper

    names = ", ".join(path.name for path in write_paper(data, folder, width or COLUMN))
    text = printable(f"{folder}: {names}", one_line=True)
    console.print(f"wrote {text}", style="dim", markup=False, highlight=False, soft_wrap=True)


def publish(
    data: ReportData,
    folder: Path,
    console: Console,
    formats: Sequence[str],
    full: bool = False,
    only: Sequence[str] = (),
) -> ReportData:
    """Print one screen or more, and write everything that a report consists of; returns the data.

    Every results folder whose test numbers are shown gets a look in its ledger, before they are.

    Args:
        data: what is shown.
        folder: where files are written.
        console: where to print.
        formats: of `publish.FORMATS`.
        full: whether all tables and caveats are printed instead of one screen.
        only: the names of tables to print instead.

    Raises:
        StoreError: the files cannot be written.
        StudyError: there is no such table.
    """
    made = tables(data)
    shown_tables = [worded(table, data.in_words) for table in made]
    asked = _asked_tables(shown_tables, only)
    uncounted = count_looks(data.shown, "report")
    late = (*data.late_changes, *uncounted)
    data = replace(data, notes=(*data.notes, *uncounted), late_changes=late)
    everything = on_terminal(data, shown_tables)
    more: list[tuple[str, str]] = []
    if asked:
        shown: list[RenderableType] = [*_apart(map(rich_table, asked))]
    elif full:
        shown = everything
    else:
        asked_for = [table for table in shown_tables if table.name in _ASKED_FOR]
        notes = map(Text, map(data.in_words, data.extras.notes))
        shown = [*_apart([OneScreen(data), *map(rich_table, asked_for), *notes])]
        more = _more(data, made, folder, formats)
    lost = _lost_while_printing(console, shown, more)
    recorded = Console(file=io.StringIO(), width=TEXT_WIDTH, record=True)
    recorded.print(OneScreen(data), "", *everything, sep="\n")
    lines = (line.rstrip() for line in recorded.export_text().splitlines())
    write_atomically(folder / "report.txt", "".join(f"{line}\n" for line in lines).encode())
    points = points_table(data.comparison, data.luck.is_shared)
    write_atomically(folder / "fronts.parquet", parquet_bytes(points))
    scored = [score for rule in data.protocols for score in data.scores[rule.name]]
    write_atomically(folder / "protocols.parquet", picks_table(data.comparison, scored))
    write_atomically(folder / "pairs.parquet", pairs_table(data.judgement, data.luck.pairs))
    written = write_outputs(data, made, points, folder, formats)
    if lost is not None:
        raise lost
    if written:
        text = printable(_written_text(written), one_line=True)
        console.print(f"wrote {text}", style="dim", markup=False, highlight=False, soft_wrap=True)
    return data


def _asked_tables(made: Sequence[ReportTable], names: Sequence[str]) -> list[ReportTable]:
    by_name = {table.name: table for table in made}
    for name in names:
        if name not in by_name:
            raise StudyError(
                f"this report has no table '{name}'",
                expected=f"{closest_name(name, by_name)}; several with commas between them",
                where="--tables",
            )
    return [by_name[name] for name in dict.fromkeys(names)]


def _apart(shown: Iterable[RenderableType]) -> Iterator[RenderableType]:
    """With an empty line between."""
    for place, one in enumerate(shown):
        if place:
            yield Text("")
        yield one


def _more(
    data: ReportData, made: Sequence[ReportTable], folder: Path, formats: Sequence[str]
) -> list[tuple[str, str]]:
    """Commands and files that show more than the screen, each with what it shows."""
    again = command("clsweep report", *(one.directory for one in data.shown))
    names = [table.name for table in made]
    first = "pairs" if "pairs" in names else names[0]
    found = [
        (f"{again} --full", f"all tables, all {counted(len(data.notes), 'caveat')}"),
        (f"{again} --tables {first}", f"one of {len(names)} tables"),
    ]
    if "html" in formats:
        page = printable(str(folder / "report.html"), one_line=True)
        found.append((page, "figure and tables"))
    return found


def write_outputs(
    data: ReportData,
    tables: Sequence[ReportTable],
    points: pa.Table,
    folder: Path,
    formats: Sequence[str],
) -> list[Path]:
    """Write a report's files; returns them in order.

    Args:
        data: what `report_building.build` computed.
        tables: its tables.
        points: the table of `fronts.parquet`.
        folder: where they go.
        formats: of `FORMATS`.

    Raises:
        StoreError: the disk refuses them.
    """
    endings = [name for name in formats if name in _FIGURES]
    written = _drawn_figures(data, folder, endings) if endings else []
    files = list(_table_files([worded(table, data.in_words) for table in tables], formats))
    if "csv" in formats:
        files.append(("fronts.csv", _points_csv(points)))
    if "html" in formats:
        from clsweep.reporting.render.page import page_of

        files.append(("report.html", page_of(data, tables=tables).encode()))
    for name, content in files:
        write_atomically(folder / name, content)
        written.append(folder / name)
    return written


def _drawn_figures(data: ReportData, folder: Path, endings: Sequence[str]) -> list[Path]:
    """Write the figures; importing matplotlib takes half a second, which others need not wait."""
    # Without a home folder that it can write to, matplotlib warns that it uses another.
    logging.getLogger("matplotlib").addFilter(_is_no_cache_warning)
    try:
        from clsweep.reporting.render import plots
    except OSError as error:  # not even that other one
        raise StoreError(
            f"no figure can be drawn: {error}",
            expected="a folder for matplotlib's cache that can be written",
            next_step="`export MPLCONFIGDIR=FOLDER`",
        ) from error
    written = plots.draw(data, folder / "front", endings)
    if data.embeddings:
        from clsweep.reporting.render.embedding_figures import draw_maps

        written += draw_maps(data.embeddings, folder, endings)
    return written


def formats_of(text: str) -> tuple[str, ...]:
    """The formats that a list with commas names.

    Args:
        text: for example `html,pdf`.

    Raises:
        StudyError: a name is not one of `FORMATS`.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    check_formats(names)
    if not names:
        raise StudyError(
            "no format is named", expected=f"of {', '.join(FORMATS)}", where="--format"
        )
    return tuple(dict.fromkeys(names))


def check_formats(names: Iterable[str]) -> None:
    """Refuse what is no format.

    Args:
        names: of formats.

    Raises:
        StudyError: one is not of `FORMATS`.
    """
    for name in names:
        if name not in FORMATS:
            raise StudyError(
                f"there is no format '{name}'",
                expected=f"{closest_name(name, FORMATS)}; several with commas between them",
                where="--format",
            )


def _folder(directories: Sequence[Place], name: str) -> Path:
    """Where a report goes that was not told where to go."""
    first = folder_of(directories[0]).local_path
    if len(directories) > 1:
        parent = first.resolve().parent if first else Path("results")
        return parent / "+".join(one.resolve().name for one in directories)
    if first:
        return first
    folder = Path("results") / name
    if (folder / "versions.json").exists():
        raise StoreError(
            f"{folder} holds results of its own, whose report would be overwritten",
            expected="another folder for the report of results in an object store",
            next_step="name one with `--out DIR`",
        )
    return folder


def _lost_while_printing(
    console: Console, shown: Sequence[RenderableType], more: Sequence[tuple[str, str]]
) -> OSError | SystemExit | None:
    """Print; what hinders that has to wait until the files are written."""
    try:
        console.print(Fitted(*shown))
        print_more(console, more)
    except (OSError, SystemExit) as error:  # rich's answer to a reader that has gone
        return error
    return None


def _is_no_cache_warning(record: logging.LogRecord) -> bool:
    return not re.search("temporary cache directory|mkdir -p failed", record.getMessage())


def _written_text(written: Sequence[Path]) -> str:
    """The page or another file by its path, and what lies beside it by name or number."""
    first = next((path for path in written if path.suffix == ".html"), written[0])
    others = [path.name for path in written if path != first]
    if len(others) > _MOST_NAMED:
        others = [f"{len(others)} more files"]
    return ", ".join([str(first), *others])


def _table_files(
    tables: Sequence[ReportTable], formats: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    for name in formats:
        if name in _TABLES:
            ending, bytes_of = _TABLES[name]
            for table in tables:
                yield f"table_{table.slug}.{ending}", bytes_of(table)


def _points_csv(points: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    starts = "".join(FORMULA_STARTS).replace("-", r"\-")
    for name in ("label", "method"):
        texts = pc.replace_substring_regex(points[name], f"^([{starts}])", r"'\1")
        points = points.set_column(points.column_names.index(name), name, texts)
    sink = pa.BufferOutputStream()
    csv.write_csv(points, sink)
    return bytes(sink.getvalue())
