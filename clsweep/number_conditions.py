"""Which numbers another number switches off: what a trial does, whatever its file says.

A number that is switched off changes no bit of a trial. The declaration of the number says when
that is, by the values of other numbers of its table (`fisher_batch` acts only where `fisher =
"batched"`), or by the study around it (`padded` acts only where `benchmark.scenario = "class"`).
Everything else follows from the declaration: grids, searches, identities, notes and tables.

A number that is switched off counts as its default. This module imports neither torch nor ray.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from clsweep.toml_text import toml_value

Situation = Mapping[str, Any]  # key -> the value that it has, or a tuple of values


class _Rule(NamedTuple):
    """When one number acts.

    Attributes:
        key: the number.
        where: keys that must all have one of some values.
        unless: situations, each of which switches it off.
    """

    key: str
    where: dict[str, list[Any]]
    unless: list[dict[str, list[Any]]]

    def is_off(self, known: Mapping[str, Any]) -> bool:
        """Whether the number is switched off; what is not known switches nothing off.

        Args:
            known: the values of other numbers.
        """
        if any(key in known and known[key] not in values for key, values in self.where.items()):
            return True
        return any(
            all(key in known and known[key] in values for key, values in situation.items())
            for situation in self.unless
        )

    @property
    def asks_for(self) -> dict[str, list[Any]]:
        """Every key that it looks at, and the values that it compares it with."""
        found: dict[str, list[Any]] = {}
        for situation in (self.where, *self.unless):
            for key, values in situation.items():
                found.setdefault(key, []).extend(values)
        return found


def conditions(
    where: Situation | None = None, unless: Situation | Sequence[Situation] = ()
) -> JsonDict:
    """The part of a field's declaration that says when it acts.

    Args:
        where: it acts only where every key has this value, or one of these values.
        unless: it does not act where every key has this value; or several such situations.
    """
    found: JsonDict = {}
    if where:
        found["where"] = _lists(where)
    situations = [unless] if isinstance(unless, Mapping) else [*unless]
    if situations:
        found["unless"] = [_lists(situation) for situation in situations]
    return found


def condition_text(field: FieldInfo) -> str:
    """When a field acts, such as "only where fisher = 'batched'"; '' for always.

    Args:
        field: of a model's `model_fields`.
    """
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    rule = _rule("", extra)
    parts = [f"only where {_in_words(rule.where)}"] if rule.where else []
    if rule.unless:
        parts.append(f"not where {', nor where '.join(map(_in_words, rule.unless))}")
    return ", and ".join(parts)


def switched_off(
    model: type[BaseModel], values: Mapping[str, Any], context: Mapping[str, Any] | None = None
) -> frozenset[str]:
    """The keys of a table that change nothing.

    Args:
        model: the declaration of the table.
        values: key -> value.
        context: see `grid.around`; what is not known switches nothing off.
    """
    known = {**(context or {}), **values}
    return frozenset(
        rule.key for rule in _rules(model) if rule.key in values and rule.is_off(known)
    )


def with_rest(
    model: type[BaseModel],
    values: Mapping[str, Any],
    context: Mapping[str, Any] | None = None,
    rest: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The values, those that change nothing at rest.

    Args:
        model: the declaration of the table.
        values: key -> value.
        context: see `grid.around`.
        rest: what a key counts as where it is switched off; its default where nothing is said.
    """
    off = switched_off(model, values, context)
    if not off:
        return dict(values)
    others = rest or {}
    fields = model.model_fields
    return {
        key: others.get(key, fields[key].default) if key in off else value
        for key, value in values.items()
    }


def idle(
    model: type[BaseModel],
    axes: Mapping[str, Sequence[Any]],
    context: Mapping[str, Any] | None = None,
) -> frozenset[str]:
    """The keys that no combination of some values makes act.

    Args:
        model: the declaration of the table.
        axes: key -> its values; for a range, values of it.
        context: see `grid.around`.
    """
    rules = {rule.key: rule for rule in _rules(model) if rule.key in axes}
    found = set()
    for key in rules:
        asked = _asked_for(key, rules)
        few = {
            name: _telling(axes[name], wanted) for name, wanted in asked.items() if name in axes
        }
        points = (
            dict(zip(few, values, strict=True)) for values in itertools.product(*few.values())
        )
        at_default = {name: model.model_fields[name].default for name in axes}
        if all(key in switched_off(model, {**at_default, **p}, context) for p in points):
            found.add(key)
    return frozenset(found)


def _lists(situation: Situation) -> JsonDict:
    return {
        key: list(values) if isinstance(values, tuple) else [values]
        for key, values in situation.items()
    }


def _rule(key: str, extra: Mapping[str, Any]) -> _Rule:
    return _Rule(key, extra.get("where", {}), extra.get("unless", []))


@lru_cache(maxsize=64)
def _rules(model: type[BaseModel]) -> tuple[_Rule, ...]:
    rules = []
    for key, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and ("where" in extra or "unless" in extra):
            rules.append(_rule(key, extra))
    return tuple(rules)


def _asked_for(key: str, rules: Mapping[str, _Rule]) -> dict[str, list[Any]]:
    """Every key that decides, at first or second hand, whether `key` acts, and its values."""
    found: dict[str, list[Any]] = {}
    waiting, seen = [key], {key}
    while waiting:
        name = waiting.pop()
        if name not in rules:
            continue
        for other, values in rules[name].asks_for.items():
            found.setdefault(other, []).extend(values)
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return found


def _telling(values: Sequence[Any], wanted: Sequence[Any]) -> list[Any]:
    """The values that a condition names, and one that none names."""
    named = [value for value in values if value in wanted]
    return named + [value for value in values if value not in wanted][:1]


def _in_words(situation: Mapping[str, Sequence[Any]]) -> str:
    return " and ".join(
        f"{key} = {' or '.join(map(toml_value, values))}" for key, values in situation.items()
    )
