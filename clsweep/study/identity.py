"""The identity of what a study asks for: a digest of its values that differ from the defaults."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

from pydantic import BaseModel


def identity(model: BaseModel) -> dict[str, Any]:
    """What of a study file's table goes into hashes: its name, and what is not at its default.

    A key that a later release adds, at a default that changes nothing, so leaves every stored
    result its name. The price: the default of a released key can never change.

    Args:
        model: the table.
    """
    defaults = _defaults(type(model))
    return {
        key: value
        for key, value in plain_values(model).items()
        if key == "name" or value != defaults[key]
    }


@lru_cache(maxsize=256)
def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    fields = model.model_fields
    return {key: field.get_default(call_default_factory=True) for key, field in fields.items()}


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Args:
        value: what JSON can hold; floats are finite and keep their type (1.0 is not 1).
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def plain_values(model: BaseModel) -> dict[str, Any]:
    """The values of a model as they are hashed and written: −0.0 is 0.0.

    Args:
        model: a section of a study, or the numbers of a method.
    """
    return {key: _unsigned_zero(value) for key, value in model.model_dump().items()}


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of a value.

    Args:
        value: what JSON can hold.
    """
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()[:16]


def _unsigned_zero(value: Any) -> Any:
    # -0.0 equals 0.0, and must be the same configuration.
    return 0.0 if isinstance(value, float) and value == 0 else value
