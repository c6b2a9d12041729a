"""Fronts of (source accuracy, target accuracy) points; both coordinates are to be large.

Points are float arrays of shape [N, 2]. A point dominates another when it is at least as good in
both coordinates and better in one. A point with a NaN dominates nothing and is on no front.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Accuracies of different counts differ by more: by 1 / (examples × tasks × seeds).
_DIGITS = 12


def non_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other point dominates; of equal points, all or none.

    Coordinates that differ by rounding alone are equal: means of the same counts may.

    Args:
        points: shape [N, 2].

    Returns:
        A mask of shape [N].
    """
    xy = np.round(_as_points(points), _DIGITS)
    mask = np.zeros(len(xy), dtype=bool)
    valid = np.flatnonzero(~np.isnan(xy).any(axis=1))
    order = valid[np.lexsort((-xy[valid, 1], -xy[valid, 0]))]
    best_target = -np.inf
    best_source = -np.inf
    for index in order:
        # From the largest source down, a point must raise the target, or repeat the last one.
        source, target = xy[index]
        if target > best_target or (target == best_target and source == best_source):
            mask[index] = True
            best_source, best_target = source, target
    return mask


def hypervolume_2d(points: ArrayLike, reference: tuple[float, float]) -> float:
    """Area that the points dominate beyond a reference point.

    Args:
        points: shape [N, 2]; those not beyond the reference in both coordinates add nothing.
        reference: the corner (source, target) from which area is counted.
    """
    xy = _as_points(points)
    xy = xy[(xy > np.asarray(reference)).all(axis=1)]
    front = xy[non_dominated(xy)]
    front = front[np.argsort(-front[:, 0], kind="stable")]
    # Along falling source the target rises; each point adds the strip above the one before.
    below = np.concatenate([[reference[1]], front[:-1, 1]])
    return float(np.sum((front[:, 0] - reference[0]) * (front[:, 1] - below)))


def source_at_target(points: ArrayLike, tau: float) -> float:
    """The best source accuracy among points with at least a target accuracy; NaN if none.

    Args:
        points: shape [N, 2]; nothing is interpolated between them.
        tau: required target accuracy.
    """
    xy = _as_points(points)
    reached = xy[xy[:, 1] >= tau, 0]
    reached = reached[~np.isnan(reached)]
    return float(reached.max()) if len(reached) else float("nan")


def attainment(
    points_per_seed: Sequence[ArrayLike], taus: ArrayLike, quantiles: Sequence[float]
) -> NDArray[np.float64]:
    """Quantiles over seeds of the source accuracy at each required target accuracy.

    A seed that does not reach a target counts as worse than any that does; where such a seed
    enters a quantile, the quantile is NaN ("not reached").

    Args:
        points_per_seed: one array of shape [N, 2] per seed; seeds are never pooled.
        taus: required target accuracies, shape [K].
        quantiles: in [0, 1], Q of them; linear between seeds.

    Returns:
        Source accuracies, shape [Q, K].
    """
    levels = np.atleast_1d(np.asarray(taus, dtype=np.float64))
    if not points_per_seed:
        return np.full((len(quantiles), len(levels)), np.nan)
    reached = np.array(
        [[source_at_target(points, tau) for tau in levels] for points in points_per_seed]
    )
    ranked = np.sort(np.where(np.isnan(reached), -np.inf, reached), axis=0)
    place = np.asarray(quantiles, dtype=np.float64) * (len(ranked) - 1)
    low, high = np.floor(place).astype(int), np.ceil(place).astype(int)
    share = (place - low)[:, None]
    with np.errstate(invalid="ignore"):
        values = ranked[low] + share * np.where(share > 0, ranked[high] - ranked[low], 0.0)
    return np.where(np.isfinite(values), values, np.nan)


def _as_points(points: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(points, dtype=np.float64).reshape(-1, 2)
