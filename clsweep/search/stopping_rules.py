"""Which finished configurations a trial is measured against, and which stops still stand.

These yardsticks are configurations of the same curve that had finished with every seed when the
search asked for the trial's. They travel with the job, so that a worker decides alone by the rule
of `training.early_stopping`, and what it decides depends on records and on nothing else. Test
counts are never read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from clsweep.search.pareto import non_dominated
from clsweep.training.early_stopping import LEAD, Pair

if TYPE_CHECKING:
    from clsweep.storage.store import Store
    from clsweep.study.search_section import SearchConfig


def packed_yardsticks(yardsticks: Mapping[str, Mapping[str, Pair]]) -> str:
    """What a job carries: at every checkpoint, the yardsticks that no other beats; '' without any.

    Args:
        yardsticks: configuration -> its checkpoints, `lowest_accuracies` over the seeds.
    """
    names = sorted({name for points in yardsticks.values() for name in points})
    best = {}
    for name in names:
        ids = sorted(key for key, points in yardsticks.items() if name in points)
        pairs = [yardsticks[key][name] for key in ids]
        kept = non_dominated(np.array(pairs))
        # One that another beats is never further ahead of a trial than that other.
        best[name] = [
            (key, *pair) for key, pair, is_in in zip(ids, pairs, kept, strict=True) if is_in
        ]
    return json.dumps(best) if best else ""


def counts_as_done(settings: SearchConfig, trial: Mapping[str, Any]) -> bool:
    """Whether a stored trial counts as done: one that was stopped does where it still would be.

    Without stopping, or with a margin that it was not behind by, it has to be run to its end.

    Args:
        settings: `[search]` as it is now.
        trial: the 'trial' part of its record.
    """
    if trial["status"] != "stopped":
        return True
    return settings.stops and trial["counters"].get(LEAD, 0.0) > settings.stop_margin


def invalid_stops(settings: SearchConfig, store: Store, statuses: Mapping[str, str]) -> set[str]:
    """Ids of the trials that were stopped and no longer count as done.

    Args:
        settings: `[search]` as it is now.
        store: the results folder.
        statuses: of its trials, by id.
    """
    if "stopped" not in statuses.values():
        return set()
    trials = (record["trial"] for record in store.load("validation"))
    return {trial["trial_id"] for trial in trials if not counts_as_done(settings, trial)}
