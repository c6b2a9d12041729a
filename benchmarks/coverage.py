"""Measure rules for intervals and claims by simulated studies: coverage, error, width, power.

    python benchmarks/coverage.py [--quick] [--study pairs|means] [--rule NAME] [--law NAME]
    python benchmarks/coverage.py --tables        the tables of docs/statistics.md

A simulated study has L methods and n seeds, whose accuracies follow one of the `LAWS`; methods
share an effect of the seed. `pairs` asks of every rule in `PAIR_RULES`, over many studies,

    error          share of the studies with a claim, where all methods have equal means
    coverage       share in which all intervals of the pairs enclose the true differences
    of_pair        the same of one pair, on average, and `of_worst` of the pair with the least
    half_width     of an interval, on average, in points
    any, power     share of the studies with a claim, and of the true differences that are claimed
    milliseconds   of processor time for one study

with means that lie evenly within three points (`coverage` to `power`). A claim is what the rule
says, with however few seeds; `reporting.inference` makes none below six. `means` asks the same of
the interval of one method's mean, by the rules in `MEAN_RULES`: coverage, half_width, and the
share of the intervals that reach below 0 or above 100 %.

Rows go to benchmarks/coverage.csv as they are done; what is there is not computed again. `--quick`
makes 200 studies per row instead of 2000 and writes nothing. Where a rule gives no interval, as
where all seeds of a pair are equal, it counts as not wrong; where it gives none ever, as nothing.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit
from scipy.stats import studentized_range

from clsweep.reporting.inference import ACCURACY, LEVEL, half_widths, mean_ends

Array = NDArray[Any]

# Axes: R studies, L methods, P pairs, S seeds, B flips, resamples or draws.

RESULTS = Path(__file__).with_suffix(".csv")
N_STUDIES, N_QUICK = 2000, 200
N_METHODS = (2, 3, 7, 10)
N_SEEDS = (3, 5, 6, 8, 10, 20)
ALPHA = 1 - LEVEL
POINT = 0.01
_DRAWS = 1000
_ALL_PATTERNS_TO = 10
_ROUNDING = 1e-12


# How accuracies vary over seeds.


class Law(NamedTuple):
    """How accuracies are drawn.

    Attributes:
        draw: (rng, positions_L, (R, L, S)) -> values_RLS, with positions in points.
        means: positions_L -> the expected values of the methods.
        meaning: for the tables.
    """

    draw: Callable[[np.random.Generator, Array, tuple[int, int, int]], Array]
    means: Callable[[Array], Array]
    meaning: str


def additive(noise: Callable[[np.random.Generator, tuple[int, int, int]], Array]) -> Any:
    """A draw of a mean, an effect of the seed (1 point), and noise, of mean zero and in points."""

    def draw(rng: np.random.Generator, positions_L: Array, shape: tuple[int, int, int]) -> Array:
        n_studies, _, n_seeds = shape
        of_seed = rng.standard_normal((n_studies, 1, n_seeds))
        return level(positions_L)[:, None] + POINT * (of_seed + noise(rng, shape))

    return draw


def level(positions_L: Array) -> Array:
    return np.asarray(0.8 + POINT * positions_L)


def every_second(n_methods: int) -> Array:
    return (np.arange(n_methods) % 2 == 0)[:, None]


def normal(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return rng.standard_normal(shape)


def unequal(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return np.asarray(rng.standard_normal(shape) * np.geomspace(0.3, 3, shape[1])[:, None])


def heavy(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return rng.standard_t(3, shape) / math.sqrt(3)


def exponential(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    skewed = 1 - rng.exponential(1, shape)
    return np.where(every_second(shape[1]), skewed, 0.3 * rng.standard_normal(shape))


def log_normal(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    spread = math.sqrt((math.e - 1) * math.e)
    skewed = (math.sqrt(math.e) - np.exp(rng.standard_normal(shape))) / spread
    return np.where(every_second(shape[1]), skewed, 0.3 * rng.standard_normal(shape))


def collapsing(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    collapses = 3 - 20 * (rng.random(shape) < 0.15)
    return rng.standard_normal(shape) + np.where(every_second(shape[1]), collapses, 0)


def near_one(rng: np.random.Generator, positions_L: Array, shape: tuple[int, int, int]) -> Array:
    n_studies, _, n_seeds = shape
    luck = rng.standard_normal((n_studies, 1, n_seeds)) + rng.standard_normal(shape)
    return np.asarray(expit(_near_one_logits(positions_L)[:, None] + 0.5 * luck))


def means_near_one(positions_L: Array) -> Array:
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    logits = _near_one_logits(positions_L)[:, None] + math.sqrt(0.5) * nodes
    return np.asarray(expit(logits) @ weights / weights.sum())


def _near_one_logits(positions_L: Array) -> Array:
    return np.asarray(logit(0.985) + positions_L / 3)


def images(p: float, n_images: int = 250, step: float = POINT) -> Law:
    """Counts of images, independent between methods but for an effect of the seed."""

    def means(positions_L: Array) -> Array:
        return np.asarray(p + step * positions_L)

    def draw(rng: np.random.Generator, positions_L: Array, shape: tuple[int, int, int]) -> Array:
        n_studies, _, n_seeds = shape
        # Uniform and narrow: no probability leaves 0 to 1, and its mean is that of the law.
        of_seed = rng.uniform(-1, 1, (n_studies, 1, n_seeds)) * min(POINT, (1 - p) / 4)
        return rng.binomial(n_images, means(positions_L)[:, None] + of_seed, shape) / n_images

    return Law(draw, means, f"{n_images} images, {100 * p:g} % right")


def reaching_one(rng: np.random.Generator, positions_L: Array, shape: tuple[int, ...]) -> Array:
    means_L = _means_reaching_one(positions_L)[:, None]
    return rng.beta(10 * means_L, 10 * (1 - means_L), shape)


def _means_reaching_one(positions_L: Array) -> Array:
    return np.asarray(0.9 + 2 * POINT * positions_L)


LAWS = {
    "normal": Law(additive(normal), level, "normal"),
    "unequal": Law(additive(unequal), level, "normal, spreads from 0.3 to 3 points"),
    "heavy": Law(additive(heavy), level, "heavy-tailed (Student, 3 degrees of freedom)"),
    "near_one": Law(near_one, means_near_one, "near 100 % (logit-normal, 98 %)"),
    "reaching_one": Law(reaching_one, _means_reaching_one, "beta, 90 % and up to 100 %"),
    "images": images(0.9),
    "few_errors": images(0.985, step=POINT / 4),
    "exponential": Law(additive(exponential), level, "every second method exponential"),
    "log_normal": Law(additive(log_normal), level, "every second method log-normal"),
    "collapsing": Law(
        additive(collapsing), level, "every second method −20 points in 15 % of seeds"
    ),
}


# Rules for the intervals and claims of all pairs.


class Found(NamedTuple):
    """Intervals and claims of every study and pair; NaN where a rule gives no interval."""

    low_RP: Array
    high_RP: Array
    is_claim_RP: Array


def bonferroni_t(values_RLS: Array) -> Found:
    """The rule of `clsweep.reporting.inference`."""
    d_RPS = pairs_of(values_RLS)
    return _around(d_RPS, half_widths(d_RPS))


def holm_t(values_RLS: Array) -> Found:
    """Claims stepping down from the largest |t|; intervals are Bonferroni's."""
    d_RPS = pairs_of(values_RLS)
    found = _around(d_RPS, half_widths(d_RPS))
    t_RP, (_, n_pairs, n) = _absolute_t(d_RPS), d_RPS.shape
    order_RP = np.argsort(-t_RP, axis=1)
    needed_P = stdtrit(n - 1, 1 - ALPHA / 2 / np.arange(n_pairs, 0, -1))
    passed_RP = np.logical_and.accumulate(np.take_along_axis(t_RP, order_RP, 1) > needed_P, axis=1)
    claims_RP = np.zeros_like(passed_RP)
    np.put_along_axis(claims_RP, order_RP, passed_RP, axis=1)
    return found._replace(is_claim_RP=claims_RP)


