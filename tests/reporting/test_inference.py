"""Intervals against closed forms, brute force, and their promise on simulated studies."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from clsweep.reporting.inference import (
    ACCURACY,
    Difference,
    Interval,
    differences,
    differences_of,
    ends_text,
    fewest_seeds,
    half_widths,
    interval,
    mean_ends,
    seeds_text,
    student_quantile,
)

Array = NDArray[np.float64]
ANY = (-math.inf, math.inf)
SEEDS = (3, 4, 5, 6, 7, 8, 10, 15, 20)


def noise(law: str, n_methods: int, n_seeds: int, n_studies: int = 20_000) -> Array:
    """Values of methods with equal means, zero, shape [studies, methods, seeds]."""
    rng = np.random.default_rng(7)
    normal = rng.standard_normal((n_studies, n_methods, n_seeds))
    if law == "unequal":
        return np.asarray(normal * np.geomspace(0.1, 10, n_methods)[:, None])
    if law == "skewed":
        # One method is skewed, the others are nearly certain.
        normal *= 0.05
        normal[:, 0] = rng.exponential(1, (n_studies, n_seeds)) - 1
    return normal


def pairs_of(values: Array) -> Array:
    """Differences of all pairs, shape [studies, pairs, seeds]."""
    chosen = list(combinations(range(values.shape[1]), 2))
    return np.stack([values[:, i] - values[:, j] for i, j in chosen], axis=1)


def covered(values: Array) -> float:
    """Share of the studies in which all intervals enclose the true difference, zero."""
    d = pairs_of(values)
    return float(np.mean(np.all(np.abs(d.mean(axis=-1)) <= half_widths(d), axis=1)))


class TestCoverage:
    @pytest.mark.parametrize("n_seeds", SEEDS)
    def test_of_one_pair(self, n_seeds: int) -> None:
        assert covered(noise("normal", 2, n_seeds)) == pytest.approx(0.95, abs=0.005)

    @pytest.mark.parametrize("n_seeds", [3, 6, 20])
    @pytest.mark.parametrize("law", ["normal", "unequal"])
    def test_of_21_pairs_at_once(self, law: str, n_seeds: int) -> None:
        """One spread for all methods (Tukey) would cover 86 % where they are unequal."""
        assert 0.945 <= covered(noise(law, 7, n_seeds, 4000)) <= 0.985

    @pytest.mark.parametrize(("n_seeds", "least"), [(6, 0.84), (10, 0.85), (20, 0.88)])
    def test_of_skewed_values_is_less(self, n_seeds: int, least: float) -> None:
        """As `docs/statistics.md` says; nobody shall read 95 % into it."""
        assert least <= covered(noise("skewed", 3, n_seeds)) <= 0.94

    def test_no_interval_covers_collapses_that_the_seeds_did_not_show(self) -> None:
        """20 points less in 15 % of the seeds: six seeds show none in 38 % of the studies."""
        rng = np.random.default_rng(3)
        steady, collapsing = rng.normal(0, 0.01, (2, 20_000, 6))
        has_collapsed = rng.random(collapsing.shape) < 0.15
        d = (steady - collapsing + 0.2 * has_collapsed)[:, None]
        misses = np.abs(d.mean(axis=-1) - 0.03) > half_widths(d)
        unseen = ~has_collapsed.any(axis=-1)
        assert np.mean(unseen) == pytest.approx(0.85**6, abs=0.01)
        assert np.mean(misses[unseen]) > 0.9
        assert 0.55 < 1 - np.mean(misses) < 0.7

    @pytest.mark.parametrize("n_seeds", [6, 10])
    def test_claims_between_equals_in_one_study_of_twenty(self, n_seeds: int) -> None:
        values = 0.5 + 0.01 * noise("normal", 3, n_seeds, 800)
        claims = [any(d.is_claim for d in differences("ABC", study, ACCURACY)) for study in values]
        assert 0.025 <= np.mean(claims) <= 0.065


class TestMoreSeeds:
    @pytest.mark.parametrize("n_pairs", [1, 3, 21, 45])
    def test_make_intervals_narrower(self, n_pairs: int) -> None:
        """The same studies, seed after seed: 1.65 with five seeds and 1.93 with six would fail."""
        d = np.random.default_rng(0).standard_normal((2000, n_pairs, 20))
        widths = [float(half_widths(d[..., :n]).mean()) for n in range(3, 21)]
        assert np.all(np.diff(widths) < 0)

    def test_make_the_interval_of_a_mean_narrower(self) -> None:
        values = np.random.default_rng(0).beta(45, 5, (4000, 20))
        ends = [mean_ends(values[:, :n], ACCURACY) for n in range(3, 21)]
        assert np.all(np.diff([float(np.mean(high - low)) for low, high in ends]) < 0)


class TestClaims:
    @pytest.mark.parametrize("n_seeds", SEEDS)
    def test_are_the_intervals_that_leave_out_zero(self, n_seeds: int) -> None:
        rng = np.random.default_rng(n_seeds)
        values = 0.5 + 0.01 * (rng.standard_normal((200, 4, n_seeds)) + np.arange(4)[:, None])
        found = [d for study in values for d in differences("ABCD", study, ACCURACY)]
        excluded = [d.interval.low > 0 for d in found]
        assert any(excluded)
        assert not all(excluded)
        enough = n_seeds >= 6
        assert [d.is_claim for d in found] == [enough and out for out in excluded]

    def test_a_constant_lead_is_a_claim_from_six_seeds(self) -> None:
        noise = np.random.default_rng(0).normal(0, 0.01, 6)
        for n, is_claim in ((5, False), (6, True)):
            values = np.array([noise[:n] + 0.5 + 0.001 * np.arange(n), noise[:n] + 0.1])
            (found,) = differences(["A", "B"], values, ACCURACY)
            assert (found.above, found.below, found.n_above) == ("A", "B", n)
            assert (found.is_claim, found.interval.kind) == (is_claim, "student")

    def test_half_width_is_students_with_bonferroni(self) -> None:
        values = np.random.default_rng(1).uniform(0.4, 0.6, (3, 7))
        for d in differences("ABC", values, ACCURACY):
            d_S = values["ABC".index(d.above)] - values["ABC".index(d.below)]
            # The quantile of Student's distribution with 6 degrees of freedom at 1 - 0.05/6.
            half = 3.2874 * d_S.std(ddof=1) / math.sqrt(7)
            assert d.interval.high - d.interval.mean == pytest.approx(half, rel=1e-4)
            assert d.interval.mean - d.interval.low == pytest.approx(half, rel=1e-4)
            assert d.n_above == (d_S > 0).sum()

    @pytest.mark.parametrize("lead", [0.0, 0.004])
    def test_seeds_that_are_all_equal_show_no_spread(self, lead: float) -> None:
        """An interval of one point would say more than anybody knows."""
        base = np.linspace(0.5, 0.6, 8)
        (found,) = differences(["A", "B"], np.array([base + lead, base]), ACCURACY)
        assert (found.is_claim, found.interval.kind) == (False, "none")
        assert found.interval.absence == "seeds all equal"
        assert math.isnan(found.interval.low)
        assert found.interval.mean == pytest.approx(lead, abs=1e-12)

    def test_equal_but_for_rounding(self) -> None:
        """0.1 + 0.2 is not 0.3 in binary: no spread, no difference, no claim."""
        (found,) = differences(["A", "B"], np.array([[0.1 + 0.2] * 8, [0.3] * 8]), ACCURACY)
        assert (found.is_claim, found.n_above, found.interval.kind) == (False, 0, "none")

    def test_few_images_and_few_seeds(self) -> None:
        """250 images, 98.5 % right: three seeds of a pair are equal in one study of six."""
        rng = np.random.default_rng(8)
        right = np.linspace(0.985, 0.9925, 7)[:, None]
        values = rng.binomial(250, right, (4000, 7, 3)) / 250
        d = pairs_of(values)
        truth = pairs_of(right[None])[0, :, 0]
        halves = half_widths(d)
        assert 0.1 < np.mean(np.isnan(halves).any(axis=1)) < 0.6
        misses = np.abs(d.mean(axis=-1) - truth) > halves
        assert np.mean(misses.any(axis=1)) <= 0.055

    def test_one_seed_of_eight_differs(self) -> None:
        base = np.linspace(0.5, 0.6, 8)
        (found,) = differences(["A", "B"], np.array([base + 0.01 * (base > 0.59), base]), ACCURACY)
        assert not found.is_claim
        assert found.interval.low < 0 < found.interval.high

    def test_a_pair_that_is_tied_leaves_the_others_as_they_are(self) -> None:
        base = np.linspace(0.5, 0.6, 6)
        below = base - 0.2 + np.array([1, -2, 0, 2, -1, 1]) / 100
        found = differences("ABC", np.array([base, base, below]), ACCURACY)
        assert [(d.above, d.below, d.is_claim) for d in found] == [
            ("A", "C", True),
            ("B", "C", True),
            ("A", "B", False),
        ]

    def test_the_larger_is_named_first_and_largest_differences_first(self) -> None:
        values = np.array([[0.1, 0.11], [0.5, 0.52], [0.3, 0.3]])
        found = differences(["a", "b", "c"], values, ACCURACY)
        assert [(d.above, d.below) for d in found] == [("b", "a"), ("b", "c"), ("c", "a")]
        assert found[0].interval.mean == pytest.approx(0.405)
        turned = differences(["c", "b", "a"], values[::-1], ACCURACY)
        assert {(d.above, d.below) for d in turned} == {(d.above, d.below) for d in found}

    def test_more_pairs_make_wider_intervals(self) -> None:
        values = np.random.default_rng(5).uniform(0, 1, (8, 10))
        (alone,) = differences(["0", "1"], values[:2], ACCURACY)
        among = differences([str(i) for i in range(8)], values, ACCURACY)
        (same,) = (d for d in among if {d.above, d.below} == {"0", "1"})
        assert same.interval.mean == pytest.approx(alone.interval.mean)
        assert same.interval.high > alone.interval.high

    def test_a_label_without_a_number_is_left_out(self) -> None:
        values = np.array([[0.1, 0.2], [np.nan, 0.2], [0.3, 0.3]])
        assert [(d.above, d.below) for d in differences("abc", values, ACCURACY)] == [("c", "a")]


class TestSentences:
    def test_claim(self) -> None:
        steps = np.arange(8) * 0.0001
        (claim,) = differences(["A", "B"], np.array([0.512 + steps, np.full(8, 0.5)]), ACCURACY)
        assert claim.sentence() == "A above B by 1.2 points, 95 % CI [1.2, 1.3]"

    def test_no_claim(self) -> None:
        noise = np.array([-20, 30, -10, 20, -30, 20, 10, -12]) / 1000
        (equal,) = differences(["A", "B"], np.array([0.5 + noise, np.full(8, 0.5)]), ACCURACY)
        assert equal.sentence().startswith("A and B not told apart: 0.1 points, 95 % CI [-")

    def test_an_interval_above_zero_of_too_few_seeds(self) -> None:
        (early,) = differences(
            ["A", "B"], np.array([[0.51, 0.52, 0.53, 0.52], [0.4] * 4]), ACCURACY
        )
        assert early.sentence() == (
            "A above B by 12.0 points, 95 % CI [10.7, 13.3] if differences are normal: no claim "
            "from 4 seeds"
        )

    @pytest.mark.parametrize("n", [1, 2])
    def test_no_interval(self, n: int) -> None:
        (one,) = differences(["A", "B"], np.array([[0.6, 0.61], [0.5, 0.51]])[:, :n], ACCURACY)
        assert one.sentence() == (f"A above B by 10.0 points: too few seeds (n = {n}), no claim")

    @pytest.mark.parametrize(
        ("low", "high", "factor", "text"),
        [
            (0.0002, 0.0213, 100, ("0.02", "2.13")),
            (-0.0002, 0.0213, 100, ("0.0", "2.1")),
            (0.0123, 0.0213, 100, ("1.2", "2.1")),
            (0.0002, 0.0213, -100, ("-2.13", "-0.02")),
            (0.0, 0.0, 100, ("0.0", "0.0")),
            (1e-13, 1e-13, 100, ("0.0", "0.0")),
        ],
    )
    def test_ends_show_on_which_side_of_zero_they_lie(
        self, low: float, high: float, factor: float, text: tuple[str, str]
    ) -> None:
        """A claim beside '[0.0, 2.1]' would contradict itself."""
        found = Interval((low + high) / 2, low, high, 6, "student")
        assert ends_text(found, factor, 1) == text
        claim = Difference("A", "B", found, 6, low > 0).sentence()
        assert ("not told apart" in claim) == (low <= 0)


class TestFewSeeds:
    def test_six_at_95_percent(self) -> None:
        # 2/2⁵ = 0.0625 and 2/2⁶ = 0.03125.
        assert fewest_seeds(0.95) == 6
        assert fewest_seeds(0.99) == 8
        assert fewest_seeds(0.75) == 3

    def test_what_is_said(self) -> None:
        assert seeds_text(6) == ""
        assert "2^3 = 8 patterns of signs" in seeds_text(3)
        assert "probability 0.25 by luck" in seeds_text(3)
        assert "Intervals are Student's" in seeds_text(3)
        assert seeds_text(2).endswith("There are no intervals: they take 3.")

    @pytest.mark.parametrize(
        ("df", "quantile"),
        # tan(π (p − ½)); (2p − 1) √(2 / (4p (1 − p))); and a table's values.
        [
            (1, math.tan(math.pi * 0.475)),
            (2, 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025))),
            (3, 3.182446),
            (4, 2.776445),
            (9, 2.262157),
            (30, 2.042272),
        ],
    )
    def test_student_quantile(self, df: int, quantile: float) -> None:
        assert student_quantile(0.975, df) == pytest.approx(quantile, rel=1e-6)

    @pytest.mark.parametrize("values", [[0.5], [0.5, 0.6], [0.5, 0.6, math.nan]], ids=len)
    def test_no_interval(self, values: list[float]) -> None:
        """Student's of two accuracies is as wide as [-723 %, 740 %]."""
        found = interval(np.array(values), ACCURACY)
        assert (found.kind, found.n) == ("none", len(values))
        assert found.absence == ("not a number" if len(values) == 3 else "too few seeds")
        assert math.isnan(found.low)
        assert math.isnan(found.high)

    def test_of_two_seeds_of_a_pair(self) -> None:
        (found,) = differences("AB", np.array([[0.5, 0.6], [0.4, 0.3]]), ACCURACY)
        assert (found.interval.kind, found.is_claim) == ("none", False)
        assert math.isnan(found.interval.low)


