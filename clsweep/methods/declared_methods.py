"""Declarations of users' own methods as data: what a results folder keeps, and workers are given.

Whoever reads a folder has neither to have the code, nor to run it: its numbers, their roles and
ranges, and what else is known about a method stand in `methods.json`, which is checked when it is
read and never run.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from clsweep.errors import StudyError
from clsweep.methods.entry import ALL_SCENARIOS, MethodEntry
from clsweep.methods.hyper_fields import Hyper, is_free_name
from clsweep.text import is_printable
from clsweep.user_code import is_import_path

FORMAT = 1
_KINDS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
_BOUNDS = ("ge", "gt", "le", "lt")
_CODE = re.compile(r"[0-9a-f]{24}")
_MOST_NUMBERS = 200
_MOST_BYTES = 2**22
# What declarations did not say from the beginning; left out where it is as usual.
_LATER = ("family", "scenario_note", "regression", "follows_path")
# What is known of clsweep's own methods alone, and no declaration says.
_OF_OURS = ("lanes", "lanes_where", "alone")
_ROLES = ("knob", "nuisance", "fixed")


class Declared(NamedTuple):
    """What a results folder says of code that is not clsweep's.

    Attributes:
        methods: what records call a method -> what is known about it.
        estimators: import path of an estimator -> fingerprint of its code.
    """

    methods: dict[str, MethodEntry]
    estimators: dict[str, str]


def declaration(entry: MethodEntry) -> dict[str, Any]:
    """What is known about a method, as JSON values.

    Args:
        entry: of a user's own method.
    """
    plain = {name: getattr(entry, name) for name in _said()}
    plain = {key: value for key, value in plain.items() if value or key not in _LATER}
    # A list: the order of the numbers is that of the grid.
    plain["hyper"] = [_number(*item) for item in entry.hyper.model_fields.items()]
    return json.loads(json.dumps(plain))  # type: ignore[no-any-return]


def _said() -> list[str]:
    return [field.name for field in fields(MethodEntry) if field.name not in _OF_OURS]


def _number(name: str, field: FieldInfo) -> dict[str, Any]:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    kind = type(choices[0]) if choices else field.annotation
    found: dict[str, Any] = {
        "name": name,
        "kind": next(text for text, one in _KINDS.items() if one is kind),
        "default": field.default,
        "doc": field.description or "",
        "extra": field.json_schema_extra,
    }
    if choices:
        found["choices"] = list(choices)
    for constraint in field.metadata:
        for rule in (*_BOUNDS, "pattern"):
            value = getattr(constraint, rule, None)
            if value is not None:
                found[rule] = value
    return found


def declared_text(declared: Declared) -> str:
    """The text of `methods.json`.

    Args:
        declared: what it is to say.
    """
    methods = {key: declaration(entry) for key, entry in sorted(declared.methods.items())}
    plain = {"format": FORMAT, "methods": methods, "estimators": declared.estimators}
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def declared_in(text: str, where: str) -> Declared:
    """What a `methods.json` says; nothing in it is run.

    Args:
        text: of the file.
        where: the file, for messages.

    Raises:
        StudyError: it is not what clsweep writes.
    """
    try:
        if len(text) > _MOST_BYTES:
            raise ValueError("it is larger than 4 MiB")
        plain = json.loads(text)
        if plain["format"] != FORMAT:
            raise ValueError(f"its format is {plain['format']!r}, not {FORMAT}")
        estimators = plain["estimators"]
        for path, code in estimators.items():
            _require(is_import_path(path) and _CODE.fullmatch(code), "an estimator", path)
        methods = {}
        for key, value in plain["methods"].items():
            methods[key] = entry_from(json.dumps(value))
            name = methods[key].path if ":" in key else key
            _require(is_printable(key) and key in (name, methods[key].path), "a name", key)
        return Declared(methods, dict(estimators))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StudyError(
            f"the declarations of methods cannot be read: {type(error).__name__}: {error}",
            expected="what `clsweep run` wrote",
            where=where,
            next_step="`clsweep run` with the study's file writes them anew",
        ) from None


@lru_cache(maxsize=256)
def entry_from(text: str) -> MethodEntry:
    """What is known about a method, from its declaration; equal texts give the same value.

    Args:
        text: JSON of a `declaration`.

    Raises:
        ValueError: it is not what `declaration` makes.
    """
    plain = json.loads(text)
    usual = MethodEntry("usual", Hyper)
    names = {*_said()}
    _require(isinstance(plain, dict), "a method", plain)
    plain = {**{name: _usual(usual, name) for name in _LATER}, **plain}
    _require(set(plain) == names, "a method", plain)
    found: dict[str, Any] = {}
    for name in names - {"hyper"}:
        value, kind = plain[name], type(getattr(usual, name))
        if kind is tuple:
            _require(isinstance(value, list) and all(map(_is_text, value)), name, value)
            value = tuple(value)
        elif kind is str:
            _require(_is_text(value), name, value)
        _require(type(value) is kind, name, value)
        found[name] = value
    _require(set(found["scenarios"]) <= set(ALL_SCENARIOS), "scenarios", found["scenarios"])
    _require(found["kind"] in ("method", "learner"), "kind", found["kind"])
    _require(is_import_path(found["path"]), "path", found["path"])
    _require(_CODE.fullmatch(found["code"]), "code", found["code"])
    hyper = _hyper(plain["hyper"])
    _require(set(found["statistics_read"]) <= set(hyper.model_fields), "statistics_read", found)
    return replace(usual, hyper=hyper, **found)


def _usual(usual: MethodEntry, name: str) -> Any:
    value = getattr(usual, name)
    return [*value] if isinstance(value, tuple) else value


def _hyper(plain: Any) -> type[Hyper]:
    _require(isinstance(plain, list) and len(plain) <= _MOST_NUMBERS, "hyper", plain)
    numbers: dict[str, Any] = {one["name"]: _field(one["name"], one) for one in plain}
    _require(len(numbers) == len(plain), "hyper", plain)
    made: type[Hyper] = create_model("Hyper", __base__=Hyper, **numbers)
    try:
        made(**{key: field.default for key, field in made.model_fields.items()})
    except ValidationError as error:
        raise ValueError(f"a default is not allowed: {error.errors()[0]['loc']}") from None
    return made


def _field(key: str, plain: Any) -> tuple[Any, Any]:
    _require(isinstance(plain, dict) and key.isidentifier() and is_free_name(key), "number", key)
    known = {"name", "kind", "default", "doc", "extra", "choices", "pattern", *_BOUNDS}
    _require(set(plain) <= known and _is_text(plain["doc"]), key, plain)
    kind = _KINDS[plain["kind"]]
    _require(_is_of(plain["default"], kind), key, plain["default"])
    bounds = {name: plain[name] for name in _BOUNDS if name in plain}
    _require(all(_is_of(value, float) for value in bounds.values()), key, bounds)
    if "pattern" in plain:
        _require(isinstance(plain["pattern"], str) and len(plain["pattern"]) < 500, key, plain)
        bounds["pattern"] = plain["pattern"]
    annotation: Any = kind
    if "choices" in plain:
        _require(plain["choices"] and all(_is_of(one, kind) for one in plain["choices"]), key, "")
        annotation = Literal[tuple(plain["choices"])]
    _check_extra(key, plain["extra"])
    default = kind(plain["default"])
    made = Field(default, description=plain["doc"], json_schema_extra=plain["extra"], **bounds)
    return annotation, made


def _check_extra(key: str, extra: Any) -> None:
    known = {"role", "low", "high", "log", "stable", "where", "unless", "names"}
    _require(isinstance(extra, dict) and set(extra) <= known, key, extra)
    _require(extra["role"] in _ROLES and extra.get("stable", "low") in ("low", "high"), key, extra)
    if "low" in extra or extra["role"] != "fixed":
        low, high, log = extra["low"], extra["high"], extra["log"]
        _require(_is_of(low, float) and _is_of(high, float) and type(log) is bool, key, extra)
        _require(low < high and (low > 0 or not log), key, extra)
    _require(all(map(_is_text, extra.get("names", []))), key, extra)
    situations = [extra.get("where", {}), *extra.get("unless", [])]
    for situation in situations:
        for name, values in situation.items():
            sound = isinstance(values, list) and all(map(_is_plain, values))
            _require(_is_text(name) and sound, key, situation)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and is_printable(value)


def _is_plain(value: Any) -> bool:
    return any(_is_of(value, kind) for kind in _KINDS.values())


def _is_of(value: Any, kind: type) -> bool:
    """Whether a JSON value is one of a number's; whole numbers are numbers as well."""
    if kind is str:
        return _is_text(value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind


def _require(sound: Any, what: str, found: Any) -> None:
    if not sound:
        raise ValueError(f"{what} is {str(found)[:100]!r}")
