"""A run of some of a study's labels: which jobs are theirs, and what is left for later."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from typing import TYPE_CHECKING

from clsweep.errors import RunnerError, closest_name
from clsweep.records.schema import trial_id_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job
    from clsweep.study.study_tables import StudyTables


def chosen_labels(study: StudyTables, only: Collection[str]) -> frozenset[str] | None:
    """The labels that a run is for; None for all.

    With `fill`, fine-tuning is among them: the ends of every front are measured by it.

    Args:
        study: the study.
        only: labels, or names of methods for all labels of each; empty for all.

    Raises:
        RunnerError: the study has no such label.
    """
    if not only:
        return None
    labels = {request.label for request in study.methods}
    found: set[str] = set()
    for name in only:
        own = {name} & labels or {one.label for one in study.methods if one.name == name}
        if not own:
            raise RunnerError(
                f"the study has no label '{name}'",
                expected=closest_name(name, labels),
                where="--only",
                next_step="`clsweep plan` lists the labels",
            )
        found |= own
    fills = study.search.kind == "fill"
    return frozenset(found | {r.label for r in study.methods if fills and r.name == "finetune"})


def jobs_of(jobs: Sequence[Job], labels: Set[str] | None) -> list[Job]:
    """The trials of some labels, and the stages that they need, in the order that they have.

    Args:
        jobs: of a plan.
        labels: whose; None for all.
    """
    if labels is None:
        return [*jobs]
    kept: set[str] = set()
    # Backwards, since every job follows what it needs; a point of a path needs those above it.
    for job in reversed(jobs):
        if job.key in kept or (job.kind == "trial" and job.label in labels):
            kept |= {job.key, *job.needs}
    return [job for job in jobs if job.key in kept]


def left_for_later(
    study: StudyTables,
    configurations: Iterable[Configuration],
    done: Collection[str],
    to_come: Mapping[str, int],
    labels: Set[str] | None,
) -> dict[str, int]:
    """Label -> trials that it has still to do, of the labels that a run was not for.

    Args:
        study: the study.
        configurations: those of the study; with a search, those that it has asked for.
        done: ids of the trials that have a record.
        to_come: label of a searched curve -> configurations that may still be asked for.
        labels: those that the run was for; None for all.
    """
    if labels is None:
        return {}
    n_seeds = len(study.seeds)
    left = {one.label: to_come.get(one.label, 0) * n_seeds for one in study.methods}
    for configuration in configurations:
        left[configuration.label] += sum(
            trial_id_of(configuration.id, seed) not in done for seed in study.seeds
        )
    return {label: n for label, n in left.items() if n and label not in labels}
