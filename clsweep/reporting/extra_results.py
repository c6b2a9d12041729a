"""What a report says of the extras of trials: accuracies per class, and measures of the user's.

They are of the configurations with the best average accuracy on validation data, as the first
table of a report. Stored values are read, and no code of the user's is run; only measures that the
caller names are computed here, from accuracy tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clsweep.records.own_code import measure_key
from clsweep.records.recorded_inputs import short_fingerprint
from clsweep.records.schema import Record
from clsweep.records.trial_extras import merged_extras, of_records
from clsweep.records.trial_results import TrialResults, measure_code, measured
from clsweep.reporting.class_results import ClassResults, class_results
from clsweep.reporting.comparison import Comparison
from clsweep.reporting.curves import Curve
from clsweep.reporting.report_table import (
    NOTHING,
    Cell,
    Column,
    ReportTable,
    Section,
    mean_cell,
    percent_cell,
    report_table,
)
from clsweep.reporting.results import Results
from clsweep.reporting.study_values import table_of
from clsweep.storage.extra_files import load_extras
from clsweep.text import axes_text, counted, printable

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]

_OPTION = "--measure"
_AGAIN = (
    "`clsweep run STUDY.toml --out OTHER` runs all trials anew, with equal accuracies; so does a "
    "run into this folder after `clsweep forget DIR --where 'status = \"ok\"' --yes`"
)


@dataclass(frozen=True)
class ExtraResults:
    """What extras add to a report.

    Attributes:
        tables: for every format.
        page_tables: for the page alone, since they are long.
        classes: per label with counts.
        notes: what is missing.
    """

    tables: tuple[ReportTable, ...] = ()
    page_tables: tuple[ReportTable, ...] = ()
    classes: tuple[ClassResults, ...] = ()
    notes: tuple[str, ...] = ()


def extra_results(
    found: Sequence[Results],
    records: Sequence[Record],
    comparison: Comparison,
    scenario: str,
    measures: Sequence[str] = (),
) -> ExtraResults:
    """What the studies of a report ask for beside accuracies.

    Args:
        found: the results folders.
        records: of all of them.
        comparison: what is compared, with the choices.
        scenario: of the benchmark; '' where it is not known.
        measures: further ones, computed here from the accuracy tables of the chosen trials.

    Raises:
        StudyError: one of `measures` cannot be imported, raises, needs logits, or returns
            something else than a number.
        StoreError: stored extras are damaged.
    """
    reports = [table_of(one.study, "report") for one in found]
    asked = [_names(report.get("measures")) for report in reports]
    names = list(dict.fromkeys(name for listed in asked for name in listed))
    with_classes = any(report.get("per_class") is True for report in reports)
    if not (names or with_classes or measures):
        return ExtraResults()
    warnings: list[str] = []
    stored = _stored(found, warnings) if names or with_classes else merged_extras(None, [])
    notes = [f"{warning[0].upper()}{warning[1:]}." for warning in warnings]
    tables: list[ReportTable] = []
    classes: list[ClassResults] = []
    if with_classes:
        classes, missing = _classes(stored["class_counts"], comparison)
        tables += [_class_table(comparison, classes)] if classes else []
        notes += missing
    values = _StoredMeasures(stored["measures"])
    columns = {name: _per_label(comparison, lambda *a, n=name: values.of(n, *a)) for name in names}
    notes += [note for name in names for note in values.notes(name, comparison)]
    notes += [note for name in names for note in _code_notes(name, comparison, records)]
    for name in dict.fromkeys(measures):
        columns[name] = _computed(name, comparison, records, scenario)
    if columns:
        tables.append(_measure_table(comparison, columns))
    pages = _each_class_table(classes)
    return ExtraResults(tuple(tables), pages, tuple(classes), tuple(notes))


def _names(value: Any) -> list[str]:
    listed = value if isinstance(value, list) else []
    return [printable(name, one_line=True) for name in listed if isinstance(name, str)]


def _stored(found: Sequence[Results], warnings: list[str]) -> dict[str, pa.Table]:
    import pyarrow as pa

    made = [load_extras(one.directory, warnings) for one in found]
    return {
        name: pa.concat_tables(
            [of_records(t[name], one.records) for t, one in zip(made, found, strict=True)]
        )
        for name in made[0]
    }


def _chosen(comparison: Comparison) -> Iterator[tuple[Curve, str]]:
    """Every label that has a choice, with the configuration that it is."""
    for curve in comparison.all_curves:
        if curve.best is not None:
            yield curve, curve.points[curve.best].config_id


def _per_label(comparison: Comparison, values: Any) -> dict[str, Array]:
    found = ((c.label, values(key, comparison.seeds)) for c, key in _chosen(comparison))
    return {label: value for label, value in found if value is not None}


# ----------------------------------------------------------------------------------- per class


def _classes(counts: pa.Table, comparison: Comparison) -> tuple[list[ClassResults], list[str]]:
    made, lacking = [], []
    for curve, config_id in _chosen(comparison):
        one = class_results(curve.label, counts, config_id, comparison.seeds)
        if one is None:
            lacking.append(curve.label)
        else:
            made.append(one)
    if not lacking:
        return made, []
    return made, [
        f"No counts per class of {', '.join(lacking)}: trials of the chosen configuration "
        f"finished before `[report] per_class` was set, or cannot tell them. {_AGAIN}."
    ]


def _class_table(comparison: Comparison, classes: Sequence[ClassResults]) -> ReportTable:
    by_label = {one.label: one for one in classes}

    def cells(label: str) -> list[Cell | str]:
        if label not in by_label:
            return [NOTHING, NOTHING]
        return [percent_cell(by_label[label].balanced_S), percent_cell(by_label[label].worst_S)]

    return report_table(
        "Accuracy per class (%)",
        ["balanced", "worst class"],
        "after the last task, on test data; balanced: mean over all classes of all tasks; worst "
        "class: the least of them",
        _sections(comparison, cells),
        key="per-class",
    )


def _each_class_table(classes: Sequence[ClassResults]) -> tuple[ReportTable, ...]:
    sound = [one for one in classes if one.by_class]
    if not sound:
        return ()
    keys = list(dict.fromkeys(key for one in sound for key in one.by_class))
    rows = []
    for task, name in keys:
        cells: list[Cell | str] = [f"task {task + 1}", name]
        for one in sound:
            found = one.by_class.get((task, name))
            cells.append(NOTHING if found is None else percent_cell(found))
        rows.append(cells)
    columns = [Column(text, text, is_number=False) for text in ("task", "class")]
    return (
        ReportTable(
            "Accuracy of each class (%)",
            "after the last task, on test data",
            (*columns, *(Column(one.label, one.label) for one in sound)),
            (Section(rows),),
        ),
    )


# ------------------------------------------------------------------------------------ measures


class _StoredMeasures:
    """The values that trials have stored."""

    def __init__(self, table: pa.Table) -> None:
        keys = zip(
            *(table[name].to_pylist() for name in ("measure", "config_id", "seed")), strict=True
        )
        values = zip(table["value"].to_pylist(), table["remark"].to_pylist(), strict=True)
        self._known: dict[tuple[str, str, int], tuple[float | None, str]] = dict(
            zip(keys, values, strict=True)
        )

    def of(self, name: str, config_id: str, seeds: Sequence[int]) -> Array | None:
        """One value per seed; None where one is missing."""
        found = [self._known.get((name, config_id, seed), (None, ""))[0] for seed in seeds]
        if any(value is None for value in found):
            return None
        return np.array(found, dtype=np.float64)

    def notes(self, name: str, comparison: Comparison) -> Iterator[str]:
        """What of a measure is missing."""
        lacking: list[str] = []
        remarks: Counter[str] = Counter()
        for curve, config_id in _chosen(comparison):
            entries = [self._known.get((name, config_id, seed)) for seed in comparison.seeds]
            remarks.update(entry[1] for entry in entries if entry is not None and entry[1])
            if any(entry is None for entry in entries):
                lacking.append(curve.label)
        for remark, n in remarks.items():
            yield f"Measure {name} failed in {counted(n, 'trial')}: {remark}."
        if lacking:
            yield (
                f"No values of the measure {name} for {', '.join(lacking)}: trials of the chosen "
                f"configuration finished before the study asked for it. {_AGAIN}; `clsweep report "
                f"DIR {_OPTION} {name}` computes one that needs accuracies alone."
            )


def _code_notes(name: str, comparison: Comparison, records: Sequence[Record]) -> Iterator[str]:
    """Values in one table that are of different code of a measure."""
    shown = {(key, seed) for _, key in _chosen(comparison) for seed in comparison.seeds}
    codes = Counter(
        r["trial"]["versions"].get(measure_key(name), "")
        for r in records
        if (r["trial"]["config_id"], r["trial"]["seed"]) in shown
    )
    del codes[""]  # of trials that finished before it was asked for
    if len(codes) > 1:
        of_each = ", ".join(
            f"{counted(n, 'trial')} by {short_fingerprint(code)}" for code, n in codes.items()
        )
        yield (
            f"Measure {name} was edited between trials ({of_each}): its values are not "
            f"comparable. {_AGAIN}."
        )


def _computed(
    name: str, comparison: Comparison, records: Sequence[Record], scenario: str
) -> dict[str, Array]:
    """A measure of every choice, from the accuracy tables of its trials."""
    code = measure_code(name, _OPTION)
    rows: Mapping[tuple[str, int], Any] = {
        (r["trial"]["config_id"], r["trial"]["seed"]): r["accuracy"] for r in records
    }
    n_tasks = comparison.validation.n_tasks
    found = {}
    for curve, config_id in _chosen(comparison):
        values = [
            measured(code, TrialResults(scenario, n_tasks, rows[config_id, seed]))
            for seed in comparison.seeds
        ]
        found[curve.label] = np.array(values)
    return found


def _measure_table(
    comparison: Comparison, columns: Mapping[str, Mapping[str, Array]]
) -> ReportTable:
    names = [name.rpartition(":")[2] for name in columns]
    shown = names if len(set(names)) == len(names) else list(columns)

    def cells(label: str) -> list[Cell | str]:
        return [
            mean_cell(found[label], 1, 4) if label in found else NOTHING
            for found in columns.values()
        ]

    return report_table(
        "Measures of your own",
        shown,
        "of the configurations with the best average accuracy, which no measure here chose: "
        + ", ".join(columns),
        _sections(comparison, cells),
        key="measures",
    )


def _sections(comparison: Comparison, cells: Any) -> list[Section]:
    def rows(curves: Sequence[Curve]) -> list[list[Cell | str]]:
        made = []
        for curve in curves:
            best = curve.best
            chosen = NOTHING if best is None else axes_text(curve.points[best].axes) or NOTHING
            made.append([curve.label, chosen, *cells(curve.label)])
        return made

    return [Section(rows(comparison.curves)), Section(rows(comparison.references))]
