"""Intervals against closed forms, brute force, and their promise on simulated fronts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from clsweep import fronts
from clsweep.inference import (
    _factor,
    differences,
    differences_of,
    fewest_seeds,
    interval,
    seeds_text,
    student_quantile,
)

Array = NDArray[np.float64]


def simulated_areas(n_studies: int, n_seeds: int, bends: tuple[float, ...], seed: int) -> Array:
    """Hypervolumes of noisy fronts, shape [studies, methods, seeds].

    Every seed has luck that all methods share, and every point has noise of its own.
    """
    rng = np.random.default_rng(seed)
    u = np.linspace(0, 1, 6)
    curves = np.array([[1 - (1 - u) ** b / 2, 1 - u**b / 2] for b in bends])  # methods, 2, points
    shape = (n_studies, len(bends), n_seeds, 2, len(u))
    luck = rng.normal(0, 0.01, (n_studies, 1, n_seeds, 2, 1))
    points = curves[None, :, None] + luck + rng.normal(0, 0.01, shape)
    return areas(points[..., 0, :], points[..., 1, :])


def areas(source: Array, target: Array) -> Array:
    """Area beyond the origin of many sets of points at once, by another way than `fronts`."""
    order = np.argsort(-source, axis=-1)
    x, y = (np.take_along_axis(v, order, axis=-1) for v in (source, target))
    highest = np.maximum.accumulate(y, axis=-1)
    rises = np.diff(highest, axis=-1, prepend=0.0)
    return np.asarray((x * rises).sum(axis=-1))


def test_the_simulation_has_the_areas_of_fronts() -> None:
    points = np.random.default_rng(0).uniform(0.1, 1, (20, 2, 6))
    expected = [fronts.hypervolume_2d(p.T, (0.0, 0.0)) for p in points]
    np.testing.assert_allclose(areas(points[:, 0], points[:, 1]), expected)


BENDS = (3.0, 2.6, 2.0)


@pytest.fixture(scope="module")
def truth() -> Array:
    """Expected area of each method."""
    return np.asarray(simulated_areas(20_000, 1, BENDS, seed=1).mean(axis=(0, 2)))


def holds(study: Array, truth: Array) -> bool:
    """Whether the intervals of all pairs enclose the true differences."""
    at = {str(index): value for index, value in enumerate(truth)}
    return all(
        d.interval.low <= at[d.above] - at[d.below] <= d.interval.high
        for d in differences([*at], study)
    )


class TestCoverage:
    @pytest.mark.parametrize("n_seeds", [4, 10, 20])
    def test_of_one_pair(self, n_seeds: int, truth: Array) -> None:
        expected = truth[0] - truth[1]
        held = []
        for study in simulated_areas(1000, n_seeds, BENDS, seed=2):
            (found,) = differences(["A", "B"], study[:2])
            sign = 1 if found.above == "A" else -1
            held.append(found.interval.low <= sign * expected <= found.interval.high)
        assert 0.93 <= np.mean(held) <= 0.97

    @pytest.mark.parametrize(
        ("n_seeds", "most"), [(6, 0.985), (8, 0.98), (10, 0.97), (20, 0.97)], ids="{}".format
    )
    def test_of_all_pairs_at_once(self, n_seeds: int, most: float, truth: Array) -> None:
        """With the fewest seeds a little too wide."""
        studies = simulated_areas(400, n_seeds, BENDS, seed=3)
        assert 0.93 <= np.mean([holds(study, truth) for study in studies]) <= most

    def test_of_skewed_values(self) -> None:
        """Exponential, which Student's quantile covers 86 %."""
        values = np.random.default_rng(7).exponential(1, (300, 3, 10))
        values[:, 0] = np.random.default_rng(8).normal(0, 0.05, (300, 10))
        truth = np.array([0.0, 1.0, 1.0])
        assert 0.9 <= np.mean([holds(study, truth) for study in values]) <= 0.97

    def test_of_21_pairs(self) -> None:
        bends = tuple(np.linspace(3, 2, 7))
        truth = simulated_areas(20_000, 1, bends, seed=1).mean(axis=(0, 2))
        held = [holds(study, truth) for study in simulated_areas(200, 10, bends, seed=3)]
        assert 0.93 <= np.mean(held) <= 0.97

    def test_no_claim_between_equals_in_more_than_a_twentieth(self) -> None:
        claims = [
            any(d.is_claim for d in differences("ABC", study))
            for study in simulated_areas(400, 8, (2.0, 2.0, 2.0), seed=4)
        ]
        assert np.mean(claims) <= 0.07


