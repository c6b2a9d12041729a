"""What a sampler hears of a configuration: validation accuracies alone."""

from __future__ import annotations

from typing import NamedTuple

from clsweep.study.search_axes import AxisValues


class Observation(NamedTuple):
    """One finished configuration, as a sampler hears of it.

    Attributes:
        point: where in the space; see `Space.acting`.
        values: mean (source, target) validation accuracy over the seeds; None if any seed failed,
            diverged or was stopped.
        stopped: whether a seed was stopped, and none failed or diverged.
        diverged: whether a seed diverged, and none failed.
    """

    point: AxisValues
    values: tuple[float, float] | None
    stopped: bool = False
    diverged: bool = False
