"""From a results folder to a report: compute first, then print and draw.

`build` reads the records and computes; `tables` shows the result in a terminal; `report` does
both and writes, beside the tables of the store or into another folder,

    front.png, front.svg           the fronts where they compete
    front_all.png, front_all.svg   with everything that lies outside that view, if anything does
    fronts.parquet                 the points: mean over seeds (seed is null) and each seed's
    report.txt                     what was printed

Neither torch nor ray is imported, and the data set is not needed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from clsweep.caveats import caveats
from clsweep.comparison import Comparison, compare
from clsweep.curves import Curve
from clsweep.disk import write_atomically
from clsweep.errors import ClsweepError, StoreError
from clsweep.methods import METHODS
from clsweep.schema import Record, trial_id_of
from clsweep.store import Store
from clsweep.summary import tables

__all__ = ["ReportData", "build", "report", "tables"]

DEFAULT_DROPS = (1.0, 5.0)
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
    """

    comparison: Comparison
    name: str
    benchmark: str
    n_tasks: int
    chance_is_known: bool
    uses: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]

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
    store = Store(directory)
    records = store.load()
    study = store.study_table()
    if not records:
        raise StoreError(
            "there are no finished trials to report",
            expected="a results folder of `clsweep run`",
            where=str(directory),
            next_step="; ".join(store.warnings) or "run the study first, or check the folder",
        )
    records, notes = _asked_for(records, directory)
    benchmark = _table(study, "benchmark")
    chance = _chance(benchmark)
    comparison = compare(
        records,
        labels=_labels(study),
        drops=[drop / 100 for drop in _drops(study)],
        reference_point=chance or (0.0, 0.0),
    )
    return ReportData(
        comparison=comparison,
        name=str(study.get("name", directory.name)),
        benchmark=_benchmark_text(benchmark),
        n_tasks=1 + max((row[1] for r in records for row in r["accuracy"]), default=1),
        chance_is_known=chance is not None,
        uses={c.label: METHODS[c.method].uses for c in _known(comparison.all_curves)},
        notes=(*(f"{w[0].upper()}{w[1:]}." for w in store.warnings), *notes, *caveats(comparison)),
    )


def report(directory: Path, out: Path | None = None, console: Console | None = None) -> ReportData:
    """Print the tables, and write figures, points and the printed text.

    Args:
        directory: the results folder.
        out: where files are written; None for the results folder.
        console: where to print; None for standard output.

    Raises:
        StoreError: there are no results, they cannot be read, or the files cannot be written.
    """
    from clsweep import plots

    data = build(directory)
    folder = directory if out is None else out
    console = console or Console()
    shown = tables(data)
    console.print(*shown, sep="\n")
    text = Console(file=io.StringIO(), width=_TEXT_WIDTH, record=True)
    text.print(*shown, sep="\n")
    lines = (line.rstrip() for line in text.export_text().splitlines())
    write_atomically(folder / "report.txt", "".join(f"{line}\n" for line in lines).encode())
    write_atomically(folder / "fronts.parquet", _front_bytes(data.comparison))
    for path in plots.draw(data, folder / "front"):
        console.print(f"wrote {path}", style="dim", markup=False, soft_wrap=True)
    return data


def _asked_for(records: list[Record], directory: Path) -> tuple[list[Record], list[str]]:
    """The records that the study asks for, under its labels, and what was left out."""
    from clsweep.study import configurations, stored_study

    try:
        study = stored_study(directory / "study.toml")
    except ClsweepError as error:
        reason = error.found.rstrip(".")
        return records, [
            f"All trials of the folder are shown: its study cannot be read ({reason})."
        ]
    labels = {c.id: c.label for c in configurations(study)}
    asked = {trial_id_of(config_id, seed) for config_id in labels for seed in study.seeds}
    kept = [_labelled(r, labels) for r in records if r["trial"]["trial_id"] in asked]
    if not kept:
        raise StoreError(
            "no trial that the study asks for has finished",
            expected=f"some of its {len(asked):,} trials",
            where=str(directory),
            next_step="run the study first",
        )
    notes = []
    if len(kept) < len(asked):
        notes.append(
            f"{len(kept):,} of the study's {len(asked):,} trials have finished; "
            "`clsweep run` continues."
        )
    if len(kept) < len(records):
        notes.append(
            f"{len(records) - len(kept):,} trials in the folder belong to configurations or "
            "seeds that its study no longer asks for; they are left out."
        )
    return kept, notes


def _labelled(record: Record, labels: Mapping[str, str]) -> Record:
    label = labels[record["trial"]["config_id"]]
    return {**record, "config": {**record["config"], "label": label}}


def _known(curves: Sequence[Curve]) -> Iterator[Curve]:
    return (curve for curve in curves if curve.method in METHODS)


# Results outlive their study file: what somebody broke in it must not hide them, so that nothing
# below relies on its types.


def _table(study: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = study.get(name)
    return found if isinstance(found, dict) else {}


def _labels(study: Mapping[str, Any]) -> list[str]:
    methods = study.get("methods")
    entries = methods if isinstance(methods, list) else []
    return [str(entry.get("label", "")) for entry in entries if isinstance(entry, dict)]


def _drops(study: Mapping[str, Any]) -> Sequence[float]:
    drops = _table(study, "report").get("drops")
    sound = isinstance(drops, list) and all(isinstance(drop, (int, float)) for drop in drops)
    return drops if isinstance(drops, list) and sound else DEFAULT_DROPS


def _benchmark_text(benchmark: Mapping[str, Any]) -> str:
    if not benchmark:
        return "unknown benchmark"
    data = str(benchmark.get("dataset", "digits"))
    target = benchmark.get("target", [])
    more = map(str, target if isinstance(target, list) else [target])
    name = " → ".join([data, *more])
    if name == data:
        name = f"{benchmark.get('name', '')} {data}".strip()
    parts = [name]
    if "n_tasks" in benchmark:
        parts.append(f"{benchmark['n_tasks']} tasks")
    if "scenario" in benchmark:
        parts.append(f"{benchmark['scenario']}-incremental")
    return ", ".join(parts)


def _chance(benchmark: Mapping[str, Any]) -> tuple[float, float] | None:
    """(source, target) accuracy of guessing, where the numbers of classes are known."""
    from clsweep.catalog import BENCHMARKS, benchmark_sizes

    try:
        config = BENCHMARKS[str(benchmark.get("name"))](**benchmark)
        n_classes = [size.n_classes for size in benchmark_sizes(config, None)]
    except (ClsweepError, KeyError, ValueError):
        return None
    if config.scenario == "class":
        n_classes = [sum(n_classes)] * len(n_classes)
    chances = [1 / n for n in n_classes]
    return sum(chances[:-1]) / len(chances[:-1]), chances[-1]


def _front_bytes(comparison: Comparison) -> bytes:
    """`fronts.parquet`: one row per configuration, split and seed, and one for the mean."""
    import pyarrow as pa

    from clsweep.tables import parquet_bytes

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
    return parquet_bytes(pa.Table.from_pylist(rows, schema=schema))


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