def max_t(values_RLS: Array) -> Found:
    """The largest |t| of all pairs, each with its own spread, of independent equal methods."""
    _, n_methods, n = values_RLS.shape
    d_RPS = pairs_of(values_RLS)
    return _around(d_RPS, _largest_t_quantile(n_methods, n) * _errors(d_RPS))


def multivariate_t(values_RLS: Array) -> Found:
    """The same of a multivariate t distribution with the correlations of the study."""
    n_studies, n_methods, n = values_RLS.shape
    d_RPS = pairs_of(values_RLS)
    normal_BS, chi_B = _normal_draws(n)
    spread_RP = np.maximum(d_RPS.std(axis=-1, ddof=1), 1e-300) * math.sqrt(n - 1)
    quantiles_R = np.empty(n_studies)
    for r in range(n_studies):
        residuals_PS = (d_RPS[r] - d_RPS[r].mean(axis=1, keepdims=True)) / spread_RP[r][:, None]
        largest_B = np.abs(normal_BS @ residuals_PS.T).max(axis=1) / chi_B
        quantiles_R[r] = np.quantile(largest_B, LEVEL)
    return _around(d_RPS, quantiles_R[:, None] * _errors(d_RPS))


def tukey(values_RLS: Array) -> Found:
    """Studentised range on paired blocks: one spread for all methods."""
    _, n_methods, n = values_RLS.shape
    d_RPS = pairs_of(values_RLS)
    rest_RLS = values_RLS - values_RLS.mean(axis=1, keepdims=True)
    rest_RLS = rest_RLS - rest_RLS.mean(axis=2, keepdims=True)
    df = (n_methods - 1) * (n - 1)
    error_R = np.sqrt((rest_RLS**2).sum(axis=(1, 2)) / df / n)
    half_R = _range_quantile(n_methods, df) * error_R
    return _around(d_RPS, np.repeat(half_R[:, None], d_RPS.shape[1], axis=1))


