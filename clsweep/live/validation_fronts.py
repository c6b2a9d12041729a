"""The fronts of a sweep that is still running, on validation accuracies alone.

They are the fronts that a report would draw of the records so far: every point is a mean over the
same seeds, those of `seeds_in_common`. Until every configuration has run with every seed these may
be fewer than the study asks for. A configuration that diverged with a seed is no point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clsweep.records.accuracy import mean_and_error
from clsweep.search.pareto import non_dominated
from clsweep.search.validation_table import seeds_in_common
from clsweep.status.sweep import Sweep
from clsweep.status.validation_points import ValidationPoint
from clsweep.study.configuration_text import words_of


@dataclass(frozen=True)
class ValidationMean:
    """A configuration's validation accuracies in [0, 1], means over seeds.

    Attributes:
        config_id: its identity.
        configuration: its knobs, and what else is not at its default, in words.
        source: mean over the tasks before the last.
        target: of the last task.
        average: mean over all tasks.
        source_error: standard error of the mean; NaN for one seed.
        target_error: the same of the target accuracy.
        on_front: whether no other configuration of its label is better in both.
    """

    config_id: str
    configuration: str
    source: float
    target: float
    average: float
    source_error: float
    target_error: float
    on_front: bool


@dataclass(frozen=True)
class LabelFront:
    """The points of one label.

    Attributes:
        label: the curve.
        method: the method.
        is_reference: whether it marks an end of the plot.
        seeds: over which the means are.
        means: its points, by rising source accuracy.
        best: index of the point with the best average accuracy; None without points.
    """

    label: str
    method: str
    is_reference: bool
    seeds: tuple[int, ...]
    means: tuple[ValidationMean, ...]
    best: int | None


def validation_fronts(
    sweep: Sweep, points: Mapping[str, ValidationPoint]
) -> tuple[LabelFront, ...]:
    """The labels that have trials, in the order of the study.

    Args:
        sweep: as it is.
        points: trial id -> validation accuracies.
    """
    seeds = seeds_in_common(
        (sweep.asked[key][0].id, sweep.asked[key][1], end.status)
        for key, end in sweep.done.items()
    )
    diverged = {
        sweep.asked[key][0].id for key, end in sweep.done.items() if end.status == "diverged"
    }
    words = words_of(sweep.study)
    by_label: dict[str, list[tuple[str, str, list[ValidationPoint]]]] = {}
    kinds: dict[str, tuple[str, bool]] = {}
    for configuration in {c.id: c for c, _ in sweep.asked.values()}.values():
        kinds.setdefault(configuration.label, (configuration.method, configuration.reference))
        found = [points.get(f"{configuration.id}-{seed}") for seed in seeds]
        whole = [point for point in found if point is not None]
        if whole and len(whole) == len(seeds) and configuration.id not in diverged:
            own = (configuration.id, words(configuration), whole)
            by_label.setdefault(configuration.label, []).append(own)
    return tuple(_front(label, *kinds[label], seeds, by_label.get(label, [])) for label in kinds)


def _front(
    label: str,
    method: str,
    is_reference: bool,
    seeds: tuple[int, ...],
    found: Sequence[tuple[str, str, list[ValidationPoint]]],
) -> LabelFront:
    means = np.array([np.mean(points, axis=0) for _, _, points in found]).reshape(-1, 3)
    errors = [[mean_and_error(v)[1] for v in list(zip(*p, strict=True))[:2]] for _, _, p in found]
    on_front = non_dominated(means[:, :2])
    order = np.lexsort((means[:, 1], means[:, 0]))
    made = tuple(
        ValidationMean(
            config_id=found[i][0],
            configuration=found[i][1],
            source=float(means[i, 0]),
            target=float(means[i, 1]),
            average=float(means[i, 2]),
            source_error=errors[i][0],
            target_error=errors[i][1],
            on_front=bool(on_front[i]),
        )
        for i in order
    )
    # Fine-tuning is chosen by its target accuracy, as in the report.
    key = "target" if method == "finetune" else "average"
    best = max(range(len(made)), key=lambda i: float(getattr(made[i], key)), default=None)
    return LabelFront(label, method, is_reference, seeds, made, best)
