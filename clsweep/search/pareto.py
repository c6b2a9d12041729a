"""Fronts of (source accuracy, target accuracy) points; both coordinates are to be large.

Points are float arrays of shape [N, 2]. A point dominates another when it is at least as good in
both coordinates and better in one. A point with a NaN dominates nothing and is on no front.
"""

from __future__ import annotations

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


def _as_points(points: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(points, dtype=np.float64).reshape(-1, 2)