def sign_flip(values_RLS: Array) -> Found:
    """Sign-flip max-T: exact for symmetric differences.

    Claims flip the differences; intervals flip them less their means, since the test of all pairs
    at once has no inversion pair by pair.
    """
    d_RPS = pairs_of(values_RLS)
    t_RP, n_studies = _absolute_t(d_RPS), len(d_RPS)
    needed_R = np.array([_flip_quantile(d_RPS[r]) for r in range(n_studies)])
    centred_RPS = d_RPS - d_RPS.mean(axis=-1, keepdims=True)
    width_R = np.array([_flip_quantile(centred_RPS[r]) for r in range(n_studies)])
    found = _around(d_RPS, width_R[:, None] * _errors(d_RPS))
    return found._replace(is_claim_RP=t_RP > needed_R[:, None] + 1e-9)


def flip_inversion(values_RLS: Array) -> Found:
    """Inversion of each pair's own sign-flip test of the mean, with Bonferroni over the pairs.

    Its ends are order statistics of the means of all subsets of the seeds (Hartigan 1969); with
    few seeds for so many pairs there are none.
    """
    d_RPS = pairs_of(values_RLS)
    low_RP, high_RP = subset_ends(d_RPS, ALPHA / d_RPS.shape[1])
    return Found(low_RP, high_RP, (low_RP > _ROUNDING) | (high_RP < -_ROUNDING))


def bootstrap_t(values_RLS: Array) -> Found:
    """The rule before this one: resamples pooled over the pairs, widened by max-T for all."""
    _, n_methods, n = values_RLS.shape
    d_RPS = pairs_of(values_RLS)
    if n < 6:
        return _around(d_RPS, half_widths(d_RPS))
    factor = max(1.0, _largest_t_quantile(n_methods, n) / float(stdtrit(n - 1, 1 - ALPHA / 2)))
    quantiles_R = np.array([_bootstrap_quantile(d_PS) for d_PS in d_RPS])
    return _around(d_RPS, factor * quantiles_R[:, None] * _errors(d_RPS))


PAIR_RULES: dict[str, Callable[[Array], Found]] = {
    "bonferroni-t": bonferroni_t,
    "holm-t": holm_t,
    "max-t": max_t,
    "multivariate-t": multivariate_t,
    "tukey": tukey,
    "sign-flip": sign_flip,
    "flip-inversion": flip_inversion,
    "bootstrap-t": bootstrap_t,
}


