"""Fronts against brute force, closed-form areas, and invariances."""

from __future__ import annotations

import numpy as np
import pytest

from clsweep.search.pareto import attainment, hypervolume_2d, non_dominated, source_at_target

NAN = float("nan")


def test_means_of_equal_counts_are_equal_whatever_they_round_to():
    one, other = (0.1 + 0.2 + 0.3) / 3, (0.3 + 0.2 + 0.1) / 3
    assert one != other
    for source in ((one, other), (other, one)):
        assert non_dominated([(source[0], 0.5), (source[1], 0.5)]).tolist() == [True, True]
        assert non_dominated([(source[0], 0.5), (source[1], 0.6)]).tolist() == [False, True]


def clouds():
    """Random clouds on a coarse grid, so that ties and duplicates are frequent."""
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 3, 5, 12, 40):
        for _ in range(12):
            yield rng.integers(0, 7, size=(n, 2)) / 6


def brute_mask(points):
    def dominates(p, q):
        return (p >= q).all() and (p > q).any()

    return np.array([not any(dominates(p, q) for p in points) for q in points], dtype=bool)


def brute_area(points, reference, cells=6):
    """Exact for points on the grid of 1/6: a cell counts when some point covers its far corner."""
    area = 0
    for i in range(cells):
        for j in range(cells):
            corner = np.array([i + 1, j + 1]) / cells
            inside = i / cells >= reference[0] - 1e-9 and j / cells >= reference[1] - 1e-9
            area += inside and any((p >= corner - 1e-9).all() for p in points)
    return area / cells**2


class TestNonDominated:
    def test_equals_brute_force(self):
        for points in clouds():
            np.testing.assert_array_equal(non_dominated(points), brute_mask(points))

    def test_is_invariant_to_order(self):
        rng = np.random.default_rng(1)
        for points in clouds():
            order = rng.permutation(len(points))
            np.testing.assert_array_equal(non_dominated(points[order]), brute_mask(points)[order])

    def test_duplicates_are_all_kept(self):
        assert non_dominated([[1, 0], [0, 1], [1, 0], [0, 0]]).tolist() == [
            True,
            True,
            True,
            False,
        ]

    def test_ties_in_one_coordinate(self):
        assert non_dominated([[0.5, 0.1], [0.5, 0.9], [0.2, 0.9]]).tolist() == [False, True, False]

    def test_nan_is_on_no_front_and_dominates_nothing(self):
        assert non_dominated([[NAN, 1], [0.2, 0.2], [1, NAN]]).tolist() == [False, True, False]

    def test_no_points(self):
        assert non_dominated([]).shape == (0,)


class TestHypervolume:
    def test_equals_counting_cells(self):
        for points in clouds():
            for reference in ((0, 0), (1 / 3, 1 / 6)):
                expected = brute_area(points, reference)
                assert hypervolume_2d(points, reference) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("n", [1, 2, 10, 100])
    def test_staircase(self, n):
        i = np.arange(n)
        area = hypervolume_2d(np.column_stack([i + 1, n - i]), (0, 0))
        assert area == pytest.approx(n * (n + 1) / 2)

    def test_a_dominated_or_repeated_point_changes_nothing(self):
        points = np.array([[0.9, 0.2], [0.5, 0.6], [0.1, 0.8]])
        more = np.vstack([points, points[1], [0.4, 0.5]])
        assert hypervolume_2d(more, (0, 0)) == hypervolume_2d(points, (0, 0))

    def test_points_behind_the_reference_add_nothing(self):
        assert hypervolume_2d([[0.9, 0.05], [0.05, 0.9], [NAN, 1]], (0.1, 0.1)) == 0.0
        assert hypervolume_2d([], (0, 0)) == 0.0


class TestSourceAtTarget:
    POINTS = ((0.9, 0.2), (0.6, 0.6), (0.5, 0.6), (0.1, 0.8))

    @pytest.mark.parametrize(
        ("tau", "expected"), [(0.0, 0.9), (0.2, 0.9), (0.21, 0.6), (0.6, 0.6), (0.8, 0.1)]
    )
    def test_the_best_of_those_that_reach_it(self, tau, expected):
        assert source_at_target(self.POINTS, tau) == expected

    def test_not_reached(self):
        assert np.isnan(source_at_target(self.POINTS, 0.81))
        assert np.isnan(source_at_target([], 0.0))

    def test_equals_brute_force(self):
        for points in clouds():
            for tau in (0.0, 0.4, 0.5, 1.0):
                reached = [s for s, t in points if t >= tau]
                expected = max(reached) if reached else NAN
                np.testing.assert_equal(source_at_target(points, tau), expected)


class TestAttainment:
    SEEDS = ([(0.9, 0.3), (0.5, 0.7)], [(0.8, 0.4), (0.6, 0.6)], [(0.7, 0.5), (0.4, 0.8)])

    def test_median_extremes_and_linear_quantiles(self):
        # At a target of 0.5 the seeds keep 0.5, 0.6 and 0.7.
        got = attainment(self.SEEDS, [0.5], [0.0, 0.25, 0.5, 1.0])
        np.testing.assert_allclose(got[:, 0], [0.5, 0.55, 0.6, 0.7])

    def test_a_seed_that_does_not_reach_the_target_is_the_worst(self):
        # At 0.7 the seeds keep 0.5, nothing and 0.4.
        got = attainment(self.SEEDS, [0.7], [0.0, 0.25, 0.5, 0.75, 1.0])
        np.testing.assert_allclose(got[:, 0], [NAN, NAN, 0.4, 0.45, 0.5])

    def test_agrees_with_numpy_where_every_seed_reaches(self):
        rng = np.random.default_rng(0)
        seeds = [rng.random((9, 2)) for _ in range(5)]
        reached = [[source_at_target(p, t) for t in (0.1, 0.3)] for p in seeds]
        quantiles = [0.1, 0.5, 0.9]
        np.testing.assert_allclose(
            attainment(seeds, [0.1, 0.3], quantiles), np.quantile(reached, quantiles, axis=0)
        )

    def test_is_never_the_front_of_pooled_seeds(self):
        # The pool would keep 0.9 at a target of 0.3, which only one of three seeds does.
        assert attainment(self.SEEDS, [0.3], [0.5])[0, 0] == 0.8

    def test_falls_as_the_target_rises(self):
        rng = np.random.default_rng(1)
        seeds = [rng.random((9, 2)) for _ in range(4)]
        median = attainment(seeds, np.linspace(0, 0.6, 20), [0.5])[0]
        assert (np.diff(median) <= 0).all()

    def test_no_seeds(self):
        assert np.isnan(attainment([], [0.5], [0.1, 0.9])).all()
