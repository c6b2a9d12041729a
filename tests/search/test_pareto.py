"""Fronts against brute force, closed-form areas, and invariances."""

from __future__ import annotations

import numpy as np
import pytest

from clsweep.search.pareto import hypervolume_2d, non_dominated

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