def pairs_of(values_RLS: Array) -> Array:
    """Differences of all pairs of methods, [R, P, S]."""
    first, second = np.array(list(combinations(range(values_RLS.shape[1]), 2))).T
    return np.asarray(values_RLS[:, first] - values_RLS[:, second])


def subset_ends(values_RPS: Array, alpha: float) -> tuple[Array, Array]:
    """Ends between which the sign-flip test of the mean does not reject, at level alpha."""
    n = values_RPS.shape[-1]
    flips_BS = _flips(n)
    n_out = math.floor(alpha / 2 * len(flips_BS) + 1e-9)
    if n_out < 1:
        nothing = np.full(values_RPS.shape[:-1], np.nan)
        return nothing, nothing
    # The seeds with sign +1 of every pattern but one without any: the subsets.
    subsets_BS = (flips_BS + 1) / 2
    subsets_BS = subsets_BS[subsets_BS.sum(axis=1) > 0]
    weights_BS = subsets_BS / subsets_BS.sum(axis=1, keepdims=True)
    lows, highs = [], []
    for values_PS in values_RPS:
        means_BP = np.sort(weights_BS @ values_PS.T, axis=0)
        lows.append(means_BP[n_out - 1])
        highs.append(means_BP[-n_out])
    return np.array(lows), np.array(highs)


def _around(d_RPS: Array, half_RP: Array) -> Found:
    means_RP = d_RPS.mean(axis=-1)
    return Found(means_RP - half_RP, means_RP + half_RP, np.abs(means_RP) > half_RP + _ROUNDING)


def _errors(values: Array) -> Array:
    return np.asarray(values.std(axis=-1, ddof=1) / math.sqrt(values.shape[-1]))


def _absolute_t(d_RPS: Array) -> Array:
    return np.asarray(np.abs(d_RPS.mean(axis=-1)) / np.maximum(_errors(d_RPS), 1e-9))


@cache
def _largest_t_quantile(n_methods: int, n_seeds: int) -> float:
    rng = np.random.default_rng(0)
    largest = [
        _absolute_t(pairs_of(rng.standard_normal((1000, n_methods, n_seeds)))).max(axis=1)
        for _ in range(40)
    ]
    return float(np.quantile(np.concatenate(largest), LEVEL))


@cache
def _range_quantile(n_methods: int, df: int) -> float:
    return float(studentized_range.ppf(LEVEL, n_methods, df))


@cache
def _normal_draws(n_seeds: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    chi_B = np.sqrt(rng.chisquare(n_seeds - 1, _DRAWS) / (n_seeds - 1))
    return rng.standard_normal((_DRAWS, n_seeds)), chi_B


@cache
def _flips(n_seeds: int) -> Array:
    """Patterns of signs: all of them with few seeds, else the given one and random ones."""
    if n_seeds <= _ALL_PATTERNS_TO:
        signs = np.array(np.meshgrid(*[[1.0, -1.0]] * n_seeds, indexing="ij"))
        return np.asarray(signs.reshape(n_seeds, -1).T)
    random = np.random.default_rng(0).choice([1.0, -1.0], (2 * _DRAWS, n_seeds))
    random[0] = 1.0
    return random


def _flip_quantile(d_PS: Array) -> float:
    """What the largest |t| must exceed: at most 5 % of the patterns of signs reach more."""
    n = d_PS.shape[1]
    flips_BS = _flips(n)
    if n <= _ALL_PATTERNS_TO:
        # A pattern and its opposite have the same |t|.
        flips_BS = flips_BS[: len(flips_BS) // 2]
    n_out = math.floor(ALPHA * len(flips_BS) + 1e-9)
    if n_out < 1:
        return math.inf
    means_BP = flips_BS @ d_PS.T / n
    around_BP = np.maximum((d_PS**2).mean(axis=1) - means_BP**2, 1e-18)
    largest_B = np.sort((np.abs(means_BP) / np.sqrt(around_BP / (n - 1))).max(axis=1))
    return float(largest_B[-n_out - 1])


@cache
def _resamples(n_seeds: int) -> Array:
    draws = np.random.default_rng(0).multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), _DRAWS)
    return np.asarray(draws / n_seeds)


