"""The house has rooms: what a room's file may hold, how things are named, where tests lie.

Which room imports which is a contract of import-linter, in pyproject.toml.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
PACKAGE = HOUSE / "clsweep"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
# What is tested across modules of a room has no module of its name.
ACROSS = {
    "cli/test_run",
    "methods/test_common",
    "methods/test_batch_norm",
    "methods/test_switches",
    "nets/test_custom_nets",
    "records/test_measures",
    "reporting/test_report",
    "status/test_remote_status",
    "training/test_augment",
}


def names(path: Path) -> Iterator[str]:
    """The module's own name, and those of its classes and public functions."""
    yield path.stem
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name


def words(name: str) -> set[str]:
    """The words of a name in snake or camel case, singular: 'FrontPoints' -> front, point."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return {part.lower().removesuffix("s") for part in parts}


def refused() -> set[str]:
    """The words in the last column of the glossary."""
    text = (HOUSE / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| .+? \| (.*)\|$", text, re.MULTILINE)
    return {
        word.strip().removesuffix("s")
        for _, last in rows
        for word in last.split(",")
        if word.strip() and word.strip() != "not" and not word.startswith("-")
    }


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(PACKAGE).as_posix())
def test_a_room_says_what_lives_there_and_imports_nothing(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    said = ast.get_docstring(tree) or ""
    assert "In: " in said
    assert "Out: " in said
    if room.name != "methods":  # the table of the methods
        assert len(tree.body) == 1


def test_the_glossary_is_found() -> None:
    assert {"tap", "glance", "course"} <= refused()
    assert words("FrontPoints") == {"front", "point"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_name_is_made_of_a_word_that_the_glossary_refuses(path: Path) -> None:
    found = {name: words(name) & refused() for name in names(path)}
    assert {name: word for name, word in found.items() if word} == {}


def test_tests_lie_as_modules_do() -> None:
    astray = []
    for room in ROOMS:
        folder = HOUSE / "tests" / room.relative_to(PACKAGE)
        modules = [path.stem for path in room.glob("*.py")]
        for path in folder.glob("test_*.py"):
            about = path.stem.removeprefix("test_")
            label = path.relative_to(HOUSE / "tests").with_suffix("").as_posix()
            if label not in ACROSS and not any(
                about == name or about.startswith(f"{name}_") for name in modules
            ):
                astray.append(label)
    assert astray == []
