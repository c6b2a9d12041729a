"""The table of a paper: ranked, with claims alone marked as best, and its numbers explained."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from clsweep.reporting.inference import Difference, Interval
from clsweep.reporting.paper_table import is_above_all, paper_table
from clsweep.reporting.render.summary_texts import behind_text
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import signed_text
from clsweep.reporting.summary import ranking
from tests.support.records import make_study, write_study

LABELS = ("EWC", "LwF", "replay")


def data_of(directory: Path, n_seeds: int, labels: tuple[str, ...] = LABELS) -> ReportData:
    return build(write_study(directory, make_study(labels, 3, n_seeds)))


def test_the_best_is_marked_only_where_it_is_a_claim(tmp_path: Path) -> None:
    few, many = data_of(tmp_path / "few", 3), data_of(tmp_path / "many", 6)
    for data, is_claimed in ((few, False), (many, True)):
        table = paper_table(data)
        assert [row[0].text for row in table.methods] == [row.label for row in ranking(data)]
        assert table.methods[0][1].is_claim is is_claimed
        # No other of the column is the best.
        assert not any(row[1].is_claim for row in table.methods[1:])
    claims = few.judgement.average_pairs + many.judgement.average_pairs
    assert {found.is_claim for found in claims[:3]} == {False}
    assert many.judgement.average_pairs[0].is_claim
    assert any("3 seeds support no claim" in note for note in paper_table(few).notes)
    assert any("all 9 comparisons" in note for note in paper_table(many).notes)


def test_numbers_are_those_of_the_report(tmp_path: Path) -> None:
    data = data_of(tmp_path, 3)
    table, first = paper_table(data), ranking(data)[0]
    average, source, target = (cell.text for cell in table.methods[0][1:4])
    curve = next(c for c in data.comparison.curves if c.label == first.label)
    point = curve.points[curve.best or 0]
    assert average.startswith(f"{100 * first.mean:.1f} ± ")
    assert source.startswith(f"{100 * point.mean('test')[0]:.1f} ± ")
    assert target.startswith(f"{100 * point.mean('test')[1]:.1f} ± ")
    kept = next(row for row in ranking(data) if row.label == "EWC").kept[1]
    assert kept is not None
    cells = next(row for row in table.methods if row[0].text == "EWC")
    assert cells[-1].text.startswith(f"{100 * kept.source:.1f} ± ")
    behind = next(row for row in ranking(data) if row.label == "EWC").behind
    assert behind is not None
    assert cells[4].text.startswith(f"−{100 * behind.interval.mean:.1f} [−")
    widths = {len(row) for row in (table.headings, *table.methods, *table.references)}
    assert len(widths) == 1


def test_one_seed_or_one_method_has_no_difference_and_no_bold(tmp_path: Path) -> None:
    one_seed, alone = data_of(tmp_path / "seed", 1), data_of(tmp_path / "alone", 6, ("EWC",))
    for data in (one_seed, alone):
        table = paper_table(data)
        assert not any(cell.is_claim for row in table.methods for cell in row)
    assert "±" not in paper_table(one_seed).methods[0][1].text
    assert ("Difference to the first", "(points)") not in paper_table(alone).headings


def test_what_small_folders_do_not_hold_has_no_column_and_no_words(tmp_path: Path) -> None:
    ends = paper_table(data_of(tmp_path / "ends", 2, ()))
    one = paper_table(build(write_study(tmp_path / "one", make_study(("EWC",), 1, 2))))
    records = make_study(("EWC",), 3, 2)
    for record in records:
        record["trial"]["status"] = "diverged"
    diverged = paper_table(build(write_study(tmp_path / "diverged", records)))
    for table in (ends, one, diverged):
        assert "chose" not in table.caption + "".join(table.notes)
        widths = {len(row) for row in (table.headings, *table.methods, *table.references)}
        assert widths == {len(table.headings)}
    assert len(ends.headings) == len(diverged.headings) == 4
    assert len(one.headings) > 4
    assert "±" in one.caption
    assert "±" not in diverged.caption


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.05, -1.0, 1.0, 3, "student"), "−5.0 [no limit]"),
        (Interval(0.05, 0.05, 0.05, 3, "none"), "−5.0 [seeds equal]"),
        (Interval(0.05, math.nan, math.nan, 2, "none"), "−5.0"),
        (Interval(0.05, 0.02, 0.08, 6, "student"), "−5.0 [−8.0, −2.0]"),
    ],
)
def test_a_difference_has_the_words_of_the_screen(
    tmp_path: Path, interval: Interval, text: str
) -> None:
    data = data_of(tmp_path, 3)
    pairs = tuple(replace(one, interval=interval) for one in data.judgement.average_pairs)
    judged = replace(data.judgement, average_pairs=pairs)
    table = paper_table(replace(data, judgement=judged))
    assert [row[4].text for row in table.methods[1:]] == [text, text]
    assert any("No limit:" in note for note in table.notes) is ("no limit" in text)
    if interval.n > 2:
        row = ranking(replace(data, judgement=judged))[1]
        assert behind_text(row, is_first=False).rstrip("*") == text


def test_above_all_needs_a_claim_over_each_other() -> None:
    interval = Interval(0.1, 0.05, 0.15, 6, "student")
    pairs = [
        Difference("A", "B", interval, 6, is_claim=True),
        Difference("A", "C", interval, 6, is_claim=False),
        Difference("B", "C", interval, 6, is_claim=True),
    ]
    assert not is_above_all(pairs, "A")
    assert not is_above_all(pairs, "B")
    assert is_above_all(pairs[::2], "B") is False
    assert is_above_all(pairs[:1], "A")
    assert not is_above_all([], "A")


@pytest.mark.parametrize(("number", "text"), [("-1.2", "−1.2"), ("3.4", "+3.4"), ("0.0", "0.0")])
def test_a_difference_has_a_sign_of_its_own_width(number: str, text: str) -> None:
    assert signed_text(number) == text
