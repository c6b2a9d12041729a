"""The report in one screen: the ranking, a small figure, what can be said, and what to beware of.

At 78 columns and more the ranking has two parts, the second with the figure beside it; at fewer it
has up to three, each with the ranks of its rows. What does not fit in one screen is left out, the
least needed first; `--full` and `report.txt` have it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from clsweep.reporting.findings import findings
from clsweep.reporting.render.summary_texts import (
    behind_text,
    kept_text,
    references_text,
    what_was_run,
)
from clsweep.reporting.render.text_front import RANKS, front_lines
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import NOTHING, bytes_text
from clsweep.reporting.summary import RankedMethod, ranking, what_can_be_said
from clsweep.text import axes_text, in_ascii

_WIDE = 78
_WIDEST = 100
_LEAST = 34
_MOST_REQUIREMENTS = 2
# Of a screen, and what commands below it take of them: where these are wrapped, and where not.
_MOST_LINES = 40
_MORE_LINES = {True: 3, False: 5}
_GAP = 2
_HEIGHT = 9
_NARROWEST_FIGURE = 24
_LABEL = 9
_LEAST_TEXT = 6
_BOLD, _DIM = "bold", "dim"


class Line(NamedTuple):
    """A line and the style of its beginning.

    Attributes:
        text: the line.
        style: of rich's; empty for none.
        n_styled: characters that have it; None for all.
    """

    text: str
    style: str = ""
    n_styled: int | None = None


@dataclass(frozen=True)
class _Extent:
    """How much the screen shows.

    Attributes:
        n_methods: rows of the ranking.
        n_findings: to beware of.
        n_said: sentences of what can be said.
        has_spans: whether a narrow ranking has the span of seeds and the chosen numbers.
        has_references: whether references are named.
        has_sizes: whether it is said how many configurations and images there were.
        has_gaps: whether empty lines are anywhere but below what was run.
    """

    n_methods: int = 10
    n_findings: int = 3
    n_said: int = 5
    has_spans: bool = True
    has_references: bool = True
    has_sizes: bool = True
    has_gaps: bool = True


# What is given up, the least needed first; at fewer columns the table is what most is read for.
_LESS_WIDE = (
    {"n_findings": 2},
    {"has_gaps": False},
    {"n_said": 2},
    {"n_methods": 8},
    {"n_said": 1},
    {"n_findings": 1},
    {"n_methods": 6},
    {"has_references": False},
)
_LESS_NARROW = (
    {"n_said": 2},
    {"has_spans": False},
    {"n_findings": 2},
    {"has_gaps": False},
    {"has_sizes": False},
    {"n_said": 1},
    {"has_references": False},
    {"n_methods": 6},
    {"n_findings": 1},
    {"n_methods": 5},
    {"n_methods": 4},
)


def _extents(is_wide: bool) -> Iterator[_Extent]:
    extent = _Extent()
    yield extent
    for less in _LESS_WIDE if is_wide else _LESS_NARROW:
        extent = replace(extent, **less)
        yield extent


@dataclass(frozen=True)
class OneScreen:
    """What the terminal shows of a report.

    Attributes:
        data: what `report_building.build` computed.
    """

    data: ReportData

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines, as wide as the console, in characters that it has."""
        for line in screen_lines(self.data, options.max_width, _is_plain(console)):
            text = Text(line.text, no_wrap=True, overflow="ignore")
            if line.style:
                text.stylize(line.style, 0, line.n_styled)
            yield text