def _bootstrap_quantile(d_PS: Array) -> float:
    n, error_P = d_PS.shape[1], np.maximum(_errors(d_PS), 1e-9)
    centred_PS = (d_PS - d_PS.mean(axis=1, keepdims=True)) / error_P[:, None]
    means_BP = _resamples(n) @ centred_PS.T
    variances_BP = (_resamples(n) @ (centred_PS**2).T - means_BP**2) / (n - 1)
    t_BP = np.full(means_BP.shape, np.inf)
    np.divide(np.abs(means_BP), np.sqrt(variances_BP), out=t_BP, where=variances_BP > _ROUNDING)
    return float(np.quantile(t_BP, LEVEL, method="lower"))


# Rules for the interval of one method's mean accuracy.


def student_cut(values_RS: Array) -> tuple[Array, Array]:
    """Student's, cut at 0 and 100 %."""
    low_R, high_R = student(values_RS)
    return np.clip(low_R, 0, 1), np.clip(high_R, 0, 1)


def student(values_RS: Array) -> tuple[Array, Array]:
    """Student's, as it is."""
    half_R = stdtrit(values_RS.shape[-1] - 1, 1 - ALPHA / 2) * _errors(values_RS)
    return values_RS.mean(axis=-1) - half_R, values_RS.mean(axis=-1) + half_R


def student_logit(values_RS: Array) -> tuple[Array, Array]:
    """The rule of `clsweep.reporting.inference`."""
    return mean_ends(values_RS, ACCURACY)


def student_arcsine(values_RS: Array) -> tuple[Array, Array]:
    """The delta method on the scale arcsin √accuracy."""
    means_R = np.clip(values_RS.mean(axis=-1), 0, 1)
    low_R, high_R = student(values_RS)
    slope_R = 2 * np.sqrt(np.maximum(means_R * (1 - means_R), 1e-300))
    half_R = np.where(high_R > low_R, (high_R - low_R) / 2 / slope_R, 0)
    middle_R = np.arcsin(np.sqrt(means_R))
    ends = (np.clip(middle_R + sign * half_R, 0, math.pi / 2) for sign in (-1, 1))
    low_R, high_R = (np.sin(end) ** 2 for end in ends)
    return low_R, high_R


def bootstrap_t_mean(values_RS: Array) -> tuple[Array, Array]:
    """Symmetric bootstrap-t, cut at 0 and 100 %."""
    quantiles_R = np.array([_bootstrap_quantile(values_S[None]) for values_S in values_RS])
    half_R = quantiles_R * _errors(values_RS)
    means_R = values_RS.mean(axis=-1)
    return np.clip(means_R - half_R, 0, 1), np.clip(means_R + half_R, 0, 1)


def flip_inversion_mean(values_RS: Array) -> tuple[Array, Array]:
    """Inversion of the sign-flip test: never outside of the seeds' own values."""
    low_R1, high_R1 = subset_ends(values_RS[:, None], ALPHA)
    return low_R1[:, 0], high_R1[:, 0]


MEAN_RULES: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "student-logit": student_logit,
    "student": student,
    "student-cut": student_cut,
    "student-arcsine": student_arcsine,
    "flip-inversion": flip_inversion_mean,
    "bootstrap-t": bootstrap_t_mean,
}


# What is asked of a rule.