class TestClaims:
    def test_a_constant_lead_is_a_claim_from_six_seeds(self) -> None:
        noise = np.random.default_rng(0).normal(0, 0.01, 6)
        for n, is_claim in ((5, False), (6, True)):
            values = np.array([noise[:n] + 0.5 + 0.001 * np.arange(n), noise[:n]])
            (found,) = differences(["A", "B"], values)
            assert (found.above, found.below, found.n_above) == ("A", "B", n)
            assert found.is_claim is is_claim
            assert found.interval.kind == ("bootstrap-t" if is_claim else "student")

    def test_equal_in_everything(self) -> None:
        (found,) = differences(["A", "B"], np.full((2, 8), 0.5))
        assert not found.is_claim
        assert (found.interval.low, found.interval.high) == (0.0, 0.0)

    @pytest.mark.parametrize("n_seeds", [6, 8, 20])
    @pytest.mark.parametrize("shift", [0.0, 0.05])
    def test_all_seeds_but_one_differ_by_the_same(self, n_seeds: int, shift: float) -> None:
        """A third of the resamples have no spread: Student's interval, and no claim."""
        base = np.linspace(0.5, 0.6, n_seeds)
        d_S = np.full(n_seeds, shift)
        d_S[-1] += 0.01
        (found,) = differences(["A", "B"], np.array([base + d_S, base]))
        assert (found.interval.kind, found.is_claim) == ("student", False)
        half = student_quantile(0.975, n_seeds - 1) * d_S.std(ddof=1) / math.sqrt(n_seeds)
        assert found.interval.high - found.interval.mean == pytest.approx(half)

    def test_a_pair_that_is_nearly_tied_leaves_the_others_as_they_are(self) -> None:
        base = np.linspace(0.5, 0.6, 6)
        nearly = base + np.array([0, 0, 0, 0, 0, 0.01])
        below = base - 0.2 + np.array([1, -2, 0, 2, -1, 1]) / 100
        found = differences("ABC", np.array([nearly, base, below]))
        assert [(d.above, d.below, d.is_claim) for d in found] == [
            ("A", "C", True),
            ("B", "C", True),
            ("A", "B", False),
        ]
        assert max(d.interval.high - d.interval.low for d in found) < 0.1

    def test_seeds_that_are_half_one_half_the_other(self) -> None:
        """One resample in 32 has no spread, which is few enough."""
        d_S = np.array([0.01, 0.03] * 3)
        (found,) = differences(["A", "B"], np.array([0.5 + d_S, np.full(6, 0.5)]))
        assert found.interval.kind == "bootstrap-t"
        assert 0 < found.interval.high - found.interval.mean < 0.05

    def test_the_larger_is_named_first_and_largest_differences_first(self) -> None:
        values = np.array([[0.1, 0.11], [0.5, 0.52], [0.3, 0.3]])
        found = differences(["a", "b", "c"], values)
        assert [(d.above, d.below) for d in found] == [("b", "a"), ("b", "c"), ("c", "a")]
        assert found[0].interval.mean == pytest.approx(0.405)
        turned = differences(["c", "b", "a"], values[::-1])
        assert {(d.above, d.below) for d in turned} == {(d.above, d.below) for d in found}

    def test_more_pairs_make_wider_intervals(self) -> None:
        values = np.random.default_rng(5).normal(0, 1, (8, 10))
        (alone,) = differences(["0", "1"], values[:2])
        among = differences([str(i) for i in range(8)], values)
        (same,) = (d for d in among if {d.above, d.below} == {"0", "1"})
        assert same.interval.mean == pytest.approx(alone.interval.mean)
        assert same.interval.high > alone.interval.high

    def test_a_label_without_a_number_is_left_out(self) -> None:
        values = np.array([[0.1, 0.2], [np.nan, 0.2], [0.3, 0.3]])
        assert [(d.above, d.below) for d in differences("abc", values)] == [("c", "a")]

    def test_sentences(self) -> None:
        steps = np.arange(8) * 0.0001
        (claim,) = differences(["A", "B"], np.array([0.512 + steps, np.full(8, 0.5)]))
        assert claim.sentence().startswith("A above B by 1.2 points, 95 % CI [1.2, 1.3]")
        noise = np.array([-20, 30, -10, 20, -30, 20, 10, -12]) / 1000
        (equal,) = differences(["A", "B"], np.array([0.5 + noise, np.full(8, 0.5)]))
        assert equal.sentence().startswith("A and B not told apart: 0.1 points, 95 % CI [-")
        (one,) = differences(["A", "B"], np.array([[0.6], [0.5]]))
        assert one.sentence() == "A above B by 10.0 points, one seed: no claim"


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

    def test_student_interval_of_three_seeds(self) -> None:
        # Mean 2, standard error 1/√3.
        found = interval(np.array([1.0, 2.0, 3.0]))
        half = 4.302653 / math.sqrt(3)
        assert (found.low, found.high) == (pytest.approx(2 - half), pytest.approx(2 + half))

    def test_one_seed_has_no_interval(self) -> None:
        found = interval(np.array([0.5]))
        assert (found.mean, found.kind) == (0.5, "none")
        assert math.isnan(found.low)


