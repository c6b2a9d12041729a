"""Validation counts alone: all that a choice may see.

Divergence is a result. A trial that diverged has answered for its configuration and seed, so that
the seed stays; and a configuration that diverged with any seed is no candidate, since what would
be left of it is a mean over the seeds with which all went well. Nothing is chosen in its place.

Whatever chooses a configuration takes a `ValidationTable`, or candidates out of one. Neither
holds a test count, and nothing leads from them back to the records: a choice cannot read what it
does not get. `validation_table` makes one of records, and leaves their test rows behind;
`stored_validation` makes one of a results folder, and drops the rows of the test split on reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsweep.records import accuracy
from clsweep.records.accuracy import n_examples, n_tasks_of
from clsweep.records.metrics import metric_of
from clsweep.records.schema import Record

# S seeds, T tasks; the axis of length T + 1 is that of `accuracy.accuracy_table`.
Array = NDArray[np.float64]

_SPLIT = "validation"

# What was stopped was left behind by another configuration, and what diverged always will.
_ANSWERED = ("ok", "diverged", "stopped")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A configuration that finished with every seed, and its validation accuracies.

    Attributes:
        config_id: its identity.
        label: the curve that it belongs to.
        method: what records call the method.
        is_reference: whether it marks an end of the plot.
        knobs: the numbers that trace the curve; the first is the primary one.
        hyper: the method's numbers.
        training: how every task was trained.
        acc_STT: accuracies in [0, 1], shape [S, T + 1, T], NaN where nothing was evaluated.
        n_target: validation examples of the last task; 0 where they are not known, and of a
            regression, whose errors do not follow from their number.
    """

    config_id: str
    label: str
    method: str
    is_reference: bool
    knobs: dict[str, float]
    hyper: dict[str, Any]
    training: dict[str, Any]
    acc_STT: Array
    n_target: int = 0

    def of_seeds(self, places: Sequence[int]) -> Candidate:
        """The same configuration with some of its seeds.

        Args:
            places: their indices, at least one.
        """
        made = replace(self, acc_STT=self.acc_STT[list(places)])
        # A report asks for them once per fold and candidate; they are slices of what is known.
        for name in ("average_S", "source_S", "target_S"):
            made.__dict__[name] = getattr(self, name)[list(places)]
        return made

    @cached_property
    def average_S(self) -> Array:
        """Average accuracy over all tasks after the last, per seed."""
        return np.array([accuracy.average_accuracy(acc) for acc in self.acc_STT])

    @cached_property
    def source_S(self) -> Array:
        """Source accuracy per seed."""
        return np.array([accuracy.source_accuracy(acc) for acc in self.acc_STT])

    @cached_property
    def before_S(self) -> Array:
        """Source accuracy before the last task was learnt, per seed."""
        return np.array([accuracy.source_before(acc) for acc in self.acc_STT])

    @cached_property
    def target_S(self) -> Array:
        """Target accuracy per seed."""
        return np.array([accuracy.target_accuracy(acc) for acc in self.acc_STT])

    @cached_property
    def average(self) -> float:
        """Average accuracy, mean over seeds."""
        return _mean(self.average_S)

    @cached_property
    def source(self) -> float:
        """Source accuracy, mean over seeds."""
        return _mean(self.source_S)

    @cached_property
    def target(self) -> float:
        """Target accuracy, mean over seeds."""
        return _mean(self.target_S)


