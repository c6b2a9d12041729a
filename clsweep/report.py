"""From a results folder to a report: compute first, then print and draw.

`build` reads the records and computes; `tables` shows the result in a terminal; `report` does
both and writes, beside the tables of the store or into another folder,

    fronts.parquet    the points: mean over seeds (seed is null) and each seed's
    report.txt        what was printed
    report.html, …    see `outputs.py`

Neither torch nor ray is imported, and the data set is not needed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from clsweep.caveats import caveats
from clsweep.comparison import Comparison, compare
from clsweep.curves import Curve
from clsweep.details import Details, details_of
from clsweep.disk import write_atomically
from clsweep.methods import METHODS
from clsweep.outputs import DEFAULT_FORMATS, write_outputs
from clsweep.reading import benchmark_text, chance_of, drops_of, read, table_of
from clsweep.rows import n_tasks_of
from clsweep.schema import Record
from clsweep.summary import tables
from clsweep.tables import parquet_bytes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ReportData",
    "build",
    "data_of",
    "front_table",
    "publish",
    "report",
    "tables",
]

_TEXT_WIDTH = 110


@dataclass(frozen=True)
class ReportData:
    """What is printed and drawn.

    Attributes:
        comparison: all numbers.
        name: the study's name.
        benchmark: what was learned, in a few words.
        n_tasks: length of the task sequence.
        chance_is_known: whether hypervolume is counted from chance instead of from zero.
        uses: label to what its method needs beyond the previous network and the current data.
        notes: what a reader must know.
        details: what stands behind the comparison.
    """

    comparison: Comparison
    name: str
    benchmark: str
    n_tasks: int
    chance_is_known: bool
    uses: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]
    details: Details = field(default_factory=Details)

    @property
    def title(self) -> str:
        """Heading: study and benchmark."""
        return f"{self.name}: {self.benchmark}"

    @property
    def method_of_reading(self) -> str:
        """How the numbers came about, in one sentence."""
        n = len(self.comparison.seeds)
        spread = f"mean ± s.e.m. over {n} seeds" if n > 1 else "n = 1 seed"
        return f"Chosen on validation data, printed on test data; {spread}."


def build(directory: Path) -> ReportData:
    """Everything a report says about a results folder.

    Trials of configurations that the folder's study no longer asks for are left out.

    Args:
        directory: the results folder.

    Raises:
        StoreError: there are no results, or they cannot be read.
    """
    found = read(directory)
    return data_of(
        found.records,
        labels=found.labels,
        name=found.name,
        study=found.study,
        notes=found.notes,
        directories=[directory],
    )


def data_of(
    records: Sequence[Record],
    *,
    labels: Sequence[str],
    name: str,
    study: Mapping[str, Any],
    notes: Sequence[str],
    directories: Sequence[Path],
) -> ReportData:
    """Everything a report says about records of one benchmark.

    Args:
        records: at least one.
        labels: the order of the labels.
        name: what the report is called.
        study: what the (first) study file says, for the benchmark and the allowed drops.
        notes: what is to be said besides what the comparison shows.
        directories: results folders, for their study files.
    """
    benchmark = table_of(study, "benchmark")
    chance = chance_of(benchmark)
    comparison = compare(
        records,
        labels=labels,
        drops=[drop / 100 for drop in drops_of(study)],
        reference_point=chance or (0.0, 0.0),
    )
    return ReportData(
        comparison=comparison,
        name=name,
        benchmark=benchmark_text(benchmark),
        n_tasks=n_tasks_of(records),
        chance_is_known=chance is not None,
        uses={c.label: METHODS[c.method].uses for c in _known(comparison.all_curves)},
        notes=(*notes, *caveats(comparison)),
        details=details_of(records, comparison, directories),
    )


def report(
    directory: Path,
    out: Path | None = None,
    console: Console | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> ReportData:
    """Print the tables of a study, and write page, figures, points and the printed text.

    Args:
        directory: the results folder.
        out: where files are written; None for the results folder.
        console: where to print; None for standard output.
        formats: of `outputs.FORMATS`.

    Raises:
        StoreError: there are no results, they cannot be read, or the files cannot be written.
    """
    data = build(directory)
    publish(data, directory if out is None else out, console or Console(), formats)
    return data


def publish(data: ReportData, folder: Path, console: Console, formats: Sequence[str]) -> None:
    """Print the tables, and write everything that a report consists of.

    Args:
        data: what is shown.
        folder: where files are written.
        console: where to print.
        formats: of `outputs.FORMATS`.

    Raises:
        StoreError: the files cannot be written.
    """
    shown = tables(data)
    console.print(*shown, sep="\n")
    text = Console(file=io.StringIO(), width=_TEXT_WIDTH, record=True)
    text.print(*shown, sep="\n")
    lines = (line.rstrip() for line in text.export_text().splitlines())
    write_atomically(folder / "report.txt", "".join(f"{line}\n" for line in lines).encode())
    points = front_table(data.comparison)
    write_atomically(folder / "fronts.parquet", parquet_bytes(points))
    for path in write_outputs(data, points, folder, formats):
        console.print(f"wrote {path}", style="dim", markup=False, soft_wrap=True)


def _known(curves: Sequence[Curve]) -> Iterator[Curve]:
    return (curve for curve in curves if curve.method in METHODS)


def front_table(comparison: Comparison) -> pa.Table:
    """`fronts.parquet`: one row per configuration, split and seed, and one for the mean.

    Args:
        comparison: what the report says.
    """
    import pyarrow as pa

    schema = pa.schema(
        [
            ("label", pa.string()),
            ("method", pa.string()),
            ("config_id", pa.string()),
            ("split", pa.string()),
            ("seed", pa.int64()),
            ("source_accuracy", pa.float64()),
            ("target_accuracy", pa.float64()),
            ("on_front", pa.bool_()),
            ("is_best", pa.bool_()),
        ]
    )
    rows = [dict(zip(schema.names, row, strict=True)) for row in _front_rows(comparison)]
    return pa.Table.from_pylist(rows, schema=schema)


def _front_rows(comparison: Comparison) -> Iterator[tuple[Any, ...]]:
    for curve in comparison.all_curves:
        for index, point in enumerate(curve.points):
            marks = (bool(curve.on_front[index]), index == curve.best)
            for split in ("validation", "test"):
                of_split = point.validation_S2 if split == "validation" else point.test_S2
                name = (curve.label, curve.method, point.config_id, split)
                yield (*name, None, *map(float, point.mean(split)), *marks)
                for seed, pair in zip(comparison.seeds, of_split, strict=True):
                    yield (*name, seed, *map(float, pair), *marks)
