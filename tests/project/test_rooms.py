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
    "methods/test_own_first_task",
    "methods/test_switches",
    "nets/test_custom_nets",
    "records/test_measures",
    "reporting/test_report",
    "status/test_remote_status",
    "training/test_augment",
}


def names(path: Path) -> Iterator[str]:
    """The module's own name, and those of its classes, public functions and methods."""
    yield path.stem
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name
        if isinstance(node, ast.ClassDef):
            methods = [one.name for one in node.body if isinstance(one, ast.FunctionDef)]
            yield from (name for name in methods if not name.startswith("_"))


def words(name: str) -> set[str]:
    """The words of a name in snake or camel case, singular: 'FrontPoints' -> front, point."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return {part.lower().removesuffix("s") for part in parts}


def refused() -> dict[str, str]:
    """The words in the last column of the glossary, and the module that each is allowed in."""
    text = (HOUSE / "docs" / "glossary.md").read_text(encoding="utf-8")
    found = {}
    for last in re.findall(r"^\| .+? \| .+? \| (.*)\|$", text, re.MULTILINE):
        for item in filter(None, map(str.strip, last.split(","))):
            word, home = re.fullmatch(r"(\w+)(?: \(but in `([\w/]+)`\))?", item).groups()
            found[word.removesuffix("s")] = home or ""
    del found["not"]  # the heading
    return found


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(PACKAGE).as_posix())
def test_a_room_says_what_lives_there_and_imports_nothing(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    said = ast.get_docstring(tree) or ""
    assert "In: " in said
    assert "Out: " in said
    if room.name != "methods":  # the table of the methods
        assert len(tree.body) == 1


def test_the_glossary_is_found() -> None:
    words_of = refused()
    assert words_of.keys() >= {"tap", "glance", "course", "fold"}
    homes = {home for home in words_of.values() if home}
    assert homes
    assert [home for home in homes if not (PACKAGE / f"{home}.py").is_file()] == []
    assert words("FrontPoints") == {"front", "point"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_name_is_made_of_a_word_that_the_glossary_refuses(path: Path) -> None:
    here = path.relative_to(PACKAGE).with_suffix("").as_posix()
    not_here = {word for word, home in refused().items() if home != here}
    found = {name: words(name) & not_here for name in names(path)}
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
