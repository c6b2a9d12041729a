"""Declarations of users' own methods: they come back as they were, and are checked as data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clsweep.errors import StudyError
from clsweep.methods import METHODS
from clsweep.methods.declared_methods import Declared, declared_in, declared_text, entry_from
from clsweep.methods.known_methods import entry_of
from clsweep.study.field_text import keys_text
from tests.support.own_code import package

KEY = "my_pkg.clipped:build"


@pytest.mark.parametrize("name", METHODS)
def test_every_declaration_comes_back_as_it_was(name: str) -> None:
    ours = {"lanes": None, "lanes_where": (), "alone": ""}
    entry = replace(METHODS[name], path=KEY, code="0" * 24, **ours)
    declared = Declared({KEY: entry}, {"my_pkg.m:estimate": "1" * 24})
    found = declared_in(declared_text(declared), "methods.json")
    assert found.estimators == declared.estimators
    assert replace(found.methods[KEY], hyper=entry.hyper) == entry
    hyper = found.methods[KEY].hyper
    assert list(hyper.model_fields) == list(entry.hyper.model_fields)
    assert keys_text(hyper.model_fields) == keys_text(entry.hyper.model_fields)
    assert hyper().model_dump() == entry.hyper().model_dump()
    for key, field in entry.hyper.model_fields.items():
        assert hyper.model_fields[key].json_schema_extra == field.json_schema_extra
        assert hyper.model_fields[key].annotation == field.annotation


def test_equal_declarations_are_one_type(tmp_path: Path) -> None:
    with package(tmp_path):
        text = declared_text(Declared({KEY: entry_of(KEY)}, {}))
    assert declared_in(text, "a").methods == declared_in(text, "b").methods


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(plain: dict[str, Any]) -> None:
        here: Any = plain
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = to

    return change


NUMBER = ("methods", KEY, "hyper", 0)


@pytest.mark.parametrize(
    "change",
    [
        _set("format", to=2),
        _set("methods", to=[]),
        _set("methods", KEY, to=3),
        _set("methods", KEY, "kind", to="script"),
        _set("methods", KEY, "title", to="\x1b[2J"),
        _set("methods", KEY, "code", to="mine"),
        _set("methods", KEY, "path", to="os"),
        _set("methods", KEY, "uses", to=[1]),
        _set("methods", KEY, "more", to=1),
        _set("methods", KEY, "statistics_read", to=["x"]),
        _set("methods", KEY, "hyper", to={}),
        _set(*NUMBER, "name", to="__init__"),
        _set(*NUMBER, "name", to="model_config"),
        _set(*NUMBER, "name", to="bound"),
        _set(*NUMBER, "kind", to="object"),
        _set(*NUMBER, "default", to="1"),
        _set(*NUMBER, "default", to=float("inf")),
        _set(*NUMBER, "default", to=-1.0),
        _set(*NUMBER, "doc", to=3),
        _set(*NUMBER, "le", to="x"),
        _set(*NUMBER, "extra", to={}),
        _set(*NUMBER, "extra", "low", to=-1.0),
        _set(*NUMBER, "extra", "where", to={"bound": 1}),
        _set(*NUMBER, "pattern", to=3),
        _set("estimators", to={"x": "y"}),
    ],
)
def test_what_is_no_declaration_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    with package(tmp_path):
        plain = json.loads(declared_text(Declared({KEY: entry_of(KEY)}, {})))
    change(plain)
    with pytest.raises(StudyError, match="cannot be read") as caught:
        declared_in(json.dumps(plain), "folder/methods.json")
    assert "folder/methods.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"format": 1}', "null"])
def test_a_text_that_is_none_at_all_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="cannot be read"):
        declared_in(text, "methods.json")
    with pytest.raises((ValueError, RecursionError)):
        entry_from(text)


def test_declarations_written_before_a_fact_was_known_are_read(tmp_path: Path) -> None:
    with package(tmp_path):
        plain = json.loads(declared_text(Declared({KEY: entry_of(KEY)}, {})))
    told = plain["methods"][KEY]
    for later in ("family", "scenario_note", "regression", "follows_path"):
        told.pop(later, None)
    assert declared_in(json.dumps(plain), "methods.json").methods[KEY].regression == ()