def pair_row(rule: str, law: str, n_methods: int, n_seeds: int, n_studies: int) -> dict[str, Any]:
    """One row of the results for the pairs of methods."""
    equal_L, apart_L = np.zeros(n_methods), np.linspace(0, 3, n_methods)
    shape = (n_studies, n_methods, n_seeds)
    rng = generator(law, n_methods, n_seeds)
    same_RLS = LAWS[law].draw(rng, equal_L, shape)
    values_RLS = LAWS[law].draw(rng, apart_L, shape)
    means_L = LAWS[law].means(apart_L)
    PAIR_RULES[rule](same_RLS[:2])
    start = time.process_time()
    error_R = PAIR_RULES[rule](same_RLS).is_claim_RP.any(axis=1)
    seconds = time.process_time() - start
    found = PAIR_RULES[rule](values_RLS)
    truth_P = pairs_of(means_L[None, :, None])[0, :, 0]
    holds_RP = (found.low_RP <= truth_P + _ROUNDING) & (found.high_RP >= truth_P - _ROUNDING)
    # What is not given, where the seeds show no spread, is not wrong.
    holds_RP |= np.isnan(found.low_RP)
    given = bool(np.isfinite(found.low_RP).any())
    return {
        "error": percent(error_R.mean()),
        "coverage": percent(holds_RP.all(axis=1).mean()) if given else "",
        "of_pair": percent(holds_RP.mean()) if given else "",
        "of_worst": percent(holds_RP.mean(axis=0).min()) if given else "",
        "half_width": _points(np.nanmean(found.high_RP - found.low_RP) / 2) if given else "",
        "any": percent(found.is_claim_RP.any(axis=1).mean()),
        "power": percent(found.is_claim_RP.mean()),
        "milliseconds": f"{1000 * seconds / n_studies:.2g}",
    }


def mean_row(rule: str, law: str, n_methods: int, n_seeds: int, n_studies: int) -> dict[str, Any]:
    """One row of the results for the mean of one method, the first of the law."""
    positions_L = np.zeros(1)
    rng = generator(law, n_methods, n_seeds)
    values_RS = LAWS[law].draw(rng, positions_L, (n_studies, 1, n_seeds))[:, 0]
    truth = float(LAWS[law].means(positions_L)[0])
    low_R, high_R = MEAN_RULES[rule](values_RS)
    given = bool(np.isfinite(low_R).any())
    holds_R = (low_R <= truth + _ROUNDING) & (high_R >= truth - _ROUNDING) | np.isnan(low_R)
    return {
        "coverage": percent(holds_R.mean()) if given else "",
        "half_width": _points(np.nanmean(high_R - low_R) / 2) if given else "",
        "outside": percent(((low_R < -_ROUNDING) | (high_R > 1 + _ROUNDING)).mean()),
    }


class StudyOfRules(NamedTuple):
    """A question that the simulation answers.

    Attributes:
        rules: by name.
        row: (rule, law, n_methods, n_seeds, n_studies) -> the measured columns.
        n_methods: numbers of methods.
        per_row: simulated studies, as a multiple of `N_STUDIES`.
    """

    rules: dict[str, Any]
    row: Callable[[str, str, int, int, int], dict[str, Any]]
    n_methods: tuple[int, ...]
    per_row: int


STUDIES = {
    "pairs": StudyOfRules(PAIR_RULES, pair_row, N_METHODS, 1),
    "means": StudyOfRules(MEAN_RULES, mean_row, (1,), 5),
}
KEY = ("study", "rule", "law", "n_methods", "n_seeds", "n_studies")
MEASURED = (
    "error",
    "coverage",
    "of_pair",
    "of_worst",
    "half_width",
    "any",
    "power",
    "outside",
    "milliseconds",
)


def generator(law: str, n_methods: int, n_seeds: int) -> np.random.Generator:
    """The same draws for every rule."""
    return np.random.default_rng([zlib.crc32(law.encode()), n_methods, n_seeds])


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(width: float) -> str:
    return f"{width / POINT:.3g}"


