"""One label of a report: its points, its front over the seeds, and what validation chose.

A configuration is a point only when it finished with every seed of the report and diverged with
none, so that all means are over the same seeds, and over all of them. Arrays named `_S2` hold
(source, target) accuracies in [0, 1], one row per seed; `_S` marks one value per seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsweep.search import pareto
from clsweep.search.validation_table import Candidate, Diverged
from clsweep.text import seeds_of
from clsweep.training.config import in_full

Array = NDArray[np.float64]


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
        errors_ST: of a regression, what the draw of the test examples adds to its metric after
            the last task, shape [S, T]; None where it follows from the counts.
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
    errors_ST: Array | None = None

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
