"""Scoring what the protocols choose; what is computed is said in `protocol_scores`."""

from __future__ import annotations

import numpy as np

from clsweep.reporting.comparison import Comparison
from clsweep.reporting.curves import Curve, Point
from clsweep.reporting.protocol_scores import Array, Crossfit, Score
from clsweep.search import selection_protocols
from clsweep.search.cross_fitting import Folds, folds_by_label
from clsweep.search.selection_protocols import Pick, Protocol
from clsweep.search.validation_table import ValidationTable


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
