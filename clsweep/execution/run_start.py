"""What a run begins with, told to its listeners: trials by label, and the best of them so far."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from clsweep.execution.listeners.base import RunStart
from clsweep.records.metrics import value_of
from clsweep.records.schema import trial_id_of
from clsweep.storage.store import Store

if TYPE_CHECKING:
    from clsweep.study.jobs import Plan
    from clsweep.study.renamed_trials import Names
    from clsweep.study.study import Study


class ToCome(NamedTuple):
    """What a run is for.

    Attributes:
        plan: its jobs, and how many trials are done.
        curves: all labels of the study, in file order.
        labels: id -> label of every configuration that the study or its search has asked for.
        done: ids of the trials that need no run.
        names: of stored trials in the study.
        more: label -> trials that a search may still ask for, of the labels that the run is for.
    """

    plan: Plan
    curves: Sequence[str]
    labels: Mapping[str, str]
    done: Collection[str]
    names: Names
    more: Mapping[str, int]


def run_start(study: Study, store: Store, to_come: ToCome, *, has_work: bool) -> RunStart:
    """The beginning of a run.

    Args:
        study: what is asked for.
        store: its results.
        to_come: what the run is for.
        has_work: whether any job is to be done.
    """
    plan, curves, labels, done, names, more = to_come
    n_done = Counter(
        label
        for key, label in labels.items()
        for seed in study.seeds
        if trial_id_of(key, seed) in done
    )
    n_left = Counter(job.label for job in plan.jobs if job.kind == "trial")
    n_trials = {label: n_done[label] + n_left[label] + more.get(label, 0) for label in curves}
    n_more = sum(more.values())
    return RunStart(
        study,
        store.directory,
        n_trials=plan.n_done + n_left.total() + n_more,
        n_done=plan.n_done,
        is_upper_limit=n_more > 0,
        has_work=has_work,
        curves={label: (n, n_done[label]) for label, n in n_trials.items() if n},
        stages=[job for job in plan.jobs if job.kind != "trial"],
        best=partial(best_by_label, store, names, labels),
    )


def best_by_label(store: Store, names: Names, labels: Mapping[str, str]) -> dict[str, float]:
    """Label -> best mean validation accuracy over all tasks after the last, of any stored trial.

    Args:
        store: the results; test rows are not looked at.
        names: of stored trials in the study.
        labels: id -> label of the configurations that count.
    """
    best: dict[str, float] = {}
    for record in names.records(store.load("validation")):
        label = labels.get(record["trial"]["config_id"])
        rows = record["accuracy"]
        if label is None or not rows or record["trial"]["status"] != "ok":
            continue
        last = max(row[0] for row in rows)
        final = [value_of(row) for row in rows if row[0] == last]
        best[label] = max(best.get(label, -math.inf), sum(final) / len(final))
    return best
