"""The one screen of the terminal as HTML: the ranking, what can be said, what to beware of."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence

from clsweep.reporting.findings import findings
from clsweep.reporting.render.page_tables import places_of, swatch
from clsweep.reporting.render.page_terms import explained, term
from clsweep.reporting.render.summary_texts import behind_text, kept_text, references_text
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import bytes_text
from clsweep.reporting.summary import RankedMethod, ranking, what_can_be_said
from clsweep.text import axes_text, counted

_MOST_METHODS = 10
_MOST_FINDINGS = 3
_MOST_REQUIREMENTS = 2


def summary_html(data: ReportData) -> str:
    """What the terminal shows unless it is asked for more.

    Args:
        data: what `report_building.build` computed.
    """
    rows = ranking(data)
    more = (
        f'<p class="hint">… and {len(rows) - _MOST_METHODS} more in '
        '<a href="#numbers">All numbers</a>.</p>'
    ) * (len(rows) > _MOST_METHODS)
    references = references_text(data, with_letters=False)
    worst = findings(data)[:_MOST_FINDINGS]
    link = ""
    if data.notes:
        n = counted(len(data.notes), "caveat")
        link = f'<p><a href="#findings">All {n}</a></p>'
    nothing = ["Nothing was found to be unequal, missing or at the end of its grid."]
    return (
        (_table(data, rows[:_MOST_METHODS]) if rows else "")
        + more
        + (f'<p class="references">{explained(references)}</p>' if references else "")
        + '<div class="said"><div class="card can-say"><h3>Can say</h3>'
        + f"{_bullets(what_can_be_said(data))}</div>"
        + '<div class="card beware"><h3>Beware</h3>'
        + f"{_bullets(worst or nothing)}{link}</div></div>"
    )


def _bullets(sentences: Sequence[str]) -> str:
    found = (
        f"{one[:1].upper()}{one[1:]}" if one.startswith("nothing") else one for one in sentences
    )
    return f"<ul>{''.join(f'<li>{explained(one)}</li>' for one in found)}</ul>"


def _table(data: ReportData, rows: Sequence[RankedMethod]) -> str:
    shown = data.comparison.requirements[:_MOST_REQUIREMENTS]
    heads = [
        '<th scope="col"><span class="hidden">rank</span></th>',
        '<th scope="col">method</th>',
        f'<th scope="col" class="number">{term("average", "average")}, test %</th>',
        f'<th scope="col">{term("worst-best", "worst–best seed")}</th>',
        f'<th scope="col" class="number">{term("behind", "difference to 1st")}<small>'
        f"{term('interval', '95 %, all pairs')}</small></th>",
        *(
            f'<th scope="col" class="number">{term("kept", "source % kept")}<small>target '
            f"{100 * one.drop:g} point{'s' * (one.drop != 0.01)} short (got)</small></th>"
            for one in shown
        ),
        f'<th scope="col">{term("needs", "needs of old tasks")}; {term("keeps", "keeps")}</th>',
        f'<th scope="col">{term("chosen", "chosen")}</th>',
    ]
    scale = _scale(rows)
    body = "".join(_row(data, row, rank, scale, len(shown)) for rank, row in enumerate(rows, 1))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Ranking, table">'
        '<table class="ranking"><caption class="hidden">Methods by their best average test '
        f"accuracy</caption><thead><tr>{''.join(heads)}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )


def _scale(rows: Sequence[RankedMethod]) -> tuple[float, float]:
    """The accuracies at both ends of the small bars."""
    lows = [row.lowest for row in rows if not math.isnan(row.mean)]
    highs = [row.highest for row in rows if not math.isnan(row.mean)]
    return (min(lows), max(highs)) if lows else (0.0, 1.0)


def _row(
    data: ReportData, row: RankedMethod, rank: int, scale: tuple[float, float], n_kept: int
) -> str:
    has_mean = not math.isnan(row.mean)
    behind = behind_text(row, is_first=rank == 1)
    is_claim = row.behind is not None and row.behind.is_claim
    memory = f"; {bytes_text(row.memory_bytes)}" if not math.isnan(row.memory_bytes) else ""
    mean = f"{100 * row.mean:.1f}" if has_mean else html.escape(row.absence or "–")
    drops = (100 * one.drop for one in data.comparison.requirements)
    cells = [
        ("number mean", "average, test %", mean),
        ("range", "worst–best seed", "".join(_range(row, scale)) if has_mean else ""),
        ("number behind" + " claim" * is_claim, "difference to 1st", _divided(behind)),
        *(
            ("number", f"source % kept, target −{drop:g} (got)", html.escape(kept_text(kept, row)))
            for drop, kept in zip(drops, row.kept[:n_kept], strict=False)
        ),
        ("", "needs; keeps", html.escape(f"{row.needs}{memory}")),
        ("", "chosen", html.escape(axes_text(row.chosen))),
    ]
    colour = swatch(places_of(data).get(row.label))
    return (
        f'<tr><td class="rank">{"" if row.absence else rank}</td>'
        f'<th scope="row">{colour}{html.escape(row.label)}</th>'
        # On a phone a row is a block, and every cell says what it is.
        + "".join(
            f'<td class="{kind}" data-name="{name}">{text}</td>' for kind, name, text in cells
        )
        + "</tr>"
    )


def _divided(behind: str) -> str:
    """The difference, and its interval below it."""
    mean, bracket, interval = behind.partition(" [")
    return html.escape(mean) + (f"<small>{html.escape(f'[{interval}')}</small>" if bracket else "")


def _range(row: RankedMethod, scale: tuple[float, float]) -> Iterator[str]:
    """The numbers, and a bar from the worst seed to the best with the mean on it."""
    low, high = scale
    span = (high - low) or 1.0
    left, right, mean = (
        100 * (value - low) / span for value in (row.lowest, row.highest, row.mean)
    )
    yield f"{100 * row.lowest:.1f}–{100 * row.highest:.1f}"
    yield (
        '<span class="bar" aria-hidden="true">'
        f'<i style="left:{left:.1f}%;width:{max(right - left, 1):.1f}%"></i>'
        f'<b style="left:{mean:.1f}%"></b></span>'
    )
