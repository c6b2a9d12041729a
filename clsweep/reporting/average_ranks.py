"""The methods of one study file on all of its benchmarks: averages, ranks, and the mean of ranks.

On each benchmark the methods have ranks 1, 2, … by their average test accuracy, with the numbers
that validation chose there; equal ones share the mean of their ranks. The average rank of a
method is the mean over benchmarks (Demšar, Statistical comparisons of classifiers over multiple
data sets, JMLR 7, 2006). Accuracies are never averaged over benchmarks: their units differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import Cell, Column, ReportTable, Section
from clsweep.reporting.summary import ranking

# Below these, the distribution of Friedman's statistic is not what tables say (Demšar 2006).
_FEWEST_BENCHMARKS, _FEWEST_METHODS = 11, 6


@dataclass(frozen=True)
class BenchmarkRanks:
    """Axes: B benchmarks, L labels.

    Attributes:
        benchmarks: their labels.
        labels: of the methods, best average rank first where there is one.
        average_BL: average test accuracy in [0, 1]; NaN where nothing was chosen.
        rank_BL: 1 for the best of a benchmark; NaN where there is no average.
        absence: why there is no average rank; empty where there is.
    """

    benchmarks: tuple[str, ...]
    labels: tuple[str, ...]
    average_BL: NDArray[np.float64]
    rank_BL: NDArray[np.float64]
    absence: str

    @property
    def average_rank_L(self) -> NDArray[np.float64]:
        """The mean rank over benchmarks; NaN for all where it would compare unlike things."""
        if self.absence:
            return np.full(len(self.labels), math.nan)
        return np.asarray(self.rank_BL.mean(axis=0), dtype=np.float64)


def benchmark_ranks(data: Mapping[str, ReportData]) -> BenchmarkRanks:
    """Ranks of the methods on several benchmarks.

    Args:
        data: label of a benchmark to its report; at least one.
    """
    means = {name: {row.label: row.mean for row in ranking(one)} for name, one in data.items()}
    labels = [*dict.fromkeys(label for found in means.values() for label in found)]
    average_BL = np.array(
        [[found.get(label, math.nan) for label in labels] for found in means.values()]
    ).reshape(len(means), len(labels))
    rank_BL = np.array([ranks_of(average_L) for average_L in average_BL])
    absence = _absence(data, labels, average_BL)
    order = np.arange(len(labels))
    if not absence:
        order = np.argsort(rank_BL.mean(axis=0), kind="stable")
    return BenchmarkRanks(
        tuple(data),
        tuple(labels[i] for i in order),
        average_BL[:, order],
        rank_BL[:, order],
        absence,
    )


def ranks_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from the largest value, 1, downwards; equal values share the mean of their ranks.

    Args:
        values: shape [L]; NaN has the rank NaN and counts for no other.
    """
    above = (values[None, :] > values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return np.asarray(np.where(np.isnan(values), math.nan, above + (equal + 1) / 2))


def _absence(
    data: Mapping[str, ReportData], labels: list[str], average_BL: NDArray[np.float64]
) -> str:
    if len(data) < 2:
        return "one benchmark"
    for name, one in data.items():
        paths = [curve.label for curve in one.comparison.curves if curve.is_path]
        if paths:
            return f"{', '.join(paths)} on {name}: points of paths are no independent trials"
        if one.unfinished:
            return f"trials of {name} are left to run"
    for name, average_L in zip(data, average_BL, strict=True):
        missing = [label for label, x in zip(labels, average_L, strict=True) if math.isnan(x)]
        if missing:
            return f"{', '.join(missing)} has no number on {name}"
    seeds = {name: one.comparison.seeds for name, one in data.items()}
    if len(set(seeds.values())) > 1:
        counts = ", ".join(f"{name} {len(found)}" for name, found in seeds.items())
        return f"the benchmarks have unequal seeds ({counts})"
    return ""


def ranks_table(ranks: BenchmarkRanks) -> ReportTable:
    """The table of averages, with ranks beside them.

    Args:
        ranks: of `benchmark_ranks`.
    """
    average_rank_L = ranks.average_rank_L
    rows: list[list[Cell | str]] = []
    for index, label in enumerate(ranks.labels):
        row: list[Cell | str] = [label]
        for average, rank in zip(ranks.average_BL[:, index], ranks.rank_BL[:, index], strict=True):
            mark = "" if math.isnan(rank) else f"({rank:g})"
            row.append(Cell(100 * float(average), mark=mark))
        row.append(Cell(float(average_rank_L[index]), digits=2))
        rows.append(row)
    columns = [Column("method", "method", is_number=False)]
    columns += [Column(name, name) for name in ranks.benchmarks]
    columns.append(Column("average rank", "average\nrank"))
    return ReportTable(
        title="Average test accuracy in % and rank, per benchmark",
        caption=_caption(ranks),
        columns=tuple(columns),
        sections=(Section(rows),) if rows else (),
        key="benchmarks",
    )


def _caption(ranks: BenchmarkRanks) -> str:
    if ranks.absence:
        return f"No average rank: {ranks.absence}."
    n_benchmarks, n_labels = len(ranks.benchmarks), len(ranks.labels)
    found = f"Average rank over {n_benchmarks} benchmarks: a description, and no claim."
    if n_benchmarks < _FEWEST_BENCHMARKS or n_labels < _FEWEST_METHODS:
        found += (
            " A Friedman test of average ranks takes more than ten benchmarks and five methods "
            "(Demšar 2006)."
        )
    return found
