"""Regularisation paths: configurations of one knob, each learnt on from the one before.

With values λ_1 > λ_2 > … of a knob that weighs a penalty, and N steps of a task:

    θ_1  from the source model, N steps with λ_1
    θ_k  from θ_{k−1}, m = round(r N) steps with λ_k, at least one

A point so depends on every value above it: its identity holds them, and r. Where a value diverges,
the next one starts from the last that did not, or from the source model, and then with N steps.
The values below a point, and how many there are, change nothing about it: a path can be led on.

Points of a path are no independent trials: a neighbour's luck is in each of them, and the last has
been trained for N + (K−1) m steps. They are told apart by their label and by a counter.

The idea is that of warm starts along λ (Friedman, Hastie and Tibshirani 2010, Journal of
Statistical Software 33(1), for the lasso), where each problem is convex and is solved. Here it is
neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clsweep.study.identity import digest

LABEL_ENDING = " (path)"


@dataclass(frozen=True)
class PathPlace:
    """Where on a path a configuration lies.

    Attributes:
        values: of the knob, from the start of the path to this point, each below the one before.
        ids: of the configurations at these values.
        point_steps: r, in (0, 1].
    """

    values: tuple[float, ...]
    ids: tuple[str, ...]
    point_steps: float

    @property
    def above(self) -> PathPlace | None:
        """The place before; None for the first."""
        if len(self.ids) == 1:
            return None
        return PathPlace(self.values[:-1], self.ids[:-1], self.point_steps)

    def n_steps(self, n_full: int, *, is_first: bool) -> int:
        """Steps of the point.

        Args:
            n_full: N, those of a training.
            is_first: whether it starts from the source model.
        """
        return n_full if is_first else max(1, round(self.point_steps * n_full))


def label_of(label: str) -> str:
    """The label of a path.

    Args:
        label: as the study file has it.
    """
    return label if label.endswith(LABEL_ENDING) else label + LABEL_ENDING


def label_without_path(label: str) -> str:
    """The label of independent trials of the same numbers.

    Args:
        label: of a path, or any other.
    """
    return label.removesuffix(LABEL_ENDING)


def places(trials: Sequence[str], values: Sequence[float], point_steps: float) -> list[PathPlace]:
    """Where on one path its configurations lie; each has the last of its place's identities.

    Args:
        trials: identities that the configurations would have as independent trials.
        values: of the knob, in the same order, from the largest to the smallest.
        point_steps: r.
    """
    ids: list[str] = []
    found: list[PathPlace] = []
    for n, trial in enumerate(trials, 1):
        above = [*values[:n]]
        ids.append(digest({"configuration": trial, "path": above, "point_steps": point_steps}))
        found.append(PathPlace(tuple(above), tuple(ids), point_steps))
    return found
