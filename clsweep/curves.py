"""One label of a report: its points, its front over the seeds, and what validation chose.

A configuration is a point only when it finished with every seed of the report, so that all means
are over the same seeds. Arrays named `_S2` hold (source, target) accuracies in [0, 1], one row per
seed; `_S` marks one value per seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsweep import fronts, measures
from clsweep.schema import STATUSES, Record

__all__ = ["BAND_QUANTILES", "Band", "Curve", "Point", "curve_of"]

Array = NDArray[np.float64]

BAND_QUANTILES = (0.1, 0.9)
_BAND_LEVELS = 400
_MEASURES = (
    "average_accuracy",
    "backward_transfer",
    "forward_transfer",
    "forgetting",
    "learning_accuracy",
)


@dataclass(frozen=True)
class Point:
    """One configuration, over the seeds of the report.

    Attributes:
        config_id: its identity.
        axes: the numbers in which the configurations of its label differ.
        validation_S2: (source, target) accuracy per seed on validation data.
        test_S2: the same on test data.
        validation_average_S: average accuracy over all tasks per seed on validation data.
        measures: test measures by name, one value per seed.
        n_steps: optimiser steps of a trial, mean over seeds.
        wall_seconds: duration of a trial, mean over seeds.
        memory_bytes: what the method carries from task to task, mean over seeds.
    """

    config_id: str
    axes: dict[str, Any]
    validation_S2: Array
    test_S2: Array
    validation_average_S: Array
    measures: dict[str, Array]
    n_steps: float
    wall_seconds: float
    memory_bytes: float

    def mean(self, split: str) -> Array:
        """Mean (source, target) accuracy over seeds on 'validation' or 'test'."""
        of_split = self.validation_S2 if split == "validation" else self.test_S2
        return np.asarray(of_split.mean(axis=0))


@dataclass(frozen=True)
class Band:
    """Spread over seeds of the source accuracy that a label keeps at each target accuracy."""

    target: Array
    low: Array
    high: Array


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
        hypervolumes: per seed, of the test points that the seed's own validation front picks.
        band: attainment over seeds of the same points; None below three seeds.
        n_configs: configurations with a record.
        n_by_status: trials of those by status.
        grid: the values of each axis, over all configurations with a record.
        training: the training settings of its configurations, by key.
    """

    label: str
    method: str
    is_reference: bool
    points: tuple[Point, ...]
    on_front: NDArray[np.bool_]
    best: int | None
    hypervolumes: Array
    band: Band | None
    n_configs: int
    n_by_status: dict[str, int]
    grid: dict[str, tuple[Any, ...]]
    training: dict[str, frozenset[str]]


def curve_of(
    label: str,
    records: Sequence[Record],
    seeds: tuple[int, ...],
    n_tasks: int,
    reference_point: tuple[float, float],
) -> Curve:
    """Points, front and choice of one label.

    Args:
        label: its name.
        records: of all its trials, whatever their status; at least one.
        seeds: the seeds that every point must have finished with.
        n_tasks: length of the task sequence.
        reference_point: (source, target) from which hypervolume is counted.
    """
    by_config: dict[str, dict[int, Record]] = {}
    for record in records:
        by_seed = by_config.setdefault(record["trial"]["config_id"], {})
        by_seed[record["trial"]["seed"]] = record
    configs = {key: next(iter(by_seed.values()))["config"] for key, by_seed in by_config.items()}
    grid = _grid(list(configs.values()))
    points = []
    for key, by_seed in by_config.items():
        complete = [by_seed[s] for s in seeds if s in by_seed]
        complete = [record for record in complete if record["trial"]["status"] == "ok"]
        if seeds and len(complete) == len(seeds):
            axes = {name: _numbers(configs[key]).get(name) for name in grid}
            points.append(_point(key, axes, complete, n_tasks))
    points.sort(key=lambda p: ([_sortable(v) for v in p.axes.values()], p.config_id))
    method = records[0]["config"]["method"]
    means = np.array([p.mean("validation") for p in points]).reshape(-1, 2)
    statuses = Counter(record["trial"]["status"] for record in records)
    return Curve(
        label=label,
        method=method,
        is_reference=records[0]["config"]["is_reference"],
        points=tuple(points),
        on_front=fronts.non_dominated(means),
        best=_best(points, target_only=method == "finetune"),
        hypervolumes=_hypervolumes(points, len(seeds), reference_point),
        band=_band(points, len(seeds)),
        n_configs=len(configs),
        n_by_status={status: statuses[status] for status in STATUSES},
        grid=grid,
        training=_training(configs.values()),
    )


