"""One label of a report: its points, its front over the seeds, and what validation chose.

A configuration is a point only when it finished with every seed of the report and diverged with
none, so that all means are over the same seeds, and over all of them. Arrays named `_S2` hold
(source, target) accuracies in [0, 1], one row per seed; `_S` marks one value per seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clsweep.methods import known_entry
from clsweep.records import accuracy
from clsweep.records.accuracy import final_counts
from clsweep.records.schema import (
    CPU_SECONDS,
    GPU_SECONDS,
    MEMORY_BYTES,
    PATH_POINT,
    STATUSES,
    Config,
    Record,
)
from clsweep.search import pareto, selection_protocols
from clsweep.search.validation_table import (
    Candidate,
    Diverged,
    candidate_of,
    diverged_of,
    finished,
    sortable,
)
from clsweep.search.varied_settings import settings_of, varied_settings
from clsweep.text import seeds_of
from clsweep.training.config import in_full

Array = NDArray[np.float64]

# Fields of a trial, of which a point has the mean.
_Measured = Literal["n_steps", "wall_seconds", "memory_bytes", "n_params"]
_MEASURES = (
    "average_accuracy",
    "backward_transfer",
    "forward_transfer",
    "forgetting",
    "learning_accuracy",
    "source_as_learnt",
    "target_before",
)


@dataclass(frozen=True)
class Point:
    """One configuration, over the seeds of the report.

    Attributes:
        config_id: its identity.
        axes: the numbers in which the configurations of its label differ, without those that
            change nothing in this one.
        candidate: what a choice may see of it: its validation accuracies.
        test_S2: (source, target) accuracy per seed on test data.
        counts_ST2: (correct, total) test images after the last task, shape [S, T, 2].
        measures: test measures by name, one value per seed.
        n_steps: optimiser steps of a trial, mean over seeds.
        wall_seconds: duration of a trial, mean over seeds.
        cpu_seconds: processor time of a trial, mean over seeds; NaN where it was not recorded.
        gpu_seconds: the share of a GPU that a trial had times its duration, likewise.
        memory_bytes: what the method carries from task to task, mean over seeds.
        carried: the data, importances and models in it; NaN where they were not told apart.
        n_params: parameters of the network that is evaluated, mean over seeds.
        is_split: whether other seeds choose than those whose test numbers are shown.
    """

    config_id: str
    axes: dict[str, Any]
    candidate: Candidate
    test_S2: Array
    counts_ST2: Array
    measures: dict[str, Array]
    n_steps: float
    wall_seconds: float
    cpu_seconds: float
    gpu_seconds: float
    memory_bytes: float
    carried: tuple[float, ...]
    n_params: float
    is_split: bool = False

    @property
    def validation_S2(self) -> Array:
        """(source, target) accuracy on validation data, per seed that chooses."""
        return np.stack([self.candidate.source_S, self.candidate.target_S], axis=1)

    def mean(self, split: str) -> Array:
        """Mean (source, target) accuracy over seeds on 'validation' or 'test'."""
        of_split = self.validation_S2 if split == "validation" else self.test_S2
        return np.asarray(of_split.mean(axis=0))


@dataclass(frozen=True)
class Curve:
    """One label: its points, and what validation chose among them.

    Attributes:
        label: its name in tables and figures.
        method: the method behind it.
        is_reference: whether it marks an end of the plot instead of tracing a curve.
        points: configurations that finished with every seed of the report.
        on_front: which points are on the front of the validation means.
        best: index of the point with the best mean validation average accuracy (for fine-tuning:
            target accuracy); None without points.
        hypervolumes: per seed, of the test points that the seed's own validation front picks;
            where other seeds choose, that of their means.
        n_configs: configurations with a record.
        n_by_status: trials of those by status.
        n_steps: optimiser steps of all its trials, whatever became of them.
        wall_seconds: duration of all its trials.
        devices: what they ran on.
        grid: the values of each axis, over all configurations with a record in which it changes
            anything.
        training: the training settings of its configurations, by key.
        diverged: configurations that diverged with a seed; none of them is a point.
        n_not_run: trials with the report's seeds that have no record, of the configurations
            that are neither points nor diverged.
        only_seeds: the seeds that its study asks for, where some of the report's are not among
            them, so that nothing of it can be a point; else empty.
        failure: the first line of the message that most of its failed trials have.
        learns_first_task: whether some of its numbers ask for a first task learnt within each
            trial, see `Hyper.learns_first_task`.
        is_path: whether its points are those of regularisation paths, and no independent trials.
    """

    label: str
    method: str
    is_reference: bool
    points: tuple[Point, ...]
    on_front: NDArray[np.bool_]
    best: int | None
    hypervolumes: Array
    n_configs: int
    n_by_status: dict[str, int]
    n_steps: int
    wall_seconds: float
    devices: tuple[str, ...]
    grid: dict[str, tuple[Any, ...]]
    training: dict[str, frozenset[str]]
    diverged: tuple[Diverged, ...] = ()
    n_not_run: int = 0
    only_seeds: tuple[int, ...] = ()
    failure: str = ""
    learns_first_task: bool = False
    is_path: bool = False

    @property
    def all_failed(self) -> bool:
        """Whether none of its trials ended in another way than by a failure."""
        n_failed = self.n_by_status["failed"] + self.n_by_status["oom"]
        return 0 < n_failed == sum(self.n_by_status.values())

    @property
    def absence(self) -> str:
        """Why it has no point, for the place where a choice would stand; empty where it has."""
        if self.points:
            return ""
        if len(self.diverged) == self.n_configs:
            return "diverged"
        if self.all_failed:
            return "failed"
        missing = f"has {seeds_of(self.only_seeds)} only" if self.only_seeds else "not finished"
        return f"diverged or {missing}" if self.diverged else missing

    @property
    def diverged_seeds(self) -> tuple[int, ...]:
        """The seeds with which any of its configurations diverged."""
        return tuple(sorted({seed for one in self.diverged for seed in one.seeds}))

    def axes_of(self, one: Diverged) -> dict[str, Any]:
        """The numbers that set a configuration apart which is no point.

        Args:
            one: of `diverged`.
        """
        numbers = {**one.knobs, **one.hyper, **in_full(one.training)}
        return {name: numbers.get(name) for name in self.grid}


def curve_of(
    label: str,
    records: Sequence[Record],
    seeds: tuple[int, ...],
    n_tasks: int,
    reference_point: tuple[float, float],
    choose_on: tuple[int, ...] = (),
    asked: Collection[int] | None = None,
) -> Curve:
    """Points, front and choice of one label.

    Args:
        label: its name.
        records: of all its trials, whatever their status; at least one.
        seeds: the seeds whose test numbers are shown; every point has finished with them.
        n_tasks: length of the task sequence.
        reference_point: (source, target) from which hypervolume is counted.
        choose_on: other seeds, whose validation accuracies choose; empty where `seeds` do.
        asked: the seeds that its study asks for; None for all.
    """
    is_short = asked is not None and not {*choose_on, *seeds} <= set(asked)
    by_config: dict[str, dict[int, Record]] = {}
    for record in records:
        by_seed = by_config.setdefault(record["trial"]["config_id"], {})
        by_seed[record["trial"]["seed"]] = record
    configs = [next(iter(by_seed.values()))["config"] for by_seed in by_config.values()]
    grid = varied_settings(configs)
    points, diverged, n_not_run = _sorted_out(label, by_config, grid, seeds, choose_on, n_tasks)
    method = records[0]["config"]["method"]
    means = np.array([p.mean("validation") for p in points]).reshape(-1, 2)
    statuses = Counter(record["trial"]["status"] for record in records)
    return Curve(
        label=label,
        method=method,
        is_reference=records[0]["config"]["is_reference"],
        points=tuple(points),
        on_front=pareto.non_dominated(means),
        best=_best([p.candidate for p in points], target_only=method == "finetune"),
        hypervolumes=_hypervolumes(points, len(seeds), reference_point),
        n_configs=len(configs),
        n_by_status={status: statuses[status] for status in STATUSES},
        n_steps=sum(record["trial"]["n_steps"] for record in records),
        wall_seconds=float(sum(record["trial"]["wall_seconds"] for record in records)),
        devices=tuple(sorted({r["trial"]["device"] for r in records} - {""})),
        grid=grid,
        training=_training(configs),
        diverged=tuple(diverged),
        n_not_run=n_not_run,
        only_seeds=tuple(sorted(asked or ())) if is_short else (),
        failure=_failure(records),
        learns_first_task=any(map(_learns_first_task, configs)),
        is_path=any(PATH_POINT in record["trial"]["counters"] for record in records),
    )


def _learns_first_task(config: Mapping[str, Any]) -> bool:
    entry = known_entry(config["method"])
    if entry is None:
        return False
    numbers = {**config["hyper"], **config["knobs"]}
    return entry.hyper.model_construct(**numbers).learns_first_task


def _sorted_out(
    label: str,
    by_config: Mapping[str, Mapping[int, Record]],
    grid: Iterable[str],
    seeds: tuple[int, ...],
    choose_on: tuple[int, ...],
    n_tasks: int,
) -> tuple[list[Point], list[Diverged], int]:
    """(points, configurations that diverged, trials of the others that have no record)."""
    points: list[Point] = []
    diverged: list[Diverged] = []
    n_not_run = 0
    for by_seed in by_config.values():
        lost = diverged_of(by_seed, label)
        if finished(by_seed, (*choose_on, *seeds)):
            numbers = settings_of(next(iter(by_seed.values()))["config"])
            axes = {name: numbers[name] for name in grid if name in numbers}
            shown, choosing = ([by_seed[s] for s in group] for group in (seeds, choose_on))
            points.append(_point(label, axes, shown, choosing, n_tasks))
        elif lost is not None:
            diverged.append(lost)
        else:
            n_not_run += sum(seed not in by_seed for seed in (*choose_on, *seeds))
    diverged.sort(key=lambda d: ([sortable(v) for v in d.knobs.values()], d.config_id))
    points.sort(key=lambda p: ([sortable(p.axes.get(n)) for n in grid], p.config_id))
    return points, diverged, n_not_run


def _failure(records: Sequence[Record]) -> str:
    """What most of the failed trials say, in a line."""
    trials = (record["trial"] for record in records)
    said = Counter(t["message"].strip() for t in trials if t["status"] in ("failed", "oom"))
    return said.most_common(1)[0][0].partition("\n")[0] if said else ""


def _point(
    label: str,
    axes: dict[str, Any],
    shown: Sequence[Record],
    choosing: Sequence[Record],
    n_tasks: int,
) -> Point:
    tests = [accuracy.accuracy_table(r["accuracy"], "test", n_tasks) for r in shown]
    records = [*choosing, *shown]

    def mean_of(field: _Measured) -> float:
        return float(np.mean([record["trial"][field] for record in records]))

    candidate = candidate_of(choosing or shown, label, n_tasks)
    ends = [[accuracy.source_accuracy(acc), accuracy.target_accuracy(acc)] for acc in tests]
    return Point(
        config_id=candidate.config_id,
        axes=axes,
        candidate=candidate,
        test_S2=np.array(ends),
        counts_ST2=np.array([final_counts(r["accuracy"], "test", n_tasks) for r in shown]),
        measures={n: np.array([getattr(accuracy, n)(acc) for acc in tests]) for n in _MEASURES},
        n_steps=mean_of("n_steps"),
        wall_seconds=mean_of("wall_seconds"),
        cpu_seconds=_mean_counter(records, CPU_SECONDS),
        gpu_seconds=_mean_counter(records, GPU_SECONDS),
        memory_bytes=mean_of("memory_bytes"),
        carried=tuple(_mean_counter(records, name) for name in MEMORY_BYTES),
        n_params=mean_of("n_params"),
        is_split=bool(choosing),
    )


def _mean_counter(records: Sequence[Record], name: str) -> float:
    counters = (record["trial"]["counters"] for record in records)
    return float(np.mean([float(found.get(name, float("nan"))) for found in counters]))


def _training(configs: Iterable[Config]) -> dict[str, frozenset[str]]:
    values: dict[str, set[str]] = {}
    for config in configs:
        for name, value in in_full(config["training"]).items():
            values.setdefault(name, set()).add(str(value))
    return {name: frozenset(found) for name, found in values.items()}


def _best(candidates: Sequence[Candidate], target_only: bool) -> int | None:
    choose = selection_protocols.best_target if target_only else selection_protocols.best_average
    chosen = choose(candidates)
    return None if chosen is None else candidates.index(chosen)


def picked_per_seed(points: Sequence[Point], n_seeds: int) -> list[Array]:
    """Per seed, test coordinates of the points on that seed's own validation front.

    Where other seeds choose than those that are shown, the front of their mean validation
    accuracies picks the points of every seed.

    Args:
        points: of one label.
        n_seeds: seeds of the report.
    """
    is_split = any(p.is_split for p in points)
    means = np.array([p.mean("validation") for p in points]).reshape(-1, 2)
    picked = []
    for s in range(n_seeds):
        own = means if is_split else np.array([p.validation_S2[s] for p in points]).reshape(-1, 2)
        test = np.array([p.test_S2[s] for p in points]).reshape(-1, 2)
        picked.append(test[pareto.non_dominated(own)])
    return picked


def _hypervolumes(
    points: Sequence[Point], n_seeds: int, reference_point: tuple[float, float]
) -> Array:
    if not points:
        return np.array([])
    picked = picked_per_seed(points, n_seeds)
    return np.array([pareto.hypervolume_2d(p, reference_point) for p in picked])
