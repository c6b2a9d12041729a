"""A results folder as a report reads it: the records that its study asks for, and the study.

Neither torch nor ray is imported, and the data set is not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clsweep.errors import ClsweepError, StoreError
from clsweep.records.metrics import METRICS
from clsweep.records.own_code import older_code_notes
from clsweep.records.recorded_inputs import mixture_notes
from clsweep.records.schema import Record, trial_id_of
from clsweep.reporting.ledger import (
    changes_text,
    key_of_test_set,
    looks,
    looks_elsewhere,
    other_studies_text,
    study_hash,
)
from clsweep.reporting.results import Results
from clsweep.reporting.study_values import table_of
from clsweep.storage.benchmark_folders import refuse_several
from clsweep.storage.remote_path import Place
from clsweep.storage.store import Store
from clsweep.storage.study_binding import bound_inputs


def check_folders(directories: Iterable[Place]) -> None:
    """Refuse what is no folder.

    Args:
        directories: results folders.

    Raises:
        StoreError: one does not exist.
    """
    for directory in directories:
        if not directory.is_dir():
            raise StoreError(
                f"there is no folder {directory}",
                expected="the results folder of a run",
                next_step="`clsweep run STUDY.toml` makes one and prints its name",
            )


def read(directory: Place, *, read_only: bool = False) -> Results:
    """The records of a results folder that its study still asks for, and earlier looks at them.

    Args:
        directory: the results folder.
        read_only: whether damaged records stay where they are.

    Raises:
        StoreError: there are no results, or they cannot be read.
    """
    store = Store(directory, read_only=read_only)
    records = store.load()
    if not records:
        refuse_several(directory)
        raise StoreError(
            "there are no finished trials to report",
            expected="a results folder of `clsweep run`",
            where=str(directory),
            next_step="; ".join(store.warnings) or "run the study first, or check the folder",
        )
    records, unfinished, notes, n_left = _asked_for(records, directory)
    damage = tuple(f"{w[0].upper()}{w[1:]}." for w in store.warnings)
    urgent = (*damage, *mixture_notes(records), *unfinished)
    study, of_today = store.study_table(), study_hash(directory)
    before, benchmark = looks(directory), table_of(study, "benchmark")
    data, unread = "", ""
    try:
        data = key_of_test_set(benchmark, _fingerprints(directory))
        elsewhere = looks_elsewhere(key_of_test_set(benchmark), data, before)
    except StoreError as error:
        elsewhere, unread = (), f"Looks at test data elsewhere are not known: {error.found}."
    changes = (changes_text(before, of_today), other_studies_text(elsewhere, of_today), unread)
    return Results(
        directory=directory,
        study=study,
        records=records,
        notes=(*urgent, *notes, *filter(None, changes)),
        looks=before,
        elsewhere=elsewhere,
        data=data,
        urgent=urgent,
        n_left=n_left,
    )


def _fingerprints(directory: Place) -> dict[str, str]:
    """Data set to what tells its content, of those that the folder knows."""
    found = bound_inputs(directory)
    prefix = "data "
    return {
        name.removeprefix(prefix): fingerprint
        for name, (fingerprint, _, _) in found.items()
        if name.startswith(prefix)
    }


def _asked_for(
    records: list[Record], directory: Place
) -> tuple[list[Record], list[str], list[str], int]:
    """The records that the study asks for; what is missing; what is left out; trials missing."""
    from clsweep.data.task_sizes import benchmark_sizes
    from clsweep.search.search import extent
    from clsweep.study.declarations import code_of_methods
    from clsweep.study.renamed_trials import names_of
    from clsweep.study.study import stored_study

    try:
        study = stored_study(directory / "study.toml")
    except ClsweepError as error:
        return records, [_all_are_shown("its study cannot be read", error)], [], 0
    n_stored = len(records)
    records = names_of(study, (record["config"] for record in records)).records(records)
    done = {r["trial"]["trial_id"] for r in records}
    known, n_to_come = extent(study, records, done)
    labels = {c.id: c.label for c in known}
    asked = {trial_id_of(config_id, seed) for config_id in labels for seed in study.seeds}
    n_asked = len(asked) + sum(n_to_come.values()) * len(study.seeds)
    kept = [_labelled(r, labels) for r in records if r["trial"]["trial_id"] in asked]
    if not kept:
        try:
            benchmark_sizes(study.benchmark, None)
        except ClsweepError as error:
            if "unknown" in error.found:  # others are of data that are not on this machine
                return records, [_all_are_shown("its study cannot be expanded", error)], [], 0
        raise StoreError(
            "no trial that the study asks for has finished",
            expected=f"some of its {n_asked:,} trials",
            where=str(directory),
            next_step="run the study first",
        )
    unfinished: list[str] = []
    notes: list[str] = []
    if len(records) < n_stored:
        notes.append(
            f"{n_stored - len(records):,} trials in the folder repeat others: they differ in "
            "numbers alone that other numbers switch off. They are counted once."
        )
    if len(kept) < n_asked:
        unfinished.append(
            f"{len(kept):,} of the study's {n_asked:,} trials have finished; "
            "`clsweep run` continues."
        )
    older = [r["trial"] for r in records if r["trial"]["trial_id"] not in asked]
    notes += [
        f"The folder holds {text}; they are left out, and what is shown is of the code that its "
        "last run had."
        for text in older_code_notes(older, code_of_methods(study))
    ]
    if len(kept) < len(records):
        notes.append(
            f"{len(records) - len(kept):,} trials in the folder belong to configurations or "
            "seeds that its study no longer asks for; they are left out."
        )
    return kept, unfinished, notes, n_asked - len(kept)


def _all_are_shown(what: str, error: ClsweepError) -> str:
    reason = error.found.rstrip(".")
    return (
        f"All trials of the folder are shown: {what} ({reason}); a newer clsweep may have made it."
    )


def _labelled(record: Record, labels: Mapping[str, str]) -> Record:
    label = labels[record["trial"]["config_id"]]
    return {**record, "config": {**record["config"], "label": label}}


def chance_of(benchmark: Mapping[str, Any]) -> tuple[float, float] | None:
    """(source, target) accuracy of guessing, where the numbers of classes are known.

    Of a regression, what predicting the mean target gives.
    """
    from clsweep.data.benchmark_specs import BENCHMARKS
    from clsweep.data.task_sizes import benchmark_sizes

    try:
        config = BENCHMARKS[str(benchmark.get("name"))](**benchmark)
        n_classes = [size.n_classes for size in benchmark_sizes(config, None)]
    except (ClsweepError, KeyError, ValueError):
        return None
    if config.is_regression:
        guess = METRICS[config.metric].guess
        return guess, guess
    if config.scenario == "class":
        n_classes = [sum(n_classes)] * len(n_classes)
    chances = [1 / n for n in n_classes]
    return sum(chances[:-1]) / len(chances[:-1]), chances[-1]