def cells(
    studies: Iterable[str], rules: Sequence[str], laws: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """(study, rule, law, n_methods, n_seeds) of every row asked for."""
    for study in studies:
        for n_seeds in N_SEEDS:
            for n_methods in STUDIES[study].n_methods:
                for law in laws:
                    for rule in STUDIES[study].rules:
                        if not rules or rule in rules:
                            yield study, rule, law, n_methods, n_seeds


def simulate(args: argparse.Namespace) -> None:
    """Print the rows asked for, and keep those of full size."""
    done = {tuple(row[key] for key in KEY) for row in stored()}
    for study, rule, law, n_methods, n_seeds in cells(
        args.study or STUDIES, args.rule, args.law or tuple(LAWS)
    ):
        n_studies = STUDIES[study].per_row * (N_QUICK if args.quick else N_STUDIES)
        key = (study, rule, law, *map(str, (n_methods, n_seeds, n_studies)))
        if key in done:
            continue
        measured = STUDIES[study].row(rule, law, n_methods, n_seeds, n_studies)
        print(*key, *(f"{name} {value}" for name, value in measured.items()), flush=True)
        if not args.quick:
            keep({**dict(zip(KEY, key, strict=True)), **measured})


def stored() -> list[dict[str, str]]:
    """The rows of the results file."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def keep(row: dict[str, Any]) -> None:
    """Append one row to the results file."""
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, (*KEY, *MEASURED), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def tables(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """The tables of docs/statistics.md, by name, as Markdown.

    Args:
        rows: of the results file, complete.
    """
    at = {
        (r["study"], r["rule"], r["law"], int(r["n_methods"]), int(r["n_seeds"])): r for r in rows
    }

    def value(study: str, rule: str, law: str, n_methods: int, n_seeds: int, column: str) -> str:
        return at[study, rule, law, n_methods, n_seeds][column] or "none"

    def of_pairs(law: str, n_methods: int, column: str) -> list[str]:
        return [value("pairs", _RULE, law, n_methods, n, column) for n in N_SEEDS]

    numbers = [str(n) for n in N_SEEDS]
    return {
        "rules": markdown(
            ["rule", *(f"{law}, {n}" for law, n in _SHOWN)]
            + [f"half-width, {n}" for n in (5, 6, 20)]
            + ["any claim, 6", "share claimed, 6", "share claimed, 20", "ms, 20"],
            [
                [
                    f"`{rule}`",
                    *(value("pairs", rule, law, 7, n, "coverage") for law, n in _SHOWN),
                    *(value("pairs", rule, "normal", 7, n, "half_width") for n in (5, 6, 20)),
                    value("pairs", rule, "normal", 7, 6, "any"),
                    *(value("pairs", rule, "normal", 7, n, "power") for n in (6, 20)),
                    value("pairs", rule, "normal", 7, 20, "milliseconds"),
                ]
                for rule in PAIR_RULES
            ],
        ),
        "coverage": markdown(
            ["accuracies over seeds", "methods", *numbers],
            [
                [LAWS[law].meaning, str(n_methods), *of_pairs(law, n_methods, "coverage")]
                for law in LAWS
                for n_methods in (2, 7)
            ],
        ),
        "error": markdown(
            ["accuracies over seeds", "methods", *numbers],
            [
                [LAWS[law].meaning, str(n_methods), *of_pairs(law, n_methods, "error")]
                for law in LAWS
                for n_methods in (2, 7)
            ],
        ),
        "power": markdown(
            ["methods", "pairs", "what", *numbers],
            [
                [str(n), str(math.comb(n, 2)), what, *of_pairs("normal", n, column)]
                for n in N_METHODS
                for what, column in _POWERS
            ],
        ),
        "means": markdown(
            ["accuracies over seeds", "rule", *numbers],
            [
                [
                    LAWS[law].meaning.removeprefix("every second method "),
                    f"`{rule}`",
                    *(value("means", rule, law, 1, n, "coverage") for n in N_SEEDS),
                ]
                for law in (
                    "normal",
                    "images",
                    "few_errors",
                    "near_one",
                    "reaching_one",
                    "collapsing",
                )
                for rule in ("student-logit", "student-cut", "student-arcsine")
            ],
        ),
    }


_RULE = "bonferroni-t"
_SHOWN = (("normal", 6), ("normal", 20), ("unequal", 6), ("unequal", 20), ("exponential", 6))
_POWERS = (("half-width", "half_width"), ("any claim, %", "any"), ("share claimed, %", "power"))


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200 studies per row, nothing kept")
    parser.add_argument("--study", action="append", choices=list(STUDIES), default=[])
    parser.add_argument("--rule", action="append", choices=[*PAIR_RULES, *MEAN_RULES], default=[])
    parser.add_argument("--law", action="append", choices=list(LAWS), default=[])
    parser.add_argument("--tables", action="store_true", help="print the tables of the results")
    args = parser.parse_args()
    if args.tables:
        print("\n\n".join(f"{name}:\n\n{table}" for name, table in tables(stored()).items()))
    else:
        simulate(args)


if __name__ == "__main__":
    main()
