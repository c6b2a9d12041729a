"""The configurations that a study's protocols choose, as its report has them.

Read are validation accuracies alone: what is kept, or written into another study, owes nothing to
test data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from clsweep.errors import StoreError
from clsweep.records.accuracy import n_tasks_of
from clsweep.records.schema import Record, trial_id_of
from clsweep.search.search import extent
from clsweep.search.selection_protocols import Pick, Protocol, pick, standard_protocols
from clsweep.search.validation_table import (
    Candidate,
    ValidationTable,
    common_seeds,
    sortable,
    validation_table,
)
from clsweep.search.varied_settings import settings_of, varied_settings
from clsweep.study.renamed_trials import names_of

if TYPE_CHECKING:
    from clsweep.study.configurations import Configuration
    from clsweep.study.study_tables import StudyTables


class Choices(NamedTuple):
    """What can be chosen from, and what is chosen.

    Attributes:
        configurations: those of the study, by id; with a search, those that it has asked for.
        table: the candidates' validation accuracies.
        picks: of every protocol that the report compares, one per label.
        references: ids of the references that have finished.
        is_whole: whether every trial of the study has a record.
    """

    configurations: dict[str, Configuration]
    table: ValidationTable
    picks: tuple[Pick, ...]
    references: tuple[str, ...]
    is_whole: bool

    @property
    def ids(self) -> frozenset[str]:
        """The configurations that some protocol chooses, and the references."""
        picked = (pick.config_id for pick in self.picks)
        return frozenset({key for key in picked if key is not None}.union(self.references))


def choices(
    study: StudyTables, records: Sequence[Record], protocol: Protocol | None = None
) -> Choices:
    """What the protocols choose.

    Args:
        study: the study.
        records: of its results folder; their test rows are not read.
        protocol: one rule instead of those that the report compares.

    Raises:
        StoreError: no trial that the study asks for has finished.
    """
    found = choices_so_far(study, records, protocol)
    if found is None:
        raise StoreError(
            "no trial that the study asks for has finished", next_step="run the study first"
        )
    return found


def choices_so_far(
    study: StudyTables, records: Sequence[Record], protocol: Protocol | None = None
) -> Choices | None:
    """What the protocols choose; None where no trial that the study asks for has finished.

    Args:
        study: the study.
        records: see `choices`.
        protocol: see `choices`.
    """
    records = names_of(study, (record["config"] for record in records)).records(records)
    known, n_to_come = extent(study, records, {r["trial"]["trial_id"] for r in records})
    by_id = {one.id: one for one in known}
    asked = {trial_id_of(key, seed) for key in by_id for seed in study.seeds}
    kept = [_labelled(record, by_id) for record in records if record["trial"]["trial_id"] in asked]
    if not kept:
        return None
    table = _as_reported(kept, study.report.choose_on)
    rules = [protocol] if protocol else _compared(study, n_tasks_of(kept))
    return Choices(
        configurations=by_id,
        table=table,
        picks=tuple(found for rule in rules for found in pick(rule, table)),
        references=tuple(c.config_id for c in table.candidates if c.is_reference),
        is_whole=len(kept) == len(asked) and not any(n_to_come.values()),
    )


def _compared(study: StudyTables, n_tasks: int) -> tuple[Protocol, ...]:
    return standard_protocols(study.report.drops, n_tasks, False, study.report.margin)


def _labelled(record: Record, by_id: dict[str, Configuration]) -> Record:
    label = by_id[record["trial"]["config_id"]].label
    return {**record, "config": {**record["config"], "label": label}}


def _as_reported(records: Sequence[Record], choose_on: Sequence[int]) -> ValidationTable:
    """The candidates in the order of the report, with the seeds that choose in it."""
    table, finished = validation_table(records), common_seeds(records)
    configs = {record["config"]["config_id"]: record["config"] for record in records}
    names = {
        label: tuple(varied_settings([c for c in configs.values() if c["label"] == label]))
        for label in {config["label"] for config in configs.values()}
    }

    def place(one: Candidate) -> tuple[object, ...]:
        settings = settings_of(configs[one.config_id])
        axes = [sortable(settings.get(name)) for name in names[one.label]]
        return one.label, axes, one.config_id

    table = replace(table, candidates=tuple(sorted(table.candidates, key=place)))
    choosing = [index for index, seed in enumerate(finished) if seed in choose_on]
    return table.of_seeds(choosing) if 0 < len(choosing) < len(finished) else table