def print_more(console: Console, more: Sequence[tuple[str, str]]) -> None:
    """Commands and files, on lines that can be copied whole, with what they show where it fits.

    Args:
        console: where to print.
        more: each with what it shows; the first and the last at few columns.
    """
    is_wide = console.width >= _WIDE
    more = more if is_wide else [*more[:1], *more[1:][-1:]]
    indent = " " * (_LABEL if is_wide else 0)
    longest = max((cell_len(how) for how, _ in more), default=0)
    is_beside = all(
        len(indent) + longest + _GAP + cell_len(what) <= console.width for _, what in more
    )
    before = Text(f"{'MORE':{len(indent)}}" + "\n" * (not is_wide), style=_BOLD)
    for how, what in more:
        said = f"{' ' * (longest - cell_len(how) + _GAP)}{what}" if is_beside else ""
        # A line that was broken here could not be copied.
        console.print(
            before,
            how,
            Text(said, style=_DIM),
            sep="",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        before = Text(indent)


def _is_plain(console: Console) -> bool:
    return not console.encoding.lower().startswith("utf")


def screen_lines(data: ReportData, width: int, is_plain: bool = False) -> list[Line]:
    """The lines of the screen.

    Args:
        data: what `report_building.build` computed.
        width: columns of the terminal.
        is_plain: whether it has no characters but those of ASCII.
    """
    width, is_wide = max(_LEAST, min(width, _WIDEST)), width >= _WIDE
    found: list[Line] = []
    for extent in _extents(is_wide):
        found = _Screen(data, width, is_plain, extent).lines()
        if len(found) <= _MOST_LINES - _MORE_LINES[is_wide]:
            break
    return found


class _Screen:
    def __init__(self, data: ReportData, width: int, is_plain: bool, extent: _Extent) -> None:
        self._data, self._width, self._is_plain = data, width, is_plain
        self._extent = extent
        self._all = ranking(data)
        self._rows = self._all[: extent.n_methods]
        self._worst = findings(data)[: extent.n_findings]

    def lines(self) -> list[Line]:
        """All lines, from top to bottom."""
        blocks = [self._head(), self._ranking(), self._words()]
        found: list[Line] = []
        for block in blocks:
            if block and found and (self._extent.has_gaps or block is blocks[1]):
                found.append(Line(""))
            found += block
        return found

    def _plain(self, text: str) -> str:
        text = self._data.in_words(text)
        return in_ascii(text) if self._is_plain else text

    def _wrapped(self, text: str, indent: str = "", first: str | None = None) -> list[str]:
        start = indent if first is None else first
        return textwrap.wrap(
            self._plain(text),
            self._width,
            initial_indent=start,
            subsequent_indent=indent,
            break_on_hyphens=False,
        ) or [start]

    # ----- what was run

    def _head(self) -> list[Line]:
        title = [Line(text, _BOLD) for text in self._wrapped(self._data.title)]
        run = what_was_run(self._data, with_sizes=self._extent.has_sizes)
        metric = self._wrapped(self._data.metric_text) if self._data.metric_text else []
        return [*title, *map(Line, (*self._wrapped(run), *metric))]

    # ----- who won, by how much, at what cost

    def _ranking(self) -> list[Line]:
        if not self._rows:
            return [Line(text) for text in self._references()]
        is_wide = self._width >= _WIDE
        found_rows = [row for row in self._rows if not row.absence]
        first, second, third = _ranks(self._rows), _ranks(found_rows), _ranks(found_rows)
        has_spans = is_wide or self._extent.has_spans
        first += [_names(self._rows, is_wide), *_averages(self._rows, has_spans)]
        if is_wide or not has_spans:
            first.append(_behind(self._rows))
        if is_wide:
            first.append(_chosen(self._rows))
        second += [_behind(found_rows), _chosen(found_rows)]
        third += [*self._kept(found_rows), _needs(found_rows, is_wide)]
        parts = [first, second, third] if has_spans and not is_wide else [first, third]
        if not found_rows:
            parts = [first]
        found: list[Line] = []
        for part in parts:
            if found and self._extent.has_gaps:
                found.append(Line(""))
            is_last = part is third
            width = self._width if not (is_last and is_wide) else self._width - _room(self._width)
            made = self._table(part, width)
            if is_last:
                made = self._over_kept(width) + made
            if is_last and is_wide:
                made = self._beside(made, width)
            found += made
        if len(self._all) > len(self._rows):
            left_out = len(self._all) - len(self._rows)
            text = f"… and {left_out} more: --tables average,required"
            found += [Line(line, _DIM) for line in self._wrapped(text, indent="  ", first="")]
        found += self._missed(found_rows)
        return found + [Line(text) for text in self._references()]

    def _missed(self, rows: Sequence[RankedMethod]) -> list[Line]:
        """What † and 'not reached' say, where they stand in a cell and are not explained below."""
        kept = [one for row in rows for one in row.kept[:_MOST_REQUIREMENTS]]
        texts = []
        is_explained = any(f.startswith("†") for f in self._worst)
        if any(one is not None and one.is_missed for one in kept) and not is_explained:
            texts.append("† not comparable: the target got is below what is required")
        if any(one is None for one in kept):
            margin = self._data.comparison.margin
            by = f" by {margin:g} standard error{'s' * (margin != 1)}" if margin else ""
            texts.append(f"not reached: no value meets it{by} on validation data")
        lines = [one for text in texts for one in self._wrapped(text, indent="  ", first="")]
        return [Line(line, _DIM) for line in lines]

    def _kept(self, rows: Sequence[RankedMethod]) -> list[_Column]:
        shown = self._data.comparison.requirements[:_MOST_REQUIREMENTS]
        return [
            _Column(
                (f"{100 * requirement.drop:g} point{'s' * (requirement.drop != 0.01)}",),
                [kept_text(row.kept[place], row) for row in rows],
            )
            for place, requirement in enumerate(shown)
        ]

    def _over_kept(self, width: int) -> list[Line]:
        """The heading over all columns of the source kept."""
        shown = self._data.comparison.requirements
        if not shown:
            return []
        learnt = f"{100 * (shown[0].target + shown[0].drop):.1f}"
        words = (
            "source % kept (target % got), if the target may fall short of fine-tuning's "
            f"{learnt} % by"
        )
        indent = " " * (1 + _GAP)
        texts = textwrap.wrap(words, width, initial_indent=indent, subsequent_indent=indent)
        return [Line(self._plain(text), _DIM) for text in texts]

    def _references(self) -> list[str]:
        if not self._extent.has_references:
            return []
        return self._wrapped(
            references_text(self._data, with_letters=self._width >= _WIDE), indent="  ", first=""
        )

    def _beside(self, made: list[Line], width: int) -> list[Line]:
        """The second part with the figure to its right."""
        room = self._width - width - _GAP
        order = [row.label for row in self._all if not math.isnan(row.mean)]
        figure = front_lines(self._data, order, room, max(_HEIGHT, len(made)))
        rows = zip_longest(made, figure, fillvalue=None)
        found = []
        for left, right in rows:
            text, style, n = left if isinstance(left, Line) else Line("")
            drawn = self._plain(right) if isinstance(right, str) else ""
            padded = text + " " * (width + _GAP - cell_len(text))
            found.append(
                Line(f"{padded}{drawn}".rstrip(), style, n if n is not None else len(text))
            )
        return found

    def _table(self, columns: Sequence[_Column], width: int) -> list[Line]:
        gap = _GAP if self._width >= _WIDE else 1
        return [
            Line(text, _DIM if is_head else "")
            for text, is_head in _laid_out([c.spelt(self._plain) for c in columns], width, gap)
        ]

    # ----- is it certain, and what to beware of

    def _words(self) -> list[Line]:
        said = what_can_be_said(self._data)
        left_out = len(said) - self._extent.n_said
        said = said[: self._extent.n_said]
        if left_out > 0:
            said = (*said[:-1], f"{said[-1]} {left_out} more: --full")
        return [*self._labelled("CAN SAY", said), *self._labelled("BEWARE", self._worst)]

    def _labelled(self, label: str, sentences: Sequence[str]) -> Iterator[Line]:
        """A word, and beside it or below it sentences, each with a bullet."""
        is_wide = self._width >= _WIDE
        if sentences and not is_wide:
            yield Line(label, _BOLD)
        indent = " " * (_LABEL if is_wide else 0)
        before = f"{label:{_LABEL}}" if is_wide else ""
        for sentence in sentences:
            for text in self._wrapped(
                sentence, f"{indent}  ", self._plain(f"{before or indent}• ")
            ):
                yield Line(text, _BOLD, len(label)) if before else Line(text)
                before = ""


def _room(width: int) -> int:
    """Columns that the figure takes from the second part of the ranking."""
    return max(_NARROWEST_FIGURE, width - 51) + _GAP


@dataclass(frozen=True)
class _Column:
    """Cells under a heading of lines.

    Attributes:
        head: from top to bottom.
        cells: one per row.
        is_text: whether it is set to the left, and wrapped where there is no room.
    """

    head: tuple[str, ...]
    cells: list[str]
    is_text: bool = False

    def spelt(self, plain: Callable[[str], str]) -> _Column:
        """The same in characters that the terminal has."""
        return _Column(tuple(map(plain, self.head)), list(map(plain, self.cells)), self.is_text)

    @property
    def longest(self) -> int:
        """Width of the longest cell or line of the heading."""
        return max(map(cell_len, (*self.head, *self.cells)))


def _laid_out(columns: Sequence[_Column], room: int, gap: int) -> Iterator[tuple[str, bool]]:
    """Lines of a table, and whether each is one of the heading."""
    widths = [column.longest for column in columns]
    texts = [i for i, column in enumerate(columns) if column.is_text]
    too_wide = sum(widths) + gap * (len(columns) - 1) - room
    while too_wide > 0 and texts:
        widest = max(texts, key=lambda i: widths[i])
        if widths[widest] <= max(_LEAST_TEXT, *map(cell_len, columns[widest].head)):
            break
        widths[widest] -= 1
        too_wide -= 1
    height = max(len(column.head) for column in columns)
    for line in range(height):
        heads = [("",) * (height - len(c.head)) + c.head for c in columns]
        yield _joined([head[line] for head in heads], columns, widths, gap), True
    for row in range(len(columns[0].cells)):
        folded = [
            (textwrap.wrap(column.cells[row], width, break_on_hyphens=False) or [""])
            if column.is_text
            else [column.cells[row]]
            for column, width in zip(columns, widths, strict=True)
        ]
        for parts in zip_longest(*folded, fillvalue=""):
            yield _joined(parts, columns, widths, gap), False


def _joined(
    parts: Sequence[str], columns: Sequence[_Column], widths: Sequence[int], gap: int
) -> str:
    padded = []
    for part, column, width in zip(parts, columns, widths, strict=True):
        blank = " " * (width - cell_len(part))
        padded.append(part + blank if column.is_text else blank + part)
    return (" " * gap).join(padded).rstrip()


def _ranks(rows: Sequence[RankedMethod]) -> list[_Column]:
    return [
        _Column(
            ("",), [r if not row.absence else " " for r, row in zip(RANKS, rows, strict=False)]
        )
    ]


def _names(rows: Sequence[RankedMethod], is_wide: bool) -> _Column:
    # A rank was read as that of a whole front.
    head = ("rank of the", "chosen point") if is_wide else ("chosen", "point")
    return _Column(head, [row.label for row in rows], is_text=True)


def _averages(rows: Sequence[RankedMethod], with_spans: bool) -> list[_Column]:
    means = [
        row.absence or NOTHING if math.isnan(row.mean) else f"{100 * row.mean:.1f}" for row in rows
    ]
    if not with_spans:
        return [_Column(("test", "%"), means)]
    spans = [
        "" if math.isnan(row.mean) else f"{100 * row.lowest:.1f}–{100 * row.highest:.1f}"
        for row in rows
    ]
    return [_Column(("average,", "test %"), means), _Column(("worst–best", "seed"), spans)]


def _behind(rows: Sequence[RankedMethod]) -> _Column:
    cells = [behind_text(row, is_first=not place) for place, row in enumerate(rows)]
    is_any = any(row.behind is not None and row.behind.is_claim for row in rows)
    return _Column(("difference to 1st", f"[95 %, all pairs]{'*' * is_any}"), cells)


def _chosen(rows: Sequence[RankedMethod]) -> _Column:
    return _Column(("", "chosen"), [axes_text(row.chosen) for row in rows], is_text=True)


def _needs(rows: Sequence[RankedMethod], with_bytes: bool) -> _Column:
    cells = [
        f"{row.needs}; {bytes_text(row.memory_bytes)}"
        if with_bytes and not math.isnan(row.memory_bytes)
        else row.needs
        for row in rows
    ]
    head = ("needs of old", "tasks; keeps") if with_bytes else ("needs",)
    return _Column(head, cells, is_text=True)
