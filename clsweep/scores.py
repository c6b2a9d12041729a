"""What each protocol's choice is worth: its test accuracies, and its regret.

    regret of a choice k    max_l ACC_l − ACC_k        ACC: average accuracy on test data

with ACC a mean over seeds and l over the label's configurations. The maximum is the only place
where test data choose; nobody may report its configuration as a result. It is itself the luckiest
of many, so that the regret is a little too large.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsweep import protocols
from clsweep.comparison import Comparison
from clsweep.curves import Curve, Point
from clsweep.protocols import Pick, Protocol
from clsweep.validation import ValidationTable

__all__ = ["Score", "picks_table", "scores"]


@dataclass(frozen=True)
class Score:
    """A protocol's choice for one label, and what it is worth.

    Attributes:
        pick: the choice, which was made on validation data.
        index: of the chosen point in the label's curve; None where none was chosen.
        optimum: of the point with the best average accuracy on test data; None without points.
        regret_S: accuracy in [0, 1] that the choice loses against it, per seed; empty without a
            choice. A single seed's may be negative, the mean is not.
    """

    pick: Pick
    index: int | None
    optimum: int | None
    regret_S: NDArray[np.float64]


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
    chosen = {p.label: p for p in protocols.pick(protocol, comparison.validation, tuned_on)}
    return tuple(_score(c, chosen[c.label]) for c in comparison.curves if c.label in chosen)


def _score(curve: Curve, pick: Pick) -> Score:
    ids = [point.config_id for point in curve.points]
    index = None if pick.config_id is None else ids.index(pick.config_id)
    averages = [float(np.mean(_average_S(point))) for point in curve.points]
    sound = [i for i, value in enumerate(averages) if not np.isnan(value)]
    optimum = max(sound, key=averages.__getitem__, default=None)
    if index is None or optimum is None:
        return Score(pick, index, optimum, np.array([]))
    return Score(
        pick, index, optimum, _average_S(curve.points[optimum]) - _average_S(curve.points[index])
    )


def _average_S(point: Point) -> NDArray[np.float64]:
    return point.measures["average_accuracy"]


def picks_table(comparison: Comparison, scored: Sequence[Score]) -> bytes:
    """`protocols.parquet`: one row per protocol and label.

    Args:
        comparison: the study.
        scored: of any protocols.
    """
    import pyarrow as pa

    from clsweep.tables import parquet_bytes

    numbers = ("average", "source", "target")
    schema = pa.schema(
        [
            ("protocol", pa.string()),
            ("meaning", pa.string()),
            ("needs_source", pa.bool_()),
            ("label", pa.string()),
            ("method", pa.string()),
            ("config_id", pa.string()),
            ("remark", pa.string()),
            ("hyper", pa.string()),
            ("training", pa.string()),
            *((f"validation_{name}_accuracy", pa.float64()) for name in numbers),
            *((f"test_{name}_accuracy", pa.float64()) for name in numbers),
            ("test_optimum_config_id", pa.string()),
            ("test_regret", pa.float64()),
        ]
    )
    rows = [dict(zip(schema.names, row, strict=True)) for row in _rows(comparison, scored)]
    return parquet_bytes(pa.Table.from_pylist(rows, schema=schema))


def _rows(comparison: Comparison, scored: Sequence[Score]) -> Iterator[tuple[object, ...]]:
    curves = {curve.label: curve for curve in comparison.curves}
    for score in scored:
        curve = curves[score.pick.label]
        protocol = protocols.protocol_of(score.pick.protocol)
        name = (protocol.name, protocol.meaning, protocol.needs_source, curve.label, curve.method)
        best = None if score.optimum is None else curve.points[score.optimum].config_id
        if score.index is None:
            yield (*name, None, score.pick.remark, None, None, *[None] * 6, best, None)
            continue
        point = curve.points[score.index]
        candidate = point.candidate
        yield (
            *name,
            candidate.config_id,
            score.pick.remark,
            json.dumps(candidate.hyper),
            json.dumps(candidate.training),
            float(np.mean(candidate.average_S)),
            *map(float, point.mean("validation")),
            float(np.mean(_average_S(point))),
            *map(float, point.mean("test")),
            best,
            float(np.mean(score.regret_S)),
        )
