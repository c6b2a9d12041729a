"""Tables on a terminal that is too narrow for them: in parts, each with the names of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Column, Table
from rich.text import Text

# A table stays whole while names and other texts have this much; else they get that much.
_NAME_WRAPPED, _TEXT_WRAPPED = 10, 8
_NAME, _TEXT = 14, 12
_LEAST = 6
_GAP = 2


class Fitted:
    """What is shown, with its tables divided where a line does not hold all of their columns.

    Args:
        shown: texts, tables and groups of them.
    """

    def __init__(self, *shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The parts, from top to bottom."""
        yield from _fitted(self._shown, options.max_width)


def _fitted(shown: Sequence[RenderableType], width: int) -> Iterator[RenderableType]:
    for one in shown:
        if isinstance(one, Group):
            yield from _fitted(one.renderables, width)
        elif isinstance(one, Table) and one.show_header and len(one.columns) > 2:
            yield from _parts(one, width)
        else:
            yield one


def _parts(table: Table, width: int) -> Iterator[RenderableType]:
    """The table, or several that have its first column in common."""
    first, *others = table.columns
    least = min(_longest(first), _NAME_WRAPPED)
    if least + sum(_GAP + _width(column, _TEXT_WRAPPED) for column in others) <= width:
        yield table
        return
    wanted = [_width(column, _TEXT) for column in others]
    widest = max(wanted)
    name = min(_longest(first), max(_LEAST, min(_NAME, width - widest - _GAP)))
    groups: list[list[Column]] = [[]]
    left = width - name
    for column, needed in zip(others, wanted, strict=True):
        if groups[-1] and needed + _GAP > left:
            groups.append([])
            left = width - name
        groups[-1].append(column)
        left -= needed + _GAP
    for index, group in enumerate(groups):
        if index:
            yield Text("")
        yield _part(table, [first, *group], index, index == len(groups) - 1, width)


def _part(table: Table, columns: list[Column], index: int, is_last: bool, width: int) -> Table:
    title = table.title
    if index and title:
        title = Text.assemble(title, " (continued)") if isinstance(title, Text) else title
    part = Table(
        title=title,
        caption=table.caption if is_last else None,
        title_justify=table.title_justify,
        caption_justify=table.caption_justify,
        box=table.box,
        show_edge=table.show_edge,
        pad_edge=table.pad_edge,
        collapse_padding=table.collapse_padding,
        padding=table.padding,
        header_style=table.header_style,
    )
    for column in columns:
        # A number wider than half of such a line is wrapped: better than lost.
        wraps = not column.no_wrap or _longest(column) > width // 2
        part.add_column(
            column.header,
            justify=column.justify,
            no_wrap=not wraps,
            overflow="fold" if wraps else column.overflow,
        )
    cells = [list(column.cells) for column in columns]
    for number, row in enumerate(table.rows):
        part.add_row(*(texts[number] for texts in cells), end_section=row.end_section)
    return part


def _width(column: Column, text: int) -> int:
    """What a column should have: all of a number; of a text as much as can be read."""
    longest = _longest(column)
    return longest if column.no_wrap else min(longest, text)


def _longest(column: Column) -> int:
    """The longest line of a column."""
    texts = [column.header, *column.cells]
    lines = (line for text in texts for line in _plain(text).splitlines())
    return max(map(cell_len, lines), default=1)


def _plain(text: RenderableType) -> str:
    return text.plain if isinstance(text, Text) else str(text)
