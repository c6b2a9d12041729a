"""Scores of each protocol's choice: its test accuracies, and its regret.

    regret of a choice k    max_l ACC_l − ACC_k        ACC: average accuracy on test data

with ACC a mean over seeds and l over the label's configurations. The maximum is the only place
where test data choose; nobody may report its configuration as a result. It is itself the luckiest
of many, which makes the regret too large. Where the seeds that chose k are those that are read,
both are lucky with the same seeds, which makes it too small; most so for 'average', whose choice
is all but that of the maximum where validation and test accuracies of a seed move together.

Beside the choice by all seeds stand those by all seeds but one, read on that one (cross-fitting).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsweep.reporting.comparison import Comparison
from clsweep.reporting.curves import Curve, Point
from clsweep.search import selection_protocols
from clsweep.search.cross_fitting import Folds, folds_by_label
from clsweep.search.selection_protocols import Pick, Protocol
from clsweep.search.validation_table import ValidationTable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Crossfit:
    """Test accuracies of each seed under the choice of all others.

    Attributes:
        average_S: average accuracy, one per seed; NaN where the others chose nothing.
        source_S: source accuracy.
        target_S: target accuracy.
        n_other: folds that chose another configuration than all seeds, or none.
    """

    average_S: Array
    source_S: Array
    target_S: Array
    n_other: int


@dataclass(frozen=True)
class Score:
    """A protocol's choice for one label, and what it is worth.

    Attributes:
        pick: the choice, which was made on validation data.
        index: of the chosen point in the label's curve; None where none was chosen.
        optimum: of the point with the best average accuracy on test data; None without points.
        regret_S: accuracy in [0, 1] that the choice loses against it, per seed; empty without a
            choice. A single seed's may be negative, the mean is not.
        protocol: the rule.
        crossfit: None without a choice, with fewer than two seeds, and where other seeds choose
            than those that are shown.
    """

    pick: Pick
    index: int | None
    optimum: int | None
    regret_S: Array
    protocol: Protocol
    crossfit: Crossfit | None = None


def scores(
    comparison: Comparison,
    protocol: Protocol,
    tuned_on: ValidationTable | None = None,
) -> tuple[Score, ...]:
    """One score per label that traces a curve and has a point, or diverged, in order.

    Args:
        comparison: the study.
        protocol: the rule that chooses.
        tuned_on: validation accuracies on another benchmark, for 'transfer'.
    """
    table = comparison.validation
    chosen = {p.label: p for p in selection_protocols.pick(protocol, table, tuned_on)}
    folds = {} if comparison.choose_on else folds_by_label(protocol, table, tuned_on)
    return tuple(
        _score(c, protocol, chosen[c.label], folds.get(c.label))
        for c in comparison.curves
        if c.label in chosen
    )


def _score(curve: Curve, protocol: Protocol, pick: Pick, folds: Folds | None) -> Score:
    ids = [point.config_id for point in curve.points]
    index = None if pick.config_id is None else ids.index(pick.config_id)
    averages = [float(np.mean(_average_S(point))) for point in curve.points]
    optimum = selection_protocols.first_best(averages)
    if index is None or optimum is None:
        return Score(pick, index, optimum, np.array([]), protocol)
    regret_S = _average_S(curve.points[optimum]) - _average_S(curve.points[index])
    crossfit = None if folds is None else _crossfit(curve, folds, pick.config_id)
    return Score(pick, index, optimum, regret_S, protocol, crossfit)


def _crossfit(curve: Curve, folds: Folds, config_id: str | None) -> Crossfit:
    """Each seed's test accuracies under what the others chose."""
    points = {point.config_id: point for point in curve.points}
    read_S3 = np.full((len(folds.config_ids), 3), np.nan)
    for s, chosen in enumerate(folds.config_ids):
        if chosen is not None:
            read_S3[s] = _average_S(points[chosen])[s], *points[chosen].test_S2[s]
    average_S, source_S, target_S = read_S3.T
    return Crossfit(average_S, source_S, target_S, folds.n_other(config_id))


def _average_S(point: Point) -> Array:
    return point.measures["average_accuracy"]
