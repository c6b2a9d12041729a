"""Tables on narrow terminals: no name and no number is lost."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, Group, RenderableType
from rich.text import Text

from clsweep.cli.listings import benchmarks_table, methods_table
from clsweep.reporting.render.table_formats import rich_table
from clsweep.reporting.render.terminal_width import Fitted
from clsweep.reporting.report_table import Section, report_table

NAMES = ("EWC (separate anchors)", "fine-tuning", "joint")
NUMBERS = ("82.4 ± 0.4", "83.1 ± 1.2", "-80.0 ± 0.3", "0.624 ± 0.01")


def table() -> RenderableType:
    columns = ["average", "source", "target", "hypervolume"]
    sections = [Section([[name, "lam=100, lr=0.1", *NUMBERS]]) for name in NAMES]
    return rich_table(report_table("Best average", columns, "a caption", sections))


def shown(what: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(Fitted(what))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
def test_names_and_numbers_can_be_read_at_every_width(width: int) -> None:
    text = shown(table(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert text.count("a caption") == 1
    rows = [line for line in text.splitlines() if line.startswith("joint")]
    assert 1 <= len(rows) <= 6, "each part of the table names its rows"
    if width >= 30:
        assert sum(line.count(number) for line in rows for number in NUMBERS) == len(NUMBERS)
        assert all(f"\n{name}" in text for name in ("fine-tuning", "joint"))
    first_column = [line.split("  ")[0] for line in text.splitlines()]
    assert "separate" in "".join(first_column).replace(" ", "")


def test_a_line_that_is_wide_enough_has_the_whole_table() -> None:
    whole = io.StringIO()
    Console(file=whole, width=100).print(table())
    assert shown(table(), 100) == whole.getvalue()
    assert "continued" not in shown(table(), 80)
    assert shown(table(), 60).count("Best average (continued)") == 1


def test_groups_and_texts_are_passed_through() -> None:
    text = shown(Group(Text("before"), table(), Text("after")), 40)
    assert text.startswith("before\n")
    assert text.rstrip().endswith("after")
    assert "continued" in text


@pytest.mark.parametrize("listing", [methods_table, benchmarks_table])
def test_listings_name_every_row(listing: object) -> None:
    made = listing()  # type: ignore[operator]
    names = [str(cell) for cell in made.columns[0].cells]
    text = shown(made, 40)
    assert max(map(len, text.splitlines())) <= 40
    for name in names:
        assert f"\n{name}" in text
