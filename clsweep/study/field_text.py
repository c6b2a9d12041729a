"""Declared fields in words: what a key accepts, what it is by default, where it is searched."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from clsweep.methods.hyper_fields import names_of, role_of, search_range
from clsweep.number_conditions import condition_text
from clsweep.text import number_text
from clsweep.toml_text import toml_value

_BOUNDS = (("gt", "more than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most"))
_TYPES = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def allowed(field: FieldInfo) -> str:
    """The values that a field accepts, such as 'a number, more than 0'.

    Args:
        field: of a model's `model_fields`.
    """
    if get_origin(field.annotation) is Literal:
        options = get_args(field.annotation)
        return " or ".join(map(toml_value, options)) if len(options) > 1 else ""
    if names := names_of(field):
        own = "or one of your own by import path or installed name"
        return f"{' or '.join(map(toml_value, names))}, {own}"
    words = _TYPES.get(field.annotation, "") if isinstance(field.annotation, type) else ""
    if get_origin(field.annotation) is tuple:
        words = "a list"
    bounds = []
    for constraint in field.metadata:
        for name, phrase in _BOUNDS:
            bound = getattr(constraint, name, None)
            if bound is not None:
                bounds.append(f"{phrase} {number_text(bound)}")
    return ", ".join(filter(None, [words, " and ".join(bounds)]))


def in_words(field: FieldInfo) -> str:
    """Meaning, condition, accepted values and search range of a field, as one sentence.

    Args:
        field: of a model's `model_fields`.
    """
    details = [condition_text(field), allowed(field)]
    worth = search_range(field)
    if worth:
        low, high, log = worth
        scale = "logarithmic" if log else "linear"
        span = f"{number_text(low)} to {number_text(high)} ({scale})"
        details.append(f"{role_of(field)}, worth searching from {span}")
        details.append(f"default {toml_value(field.default)}")
    listed = "; ".join(filter(None, details))
    return (field.description or "") + (f" ({listed})" if listed else "")


def keys_text(fields: Mapping[str, FieldInfo]) -> str:
    """Every key with its default, and below it what it means.

    Args:
        fields: a model's `model_fields`.
    """
    lines = []
    for key, field in fields.items():
        default = "(required)" if field.is_required() else f"= {toml_value(field.default)}"
        lines.append(f"{key} {default}")
        indent = " " * 4
        lines += textwrap.wrap(
            in_words(field), 97, initial_indent=indent, subsequent_indent=indent
        )
    return "\n".join(lines)