@dataclass(frozen=True)
class Diverged:
    """A configuration that diverged with a seed, which no rule may choose.

    Attributes:
        config_id: its identity.
        label: the curve that it belongs to.
        method: what records call the method.
        is_reference: whether it marks an end of the plot.
        knobs: the numbers that trace the curve; the first is the primary one.
        hyper: the method's numbers.
        training: how every task was trained.
        seeds: those with which it diverged, at least one.
    """

    config_id: str
    label: str
    method: str
    is_reference: bool
    knobs: dict[str, float]
    hyper: dict[str, Any]
    training: dict[str, Any]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class ValidationTable:
    """The candidates of a study.

    Attributes:
        seeds: the seeds that every candidate finished with, S of them.
        n_tasks: T.
        candidates: in a fixed order; among equals a choice takes the first.
        diverged: configurations that diverged with a seed.
    """

    seeds: tuple[int, ...]
    n_tasks: int
    candidates: tuple[Candidate, ...]
    diverged: tuple[Diverged, ...] = ()

    def of_seeds(self, places: Sequence[int]) -> ValidationTable:
        """The same candidates with some of the seeds.

        Args:
            places: indices of seeds, at least one.
        """
        candidates = tuple(c.of_seeds(places) for c in self.candidates)
        seeds = tuple(self.seeds[i] for i in places)
        return ValidationTable(seeds, self.n_tasks, candidates, self.diverged)

    @cached_property
    def without_each(self) -> tuple[ValidationTable, ...]:
        """The table without each of its seeds in turn; nothing with fewer than two."""
        n = len(self.seeds)
        if n < 2:
            return ()
        return tuple(self.of_seeds([i for i in range(n) if i != s]) for s in range(n))

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that trace a curve, in order; those without a candidate come last."""
        own = [c.label for c in self.candidates if not c.is_reference]
        own += [d.label for d in self.diverged if not d.is_reference]
        return tuple(dict.fromkeys(own))

    def of(self, label: str) -> tuple[Candidate, ...]:
        """The candidates of one label."""
        return tuple(c for c in self.candidates if c.label == label)

    def references(self, method: str) -> tuple[Candidate, ...]:
        """The candidates of a reference method, such as 'finetune'."""
        return tuple(c for c in self.candidates if c.is_reference and c.method == method)


def _mean(values_S: Array) -> float:
    # As numpy's own mean, without its checks: a report takes it of every candidate and fold.
    return float(np.add.reduce(values_S) / values_S.size)


def candidate_of(records: Sequence[Record], label: str, n_tasks: int) -> Candidate:
    """One configuration's validation accuracies.

    Args:
        records: its finished trials, one per seed; at least one.
        label: the curve that it belongs to.
        n_tasks: T.
    """
    config = records[0]["config"]
    return Candidate(
        config_id=config["config_id"],
        label=label,
        method=config["method"],
        is_reference=config["is_reference"],
        knobs=dict(config["knobs"]),
        hyper=dict(config["hyper"]),
        training=dict(config["training"]),
        acc_STT=np.array(
            [accuracy.accuracy_table(r["accuracy"], _SPLIT, n_tasks) for r in records]
        ),
        n_target=_n_target(records[0], n_tasks),
    )


def _n_target(record: Record, n_tasks: int) -> int:
    if not metric_of([record]).is_accuracy:
        return 0
    return n_examples(record["accuracy"], _SPLIT, n_tasks - 1)


def validation_table(records: Sequence[Record]) -> ValidationTable:
    """The candidates among a study's records, sorted by label, knobs and identity.

    Args:
        records: of one study, whatever their status; their test rows are not read.
    """
    seeds, n_tasks = common_seeds(records), n_tasks_of(records)
    names = latest_labels(records)
    by_config: dict[str, dict[int, Record]] = {}
    for record in records:
        trial = record["trial"]
        by_config.setdefault(trial["config_id"], {})[trial["seed"]] = record
    candidates = [
        candidate_of(trials, names[key], n_tasks)
        for key, by_seed in by_config.items()
        if (trials := finished(by_seed, seeds))
    ]
    lost = [
        found
        for key, by_seed in by_config.items()
        if (found := diverged_of(by_seed, names[key])) is not None
    ]

    def place(one: Candidate | Diverged) -> tuple[Any, ...]:
        return one.label, [sortable(value) for value in one.knobs.values()], one.config_id

    return ValidationTable(
        seeds, n_tasks, tuple(sorted(candidates, key=place)), tuple(sorted(lost, key=place))
    )


def finished(by_seed: Mapping[int, Record], seeds: Sequence[int]) -> list[Record]:
    """A configuration's trials with the common seeds; empty where it is no candidate.

    Args:
        by_seed: all its trials.
        seeds: the seeds that every candidate has finished with.
    """
    trials = [by_seed[seed] for seed in seeds if seed in by_seed]
    is_whole = len(trials) == len(seeds) and all(r["trial"]["status"] == "ok" for r in trials)
    return trials if is_whole and not _diverged_seeds(by_seed) else []


def diverged_of(by_seed: Mapping[int, Record], label: str) -> Diverged | None:
    """A configuration that diverged with any seed, a common one or not; None where it did not.

    Args:
        by_seed: all its trials, at least one.
        label: the curve that it belongs to.
    """
    seeds = _diverged_seeds(by_seed)
    if not seeds:
        return None
    config = by_seed[seeds[0]]["config"]
    return Diverged(
        config_id=config["config_id"],
        label=label,
        method=config["method"],
        is_reference=config["is_reference"],
        knobs=dict(config["knobs"]),
        hyper=dict(config["hyper"]),
        training=dict(config["training"]),
        seeds=seeds,
    )


def _diverged_seeds(by_seed: Mapping[int, Record]) -> tuple[int, ...]:
    return tuple(sorted(s for s, r in by_seed.items() if r["trial"]["status"] == "diverged"))


def common_seeds(records: Iterable[Record]) -> tuple[int, ...]:
    """The seeds that use the most answered trials when every point must have all of them.

    With all trials answered these are all seeds. While a further seed is being run, they are the
    seeds that were complete before, until the further one has caught up. What failed or ran out
    of memory has not answered; what diverged has, and so costs no other configuration a seed.
    """
    trials = (record["trial"] for record in records)
    return seeds_in_common((t["config_id"], t["seed"], t["status"]) for t in trials)


def seeds_in_common(trials: Iterable[tuple[str, int, str]]) -> tuple[int, ...]:
    """The same, of configuration, seed and status of each trial.

    Args:
        trials: those that have a record.
    """
    done: dict[int, set[str]] = {}
    for config_id, seed, status in trials:
        answered = done.setdefault(seed, set())
        if status in _ANSWERED:
            answered.add(config_id)
    ranked = sorted(done, key=lambda seed: (-len(done[seed]), seed))

    def n_used(n: int) -> tuple[int, int]:
        # Of equal counts the one with more seeds.
        return n * len(set.intersection(*(done[s] for s in ranked[:n]))), n

    return tuple(sorted(ranked[: max(range(1, len(ranked) + 1), key=n_used, default=0)]))


def latest_labels(records: Iterable[Record]) -> dict[str, str]:
    """One label per configuration: the one it finished last under."""
    in_time = sorted(records, key=lambda r: (r["trial"]["finished_at"], r["trial"]["seed"]))
    return {r["trial"]["config_id"]: r["config"]["label"] for r in in_time}


def sortable(value: Any) -> tuple[int, float, str]:
    """A key that sorts numbers by value before everything else by name."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def validation_point(record: Record) -> tuple[float, float] | None:
    """(source, target) accuracy on validation data after the last task; None if there is none.

    Args:
        record: one trial; one that failed, diverged or was stopped has no such accuracies.
    """
    rows = [row for row in record["accuracy"] if row[2] == "validation"]
    if record["trial"]["status"] != "ok" or not rows:
        return None
    n_tasks = 1 + max(max(row[:2]) for row in rows)
    acc = accuracy.accuracy_table(rows, "validation", n_tasks)
    point = accuracy.source_accuracy(acc), accuracy.target_accuracy(acc)
    return point if all(map(math.isfinite, point)) else None
