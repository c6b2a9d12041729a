"""Stopping a trial that another configuration of its curve has left behind in both accuracies.

At a checkpoint p of its training a trial has the validation accuracies (s, t): t on the task that
was learnt last or is being learnt, s the mean over the tasks before it. With (s_kz, t_kz) those of
configuration k with seed z at the same checkpoint,

    lead(p) = max_k min(min_z s_kz − s, min_z t_kz − t)    and it is stopped where  lead(p) > m,

m the margin, `stop_margin`. A configuration is lost when one of its seeds is stopped, and so has
to be behind each seed of k and not behind the same one alone, which would be stopped more often,
and more often by luck. Checkpoints are the ends of all tasks but the first, which methods share,
and the last, after which nothing is left to save; and `stop_checks` evenly spaced steps of the
last phase on the last task. Test counts are never read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clsweep.records import accuracy
from clsweep.records.metrics import ACCURACY, metric_of_row

if TYPE_CHECKING:
    from clsweep.records.accuracy import AccuracyRow
    from clsweep.records.schema import Record

Pair = tuple[float, float]

# Counters instead of fields: records of trials that nobody watches stay what they were.
LEAD = "stop_lead"
_SOURCE, _TARGET = "validation_source_at_", "validation_target_at_"


class Deficit(NamedTuple):
    """How far a trial is behind.

    Attributes:
        lead: by how much the best yardstick is ahead in both accuracies; −∞ without any.
        config_id: that yardstick.
        behind: what the trial lacks against it in source and target accuracy.
    """

    lead: float
    config_id: str
    behind: Pair


class Stopped(Exception):  # noqa: N818, it is no error
    """A trial was left behind.

    Attributes:
        n_steps: gradient steps since the end of the last task.
    """

    def __init__(self, message: str, n_steps: int) -> None:
        super().__init__(message)
        self.n_steps = n_steps


def deficit(pair: Pair, yardsticks: Iterable[Sequence[Any]]) -> Deficit:
    """How far a trial is behind the yardstick that is furthest ahead of it.

    Args:
        pair: its (source, target) validation accuracy.
        yardsticks: (configuration, source, target) at the same checkpoint, see
            `lowest_accuracies`; of equal leads the first counts.
    """
    found = Deficit(float("-inf"), "", (0.0, 0.0))
    for config_id, source, target in yardsticks:
        behind = (source - pair[0], target - pair[1])
        if min(behind) > found.lead:
            found = Deficit(min(behind), config_id, behind)
    return found


def checkpoint_accuracies(record: Record) -> dict[str, Pair]:
    """Checkpoint -> (source, target) validation accuracy, as far as the record tells.

    Args:
        record: one trial.
    """
    rows = [row for row in record["accuracy"] if row[2] == "validation"]
    # Neither the first task's end nor the last one's is a checkpoint.
    inner = sorted({row[0] for row in rows if row[0] > 0})[:-1]
    found = {_after(task): _pair(rows, task) for task in inner}
    points = {name: pair for name, pair in found.items() if np.isfinite(pair).all()}
    counters = record["trial"]["counters"]
    for name in counters:
        if name.startswith(_SOURCE):
            share = name.removeprefix(_SOURCE)
            points[_within(share)] = (counters[name], counters[_TARGET + share])
    return points


def lowest_accuracies(passed: Sequence[Mapping[str, Pair]]) -> dict[str, Pair]:
    """Checkpoint -> the lowest source and the lowest target accuracy over the seeds.

    Args:
        passed: `checkpoint_accuracies` of every seed of a configuration; at least one.
    """
    names = set.intersection(*(set(points) for points in passed))
    return {
        name: (min(p[name][0] for p in passed), min(p[name][1] for p in passed)) for name in names
    }


class Watch:
    """Evaluates one trial in training, and stops it.

    Attributes:
        counters: what it has noted, for the trial's record.
        metric: what stands in accuracy's place.
        shares: the checkpoints within the last task, as shares of its last phase: text -> share.
    """

    def __init__(self, yardsticks: str, n_tasks: int, *, margin: float, n_checks: int) -> None:
        """Start before the trial does.

        Args:
            yardsticks: what the job carries, see `packed_yardsticks`.
            n_tasks: length of the sequence.
            margin: by how much a trial may be behind in both accuracies, 0 to 1: `stop_margin`.
            n_checks: how often it is evaluated within the last task, at least 0: `stop_checks`.
        """
        self.margin, self.n_tasks = margin, n_tasks
        self.counters: dict[str, float] = {}
        self.metric = ACCURACY
        shares = [i / (n_checks + 1) for i in range(1, n_checks + 1)]
        self.shares = {f"{share:.3g}": share for share in shares}
        self._yardsticks = json.loads(yardsticks or "{}")

    def after_task(self, rows: Sequence[AccuracyRow], task: int) -> None:
        """Judge a trial that has learnt a task.

        Args:
            rows: its accuracies.
            task: the task's index.

        Raises:
            Stopped: it was left behind, and there are tasks to come.
        """
        if 0 < task < self.n_tasks - 1:
            self.metric = metric_of_row(rows[0])
            pair = _pair([row for row in rows if row[2] == "validation"], task)
            where = f"after task {task + 1} of {self.n_tasks}"
            self._judge(_after(task), pair, where, 0)

    def within(self, share: str, rows: Sequence[AccuracyRow], n_steps: int) -> None:
        """Judge a trial that is learning the last task; its accuracies go into its record.

        Args:
            share: a key of `shares`.
            rows: validation accuracies as they are now.
            n_steps: gradient steps of the task so far.

        Raises:
            Stopped: it was left behind.
        """
        self.metric = metric_of_row(rows[0])
        pair = _pair(rows, self.n_tasks - 1)
        self.counters |= {_SOURCE + share: pair[0], _TARGET + share: pair[1]}
        where = f"at {share} of its training on the last task"
        self._judge(_within(share), pair, where, n_steps)

    def _judge(self, point: str, pair: Pair, where: str, n_steps: int) -> None:
        found = deficit(pair, self._yardsticks.get(point, ()))
        if found.lead <= self.margin:
            return
        self.counters[LEAD] = found.lead
        source, target = (100 * lack for lack in found.behind)
        text = (
            f"stopped {where}: {source:.1f} points of source and {target:.1f} of target accuracy "
            f"(validation) behind configuration {found.config_id}"
        )
        raise Stopped(self.metric.in_words(text), n_steps)


def _after(task: int) -> str:
    return f"task {task}"


def _within(share: str) -> str:
    return f"last {share}"


def _pair(rows: Iterable[Sequence[Any]], task: int) -> Pair:
    """(source, target) accuracy right after a task, which counts as the last; NaN if unknown."""
    seen = [row for row in rows if row[0] == task and row[1] <= task]
    acc = accuracy.accuracy_table(seen, "validation", task + 1)
    return accuracy.source_accuracy(acc), accuracy.target_accuracy(acc)
