"""From pydantic's errors to one message about the study file, in the file's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from clsweep.config_section import Loc, as_toml
from clsweep.errors import StudyError, closest_name
from clsweep.text import number_text

# A list of the wrong kind is one complaint per value, and each is compared with the others.
_MOST_DETAILS = 100
_TYPE_WORDS = {
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "path_type": "a path, as a string",
    "finite_number": "a finite number",
}
_BOUND_WORDS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
}


def study_error(
    error: ValidationError, raw: Mapping[str, Any], where: str, root: type[BaseModel]
) -> StudyError:
    """The first of pydantic's complaints as a message; further ones are named by their keys.

    Args:
        error: what pydantic raised.
        raw: the parsed study file that was validated.
        where: the file, for the message.
        root: the model of the whole file; the known keys of a table are looked up in it.
    """
    details = error.errors(include_url=False)[:_MOST_DETAILS]
    locs = [_full_loc(detail) for detail in details]
    paths = [key_path(raw, loc) for loc in locs]
    found, expected, next_step = _in_words(details[0], locs[0], paths[0], raw, root)
    # A list whose only item is wrong counts as too short as well; that is no second mistake.
    others = [
        path
        for path in dict.fromkeys(paths)
        if not any(other.startswith((f"{path}.", f"{path}[")) for other in paths)
        and path != paths[0]
    ]
    if others:
        listed = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        next_step = f"{next_step}; " if next_step else ""
        next_step += f"look at these as well: {listed}"
    return StudyError(
        found, expected=expected, where=location(raw, locs[0], where), next_step=next_step
    )


def location(raw: Any, loc: Loc, where: str) -> str:
    """File and key for a message; a [[methods]] table is counted and named as well.

    Args:
        raw: the parsed study file.
        loc: keys and indices.
        where: the file.
    """
    path = key_path(raw, loc)
    return (f"{where}: {path}" if path else where) + _method_note(raw, loc)


def key_path(raw: Any, loc: Loc) -> str:
    """A location as it is written in the file, such as `methods[2].lam` or `training.lr`.

    Args:
        raw: the parsed study file.
        loc: keys and indices, among them pydantic's tags of union members, which are left out.
    """
    text, here = "", raw
    for position, part in enumerate(loc):
        is_last = position == len(loc) - 1
        if isinstance(part, int):
            if isinstance(here, Sequence) and not isinstance(here, str) and part < len(here):
                text, here = f"{text}[{part}]", here[part]
        elif isinstance(here, Mapping) and (
            part in here or (is_last and part != here.get("name"))
        ):
            text, here = (f"{text}.{part}" if text else part), here.get(part)
    return text


def _full_loc(detail: ErrorDetails) -> Loc:
    below = detail["ctx"]["at"] if detail["type"] == "mistake" else ()
    if detail["type"] == "union_tag_invalid":
        below = ("name",)
    return (*detail["loc"], *below)


def _in_words(
    detail: ErrorDetails, loc: Loc, path: str, raw: Mapping[str, Any], root: type[BaseModel]
) -> tuple[str, str, str]:
    kind, ctx, key = detail["type"], detail.get("ctx", {}), path.rsplit(".", 1)[-1]
    shown = f"{key} = {as_toml(detail['input'])}"
    if kind == "mistake":
        return ctx["found"], ctx["expected"], ctx["next_step"]
    if kind == "extra_forbidden":
        known = _known_keys(root, loc)
        return f"unknown key '{key}'", closest_name(key, known), _about_keys(raw, loc)
    if kind == "missing":
        return f"'{key}' is missing", _description(root, loc), ""
    if kind == "union_tag_not_found":
        members = _members(_annotation_at(root, loc))
        return f"{path} has no 'name'", "one of " + ", ".join(map(_tag_of, members)), ""
    if kind == "union_tag_invalid":
        return _unknown_tag(detail, loc)
    if kind == "literal_error":
        names = _quoted(ctx["expected"])
        if names:
            given = detail["input"]
            return shown, closest_name(given if isinstance(given, str) else shown, names), ""
        what = _description(root, loc)  # numbers are not quoted
        return shown, f"{ctx['expected']} ({what})" if what else ctx["expected"], ""
    if kind in _BOUND_WORDS:
        bound, words = _BOUND_WORDS[kind]
        return shown, words.format(number_text(ctx[bound])), ""
    if kind == "tuple_type" and loc == ("methods",):
        return "'methods' is not a list of tables", "[[methods]], in double brackets", ""
    if kind in ("too_short", "too_long"):
        at_least = kind == "too_short"
        words = f"at least {ctx['min_length']}" if at_least else f"at most {ctx['max_length']}"
        return shown, f"{words} of them", ""
    if kind in ("string_pattern_mismatch", "string_too_long"):
        return shown, _description(root, loc) or detail["msg"], ""
    if kind in _TYPE_WORDS:
        return shown, _TYPE_WORDS[kind], ""
    if kind == "value_error":
        return str(ctx.get("error", detail["msg"])), "", ""
    return shown, detail["msg"], ""


def _unknown_tag(detail: ErrorDetails, loc: Loc) -> tuple[str, str, str]:
    what, command = ("method", "methods") if loc[0] == "methods" else ("benchmark", "benchmarks")
    name, tags = detail["input"]["name"], _quoted(detail["ctx"]["expected_tags"])
    listing = f"`clsweep {command}` lists them"
    if not isinstance(name, str):
        return f"name = {as_toml(name)}", "a string", listing
    if what == "method" and name.isidentifier() and Path(f"{name}.py").is_file():
        listing = f'for {name}.py in this folder: `name = "custom"` with `method = "{name}:build"`'
    return f"unknown {what} '{name}'", closest_name(name, tags), listing


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _about_keys(raw: Mapping[str, Any], loc: Loc) -> str:
    if loc[0] == "methods" and len(loc) > 1 and isinstance(loc[1], int) and "training" not in loc:
        return f"`clsweep methods {raw['methods'][loc[1]]['name']}` lists the keys of the method"
    if loc[0] == "benchmark":
        return f"`clsweep benchmarks {raw['benchmark']['name']}` lists the keys"
    return ""


def _method_note(raw: Mapping[str, Any], loc: Loc) -> str:
    if len(loc) < 2 or loc[0] != "methods" or not isinstance(loc[1], int):
        return ""
    table = raw["methods"][loc[1]]
    name = f", name = {as_toml(table['name'])}" if _has_name(table) else ""
    return f" ([[methods]] table number {loc[1] + 1} of the file{name})"


def _has_name(table: Any) -> bool:
    return isinstance(table, Mapping) and "name" in table


def _description(root: type[BaseModel], loc: Loc) -> str:
    model = _model_at(root, loc[:-1])
    field = model.model_fields.get(str(loc[-1])) if model else None
    return (field.description or "") if field else ""


def _known_keys(root: type[BaseModel], loc: Loc) -> list[str]:
    model = _model_at(root, loc[:-1])
    return list(model.model_fields) if model else []


def _model_at(root: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    here = _annotation_at(root, loc)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _annotation_at(root: type[BaseModel], loc: Loc) -> Any:
    """The type of what stands at `loc`; a tag chooses among the members of a union."""
    here: Any = root
    for part in loc:
        if isinstance(part, int):
            here = get_args(here)[0] if get_origin(here) is tuple else None
        elif _members(here):
            here = next((m for m in _members(here) if _tag_of(m) == part), None)
        elif isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields:
            here = here.model_fields[part].annotation
        else:
            return None
        here = _without_annotations(here)
    return here


def _without_annotations(kind: Any) -> Any:
    while hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    return kind


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else ()


def _tag_of(member: Any) -> str:
    tags = get_args(member.model_fields["name"].annotation)
    return str(tags[0]) if tags else ""
