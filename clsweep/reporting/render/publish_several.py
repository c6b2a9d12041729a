"""Reports of several benchmarks of one study file: one after the other, and a table of all."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from rich.console import Console, RenderableType
from rich.text import Text

from clsweep.records.tables import parquet_bytes
from clsweep.reporting.average_ranks import BenchmarkRanks, benchmark_ranks, ranks_table
from clsweep.reporting.render.publish import TEXT_WIDTH
from clsweep.reporting.render.table_formats import csv_bytes, latex_bytes, rich_table
from clsweep.reporting.render.terminal_width import Fitted
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.results_reader import check_folders
from clsweep.storage.disk import write_atomically
from clsweep.storage.remote_path import Place
from clsweep.text import counted, printable

_FILES = {"csv": ("csv", csv_bytes), "latex": ("tex", latex_bytes)}


def report_several(
    places: Sequence[Place],
    folder: Path,
    write_report: Callable[[Place], ReportData],
    *,
    name: str,
    formats: Sequence[str] = (),
    missing: Sequence[str] = (),
    console: Console | None = None,
) -> dict[str, ReportData]:
    """Report each benchmark under its own heading, then all of them in one table.

    Every benchmark keeps its page, figure and tables in a folder of its own. `benchmarks.txt` and
    `benchmarks.parquet` have the table.

    Args:
        places: a results folder per benchmark, named by its label.
        folder: where the table goes.
        write_report: prints and writes the report of one.
        name: of the study file's study.
        formats: of `publish.FORMATS`; of them, csv and latex have files of the table.
        missing: labels of benchmarks without finished trials.
        console: where to print; None for standard output.

    Raises:
        StoreError: a folder cannot be read, or a file not be written.
    """
    check_folders(places)
    console = console or Console()
    data: dict[str, ReportData] = {}
    for place in places:
        console.rule(Text(printable(place.name, one_line=True), style="bold"), align="left")
        data[place.name] = write_report(place)
        console.print()
    ranks = benchmark_ranks(data)
    table = ranks_table(ranks)
    shown: list[RenderableType] = [
        Text(printable(f"{name}: {counted(len(data), 'benchmark')}"), style="bold"),
        Text(table.title),
        # Title and caption would be as narrow as the numbers.
        rich_table(replace(table, title="", caption="")),
        Text(table.caption, style="dim"),
    ]
    if missing:
        shown.append(Text(f"no finished trials yet: {', '.join(missing)}"))
    console.print(Fitted(*shown))
    recorded = Console(file=io.StringIO(), width=TEXT_WIDTH, record=True)
    recorded.print(*shown, sep="\n")
    lines = (line.rstrip() for line in recorded.export_text().splitlines())
    write_atomically(folder / "benchmarks.txt", "".join(f"{line}\n" for line in lines).encode())
    write_atomically(folder / "benchmarks.parquet", parquet_bytes(arrow_table(ranks)))
    for format_name in formats:
        if format_name in _FILES:
            ending, bytes_of = _FILES[format_name]
            write_atomically(folder / f"benchmarks.{ending}", bytes_of(table))
    return data


def arrow_table(ranks: BenchmarkRanks) -> pa.Table:
    """One row per benchmark and label.

    Args:
        ranks: of `benchmark_ranks`.
    """
    n_benchmarks, n_labels = ranks.average_BL.shape
    mean_L = ranks.average_rank_L
    return pa.table(
        {
            "benchmark": [name for name in ranks.benchmarks for _ in range(n_labels)],
            "label": [*ranks.labels] * n_benchmarks,
            "average_accuracy": pa.array(ranks.average_BL.ravel(), from_pandas=True),
            "rank": pa.array(ranks.rank_BL.ravel(), from_pandas=True),
            "average_rank": pa.array([*mean_L] * n_benchmarks, pa.float64(), from_pandas=True),
        }
    )
