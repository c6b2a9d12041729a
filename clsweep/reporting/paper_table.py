"""The table of a paper as data: methods ranked, references below, and what its numbers are.

A number is bold only where it is a claim: where the method is above every other one of its column
by the report's intervals, which hold for all pairs at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clsweep.reporting.comparison import SourceEnd
from clsweep.reporting.curves import Curve, Point
from clsweep.reporting.inference import (
    FEWEST_FOR_INTERVALS,
    LEVEL,
    Difference,
    ends_text,
    fewest_seeds,
)
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import NOTHING, percent_cell, signed_text
from clsweep.reporting.summary import RankedMethod, family_size, misses_target, ranking
from clsweep.text import counted

MISSED = "†"
NO_LIMIT = "no limit"


@dataclass(frozen=True)
class PaperCell:
    """A cell of the table.

    Attributes:
        text: with the signs of the report: ±, −, †.
        is_claim: whether it is the best of its column, and by a claim.
    """

    text: str
    is_claim: bool = False


@dataclass(frozen=True)
class PaperTable:
    """What the table shows.

    Attributes:
        caption: what is compared, and what was got how.
        headings: of the columns, each of one or two lines.
        methods: a row per method, the best average first; the first cell is its label.
        references: a row per reference.
        notes: what signs and numbers are, in sentences.
    """

    caption: str
    headings: tuple[tuple[str, ...], ...]
    methods: tuple[tuple[PaperCell, ...], ...]
    references: tuple[tuple[PaperCell, ...], ...]
    notes: tuple[str, ...]


def paper_table(data: ReportData) -> PaperTable:
    """The table of a report that a paper has room for.

    Args:
        data: what `report_building.build` computed.
    """
    comparison = data.comparison
    curves = {curve.label: curve for curve in comparison.curves}
    with_pairs = any(row.behind is not None for row in ranking(data))
    headings = [("Method",), ("Average", "(%)"), ("Source", "(%)"), ("Target", "(%)")]
    headings += [("Difference to the first", "(points)")] * with_pairs
    headings += [
        ("Source (%) kept,", f"target −{100 * requirement.drop:g}")
        for requirement in comparison.kept_at
    ]
    rows = tuple(tuple(_method(data, row, curves[row.label], with_pairs)) for row in ranking(data))
    n_empty = len(headings) - 4
    references = tuple(
        (*_reference(curve), *[PaperCell("")] * n_empty) for curve in comparison.references
    )
    if comparison.source_end is not None:
        own = _source_end(comparison.source_end, data.n_tasks)
        references += ((*own, *[PaperCell("")] * n_empty),)
    return PaperTable(
        caption=_caption(data),
        headings=tuple(headings),
        methods=rows,
        references=references,
        notes=tuple(_notes(data, with_pairs, rows)),
    )


def _method(
    data: ReportData, row: RankedMethod, curve: Curve, with_pairs: bool
) -> Iterator[PaperCell]:
    comparison, judgement = data.comparison, data.judgement
    yield PaperCell(curve.label)
    if curve.best is None:
        yield PaperCell(curve.absence or NOTHING)
        yield from [PaperCell("")] * (2 + with_pairs + len(comparison.kept_at))
        return
    point = curve.points[curve.best]
    is_best = is_above_all(judgement.average_pairs, curve.label)
    yield PaperCell(str(percent_cell(point.measures["average_accuracy"])), is_best)
    yield from _ends(point)
    if with_pairs:
        yield PaperCell(_difference(row.behind))
    sources = judgement.source_pairs or [()] * len(comparison.kept_at)
    for requirement, pairs in zip(comparison.kept_at, sources, strict=True):
        chosen = requirement.chosen[curve.label]
        if chosen is None:
            yield PaperCell("not reached")
            continue
        mark = MISSED if misses_target(curve, requirement) else ""
        text = f"{percent_cell(curve.points[chosen].test_S2[:, 0])}{mark}"
        yield PaperCell(text, is_above_all(pairs, curve.label))


def _ends(point: Point) -> Iterator[PaperCell]:
    for place in range(2):
        yield PaperCell(str(percent_cell(point.test_S2[:, place])))


def _reference(curve: Curve) -> tuple[PaperCell, ...]:
    if curve.best is None:
        return (PaperCell(curve.label), PaperCell(curve.absence), PaperCell(""), PaperCell(""))
    point = curve.points[curve.best]
    average = PaperCell(str(percent_cell(point.measures["average_accuracy"])))
    return (PaperCell(curve.label), average, *_ends(point))


def _source_end(end: SourceEnd, n_tasks: int) -> Iterator[PaperCell]:
    source_S, target_S = end.test_S2.T
    yield PaperCell(end.label)
    yield PaperCell(str(percent_cell(((n_tasks - 1) * source_S + target_S) / n_tasks)))
    yield from (PaperCell(str(percent_cell(values_S))) for values_S in (source_S, target_S))


def is_above_all(pairs: Sequence[Difference], label: str) -> bool:
    """Whether a label is above every other by a claim; not where it stands alone.

    Args:
        pairs: of all labels by one measure.
        label: one of them.
    """
    own = [found for found in pairs if label in (found.above, found.below)]
    return bool(own) and all(found.is_claim and found.above == label for found in own)


def _difference(behind: Difference | None) -> str:
    if behind is None:
        return NOTHING
    found = behind.interval
    mean = signed_text(f"{round(-100 * found.mean, 1) + 0.0:.1f}")
    if found.is_no_limit:
        return f"{mean} [{NO_LIMIT}]"
    if found.absence or math.isnan(found.low):
        return f"{mean} [seeds equal]" if found.absence == "seeds all equal" else mean
    low, high = ends_text(found, -100, 1)
    return f"{mean} [{signed_text(low)}, {signed_text(high)}]"


def _caption(data: ReportData) -> str:
    n = len(data.comparison.seeds)
    chosen = " of what validation chose for the best average" * data.comparison.has_choice
    mean = f", means over {n} seeds ± standard error" if n > 1 else ", one seed"
    return (
        f"{data.benchmark[:1].upper()}{data.benchmark[1:]}: test accuracies{chosen}"
        f"{mean * data.comparison.has_numbers}."
    )


def _notes(
    data: ReportData, with_pairs: bool, rows: Sequence[Sequence[PaperCell]]
) -> Iterator[str]:
    comparison, n = data.comparison, len(data.comparison.seeds)
    sources = "task 1" if data.n_tasks <= 2 else f"mean of tasks 1–{data.n_tasks - 1}"
    yield f"Source: {sources}; target: task {data.n_tasks}; both after the last task."
    if comparison.kept_at:
        drops = " or ".join(f"{100 * one.drop:g}" for one in comparison.kept_at)
        chosen = "chosen for the most source accuracy while" * comparison.has_choice
        yield (
            f"Source kept: {chosen or 'that of a configuration whose'} target accuracy falls at "
            f"most {drops} points short of fine-tuning's on validation data."
        )
    if any(MISSED in cell.text for row in rows for cell in row):
        yield f"{MISSED}: the target accuracy on test data is below what is required."
    if with_pairs and n >= FEWEST_FOR_INTERVALS:
        together = counted(family_size(data), "comparison")
        choice = ", and for the choice" * (data.judgement.selection == "cross-fitted")
        yield (
            f"Brackets: {100 * LEVEL:g} % intervals of the difference, paired by seed, Student's "
            f"t, that hold at once for all {together} (Bonferroni){choice}."
        )
    if any(NO_LIMIT in cell.text for row in rows for cell in row[1:]):
        yield f"{NO_LIMIT[:1].upper()}{NO_LIMIT[1:]}: the interval leaves out nothing."
    if with_pairs:
        yield _about_bold(any(cell.is_claim for row in rows for cell in row), n)
    end = comparison.source_end
    if end is not None and end.unmeasured:
        yield f"{end.label[:1].upper()}{end.label[1:]}: {end.unmeasured}."


def _about_bold(is_any: bool, n_seeds: int) -> str:
    bold = "Bold: above every other method of its column, by an interval that leaves out zero"
    if is_any:
        return f"{bold}."
    if n_seeds < fewest_seeds():
        return f"{bold}; none, since {counted(n_seeds, 'seed')} support no claim."
    return f"{bold}; none is."
