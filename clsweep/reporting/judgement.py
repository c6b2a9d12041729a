"""The quality of each front, and which method is above which: intervals from test accuracies.

Choices are those of validation data. Of every label:

    best average            A* = ACC of the choice by 'average'         Lee et al. 2020 (ResCL)
    source at a target      S*(τ) = S of the choice by 'required', τ below T_FT            same
    normalised hypervolume  area beyond (S_FT, T_src) / ((S_src − S_FT)(T_FT − T_src))

The source end (S_src, T_src) is the frozen trunk where every task has a head. With one head for
all, which the frozen trunk trains and forgets through, S_src is the mean accuracy on each source
task right after fine-tuning had learnt it, and T_src that on the target before it was learnt: with
two tasks, the source model itself.

Intervals and pairs of the first two hold their choice: they enclose what the chosen configuration
gives and what choices by half of the seeds give on the other half (cross-fitting), or are of seeds
that chose nothing (`[report] choose_on`). All pairs by all of them are one family, whose intervals
hold at once. Nothing is interpolated: a mixture of two configurations would meet a required target
exactly, but is two networks, and no method here is given two.

Hypervolume is one number per seed: of the test points that the seed's own validation front picks,
and between the seed's own references; more than 1 is possible. Its pairs are a family of their
own. Where no other seeds choose, it has the luck of its own seed. S*(τ) and the area step from one
configuration to the next, so that a finer grid can only gain.

The good region is the range of the knob within which the mean validation ACC stays within a point
of its best, over grid values next to each other; at each value of the knob the other numbers are
at their best. It ends at grid values, so that the true region is a little wider.

Points of regularisation paths are in no pair: see `clsweep.study.paths`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clsweep.reporting.inference import Difference, Interval

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GoodRegion:
    """Where the knob may lie.

    Attributes:
        low: the smallest good value of the grid.
        high: the largest.
        at_edge: whether the region reaches an end of the grid, and may be wider.
    """

    low: float
    high: float
    at_edge: bool

    @property
    def decades(self) -> float:
        """Width on a logarithmic scale."""
        return math.log10(self.high / self.low)


@dataclass(frozen=True)
class FrontQuality:
    """One label's front in numbers; None where something it needs is missing.

    Attributes:
        label: the label.
        best_average: of the choice with the best average, around its plain mean.
        source_at: one per requirement of the comparison, likewise.
        hypervolume: beyond the comparison's reference point.
        normalised: hypervolume between the references.
        normalised_S: the same per seed; empty where it is None.
        region: of the primary knob, where it is searched on a logarithmic scale.
    """

    label: str
    best_average: Interval | None
    source_at: tuple[Interval | None, ...]
    hypervolume: Interval | None
    normalised: Interval | None
    normalised_S: Array
    region: GoodRegion | None


@dataclass(frozen=True)
class Judgement:
    """All fronts, and every pair of labels.

    Attributes:
        fronts: one per label that traces a curve.
        average_pairs: by the best average accuracy.
        source_pairs: by the source accuracy at each requirement of the comparison; labels that
            do not reach it are left out.
        drops: of the requirements, in the same order; accuracies in [0, 1].
        selection: how these two hold the choice: 'cross-fitted', 'other seeds', or 'shared' where
            one seed chooses and is read.
        crossfit: by 'average', and by the drop of each requirement in points: label to its
            cross-fitted values, one per seed.
        hypervolume_pairs: by hypervolume, normalised where it can be.
        is_normalised: whether it can.
        remark: why it cannot; else empty.
    """

    fronts: tuple[FrontQuality, ...] = ()
    average_pairs: tuple[Difference, ...] = ()
    source_pairs: tuple[tuple[Difference, ...], ...] = ()
    drops: tuple[float, ...] = ()
    selection: str = "shared"
    crossfit: dict[str, dict[str, Array]] = field(default_factory=dict)
    hypervolume_pairs: tuple[Difference, ...] = ()
    is_normalised: bool = False
    remark: str = ""
