"""Import paths, entry points, and the file and line of a user's mistake."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsweep.errors import StudyError
from clsweep.user_code import (
    checked_call,
    code_path,
    definition_place,
    is_import_path,
    user_code,
)

_MODULE = '''\
"""A user's module."""


def twice(x):
    return 2 * x


def broken(x):
    y = x
    return y / 0


def ends(x):
    raise SystemExit(3)


class Thing:
    class Inner:
        pass


number = 3
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "users_own.py"
    path.write_text(_MODULE)
    yield path
    for name in ("users_own", "users_broken"):
        sys.modules.pop(name, None)


def _code(name: str, group: str = ""):
    return user_code(name, where="[report] measures", expected="f(x) -> number", group=group)


def test_an_import_path_is_imported_and_called(module: Path) -> None:
    assert _code("users_own:twice").called(4) == 8
    assert _code("users_own:Thing.Inner").found.__name__ == "Inner"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("a:b", True),
        ("a.b:c.d", True),
        ("a", False),
        ("a:", False),
        (":b", False),
        ("a b:c", False),
        ("folder:/x", False),
        ("a:b:c", False),
    ],
)
def test_what_counts_as_an_import_path(text: str, is_one: bool) -> None:
    assert is_import_path(text) == is_one


def test_what_raises_is_told_with_file_and_line_of_the_user(module: Path) -> None:
    with pytest.raises(StudyError) as caught:
        _code("users_own:broken").called(1)
    assert caught.value.found == "'users_own:broken' raised ZeroDivisionError: division by zero"
    assert f"where: [report] measures: {module}, line 10" in str(caught.value)
    assert "expected: f(x) -> number" in str(caught.value)


def test_code_that_ends_the_process_is_an_error(module: Path) -> None:
    with pytest.raises(StudyError, match="SystemExit: 3") as caught:
        _code("users_own:ends").called(1)
    assert f"{module}, line 14" in str(caught.value)


def test_what_returns_something_else_is_told_with_its_definition(module: Path) -> None:
    def check(value: object) -> str:
        return "" if value == 8 else f"returned {value}"

    assert checked_call(_code("users_own:twice"), check, 4) == 8
    with pytest.raises(StudyError, match="'users_own:twice' returned 10") as caught:
        checked_call(_code("users_own:twice"), check, 5)
    assert f"{module}, line 4" in str(caught.value)


def test_a_module_that_cannot_be_imported_names_the_line(module: Path) -> None:
    (module.parent / "users_broken.py").write_text("x = 1\nimport no_such_thing_here\n")
    with pytest.raises(StudyError, match="no_such_thing_here") as caught:
        _code("users_broken:f")
    assert "users_broken.py, line 2" in str(caught.value)
    (module.parent / "users_broken.py").write_text("x = 1\n\ndef f(:\n")
    with pytest.raises(StudyError, match="SyntaxError") as caught:
        _code("users_broken:f")
    assert "users_broken.py, line 3" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("users_own:absent", "has no attribute 'absent'"),
        ("no_such_module_here:f", "No module named"),
        ("users_own:number", "'users_own:number' is a int, which cannot be called"),
        ("worst", "'worst' is no import path"),
    ],
)
def test_what_is_not_there_is_refused(module: Path, name: str, said: str) -> None:
    with pytest.raises(StudyError, match=said):
        _code(name)


def test_an_installed_entry_point_is_found_by_name(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = module.parent / "users_own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: users-own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clsweep.measures]\ndoubled = users_own:twice\n")
    code = _code("doubled", "clsweep.measures")
    assert (code.path, code.called(3)) == ("users_own:twice", 6)
    assert code_path("doubled", where="", group="clsweep.measures") == "users_own:twice"
    with pytest.raises(StudyError, match="no installed entry point") as caught:
        _code("double", "clsweep.measures")
    assert "did you mean 'doubled'?" in str(caught.value)


def test_the_place_of_a_class_is_its_line(module: Path) -> None:
    thing = _code("users_own:Thing").found
    assert definition_place(thing) == definition_place(thing()) == f"{module}, line 17"