def test_bootstrap_quantile_against_a_loop() -> None:
    values = np.random.default_rng(6).exponential(1, 7)
    found = interval(values)
    rng = np.random.default_rng(7)
    ts = []
    for _ in range(20_000):
        drawn = values[rng.integers(0, 7, 7)]
        error = drawn.std(ddof=1) / math.sqrt(7)
        ts.append(abs(drawn.mean() - values.mean()) / error if error > 0 else math.inf)
    half = np.quantile(ts, 0.95) * values.std(ddof=1) / math.sqrt(7)
    assert found.high - found.mean == pytest.approx(half, rel=0.1)
    assert found.mean - found.low == pytest.approx(half, rel=0.1)


class TestFactor:
    """How much wider the intervals of all pairs are than that of one pair alone."""

    def test_one_pair(self) -> None:
        assert _factor(np.random.default_rng(0).normal(size=(2, 8))) == 1.0

    def test_independent_methods_of_equal_spread_have_the_studentised_range(self) -> None:
        """Differences of equal means, each with a spread of its own: by simulation, naively."""
        rng = np.random.default_rng(1)
        largest = []
        for _ in range(4000):
            values = rng.normal(size=(4, 10))
            pairs = [values[i] - values[j] for i in range(4) for j in range(i)]
            largest.append(max(abs(d.mean()) / (d.std(ddof=1) / math.sqrt(10)) for d in pairs))
        expected = np.quantile(largest, 0.95) / student_quantile(0.975, 9)
        found = [_factor(rng.normal(size=(4, 10))) for _ in range(40)]
        assert np.mean(found) == pytest.approx(expected, rel=0.03)

    def test_what_seeds_have_in_common_does_not_count(self) -> None:
        rng = np.random.default_rng(2)
        values = rng.normal(size=(5, 12))
        assert _factor(values + 100 * rng.normal(size=12)) == pytest.approx(_factor(values))

    def test_the_order_of_methods_does_not_count(self) -> None:
        values = np.random.default_rng(3).normal(size=(5, 12)) * np.array([[1, 2, 1, 3, 1]]).T
        assert _factor(values[::-1]) == pytest.approx(_factor(values), rel=0.03)

    def test_a_scale_does_not_count(self) -> None:
        values = np.random.default_rng(3).normal(size=(5, 12))
        assert _factor(1e-4 * values) == pytest.approx(_factor(values))

    def test_nearly_equal_methods_are_fewer_methods(self) -> None:
        """Of six methods in two groups of triplets, nine pairs of fifteen are nearly one."""
        rng = np.random.default_rng(4)
        groups = np.repeat(rng.normal(size=(2, 200)), 3, axis=0)
        alike = _factor(groups + 0.001 * rng.normal(size=(6, 200)))
        assert alike < 0.98 * _factor(rng.normal(size=(6, 200)))

    def test_methods_without_any_spread(self) -> None:
        assert _factor(np.full((4, 8), 0.5)) == 1.0


class TestSeveralMeasures:
    def test_one_measure_is_as_alone(self) -> None:
        values = np.random.default_rng(0).normal(size=(3, 8))
        assert differences_of("ABC", [values]) == (differences("ABC", values),)

    @pytest.mark.parametrize("n_seeds", [4, 8])
    def test_intervals_of_several_are_wider_than_of_one(self, n_seeds: int) -> None:
        values = np.random.default_rng(1).normal(size=(3, n_seeds))
        alone = {(d.above, d.below): d.interval for d in differences("ABC", values)}
        for of_measure in differences_of("ABC", [values, values, -values]):
            assert len(of_measure) == 3
            for d in of_measure:
                own = alone.get((d.above, d.below)) or alone[d.below, d.above]
                assert d.interval.high - d.interval.low > own.high - own.low

    def test_a_label_without_a_value_is_left_out_of_that_measure_alone(self) -> None:
        values = np.random.default_rng(2).normal(size=(3, 8))
        other = values.copy()
        other[1, 3] = np.nan
        first, second = differences_of("ABC", [values, other])
        assert len(first) == 3
        assert {(d.above, d.below) for d in second} <= {("A", "C"), ("C", "A")}
        # A measure without a pair costs the others nothing.
        assert differences_of("ABC", [values, np.full_like(values, np.nan)])[0] == differences(
            "ABC", values
        )

    def test_all_of_them_hold_at_once(self) -> None:
        rng = np.random.default_rng(3)
        held = [
            all(
                d.interval.low <= 0 <= d.interval.high
                for of_measure in differences_of("ABC", rng.normal(size=(3, 3, 10)))
                for d in of_measure
            )
            for _ in range(200)
        ]
        assert 0.93 <= np.mean(held) <= 0.995
