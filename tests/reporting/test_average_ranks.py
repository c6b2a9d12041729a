"""Ranks of methods on several benchmarks, against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clsweep.reporting.average_ranks import benchmark_ranks, ranks_of, ranks_table
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.summary import ranking
from tests.support.records import make_study, write_study


def report_of(folder: Path, labels: tuple[str, ...] = ("EWC", "MAS", "SI")) -> ReportData:
    return build(write_study(folder, make_study(labels, n_values=3, n_seeds=2)))


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    found = ranks_of(np.array([0.5, 0.9, 0.5, np.nan, 0.1]))
    assert found == pytest.approx([2.5, 1, 2.5, np.nan, 4], nan_ok=True)


def test_averages_and_ranks_are_those_of_each_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = report_of(tmp_path / "a")
    rows = ranking(one)
    first, second, third = (row.label for row in rows)
    swapped = [rows[1], rows[0], rows[2]]
    values = {
        id(one): rows,
        0: [replace(r, mean=m) for r, m in zip(swapped, (0.9, 0.8, 0.1), strict=True)],
    }
    other = replace(one)
    monkeypatch.setattr(
        "clsweep.reporting.average_ranks.ranking", lambda data: values.get(id(data), values[0])
    )
    found = benchmark_ranks({"a": one, "b": other})
    assert found.labels == (first, second, third)
    assert found.rank_BL.tolist() == [[1, 2, 3], [2, 1, 3]]
    assert found.average_rank_L.tolist() == [1.5, 1.5, 3]
    assert found.average_BL[1].tolist() == [0.8, 0.9, 0.1]
    table = ranks_table(found)
    assert [str(cell) for cell in table.sections[0].rows[2]][-2:] == ["10.0 (3)", "3.00"]
    assert "no claim" in table.caption
    assert "Friedman" in table.caption


def test_unlike_things_have_no_average_rank(tmp_path: Path) -> None:
    full, fewer = report_of(tmp_path / "a"), report_of(tmp_path / "b", ("EWC", "MAS"))
    for pair, said in (
        ({"a": full}, "one benchmark"),
        ({"a": full, "b": fewer}, "SI has no number on b"),
        ({"a": full, "b": replace(full, unfinished=(tmp_path,))}, "trials of b are left"),
        (
            {"a": full, "b": replace(full, comparison=replace(full.comparison, seeds=(0,)))},
            "unequal seeds (a 2, b 1)",
        ),
    ):
        found = benchmark_ranks(pair)
        assert np.isnan(found.average_rank_L).all()
        assert said in ranks_table(found).caption
