"""How sure a mean over seeds is, and a difference between two methods, seed by seed.

With x_s one value per seed, n seeds, mean m and standard error e = sd / √n (Efron and Tibshirani
1993, chapter 12, the bootstrap-t):

    t* = (m* − m) / e*      over resamples of the seeds with replacement
    interval                m ± q e,  q the 95 % quantile of |t*|

Differences d_s = x_s(A) − x_s(B) are of the same seed, which both methods share with its data,
source network and batches. For all pairs of a report q is the quantile of the |t*| of all, times

    max(1, Q / t_{n−1, 0.975}),    Q the 95 % quantile of max |t| over the pairs,

so that all of the intervals hold at once with probability 95 % (max-T; Romano and Wolf 2005). Q is
that of normal values with the methods' own covariance, drawn 4000 times (a parametric bootstrap;
Efron and Tibshirani 1993, section 6.5), and t Student's quantile, which Q would be for one pair.
On simulated fronts (1000 studies each) the intervals of a report all hold, with

    seeds        6      8     10     20
    3 pairs   97.5   97.6   97.5   95.5 %
    21 pairs  98.7   98.0   96.5   94.2 %

so that few seeds make them a little too wide. Common resamples of the seeds would give Q without
normality, but repeat themselves with few seeds: 98.7 % and 99.8 % with six (600 studies). Where
values are skewed like those of an exponential distribution, the intervals hold in 91 to 95 % (500
studies each), and would in 86 to 89 % with Student's quantile in the place of that of |t*|.

The covariance S of L methods, without what all of them share in a seed, is drawn towards equal and
independent ones, T = tr S / (L − 1) (1 − 11ᵀ/L), as by a prior worth L − 1 seeds:
((n − 1) S + (L − 1) T) / (n + L − 2).

Where most seeds differ by the same, more than a twentieth of the resamples have no spread, and
|t*| has no 95 % quantile. Such a pair gets Student's instead, and no claim is made of it; where
all seeds differ by the same, the interval is a point.

Fewer than six seeds support no claim: if a method were no better, it would still be ahead with all
n seeds, or behind with all, with probability 2/2ⁿ (of 2ⁿ equally likely patterns of signs), which
is more than 5 % up to n = 5. The bootstrap fails there, too, since too few resamples differ. What
is shown then is Student's interval, valid if the differences are normal, with a Bonferroni
correction for the pairs; no claim is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LEVEL",
    "Difference",
    "Interval",
    "differences",
    "differences_of",
    "fewest_seeds",
    "interval",
    "seeds_text",
    "student_quantile",
]

Array = NDArray[np.float64]

LEVEL = 0.95
_RESAMPLES = 4000
# Differences of accuracies are multiples of 1 over the test examples; below this is rounding.
_SAME = 1e-12


@dataclass(frozen=True)
class Interval:
    """A mean and where it may lie.

    Attributes:
        mean: over seeds.
        low: lower end; NaN with fewer than two seeds.
        high: upper end.
        n: seeds.
        kind: 'bootstrap-t', 'student', or 'none' with fewer than two seeds.
    """

    mean: float
    low: float
    high: float
    n: int
    kind: str


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
        digits = 1 if factor == 100.0 else 3
        mean, low, high = (
            f"{round(factor * v, digits) + 0.0:.{digits}f}"
            for v in (self.interval.mean, self.interval.low, self.interval.high)
        )
        size = f"{mean} {unit}".strip()
        if self.interval.kind == "none":
            return f"{self.above} above {self.below} by {size}, one seed: no claim"
        ends = f"95 % CI [{low}, {high}]"
        if self.is_claim:
            return f"{self.above} above {self.below} by {size}, {ends}"
        return f"{self.above} and {self.below} not told apart: {size}, {ends}"


def fewest_seeds(level: float = LEVEL) -> int:
    """The smallest n with 2/2ⁿ ≤ 1 − level: six at 95 %."""
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
    return (
        f"{n} seeds cannot support a claim at 95 %: of 2^{n} = {2**n} patterns of signs, the 2 in "
        f"which one method is ahead with every seed have probability {2 / 2**n:.3g} by luck; it "
        f"takes {fewest_seeds()} seeds. Intervals are Student's, valid for normal differences."
    )


def interval(values_S: Array) -> Interval:
    """The mean over seeds and its 95 % interval.

    Args:
        values_S: one value per seed, at least one.
    """
    values_S = np.asarray(values_S, dtype=np.float64)
    (low,), (high,), (kind,) = _intervals(values_S[None], 1.0, LEVEL)
    return Interval(float(np.mean(values_S)), low, high, len(values_S), kind)


def differences(labels: Sequence[str], values_LS: Array) -> tuple[Difference, ...]:
    """Every pair of labels, the larger differences first; labels with a NaN are left out.

    Args:
        labels: L of them.
        values_LS: one value per label and seed, shape [L, S], S at least one.
    """
    return differences_of(labels, [values_LS])[0]


def differences_of(
    labels: Sequence[str], measures_MLS: Sequence[Array]
) -> tuple[tuple[Difference, ...], ...]:
    """Every pair of labels by each of several measures, with intervals that all hold at once.

    Among the pairs of a measure by max-T; over the M measures that have a pair by Bonferroni, each
    at the level 1 − 0.05 / M. A label with a NaN is left out of that measure alone.

    Args:
        labels: L of them.
        measures_MLS: for each measure one value per label and seed, shape [L, S].
    """
    n_measures = sum(int((~np.isnan(m_LS).any(axis=1)).sum() > 1) for m_LS in measures_MLS)
    level = 1 - (1 - LEVEL) / max(n_measures, 1)
    return tuple(_of_measure(labels, m_LS, level) for m_LS in measures_MLS)


def _of_measure(labels: Sequence[str], values_LS: Array, level: float) -> tuple[Difference, ...]:
    sound = [i for i in range(len(labels)) if not np.isnan(values_LS[i]).any()]
    pairs = list(combinations(sound, 2))
    if not pairs:
        return ()
    d_PS = np.array([values_LS[i] - values_LS[j] for i, j in pairs])
    lows, highs, kinds = _intervals(d_PS, _factor(values_LS[sound], level), level)
    n = d_PS.shape[1]
    found = []
    for (i, j), d_S, low, high, kind in zip(pairs, d_PS, lows, highs, kinds, strict=True):
        mean, (above, below) = float(np.mean(d_S)), (i, j)
        if mean < 0:
            mean, low, high, d_S, (above, below) = -mean, -high, -low, -d_S, (j, i)
        claim = kind == "bootstrap-t" and low > _SAME
        of_pair = Interval(mean, low, high, n, kind)
        n_above = int(np.sum(d_S > _SAME))
        found.append(Difference(labels[above], labels[below], of_pair, n_above, claim))
    return tuple(sorted(found, key=lambda d: -d.interval.mean))


def student_quantile(p: float, df: int) -> float:
    """The p-quantile of Student's distribution, for p of at least ½.

    By bisection of the closed form of its distribution for whole degrees of freedom (Abramowitz
    and Stegun 26.7.3 and 26.7.4).

    Args:
        p: in [0.5, 1).
        df: degrees of freedom, at least one.
    """
    low, high = 0.0, 1.0
    while _student_cdf(high, df) < p:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if _student_cdf(middle, df) < p:
            low = middle
        else:
            high = middle
    return high


def _intervals(
    values_PS: Array, factor: float, level: float
) -> tuple[list[float], list[float], list[str]]:
    """Simultaneous ends for the means of P rows, and how each came about."""
    n_rows, n = values_PS.shape
    means_P = values_PS.mean(axis=1)
    if n < 2:
        nothing = [float("nan")] * n_rows
        return nothing, nothing, ["none"] * n_rows
    errors_P = values_PS.std(axis=1, ddof=1) / math.sqrt(n)
    if n < fewest_seeds():
        q_P = np.full(n_rows, student_quantile(1 - (1 - level) / (2 * n_rows), n - 1))
        kinds = ["student"] * n_rows
    else:
        ts = [_t_of_resamples(*row) for row in zip(values_PS, means_P, errors_P, strict=True)]
        pooled = np.concatenate([np.zeros(0), *(t_B for t_B in ts if t_B is not None)])
        # Not interpolated: some of the largest may be infinite.
        q = float(np.quantile(pooled, level, method="lower")) if len(pooled) else 0.0
        student = student_quantile((1 + level) / 2, n - 1)
        q_P = factor * np.array([student if t_B is None else q for t_B in ts])
        kinds = ["student" if t_B is None else "bootstrap-t" for t_B in ts]
    half_P = q_P * errors_P
    return (means_P - half_P).tolist(), (means_P + half_P).tolist(), kinds


def _t_of_resamples(values_S: Array, mean: float, error: float) -> Array | None:
    """|t*| of every resample of the seeds; None where too many of them have no spread."""
    n = len(values_S)
    if error < _SAME:
        return np.zeros(0)
    weights_BS = _weights(n)
    centred_S = (values_S - mean) / error
    means_B = weights_BS @ centred_S
    variances_B = (weights_BS @ centred_S**2 - means_B**2) / (n - 1)
    has_spread_B = variances_B > _SAME
    if np.mean(~has_spread_B) > 1 - LEVEL:
        return None
    t_B = np.full(len(means_B), np.inf)
    t_B[has_spread_B] = np.abs(means_B[has_spread_B]) / np.sqrt(variances_B[has_spread_B])
    return t_B


def _factor(values_LS: Array, level: float = LEVEL) -> float:
    """How much wider than alone the intervals of all pairs of L methods are; 1 for one pair."""
    n_methods, n = values_LS.shape
    if n_methods < 3 or n < fewest_seeds():
        return 1.0
    own_LS = values_LS - values_LS.mean(axis=0)
    centring_LL = np.eye(n_methods) - 1 / n_methods
    found_LL = np.cov(own_LS)
    prior_LL = np.trace(found_LL) / (n_methods - 1) * centring_LL
    among_LL = ((n - 1) * found_LL + (n_methods - 1) * prior_LL) / (n + n_methods - 2)
    variances_L, axes_LL = np.linalg.eigh(among_LL)
    # The symmetric root: the only one that does not depend on the signs of the axes.
    root_LL = (axes_LL * np.sqrt(np.maximum(variances_L, 0))) @ axes_LL.T
    normal_BSL = np.random.default_rng(0).standard_normal((_RESAMPLES, n, n_methods))
    largest_B = _largest_t(normal_BSL @ root_LL)
    return max(
        1.0, float(np.quantile(largest_B, level)) / student_quantile((1 + level) / 2, n - 1)
    )


def _largest_t(values_BSL: Array) -> Array:
    """The largest |t| over all pairs of the last axis, by draw."""
    n_draws, n, n_methods = values_BSL.shape
    means_BL = values_BSL.mean(axis=1)
    centred_BSL = values_BSL - means_BL[:, None]
    squares_BL = np.sum(centred_BSL**2, axis=1)
    largest_B = np.zeros(n_draws)
    for i in range(n_methods - 1):
        others = slice(i + 1, None)
        products_BL = np.einsum("bs,bsl->bl", centred_BSL[:, :, i], centred_BSL[:, :, others])
        # Of the differences: n times the mean's square, and the sum of squares around it.
        means_squared_BL = n * (means_BL[:, i, None] - means_BL[:, others]) ** 2
        around_BL = squares_BL[:, i, None] + squares_BL[:, others] - 2 * products_BL
        t_squared_BL = (n - 1) * means_squared_BL / np.maximum(around_BL, 1e-300)
        np.maximum(largest_B, t_squared_BL.max(axis=1), out=largest_B)
    return np.asarray(np.sqrt(largest_B))


@lru_cache(maxsize=4)
def _weights(n: int) -> Array:
    """How often each seed is in each resample, as shares; always the same resamples."""
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
    return np.asarray(draws / n)


def _student_cdf(t: float, df: int) -> float:
    angle = math.atan2(t, math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = df % 2
    term = cosine if odd else 1.0
    total = term if df > 1 else 0.0
    for k in range(2 + odd, df - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    within = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return 0.5 + within / 2