class TestMean:
    def test_on_the_logit_scale(self) -> None:
        values = np.array([0.9, 0.96, 0.99])
        found = interval(values, ACCURACY)
        assert (found.kind, found.n) == ("student-logit", 3)
        step = 4.302653 * values.std(ddof=1) / math.sqrt(3) / (0.95 * 0.05)
        logit = math.log(0.95 / 0.05)
        assert found.low == pytest.approx(1 / (1 + math.exp(step - logit)), rel=1e-6)
        assert found.high == pytest.approx(1 / (1 + math.exp(-step - logit)), rel=1e-6)

    def test_small_spread_is_students(self) -> None:
        values = 0.8 + 0.001 * np.arange(5)
        found = interval(values, ACCURACY)
        half = 2.776445 * values.std(ddof=1) / math.sqrt(5)
        assert found.high - found.mean == pytest.approx(half, rel=0.01)
        assert found.mean - found.low == pytest.approx(half, rel=0.01)

    @pytest.mark.parametrize("n_seeds", [3, 6])
    def test_never_outside_of_what_an_accuracy_can_be(self, n_seeds: int) -> None:
        rng = np.random.default_rng(0)
        wild = rng.integers(0, 2, (200, n_seeds)).astype(float)
        near = rng.binomial(250, 0.996, (200, n_seeds)) / 250
        for values in (*wild, *near):
            found = interval(values, ACCURACY)
            assert found.absence or 0 <= found.low <= found.mean <= found.high <= 1

    @pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
    def test_equal_seeds_have_no_interval(self, value: float) -> None:
        found = interval(np.full(5, value), ACCURACY)
        assert (found.mean, found.kind, found.absence) == (value, "none", "seeds all equal")

    @pytest.mark.parametrize("n_seeds", [3, 6, 20])
    def test_covers_accuracies_near_one(self, n_seeds: int) -> None:
        """Accuracies of mean 0.9 that reach 1: Student's cut at 1 covers 89 to 93 %."""
        values = np.random.default_rng(1).beta(9, 1, (20_000, n_seeds))
        low, high = mean_ends(values, ACCURACY)
        assert np.mean((low <= 0.9) & (high >= 0.9)) >= 0.935

    @pytest.mark.parametrize("n_seeds", SEEDS)
    def test_covers_normal_accuracies(self, n_seeds: int) -> None:
        values = 0.8 + 0.01 * np.random.default_rng(1).standard_normal((20_000, n_seeds))
        low, high = mean_ends(values, ACCURACY)
        assert np.mean((low <= 0.8) & (high >= 0.8)) == pytest.approx(0.95, abs=0.006)

    def test_without_an_upper_bound_it_is_students_cut_at_zero(self) -> None:
        found = interval(np.array([0.2, 1.1, 1.4]), (0.0, math.inf))
        half = 4.302653 * np.std([0.2, 1.1, 1.4], ddof=1) / math.sqrt(3)
        assert (found.low, found.kind) == (0.0, "student")
        assert found.high == pytest.approx(0.9 + half, rel=1e-6)

    def test_a_difference_is_cut_at_what_is_possible(self) -> None:
        (found,) = differences("AB", np.array([[0.9, 0.1, 0.9], [0.1, 0.1, 0.2]]), ACCURACY)
        assert found.interval.high == 1.0
        assert found.interval.low >= -1.0

    @pytest.mark.parametrize("value", [1.01, -0.01])
    def test_values_that_are_no_accuracies_are_refused(self, value: float) -> None:
        values = np.array([0.5, 0.5, value])
        with pytest.raises(ValueError, match="where 0.0 to 1.0 is possible"):
            interval(values, ACCURACY)
        with pytest.raises(ValueError, match="where 0.0 to 1.0 is possible"):
            differences("AB", np.array([values, [0.5] * 3]), ACCURACY)
        assert ACCURACY == (0.0, 1.0)


