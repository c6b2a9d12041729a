"""Intervals of a mean over seeds, and of a difference between two methods, seed by seed.

One rule for all: Student's t, with Bonferroni's correction where several intervals hold at once.
With x_s one value per seed, n seeds, mean m and standard error e = sd / √n,

    difference of a pair    d_s = x_s(A) − x_s(B) of the same seed;    m ± q e,
                            q = t_{n−1} quantile at 1 − 0.05 / (2 K) for K pairs
    mean of one method      σ(logit m ± q e / (m (1 − m))),  K = 1,  σ the inverse of the logit

so that all intervals of the pairs hold at once with probability 95 % or more (Dunn 1961), each
more seeds make narrower, and the interval of a mean accuracy lies within 0 and 1 (the delta method
on the logit scale). Any other measure, such as normalised hypervolume or the R² of a regression,
has m ± q e, cut at its bounds; differences are cut at what the measure's bounds allow, which no
true value exceeds.

A claim is made exactly where the interval of a difference leaves out zero and there are six seeds
or more. With fewer, the interval rests on the normal distribution alone: if a method were no
better, all n differences would still have the same sign with probability 2/2ⁿ, which is more than
5 % up to n = 5.

There is no interval at all (kind 'none'), and no claim: with fewer than three seeds, since that of
two reaches 13 standard errors to each side; where all seeds are exactly equal, since they show no
spread, and seeds that change nothing are one seed; and of values with a NaN.

The rule was chosen by simulation (`benchmarks/coverage.py`, tables in `docs/statistics.md`) among
those listed there, and does not depend on the data, the number of seeds, or what was found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bounds = tuple[float, float]

LEVEL = 0.95
# What an accuracy, and an area of accuracies, can be.
ACCURACY: Bounds = (0.0, 1.0)
FEWEST_FOR_INTERVALS = 3
# Differences of accuracies are multiples of 1 over the test examples; below this is rounding.
_SAME = 1e-12
_TIE_DIGITS = 12
_ROUNDING = 1e-9
_MOST_DIGITS = 6
# Beyond it both ends are 0 and 1 in double precision, and the exponential would overflow.
_LARGEST_RATIO = 700.0


@dataclass(frozen=True)
class Interval:
    """A mean and where it may lie.

    Attributes:
        mean: over seeds.
        low: lower end; NaN where there is none.
        high: upper end.
        n: seeds.
        kind: 'student' (for a difference, and a mean without upper bound), 'student-logit' (for a
            mean accuracy), or 'none', see `absence`.
        widest: the largest difference that is possible, or that says anything.
    """

    mean: float
    low: float
    high: float
    n: int
    kind: str
    widest: float = 1.0

    @property
    def absence(self) -> str:
        """Why there is no interval; empty where there is one."""
        if self.kind != "none":
            return ""
        if math.isnan(self.mean):
            return "not a number"
        return "too few seeds" if self.n < FEWEST_FOR_INTERVALS else "seeds all equal"

    @property
    def is_no_limit(self) -> bool:
        """Whether that of a difference leaves nothing out that is possible."""
        return self.low <= -self.widest and self.high >= self.widest


@dataclass(frozen=True)
class Difference:
    """One label against another, by one measure.

    Attributes:
        above: the label with the larger mean.
        below: the other.
        interval: of above − below, simultaneous for all pairs.
        n_above: seeds with which it is larger.
        is_claim: whether the interval lies above zero and the seeds suffice for saying so.
    """

    above: str
    below: str
    interval: Interval
    n_above: int
    is_claim: bool

    def sentence(self, factor: float = 100.0, unit: str = "points") -> str:
        """Such as 'A above B by 1.2 points, 95 % CI [0.4, 2.1]'.

        Args:
            factor: from the measure to the unit.
            unit: its name.
        """
        digits, found = 1 if factor == 100.0 else 3, self.interval
        size = f"{_text(factor * found.mean, digits)} {unit}".strip()
        if found.absence:
            no_claim = f"{found.absence} (n = {found.n}), no claim"
            return f"{self.above} above {self.below} by {size}: {no_claim}"
        ends = "95 % CI [{}, {}]".format(*ends_text(found, factor, digits))
        if self.is_claim:
            return f"{self.above} above {self.below} by {size}, {ends}"
        if found.low > _SAME:
            return (
                f"{self.above} above {self.below} by {size}, {ends} if differences are normal: no "
                f"claim from {found.n} seeds"
            )
        return f"{self.above} and {self.below} not told apart: {size}, {ends}"


def fewest_seeds(level: float = LEVEL) -> int:
    """The smallest n with 2/2ⁿ ≤ 1 − level: six at 95 %.

    Args:
        level: of confidence.
    """
    return math.ceil(1 - math.log2(1 - level) - 1e-12)


def seeds_text(n: int) -> str:
    """Why n seeds support no claim; empty where they do.

    Args:
        n: number of seeds.
    """
    if n >= fewest_seeds():
        return ""
    if n == 1:
        return f"1 seed cannot support a claim at 95 %: it takes {fewest_seeds()}."
    intervals = (
        f"There are no intervals: they take {FEWEST_FOR_INTERVALS}."
        if n < FEWEST_FOR_INTERVALS
        else "Intervals are Student's, valid for normal differences."
    )
    return (
        f"{n} seeds cannot support a claim at 95 %: of 2^{n} = {2**n} patterns of signs, the 2 in "
        f"which one method is ahead with every seed have probability {2 / 2**n:.3g} by luck; it "
        f"takes {fewest_seeds()} seeds. {intervals}"
    )


def ends_text(interval: Interval, factor: float, digits: int) -> tuple[str, str]:
    """Both ends, with more digits where fewer would hide on which side of zero they lie.

    Args:
        interval: one that is there.
        factor: from the measure to the unit; negative for the difference the other way round.
        digits: after the point.
    """
    low, high = sorted(factor * end for end in (interval.low, interval.high))
    if low > abs(factor) * _SAME or high < -abs(factor) * _SAME:
        nearest = min(abs(low), abs(high))
        while digits < _MOST_DIGITS and round(nearest, digits) == 0:
            digits += 1
    return _text(low, digits), _text(high, digits)


def interval(values_S: Array, bounds: Bounds) -> Interval:
    """The mean over seeds of one method's measure, and its 95 % interval.

    Args:
        values_S: one value per seed, at least one.
        bounds: smallest and largest value that the measure can have.

    Raises:
        ValueError: a value is out of bounds.
    """
    values_S = np.asarray(values_S, dtype=np.float64)
    _check_bounds(values_S, bounds)
    low, high = (float(end) for end in mean_ends(values_S, bounds))
    kind = "student-logit" if bounds == ACCURACY else "student"
    return _interval(values_S, low, high, kind)


def differences(labels: Sequence[str], values_LS: Array, bounds: Bounds) -> tuple[Difference, ...]:
    """Every pair of labels, the larger differences first; labels with a NaN are left out.

    Args:
        labels: L of them.
        values_LS: one value per label and seed, shape [L, S], S at least one.
        bounds: smallest and largest value that the measure can have.

    Raises:
        ValueError: a value is out of bounds.
    """
    return differences_of(labels, [values_LS], [bounds])[0]


def differences_of(
    labels: Sequence[str], measures_MLS: Sequence[Array], bounds_M: Sequence[Bounds]
) -> tuple[tuple[Difference, ...], ...]:
    """Every pair of labels by each of several measures, with intervals that all hold at once.

    All of them are one family: K is the number of pairs of all measures together. A label with a
    NaN is left out of that measure alone.

    Args:
        labels: L of them.
        measures_MLS: for each measure one value per label and seed, shape [L, S].
        bounds_M: smallest and largest value that each measure can have.

    Raises:
        ValueError: a value is out of bounds.
    """
    sound_M = [~np.isnan(m_LS).any(axis=1) for m_LS in measures_MLS]
    n_together = sum(math.comb(int(sound_L.sum()), 2) for sound_L in sound_M)
    return tuple(
        _of_measure(labels, m_LS, np.flatnonzero(sound_L).tolist(), bounds, n_together)
        for m_LS, sound_L, bounds in zip(measures_MLS, sound_M, bounds_M, strict=True)
    )


def _of_measure(
    labels: Sequence[str],
    values_LS: Array,
    sound: Sequence[int],
    bounds: Bounds,
    n_together: int,
) -> tuple[Difference, ...]:
    pairs = list(combinations(sound, 2))
    if not pairs:
        return ()
    _check_bounds(values_LS[sound], bounds)
    d_PS = np.array([values_LS[i] - values_LS[j] for i, j in pairs])
    widest = bounds[1] - bounds[0]
    found = []
    halves_P = half_widths(d_PS, n_together)
    for (i, j), d_S, half in zip(pairs, d_PS, halves_P, strict=True):
        if np.mean(d_S) < -_SAME:
            d_S, i, j = -d_S, j, i
        mean = float(np.mean(d_S))
        # Python's max and min would turn a NaN into a bound.
        low, high = np.clip([mean - half, mean + half], -widest, widest).tolist()
        of_pair = _interval(d_S, low, high, "student")
        if bounds[0] < 0:  # else a measure of accuracies, whose differences are at most 1
            of_pair = replace(of_pair, widest=widest)
        n_above, is_claim = int(np.sum(d_S > _SAME)), len(d_S) >= fewest_seeds() and low > _SAME
        found.append(Difference(labels[i], labels[j], of_pair, n_above, is_claim))
    # Sorting is stable: equal differences stay in the order of their labels.
    return tuple(sorted(found, key=lambda d: -round(d.interval.mean, _TIE_DIGITS)))


def half_widths(d_PS: Array, n_together: int | None = None) -> Array:
    """Half the width of the intervals of P mean differences that hold at once, shape [..., P].

    NaN where there is none.

    Args:
        d_PS: differences by pair and seed, shape [..., P, S].
        n_together: how many intervals have to hold at once, P unless said.
    """
    n_pairs, n = d_PS.shape[-2:]
    if n < FEWEST_FOR_INTERVALS:
        return np.full(d_PS.shape[:-1], np.nan)
    p = 1 - (1 - LEVEL) / (2 * (n_together or n_pairs))
    return student_quantile(p, n - 1) * _errors(d_PS)


def mean_ends(values_S: Array, bounds: Bounds) -> tuple[Array, Array]:
    """Both ends of the interval of a mean, each of shape [...]; NaN where there is none.

    Args:
        values_S: shape [..., S].
        bounds: smallest and largest value that the measure can have.
    """
    means, n = values_S.mean(axis=-1), values_S.shape[-1]
    if n < FEWEST_FOR_INTERVALS:
        nothing = np.full(means.shape, np.nan)
        return nothing, nothing
    halves = student_quantile((1 + LEVEL) / 2, n - 1) * _errors(values_S)
    if bounds != ACCURACY:
        return np.clip(means - halves, *bounds), np.clip(means + halves, *bounds)
    means = np.clip(means, 0.0, 1.0)
    # A mean of 0 or 1 is one of equal values, whose half width is NaN.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = halves / (means * (1 - means))
    # σ(logit m ± r) without the logit of 0 and 1.
    odds_up = np.exp(np.minimum(ratios, _LARGEST_RATIO))
    low = means / (means + (1 - means) * odds_up)
    high = means / (means + (1 - means) / odds_up)
    return low, high


@lru_cache(maxsize=256)
def student_quantile(p: float, df: int) -> float:
    """The p-quantile of Student's distribution.

    Args:
        p: in (0, 1).
        df: degrees of freedom, at least one.
    """
    # A tenth of a second that the commands without intervals need not wait for.
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def _interval(values_S: Array, low: float, high: float, kind: str) -> Interval:
    found = "none" if math.isnan(low) else kind
    return Interval(float(np.mean(values_S)), low, high, len(values_S), found)


def _errors(values_S: Array) -> Array:
    """Standard errors of the means of the last axis; NaN where all values are equal."""
    n = values_S.shape[-1]
    errors = values_S.std(axis=-1, ddof=1) / math.sqrt(n)
    return np.where(np.ptp(values_S, axis=-1) <= _SAME, np.nan, errors)


def _check_bounds(values: Array, bounds: Bounds) -> None:
    lowest, highest = bounds
    outside = values[(values < lowest - _ROUNDING) | (values > highest + _ROUNDING)]
    if len(outside):
        raise ValueError(f"a value of {outside[0]} where {lowest} to {highest} is possible")


def _text(value: float, digits: int) -> str:
    # Adding zero turns a rounded "-0.0" into "0.0".
    return f"{round(value, digits) + 0.0:.{digits}f}"
