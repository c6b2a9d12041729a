"""A configuration in words, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clsweep.methods import known_entry
from clsweep.number_conditions import switched_off
from clsweep.study.configurations import Configuration
from clsweep.study.study_tables import StudyTables
from clsweep.text import key_text, number_text
from clsweep.training.config import TrainingConfig, in_full


def numbers_in_words(
    method: str, hyper: Mapping[str, Any], training: Mapping[str, Any], usual: Mapping[str, Any]
) -> str:
    """A configuration's knobs and what is not at its default, as `λ = 100, training.lr = 0.1`.

    Args:
        method: what records call the method.
        hyper: its numbers.
        training: how its tasks are trained.
        usual: the study's own `[training]`.
    """
    entry = known_entry(method)
    fields = entry.hyper.model_fields if entry else {}
    parts = []
    for key, value in hyper.items():
        field = fields.get(key)
        extra = field.json_schema_extra if field else None
        is_knob = isinstance(extra, dict) and extra.get("role") == "knob"
        if field is None or is_knob or value != field.default:
            parts.append(f"{key_text(key)} = {_number(value)}")
    trained = in_full(training)
    idle = switched_off(TrainingConfig, trained)
    for key, value in trained.items():
        if key in usual and value != usual[key] and key not in idle:
            parts.append(f"training.{key} = {_number(value)}")
    return ", ".join(parts)


def _number(value: Any) -> str:
    return number_text(value) if isinstance(value, float) else str(value)


def words_of(study: StudyTables) -> Callable[[Configuration], str]:
    """A function that says a configuration in words, and remembers them.

    Args:
        study: of the configurations.
    """
    usual = study.training.model_dump(mode="json")
    known: dict[str, str] = {}

    def words(one: Configuration) -> str:
        if one.id not in known:
            training = one.training.model_dump(mode="json")
            known[one.id] = numbers_in_words(one.method, one.hyper.model_dump(), training, usual)
        return known[one.id]

    return words
