"""Every pair of methods as a matrix: the method of the row less that of the column.

Only claims are coloured. A cell has the difference, and below it the interval that holds for all
pairs at once.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from clsweep.reporting.inference import Difference, ends_text
from clsweep.reporting.render.page_terms import explained
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import ReportTable, signed_text
from clsweep.reporting.summary import ranking
from clsweep.text import counted

_MOST_LABELS = 24
_Pairs = Mapping[frozenset[str], Difference]


class _Measure(NamedTuple):
    """What pairs are compared by.

    Attributes:
        key: part of ids.
        name: in words.
        pairs: of labels.
        factor: from a fraction to the unit.
        digits: after the point.
    """

    key: str
    name: str
    pairs: Sequence[Difference]
    factor: int
    digits: int


def pairs_html(data: ReportData, tables: Sequence[ReportTable]) -> str:
    """A matrix per measure, of which one is shown; '' where there is no pair.

    Args:
        data: what `report_building.build` computed.
        tables: its tables, for what the intervals mean.
    """
    measures = [measure for measure in _measures(data) if measure.pairs]
    if not measures:
        return ""
    labels = [row.label for row in ranking(data)]
    captions = {table.name: table.caption for table in tables}
    radios = "".join(
        f'<label><input type="radio" name="pair-measure" value="{one.key}"'
        f"{' checked' * (not place)}> {html.escape(one.name)}</label>"
        for place, one in enumerate(measures)
    )
    said = (
        "A cell is the method of its row less that of its column, with the same seeds; below it "
        f"the 95 % interval. Coloured and with a star: a claim. {_claims_text(measures[0])}"
    )
    if len(labels) > _MOST_LABELS:
        said += f" The first {_MOST_LABELS} methods; pairs.parquet has all."
    notes = "".join(
        f"<p>{explained(captions[name])}</p>"
        for name in ("pairs", "source-pairs")
        if name in captions
    )
    return (
        f'<p class="hint">{explained(said)}</p>'
        f'<fieldset class="boxes"><legend>compared by</legend>{radios}</fieldset>'
        f"{''.join(_matrix(one, labels[:_MOST_LABELS]) for one in measures)}"
        '<p class="buttons"><button type="button" id="save-pairs">Save data (CSV)</button></p>'
        f'<div class="captions">{notes}</div>'
    )


def _claims_text(measure: _Measure) -> str:
    n, n_claims = len(measure.pairs), sum(one.is_claim for one in measure.pairs)
    who = f"{n_claims} of {n} pairs" if n_claims else f"None of {counted(n, 'pair')}"
    return f"{who} can be told apart by {measure.name.partition(' (')[0]}."


def pair_values(data: ReportData) -> list[list[str | float | int | bool]]:
    """Every pair by every measure, for the file that the page saves.

    Args:
        data: what `report_building.build` computed.
    """
    return [
        [
            measure.name,
            one.above,
            one.below,
            *(
                measure.factor * v
                for v in (one.interval.mean, one.interval.low, one.interval.high)
            ),
            one.n_above,
            one.interval.n,
            one.is_claim,
        ]
        for measure in _measures(data)
        for one in measure.pairs
    ]


def _numbers(found: Difference) -> tuple[float, float, float]:
    return found.interval.mean, found.interval.low, found.interval.high


def _measures(data: ReportData) -> Iterator[_Measure]:
    judgement = data.judgement
    yield _Measure("average", "average accuracy (points)", judgement.average_pairs, 100, 1)
    for place, (drop, pairs) in enumerate(
        zip(judgement.drops, judgement.source_pairs, strict=True)
    ):
        points = f"{100 * drop:g} point{'s' * (drop != 0.01)}"
        name = f"source kept, target {points} below fine-tuning (points)"
        yield _Measure(f"source-{place}", name, pairs, 100, 1)
    name = "normalised hypervolume" if judgement.is_normalised else "hypervolume"
    yield _Measure("hypervolume", name, judgement.hypervolume_pairs, 1, 2)


def _matrix(measure: _Measure, labels: Sequence[str]) -> str:
    pairs = {frozenset((one.above, one.below)): one for one in measure.pairs}
    head = "".join(f'<th scope="col">{html.escape(label)}</th>' for label in labels)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(label)}</th>'
        f"{''.join(_cell(label, other, pairs, measure) for other in labels)}</tr>"
        for label in labels
    )
    name = html.escape(measure.name)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Pairs by {name}, matrix" '
        f'data-measure="{measure.key}"><table class="pairs"><caption>{name}</caption>'
        f'<thead><tr><td class="corner">row − column</td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(row: str, column: str, pairs: _Pairs, measure: _Measure) -> str:
    if row == column:
        return '<td class="same"></td>'
    found = pairs.get(frozenset((row, column)))
    if found is None:
        return '<td><span class="hidden">no difference: one of the two has no value</span>–</td>'
    is_above = found.above == row
    sign = measure.factor if is_above else -measure.factor
    kind = ""
    if found.is_claim:
        kind = f' class="claim-{"above" if is_above else "below"}"'
    mean = signed_text(
        f"{round(sign * found.interval.mean, measure.digits) + 0.0:.{measure.digits}f}"
    )
    star = '<span class="star">*</span>' if found.is_claim else ""
    return f"<td{kind}>{mean}{star}<small>{_interval(found, sign, measure.digits)}</small></td>"


def _interval(found: Difference, factor: int, digits: int) -> str:
    own = found.interval
    if own.absence:
        return html.escape(own.absence)
    if own.is_no_limit:
        # From end to end of what is possible an interval says nothing.
        return "no limit"
    low, high = ends_text(own, factor, digits)
    return f"{signed_text(low)}, {signed_text(high)}"
