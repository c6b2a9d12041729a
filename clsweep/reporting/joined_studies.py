"""Results folders as one: of several, every label is named by study and method.

All points are means over seeds that the studies have in common, so that a difference between two
curves is not one between seeds. Studies of different benchmarks have no common axes; they are
refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clsweep.errors import StoreError
from clsweep.records.recorded_inputs import recorded_fingerprints, short_fingerprint
from clsweep.records.schema import Record, trial_id_of
from clsweep.reporting.results import Results
from clsweep.reporting.study_values import choose_on_of, drops_of, margin_of
from clsweep.storage.remote_path import Place


@dataclass(frozen=True)
class JoinedResults:
    """What one report is about.

    Attributes:
        name: of the study, or of all of them.
        found: the results folders; the first study file says the benchmark and the rules.
        records: of all of them, at least one; no two studies share a label or an identity.
        labels: the order of the labels.
        asked_seeds: label to the seeds that its study asks for; see `compare`.
        notes: what is to be said besides what a comparison shows.
    """

    name: str
    found: tuple[Results, ...]
    records: list[Record]
    labels: tuple[str, ...]
    asked_seeds: dict[str, tuple[int, ...]]
    notes: tuple[str, ...]


def joined_results(found: Sequence[Results]) -> JoinedResults:
    """Results folders of one benchmark as one; a folder alone keeps its labels and identities.

    Args:
        found: at least one.

    Raises:
        StoreError: one learned another benchmark, or other data, than the first.
    """
    if len(found) == 1:
        return _alone(found[0])
    _refuse_mixed(found)
    names = _names(found)
    _refuse_other_data(found, names)
    parts = [_alone(_renamed(one, name)) for one, name in zip(found, names, strict=True)]
    labels = [
        f"{name}: {label}" for name, one in zip(names, found, strict=True) for label in one.labels
    ]
    notes = [
        f"{name}: {note}" for name, one in zip(names, found, strict=True) for note in one.notes
    ]
    return JoinedResults(
        name=" + ".join(names),
        found=tuple(found),
        records=[record for part in parts for record in part.records],
        labels=tuple(labels),
        asked_seeds={label: s for part in parts for label, s in part.asked_seeds.items()},
        notes=(*notes, *_notes_on_inputs(found, names), *_differing_rules(found)),
    )


def _alone(one: Results) -> JoinedResults:
    seeds = one.seeds
    return JoinedResults(
        name=one.name,
        found=(one,),
        records=one.records,
        labels=tuple(one.labels),
        asked_seeds={r["config"]["label"]: seeds for r in one.records if seeds},
        notes=one.notes,
    )


def refuse_repeated(directories: Sequence[Place]) -> None:
    """Refuse a results folder that is named twice.

    Args:
        directories: results folders.

    Raises:
        StoreError: one is.
    """
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
                + (", ".join(sorted(map(short_fingerprint, one))) or "not recorded")
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
                f"{name} {'/'.join(sorted(map(short_fingerprint, one)))}"
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
            for label, value in recorded_fingerprints(record["trial"]["versions"]).items():
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


def _renamed(one: Results, study: str) -> Results:
    """The results under labels and identities that no other study has."""
    return replace(one, records=[_renamed_record(record, study) for record in one.records])


def _renamed_record(record: Record, study: str) -> Record:
    """The record under a label and an identity that no other study has."""
    config_id = f"{study}/{record['config']['config_id']}"
    label = f"{study}: {record['config']['label']}"
    trial_id = trial_id_of(config_id, record["trial"]["seed"])
    return {
        **record,
        "trial": {**record["trial"], "config_id": config_id, "trial_id": trial_id},
        "config": {**record["config"], "config_id": config_id, "label": label},
    }
