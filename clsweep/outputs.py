"""The files of a report, by format: the page, figures for papers, and tables.

report.html                        everything, to be opened in a browser (`html`)
front.png, front.svg, front.pdf    the fronts where they compete (`png`, `svg`, `pdf`)
front_all.…                        with everything outside of that view, if anything is
table_NAME.tex, table_NAME.csv     each printed table (`latex`, `csv`)
fronts.csv                         the points of the figure, unrounded (`csv`)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.disk import write_atomically
from clsweep.errors import StoreError, StudyError, closest_name
from clsweep.plain_tables import FORMULA_STARTS, csv_bytes, latex_bytes

if TYPE_CHECKING:
    import pyarrow as pa

    from clsweep.cells import ReportTable
    from clsweep.report import ReportData

__all__ = ["DEFAULT_FORMATS", "FORMATS", "check_formats", "formats_of", "write_outputs"]

FORMATS = ("html", "png", "svg", "pdf", "latex", "csv")
DEFAULT_FORMATS = ("html", "png", "svg")
_FIGURES = ("png", "svg", "pdf")
_TABLES = {"latex": ("tex", latex_bytes), "csv": ("csv", csv_bytes)}


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


def write_outputs(
    data: ReportData,
    tables: Sequence[ReportTable],
    points: pa.Table,
    folder: Path,
    formats: Sequence[str],
) -> list[Path]:
    """Write a report's files; returns them in order.

    Args:
        data: what `report.build` computed.
        tables: its tables.
        points: the table of `fronts.parquet`.
        folder: where they go.
        formats: of `FORMATS`.

    Raises:
        StoreError: the disk refuses them.
    """
    # Without a home folder that it can write to, matplotlib warns that it uses another.
    logging.getLogger("matplotlib").addFilter(_is_no_cache_warning)
    try:
        from clsweep import plots
    except OSError as error:  # not even that other one
        raise StoreError(
            f"no figure can be drawn: {error}",
            expected="a folder for matplotlib's cache that can be written",
            next_step="`export MPLCONFIGDIR=FOLDER`",
        ) from error

    endings = [name for name in formats if name in _FIGURES]
    written = plots.draw(data, folder / "front", endings) if endings else []
    files = list(_table_files(tables, formats))
    if "csv" in formats:
        files.append(("fronts.csv", _points_csv(points)))
    if "html" in formats:
        from clsweep.page import page_bytes

        files.append(("report.html", page_bytes(data, tables)))
    for name, content in files:
        write_atomically(folder / name, content)
        written.append(folder / name)
    return written


def _is_no_cache_warning(record: logging.LogRecord) -> bool:
    return not re.search("temporary cache directory|mkdir -p failed", record.getMessage())


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
