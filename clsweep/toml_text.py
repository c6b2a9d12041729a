"""Values as TOML text; the standard library reads TOML and does not write it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def toml_value(value: Any) -> str:
    """A scalar, a list or an inline table as TOML.

    Args:
        value: bool, int, float, str, or a list, tuple or mapping of those; floats are finite.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        assert math.isfinite(value), "no number of a study is infinite"
        return repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped as well.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    raise TypeError(f"{type(value).__name__} has no TOML form here")


def toml_table(header: str, values: Mapping[str, Any]) -> str:
    """A table with one key per line.

    Args:
        header: `[name]` or `[[name]]`, or empty for the top of the file.
        values: what it holds.
    """
    lines = [header] if header else []
    lines += [f"{key} = {toml_value(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
