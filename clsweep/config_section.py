"""A table of a study file as a checked model, and what is said where one is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

Loc = tuple[int | str, ...]

_LONGEST_INT = 10**60


def mistake(
    found: str, *, expected: str = "", next_step: str = "", at: Loc = ()
) -> PydanticCustomError:
    """What a validator of this package raises: a message in parts instead of one string.

    Args:
        found: what is wrong.
        expected: what would have been right.
        next_step: what to do now.
        at: keys and indices, below the validated table, of what is to blame.
    """
    parts = {"found": found, "expected": expected, "next_step": next_step, "at": at}
    return PydanticCustomError("mistake", "{found}", parts)


def mistake_at(error: PydanticCustomError, at: Loc) -> PydanticCustomError:
    """A `mistake` about a part, as a mistake of the whole.

    Args:
        error: the mistake.
        at: where the part lies in the whole.
    """
    ctx = dict(error.context or {})
    return mistake(
        ctx["found"],
        expected=ctx["expected"],
        next_step=ctx["next_step"],
        at=(*at, *ctx["at"]),
    )


def mistake_below(error: ValidationError, at: Loc) -> PydanticCustomError:
    """The first complaint about a part, as a mistake of the whole.

    Args:
        error: what pydantic raised for the part.
        at: where the part lies in the whole.
    """
    detail = error.errors(include_url=False)[0]
    if detail["type"] != "mistake":
        return mistake(detail["msg"], at=(*at, *detail["loc"]))
    ctx = detail["ctx"]
    return mistake(
        ctx["found"],
        expected=ctx["expected"],
        next_step=ctx["next_step"],
        at=(*at, *detail["loc"], *ctx["at"]),
    )


def as_toml(value: Any) -> str:
    """A value of the file for a message, shortened.

    Args:
        value: what a TOML parser returns.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{k} = {as_toml(v)}" for k, v in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(as_toml(v) for v in value) + "]"
    elif isinstance(value, int) and abs(value) > _LONGEST_INT:
        text = f"a whole number of {value.bit_length()} bits"  # Python refuses to write it
    else:
        text = str(value)
    return text if len(text) <= 70 else text[:67] + "..."


class Section(BaseModel):
    """A table of the study file. Frozen; unknown keys and other types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