def _point(config_id: str, axes: dict[str, Any], records: Sequence[Record], n_tasks: int) -> Point:
    def tables(split: str) -> list[Array]:
        return [measures.accuracy_table(r["accuracy"], split, n_tasks) for r in records]

    def source_target(accs: list[Array]) -> Array:
        return np.array([[measures.source_accuracy(a), measures.target_accuracy(a)] for a in accs])

    def mean_of(field: str) -> float:
        return float(np.mean([record["trial"][field] for record in records]))

    tests, validations = tables("test"), tables("validation")
    return Point(
        config_id=config_id,
        axes=axes,
        validation_S2=source_target(validations),
        test_S2=source_target(tests),
        validation_average_S=np.array([measures.average_accuracy(acc) for acc in validations]),
        measures={n: np.array([getattr(measures, n)(acc) for acc in tests]) for n in _MEASURES},
        n_steps=mean_of("n_steps"),
        wall_seconds=mean_of("wall_seconds"),
        memory_bytes=mean_of("memory_bytes"),
    )


def _numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a configuration by name, the knobs first."""
    return {**config["knobs"], **config["hyper"], **config["training"]}


def _grid(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The settings that differ between the configurations, with their values in order."""
    settings = [_numbers(config) for config in configs]
    names = list(dict.fromkeys(name for one in settings for name in one))
    grid = {}
    for name in names:
        values = {repr(one.get(name)): one.get(name) for one in settings}
        distinct = sorted(values.values(), key=_sortable)
        if len({_sortable(value) for value in distinct}) > 1:
            grid[name] = tuple(distinct)
    return grid


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def _training(configs: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    values: dict[str, set[str]] = {}
    for config in configs:
        for name, value in config["training"].items():
            values.setdefault(name, set()).add(str(value))
    return {name: frozenset(found) for name, found in values.items()}


def _best(points: Sequence[Point], target_only: bool) -> int | None:
    score = [
        float(np.mean(p.validation_S2[:, 1] if target_only else p.validation_average_S))
        for p in points
    ]
    sound = [i for i, value in enumerate(score) if not np.isnan(value)]
    return max(sound, key=score.__getitem__, default=None)


def _picked_per_seed(points: Sequence[Point], n_seeds: int) -> list[Array]:
    """Per seed, test coordinates of the points on that seed's own validation front."""
    picked = []
    for s in range(n_seeds):
        validation = np.array([p.validation_S2[s] for p in points]).reshape(-1, 2)
        test = np.array([p.test_S2[s] for p in points]).reshape(-1, 2)
        picked.append(test[fronts.non_dominated(validation)])
    return picked


def _hypervolumes(
    points: Sequence[Point], n_seeds: int, reference_point: tuple[float, float]
) -> Array:
    if not points:
        return np.array([])
    picked = _picked_per_seed(points, n_seeds)
    return np.array([fronts.hypervolume_2d(p, reference_point) for p in picked])


def _band(points: Sequence[Point], n_seeds: int) -> Band | None:
    if n_seeds < 3 or not points:
        return None
    picked = _picked_per_seed(points, n_seeds)
    targets = np.concatenate(picked)[:, 1]
    if not len(targets):
        # Every point lacks an accuracy.
        return None
    levels = np.linspace(targets.min(), targets.max(), _BAND_LEVELS)
    low, high = fronts.attainment(picked, levels, BAND_QUANTILES)
    return Band(levels, low, high)
