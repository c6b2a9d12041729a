"""Points, front and choice of one label, computed from its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from clsweep.methods import known_entry
from clsweep.records import accuracy
from clsweep.records.accuracy import final_counts, final_errors
from clsweep.records.schema import (
    CPU_SECONDS,
    GPU_SECONDS,
    MEMORY_BYTES,
    PATH_POINT,
    STATUSES,
    Config,
    Record,
)
from clsweep.reporting.curves import Array, Curve, Point, picked_per_seed
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
from clsweep.training.config import in_full

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
        errors_ST=_errors(shown, n_tasks),
    )


def _errors(shown: Sequence[Record], n_tasks: int) -> Array | None:
    found = [final_errors(r["accuracy"], "test", n_tasks) for r in shown]
    known = [errors for errors in found if errors is not None]
    return np.array(known) if len(known) == len(found) else None


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


def _hypervolumes(
    points: Sequence[Point], n_seeds: int, reference_point: tuple[float, float]
) -> Array:
    if not points:
        return np.array([])
    picked = picked_per_seed(points, n_seeds)
    return np.array([pareto.hypervolume_2d(p, reference_point) for p in picked])
