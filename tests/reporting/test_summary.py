"""The ranking and what can be said of it, against numbers worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from clsweep.reporting.inference import Interval, student_quantile
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.summary import (
    family_size,
    pair_of,
    ranking,
    seeds_to_tell_apart,
    what_can_be_said,
)
from tests.support.records import make_record, split_rows, write_study

# label: average accuracy of both tasks per seed, as (source, target) of equal size.
SOURCES = {
    "low": (0.60, 0.61, 0.62, 0.60, 0.61, 0.62),
    "high": (0.80, 0.82, 0.81, 0.80, 0.82, 0.81),
    "middle": (0.79, 0.80, 0.83, 0.79, 0.80, 0.83),
}
TARGET = 0.90


def study(folder: Path, n_seeds: int, labels: tuple[str, ...] = tuple(SOURCES)) -> ReportData:
    """Each label has one configuration; fine-tuning reaches 0.9 of the target as well."""
    records = [
        make_record(
            label,
            "ewc",
            seed,
            {"lam": 100.0, "variant": label},
            {"lam": 100.0},
            split_rows((SOURCES[label][seed], TARGET)),
            memory_bytes=2_000,
        )
        for label in labels
        for seed in range(n_seeds)
    ]
    records += [
        make_record(
            "fine-tuning",
            "finetune",
            seed,
            {},
            {},
            split_rows((0.3, TARGET)),
            is_reference=True,
        )
        for seed in range(n_seeds)
    ]
    return build(write_study(folder, records))


def test_methods_are_ranked_by_their_average(tmp_path: Path) -> None:
    data = study(tmp_path / "r", 3)
    rows = ranking(data)
    assert [row.label for row in rows] == ["high", "middle", "low"]
    high, middle, _ = rows
    assert high.mean == pytest.approx((0.81 + 0.9) / 2)
    assert (high.lowest, high.highest) == pytest.approx(((0.8 + 0.9) / 2, (0.82 + 0.9) / 2))
    assert high.behind is None
    assert middle.behind is not None
    differences = np.array([0.01, 0.02, -0.02]) / 2
    assert middle.behind.interval.mean == pytest.approx(differences.mean())
    assert (middle.needs, middle.memory_bytes, middle.absence) == ("statistics", 2_000, "")
    kept = high.kept[0]
    assert kept is not None
    assert (kept.source, kept.target, kept.is_missed) == (pytest.approx(0.81), 0.9, False)


def test_a_pair_is_found_either_way_round(tmp_path: Path) -> None:
    pairs = study(tmp_path / "r", 3).judgement.average_pairs
    one = next(found for found in pairs if {found.above, found.below} == {"high", "low"})
    there, back = pair_of(pairs, "high", "low"), pair_of(pairs, "low", "high")
    assert there == one
    assert back is not None
    assert (back.interval.mean, back.interval.low) == (-one.interval.mean, -one.interval.high)
    assert pair_of(pairs, "high", "nobody") is None
    assert pair_of(pairs, None, "low") is None


def test_three_seeds_say_who_was_ahead_and_what_a_claim_takes(tmp_path: Path) -> None:
    data = study(tmp_path / "r", 3, ("low", "high"))
    said = what_can_be_said(data)
    # Without the second half this is read as the opposite of the interval on the screen.
    assert data.judgement.average_pairs[0].interval.low > 0
    assert said[0] == (
        "nothing at 95 %: 3 seeds, and a claim takes 6 (`seeds = 6`); with fewer, an interval "
        "that leaves out 0 is no claim: it takes differences as normal."
    )
    around_zero = study(tmp_path / "z", 3, ("middle", "high"))
    assert around_zero.judgement.average_pairs[0].interval.low < 0
    assert what_can_be_said(around_zero)[0] == (
        "nothing at 95 %: 3 seeds, and a claim takes 6 (`seeds = 6`)."
    )
    assert said[1] == "high was ahead of low with all 3 seeds."
    mixed = what_can_be_said(study(tmp_path / "m", 3))
    assert not any("ahead" in sentence for sentence in mixed), "not with every seed"


def test_two_seeds_have_no_interval_and_one_method_no_rival(tmp_path: Path) -> None:
    (first, *_) = what_can_be_said(study(tmp_path / "two", 2))
    assert first.endswith("a claim takes 6 (`seeds = 6`), an interval 3.")
    (alone,) = what_can_be_said(study(tmp_path / "one", 6, ("high",)))
    assert alone.startswith("nothing about which method is better: one method has results")


def test_six_seeds_name_what_is_above_what(tmp_path: Path) -> None:
    data = study(tmp_path / "r", 6)
    average, *sources = what_can_be_said(data)
    least = next(
        100 * found.interval.low
        for found in data.judgement.average_pairs
        if (found.above, found.below) == ("high", "low")
    )
    assert average == (
        f"average (*): high is above low, by {least:.1f} points or more, not told apart from "
        "middle; 2 of 3 pairs differ."
    )
    assert sources[0].startswith("source kept, 1 and 5 points short: high is above low, by ")
    told = what_can_be_said(study(tmp_path / "two", 6, ("high", "low")))
    assert told[0].startswith("average (*): high is above low, by ")
    assert told[0].endswith("; 1 of 1 pair differs.")


def test_seeds_needed_are_the_fewest_whose_interval_leaves_out_zero() -> None:
    # Three seeds of spread 1: half a width of q₂ / √3 around 0.8.
    p = 1 - 0.05 / (2 * 10)
    half = student_quantile(p, 2) / math.sqrt(3)
    seen = Interval(0.8, 0.8 - half, 0.8 + half, 3, "student")
    n = seeds_to_tell_apart(seen, 10)
    assert n is not None

    def width(n: int) -> float:
        return student_quantile(p, n - 1) / math.sqrt(n)

    assert width(n) < 0.8 <= width(n - 1)
    assert (
        seeds_to_tell_apart(Interval(0.001, 0.001 - half, 0.001 + half, 3, "student"), 10) is None
    )
    # What six seeds can say, six seeds are needed for.
    assert seeds_to_tell_apart(Interval(50.0, 50 - half, 50 + half, 3, "student"), 10) == 6


def test_all_pairs_of_averages_and_sources_are_one_family(tmp_path: Path) -> None:
    assert family_size(study(tmp_path / "r", 3)) == 3 + 2 * 3
