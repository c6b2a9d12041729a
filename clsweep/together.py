"""Several studies in one report: every label is named by study and method.

All points are means over seeds that the studies have in common, so that a difference between two
curves is not one between seeds. Studies of different benchmarks have no common axes; they are
refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from clsweep.errors import StoreError
from clsweep.fingerprints import short
from clsweep.folders import Place, RemotePath
from clsweep.inputs import of_inputs
from clsweep.reading import Results, choose_on_of, drops_of, margin_of, read
from clsweep.report import ReportData, data_of, publish, rule_of
from clsweep.schema import Record, trial_id_of

__all__ = ["build_together", "report_together"]


def build_together(
    directories: Sequence[Place], protocol: str | None = None, tuned_on: Place | None = None
) -> ReportData:
    """Everything a report says about several results folders of one benchmark.

    Args:
        directories: results folders, at least two.
        protocol: see `report.build`.
        tuned_on: see `report.build`.

    Raises:
        StoreError: a folder is named twice, has no results, cannot be read, or learned another
            benchmark than the first.
        StudyError: see `report.build`.
    """
    rule = rule_of(protocol, tuned_on)
    _refuse_repeated(directories)
    found = [read(directory) for directory in directories]
    _refuse_mixed(found)
    names = _names(found)
    _refuse_other_data(found, names)
    records: list[Record] = []
    labels: list[str] = []
    for name, results in zip(names, found, strict=True):
        records += [_renamed(record, name) for record in results.records]
        labels += [f"{name}: {label}" for label in results.labels]
    asked = {
        f"{name}: {record['config']['label']}": results.seeds
        for name, results in zip(names, found, strict=True)
        for record in results.records
        if results.seeds
    }
    notes = [
        f"{name}: {note}"
        for name, results in zip(names, found, strict=True)
        for note in results.notes
    ]
    notes += [*_notes_on_inputs(found, names), *_differing_rules(found)]
    return data_of(
        records,
        labels=labels,
        name=" + ".join(names),
        found=found,
        notes=notes,
        rule=rule,
        tuned_on=tuned_on,
        asked_seeds=asked,
    )


def report_together(
    directories: Sequence[Place],
    out: Path | None,
    formats: Sequence[str],
    protocol: str | None = None,
    tuned_on: Place | None = None,
) -> None:
    """Print the tables of several studies in one, and write page, figures and points.

    Args:
        directories: results folders, at least two.
        out: where files are written; None for a folder under all their names, beside the first,
            or in `results` where that is in an object store.
        formats: of `outputs.FORMATS`.
        protocol: see `report.build`.
        tuned_on: see `report.build`.

    Raises:
        StoreError: see `build_together`; or the files cannot be written.
        StudyError: see `build_together`.
    """
    data = build_together(directories, protocol, tuned_on)
    publish(data, out or _folder(directories), Console(), formats)


def _folder(directories: Sequence[Place]) -> Path:
    first = directories[0].resolve()
    parent = Path("results") if isinstance(first, RemotePath) else first.parent
    return parent / "+".join(d.resolve().name for d in directories)


def _refuse_repeated(directories: Sequence[Place]) -> None:
    counts = Counter(directory.resolve() for directory in directories)
    repeated = [str(path) for path, n in counts.items() if n > 1]
    if repeated:
        raise StoreError(
            f"a results folder is named twice: {repeated[0]}", expected="every folder once"
        )


def _refuse_mixed(found: Sequence[Results]) -> None:
    texts = {json.dumps(results.benchmark, sort_keys=True) for results in found}
    if len(texts) > 1:
        raise StoreError(
            "the studies have not learned the same benchmark:\n"
            + "\n".join(f"    {r.directory}: {_differing(r, found)}" for r in found),
            expected="one benchmark, so that accuracies are of the same tasks",
            next_step="report each study on its own: `clsweep report DIR`",
        )


def _refuse_other_data(found: Sequence[Results], names: Sequence[str]) -> None:
    """Refuse folders whose data sets of one name hold different data."""
    for label, values in _inputs_by_name(found, names).items():
        known = {value for one in values.values() for value in one}
        if label.startswith("data ") and len(known) > 1:
            listed = "\n".join(
                f"    {found[names.index(name)].directory}: "
                + (", ".join(sorted(map(short, one))) or "not recorded")
                for name, one in values.items()
            )
            raise StoreError(
                f"the studies have not learned from the same data '{label.removeprefix('data ')}':"
                f"\n{listed}",
                expected="the same data, so that accuracies are of the same tasks",
                next_step="report each study on its own: `clsweep report DIR`",
            )


def _notes_on_inputs(found: Sequence[Results], names: Sequence[str]) -> Iterator[str]:
    for label, values in _inputs_by_name(found, names).items():
        known = {value for one in values.values() for value in one}
        unknown = [name for name, one in values.items() if not one]
        if label.startswith("data ") and known and unknown:
            yield (
                f"{', '.join(unknown)}: made by a clsweep that did not record what the "
                f"{label.partition(' ')[0]} '{label.partition(' ')[2]}' was; that it was the same "
                "as in the other folders is not known."
            )
        elif len(known) > 1:
            listed = ", ".join(
                f"{name} {'/'.join(sorted(map(short, one)))}"
                for name, one in values.items()
                if one
            )
            yield f"The studies differ in the {label}, under one name: {listed}."


def _inputs_by_name(
    found: Sequence[Results], names: Sequence[str]
) -> dict[str, dict[str, set[str]]]:
    """Name of an input -> study -> the fingerprints that its records hold, perhaps none."""
    by_study = {}
    for name, results in zip(names, found, strict=True):
        of_study: dict[str, set[str]] = {}
        for record in results.records:
            for label, value in of_inputs(record["trial"]["versions"]).items():
                of_study.setdefault(label, set()).add(value)
        by_study[name] = of_study
    labels = sorted({label for of_study in by_study.values() for label in of_study})
    return {
        label: {
            name: of_study.get(label, set())
            for name, of_study in by_study.items()
            if label in of_study or label.startswith("data ")
        }
        for label in labels
    }


def _differing(results: Results, found: Sequence[Results]) -> str:
    """The benchmark, and its keys in which the studies differ."""
    keys = sorted({key for one in found for key in one.benchmark})
    differing = [k for k in keys if len({repr(one.benchmark.get(k)) for one in found}) > 1]
    values = ", ".join(f"{key} = {_value(results.benchmark, key)}" for key in differing)
    return f"{results.benchmark_text} ({values})"


def _differing_rules(found: Sequence[Results]) -> list[str]:
    """Rules of the report in which the studies differ: those of the first are used for all."""
    rules: dict[str, set[Any]] = {
        "drops": {tuple(map(float, drops_of(one.study))) for one in found},
        "margin": {margin_of(one.study) for one in found},
        "choose_on": {choose_on_of(one.study) for one in found},
    }
    differing = [name for name, values in rules.items() if len(values) > 1]
    if not differing:
        return []
    return [
        f"The studies' [report] sections differ in {' and '.join(differing)}: that of "
        f"{found[0].name} is used for all."
    ]


def _value(benchmark: Mapping[str, Any], key: str) -> str:
    return json.dumps(benchmark[key], ensure_ascii=False) if key in benchmark else "not set"


def _names(found: Sequence[Results]) -> list[str]:
    """The studies' names; those of their folders, or whole paths, where names repeat."""
    for names in ([r.name for r in found], [r.directory.resolve().name for r in found]):
        if len(set(names)) == len(names):
            return names
    return [str(r.directory) for r in found]


def _renamed(record: Record, study: str) -> Record:
    """The record under a label and an identity that no other study has."""
    config_id = f"{study}/{record['config']['config_id']}"
    label = f"{study}: {record['config']['label']}"
    trial_id = trial_id_of(config_id, record["trial"]["seed"])
    return {
        **record,
        "trial": {**record["trial"], "config_id": config_id, "trial_id": trial_id},
        "config": {**record["config"], "config_id": config_id, "label": label},
    }
