"""The simulation behind the rule for intervals: its laws, and its rules by brute force."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import coverage
from clsweep.reporting.inference import differences

Array = NDArray[np.float64]
HOUSE = Path(__file__).parents[2]


@pytest.mark.parametrize("law", coverage.LAWS)
def test_laws_have_the_means_that_they_state(law: str) -> None:
    positions = np.array([0.0, 3.0])
    drawn = coverage.LAWS[law].draw(np.random.default_rng(0), positions, (40_000, 2, 1))
    error = drawn.std(axis=(0, 2)) / math.sqrt(40_000)
    off = drawn.mean(axis=(0, 2)) - coverage.LAWS[law].means(positions)
    assert np.all(np.abs(off) < 4 * error)
    assert coverage.LAWS[law].means(positions)[1] > coverage.LAWS[law].means(positions)[0]


def test_the_rule_of_the_library_is_what_is_simulated() -> None:
    values = coverage.LAWS["normal"].draw(np.random.default_rng(1), np.arange(3.0), (5, 3, 6))
    found = coverage.bonferroni_t(values)
    for study, low, high, claims in zip(values, *found, strict=True):
        by_pair = {(d.above, d.below): d for d in differences("012", study, (0.0, 1.0))}
        for place, (i, j) in enumerate(itertools.combinations("012", 2)):
            above = (i, j) in by_pair
            d = by_pair[i, j] if above else by_pair[j, i]
            ends = (
                (d.interval.low, d.interval.high) if above else (-d.interval.high, -d.interval.low)
            )
            assert ends == pytest.approx((low[place], high[place]))
            assert d.is_claim == claims[place]


def test_two_methods_have_one_interval_by_every_form_of_student() -> None:
    values = np.random.default_rng(2).uniform(0, 1, (3, 2, 7))
    expected = coverage.bonferroni_t(values)
    np.testing.assert_allclose(coverage.tukey(values).low_RP, expected.low_RP, rtol=1e-6)
    np.testing.assert_array_equal(coverage.holm_t(values).is_claim_RP, expected.is_claim_RP)


def test_sign_flips_against_a_loop() -> None:
    """All 64 patterns: the largest |t| must exceed that of all but 5 % of them."""
    d = np.random.default_rng(3).normal(0.5, 1, (3, 6))
    largest = []
    for signs in itertools.product([1, -1], repeat=6):
        flipped = d * np.array(signs)
        t = flipped.mean(axis=1) / (flipped.std(axis=1, ddof=1) / math.sqrt(6))
        largest.append(np.abs(t).max())
    # 5 % of 64 are 3.2: a pattern and its opposite may reach more.
    assert coverage._flip_quantile(d) == pytest.approx(sorted(largest)[-3], rel=1e-6)


def test_inversion_of_the_sign_flip_test_against_its_definition() -> None:
    """Just inside of the ends the test does not reject; just outside it does."""
    values = np.random.default_rng(4).exponential(1, 7)
    (low,), (high,) = (end[0] for end in coverage.subset_ends(values[None, None], 0.05))

    def p_value(mean: float) -> float:
        centred = values - mean
        flips = np.array(list(itertools.product([1, -1], repeat=7)))
        return float(np.mean(np.abs(flips @ centred) >= abs(centred.sum()) - 1e-12))

    assert p_value(low + 1e-6) > 0.05 >= p_value(low - 1e-6)
    assert p_value(high - 1e-6) > 0.05 >= p_value(high + 1e-6)


def test_six_seeds_have_the_range_of_the_seeds_and_five_have_none() -> None:
    values = np.random.default_rng(5).normal(size=(1, 1, 6))
    low, high = coverage.subset_ends(values, 0.05)
    assert (low[0, 0], high[0, 0]) == (values.min(), values.max())
    assert np.isnan(coverage.subset_ends(values[..., :5], 0.05)[0]).all()


def test_holm_against_a_loop() -> None:
    values = coverage.LAWS["normal"].draw(np.random.default_rng(6), np.arange(4.0), (40, 4, 8))
    t = coverage._absolute_t(coverage.pairs_of(values))
    for of_study, claims in zip(t, coverage.holm_t(values).is_claim_RP, strict=True):
        expected = np.zeros(6, dtype=bool)
        for left, pair in zip(range(6, 0, -1), np.argsort(-of_study), strict=True):
            # Student's quantiles with 7 degrees of freedom at 1 - 0.025 / left.
            needed = {6: 3.6358, 5: 3.4995, 4: 3.3353, 3: 3.1276, 2: 2.8412, 1: 2.3646}[left]
            if of_study[pair] <= needed:
                break
            expected[pair] = True
        np.testing.assert_array_equal(claims, expected)


@pytest.mark.parametrize("study", coverage.STUDIES)
def test_every_rule_has_a_row(study: str) -> None:
    n_methods = coverage.STUDIES[study].n_methods[0]
    for rule in coverage.STUDIES[study].rules:
        row = coverage.STUDIES[study].row(rule, "normal", n_methods, 6, 20)
        assert row.keys() <= set(coverage.MEASURED)
        assert 0 <= float(row["coverage"]) <= 100


class TestResults:
    """What `docs/statistics.md` says, from the stored rows."""

    @pytest.mark.parametrize("name", coverage.tables(coverage.stored()))
    def test_the_tables_of_the_page(self, name: str) -> None:
        page = (HOUSE / "docs/statistics.md").read_text(encoding="utf-8")
        assert coverage.tables(coverage.stored())[name] in page

    @pytest.mark.parametrize("law", ["normal", "unequal", "heavy", "images", "few_errors"])
    def test_the_rule_holds_where_differences_are_symmetric(self, law: str) -> None:
        rows = [r for r in coverage.stored() if (r["rule"], r["law"]) == ("bonferroni-t", law)]
        assert len(rows) == len(coverage.N_METHODS) * len(coverage.N_SEEDS)
        assert min(float(r["coverage"]) for r in rows) >= 93.5
        assert max(float(r["error"]) for r in rows) <= 6.5

    @pytest.mark.parametrize("law", coverage.LAWS)
    def test_more_seeds_never_widen_it(self, law: str) -> None:
        for n_methods in coverage.N_METHODS:
            widths = [
                float(r["half_width"])
                for r in coverage.stored()
                if (r["rule"], r["law"], r["n_methods"]) == ("bonferroni-t", law, str(n_methods))
            ]
            assert len(widths) == len(coverage.N_SEEDS)
            assert np.all(np.diff(widths) < 0)