class TestSeveralMeasures:
    def test_one_measure_is_as_alone(self) -> None:
        values = np.random.default_rng(0).normal(size=(3, 8))
        assert differences_of("ABC", [values], [ANY]) == (differences("ABC", values, ANY),)

    @pytest.mark.parametrize("n_seeds", [4, 8])
    def test_intervals_of_several_are_wider_than_of_one(self, n_seeds: int) -> None:
        values = np.random.default_rng(1).normal(size=(3, n_seeds))
        alone = {(d.above, d.below): d.interval for d in differences("ABC", values, ANY)}
        for of_measure in differences_of("ABC", [values, values, -values], [ANY] * 3):
            assert len(of_measure) == 3
            for d in of_measure:
                own = alone.get((d.above, d.below)) or alone[d.below, d.above]
                assert d.interval.high - d.interval.low > own.high - own.low

    def test_a_label_without_a_value_is_left_out_of_that_measure_alone(self) -> None:
        values = np.random.default_rng(2).normal(size=(3, 8))
        other = values.copy()
        other[1, 3] = np.nan
        first, second = differences_of("ABC", [values, other], [ANY] * 2)
        assert len(first) == 3
        assert {(d.above, d.below) for d in second} <= {("A", "C"), ("C", "A")}
        # Four pairs in all: three of the first measure, one of the second.
        for d in (*first, *second):
            d_S = values[ord(d.above) - ord("A")] - values[ord(d.below) - ord("A")]
            q = stats.t.ppf(1 - 0.05 / (2 * 4), 7)
            assert d.interval.high - d.interval.mean == pytest.approx(q * stats.sem(d_S))
        # A measure without a pair costs the others nothing.
        assert differences_of("ABC", [values, np.full_like(values, np.nan)], [ANY] * 2)[
            0
        ] == differences("ABC", values, ANY)

    def test_all_of_them_hold_at_once(self) -> None:
        rng = np.random.default_rng(3)
        held = [
            all(
                d.interval.low <= 0 <= d.interval.high
                for of_measure in differences_of("ABC", rng.normal(size=(3, 3, 10)), [ANY] * 3)
                for d in of_measure
            )
            for _ in range(200)
        ]
        assert 0.93 <= np.mean(held) <= 0.995
