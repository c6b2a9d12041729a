"""A run of some of a study's labels: which jobs are theirs, and what is left for later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING

from clsweep.errors import RunnerError, closest_name
from clsweep.records.schema import trial_id_of

if TYPE_CHECKING:
    from clsweep.study.jobs import Job


def chosen_labels(
    names: Mapping[str, str], only: Collection[str], *, fills: bool
) -> frozenset[str] | None:
    """The labels that a run is for; None for all.

    Args:
        names: label -> name of its method, of all labels of a study.
        only: labels, or names of methods for all labels of each; empty for all.
        fills: whether the search fills fronts: fine-tuning is then among them, since the ends of
            every front are measured by it.

    Raises:
        RunnerError: the study has no such label.
    """
    if not only:
        return None
    found: set[str] = set()
    for name in only:
        own = {name} & names.keys() or {label for label, one in names.items() if one == name}
        if not own:
            raise RunnerError(
                f"the study has no label '{name}'",
                expected=closest_name(name, names.keys()),
                where="--only",
                next_step="`clsweep plan` lists the labels",
            )
        found |= own
    ends = {label for label, name in names.items() if fills and name == "finetune"}
    return frozenset(found | ends)


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


def trial_labels(labels: Mapping[str, str], seeds: Iterable[int]) -> dict[str, str]:
    """Id -> label of every trial.

    Args:
        labels: id -> label of every configuration.
        seeds: those of the study.
    """
    return {trial_id_of(key, seed): label for key, label in labels.items() for seed in seeds}


def left_for_later(
    curves: Iterable[str],
    wanted: Mapping[str, str],
    done: Collection[str],
    more: Mapping[str, int],
    labels: Set[str] | None,
) -> dict[str, int]:
    """Label -> trials that it has still to do, of the labels that a run was not for.

    Args:
        curves: all labels of the study, in file order.
        wanted: id -> label of every trial that the study or its search has asked for.
        done: ids of the trials that have a record.
        more: label -> trials that a search may still ask for.
        labels: those that the run was for; None for all.
    """
    if labels is None:
        return {}
    left = Counter(more)
    left.update(label for key, label in wanted.items() if key not in done)
    return {label: left[label] for label in curves if left[label] and label not in labels}
