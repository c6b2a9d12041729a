"""Conditions on stored trials, as `clsweep forget --where` takes them; nothing is evaluated.

    method = "ewc" and lam > 100 and status != "ok"
    config_id in ["0f3a...", "77c1..."] and seed = 3

A condition is KEY OP VALUE with = != < <= > >=, or KEY in [VALUE, ...]. Values are numbers, texts
in quotes, true and false. `and` joins conditions; there is no `or`, no `not`, no bracket.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.errors import StudyError, closest_name

if TYPE_CHECKING:
    from clsweep.records.schema import Record

Value = str | float | int | bool
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"[^"\\]*"|'[^'\\]*')
      | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
      | (?P<word>[A-Za-z_][\w.]*)
      | (?P<sign>==|!=|<=|>=|=|<|>|\[|\]|,)
    )""",
    re.VERBOSE | re.ASCII,
)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TRIAL_KEYS = (
    "trial_id",
    "config_id",
    "label",
    "method",
    "seed",
    "status",
    "device",
    "n_steps",
    "wall_seconds",
    "attempts",
    "finished_at",
)

# Texts of which there are too many to list.
_UNLISTED = ("trial_id", "config_id", "finished_at")


class Condition(NamedTuple):
    """One condition.

    Attributes:
        key: of `known_values`.
        sign: '=', '!=', '<', '<=', '>', '>=' or 'in'.
        values: what it is compared with; several with 'in' alone.
    """

    key: str
    sign: str
    values: tuple[Value, ...]

    def holds(self, known: Mapping[str, Any]) -> bool:
        """Whether a trial fits; one that has no such key does not, whatever the sign.

        Args:
            known: what is known of the trial.
        """
        if self.key not in known:
            return False
        value = known[self.key]
        if self.sign == "in":
            return any(_is_alike(value, one) and value == one for one in self.values)
        if not _is_alike(value, self.values[0]):
            return self.sign == "!="
        return _COMPARE[self.sign](value, self.values[0])


def conditions_in(text: str) -> tuple[Condition, ...]:
    """The conditions that a text joins by `and`.

    Args:
        text: as it stands above.

    Raises:
        StudyError: it says something else.
    """
    words = _words(text)
    found = []
    while True:
        found.append(_condition(words, text))
        if not words:
            return tuple(found)
        kind, word = words.pop(0)
        if (kind, word) != ("word", "and"):
            raise _mistake(text, f"'{word}' after a condition", "`and`, or the end")


def known_values(record: Record, has_model: bool) -> dict[str, Any]:
    """What conditions may ask of a trial: its own fields, `has_model`, and its numbers.

    A number of the method is called by its key, one of its training `training.KEY`. Where a field
    of the trial has the same name, the number is `hyper.KEY`.

    Args:
        record: the trial's.
        has_model: whether its network is kept.
    """
    hyper, training = record["config"]["hyper"], record["config"]["training"]
    trial: Mapping[str, Any] = record["trial"]
    return {
        **hyper,
        **{f"hyper.{key}": value for key, value in hyper.items()},
        **{f"training.{key}": value for key, value in training.items()},
        **{key: trial[key] for key in _TRIAL_KEYS},
        "has_model": has_model,
    }


def check_keys(conditions: Sequence[Condition], known: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a key that no trial has, and a comparison that makes no sense for any of them.

    Args:
        conditions: what is asked.
        known: `known_values` of all trials.

    Raises:
        StudyError: there is such a condition.
    """
    rows = list(known)
    keys = {key for row in rows for key in row}
    for condition in conditions:
        if condition.key not in keys:
            raise StudyError(
                f"no trial has a '{condition.key}'",
                expected=closest_name(condition.key, keys),
                where="--where",
            )
        values = [row[condition.key] for row in rows if condition.key in row]
        for asked in condition.values:
            if not any(_is_alike(value, asked) for value in values):
                raise StudyError(
                    f"'{condition.key}' is compared with {json.dumps(asked)}",
                    expected=f"a value such as {json.dumps(values[0])}",
                    where="--where",
                )


def near_values(conditions: Sequence[Condition], known: Iterable[Mapping[str, Any]]) -> list[str]:
    """For every text that is asked for and that no trial has: what was meant, or what there is.

    Args:
        conditions: what is asked.
        known: `known_values` of all trials.
    """
    rows, found = list(known), []
    for condition in conditions:
        if condition.sign not in ("=", "in") or condition.key in _UNLISTED:
            continue
        there = {row[condition.key] for row in rows if isinstance(row.get(condition.key), str)}
        asked = [value for value in condition.values if isinstance(value, str)]
        if there and asked and not there & {*asked}:
            found += [f"{condition.key}: {closest_name(value, there)}" for value in asked]
    return found


def _condition(words: list[tuple[str, str]], text: str) -> Condition:
    kind, key = words.pop(0) if words else ("", "the end")
    if kind != "word" or key in ("and", "in", "true", "false"):
        raise _mistake(text, f"{key} where a key should stand", "a key such as status or lam")
    kind, sign = words.pop(0) if words else ("", "the end")
    sign = "=" if sign == "==" else sign
    if sign == "in":
        return Condition(key, "in", _listed(words, text))
    if kind != "sign" or sign not in _COMPARE:
        raise _mistake(text, f"{sign} after '{key}'", f"one of {' '.join(_COMPARE)}, or in")
    value = _value(words, text)
    if sign not in ("=", "!=") and isinstance(value, bool | str) and key != "finished_at":
        raise _mistake(text, f"{key} {sign} {json.dumps(value)}", "a number, or the sign = or !=")
    return Condition(key, sign, (value,))


def _listed(words: list[tuple[str, str]], text: str) -> tuple[Value, ...]:
    if not words or words.pop(0) != ("sign", "["):
        raise _mistake(text, "`in` without a list", "in [VALUE, VALUE]")
    values = [_value(words, text)]
    while words and words[0] == ("sign", ","):
        words.pop(0)
        values.append(_value(words, text))
    if not words or words.pop(0) != ("sign", "]"):
        raise _mistake(text, "a list without its end", "in [VALUE, VALUE]")
    return tuple(values)


def _value(words: list[tuple[str, str]], text: str) -> Value:
    kind, word = words.pop(0) if words else ("", "the end")
    if kind == "text":
        return word[1:-1]
    if kind == "number":
        return int(word) if re.fullmatch(r"[+-]?\d+", word) else float(word)
    if word in ("true", "false"):
        return word == "true"
    raise _mistake(
        text, f"{word} where a value should stand", 'a number, a "text" in quotes, true or false'
    )


def _words(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise _mistake(text, text[at:].strip()[:20], "keys, signs, values and `and`")
        assert match.lastgroup is not None
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _is_alike(value: Any, asked: Value) -> bool:
    """Whether two values can be compared: both numbers, or both of one other kind."""
    if isinstance(value, bool) or isinstance(asked, bool):
        return isinstance(value, bool) and isinstance(asked, bool)
    if isinstance(asked, str):
        return isinstance(value, str)
    return isinstance(value, int | float)


def _mistake(text: str, found: str, expected: str) -> StudyError:
    return StudyError(
        f"--where cannot be read: {found}",
        expected=expected,
        where=f"--where {text}",
        next_step="such as --where 'method = \"ewc\" and lam > 100'; several commands for `or`",
    )
