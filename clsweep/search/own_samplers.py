"""Samplers of the user's own: a class with `tell` and `ask`, by import path or entry point.

    Sampler(axes, seed)      made anew for every suggestion
    tell(observation)        once per finished configuration, in an order that no worker decides
    ask(pending) -> dict     a value for every axis; `pending` are points without results as yet

So a sampler needs no file: its state is what it is told, and a run that was killed asks for what
it would have asked for. It hears validation accuracies alone. It decides which configurations are
run, and nothing of what they give: its code is in no identity.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

from clsweep.search.observations import Observation
from clsweep.study.sampler_names import SAMPLER_GROUP, SAMPLERS
from clsweep.study.search_axes import Axis, AxisValues
from clsweep.user_code import UserCode, user_code

_WHERE = "[search] sampler"
_EXPECTED = (
    "a class Sampler(axes, seed) with tell(observation) and ask(pending) -> {axis: value}; see "
    "docs/search.md"
)


def is_own(sampler: str) -> bool:
    """Whether a sampler is the user's.

    Args:
        sampler: as the study names it.
    """
    return sampler not in SAMPLERS


def own_suggestion(
    sampler: str,
    axes: Sequence[Axis],
    seed: int,
    finished: Sequence[Observation],
    pending: Sequence[AxisValues],
) -> AxisValues:
    """The point that the user's sampler suggests, its numbers rounded.

    Args:
        sampler: an import path, or the name of an entry point.
        axes: what is searched.
        seed: of this suggestion.
        finished: what is known.
        pending: points whose results are not known yet.

    Raises:
        StudyError: it cannot be imported, raises, or suggests what is not in the space.
    """
    code = user_code(sampler, where=_WHERE, expected=_EXPECTED, group=SAMPLER_GROUP)
    point = _asked(code, axes, seed, finished, pending)
    if not finished and not pending and _asked(code, axes, seed, finished, pending) != point:
        raise code.mistake(
            f"'{sampler}' suggests different points for the same seed and the same results, so "
            "that a run that was killed could not go on"
        )
    return point


def _asked(
    code: UserCode,
    axes: Sequence[Axis],
    seed: int,
    finished: Sequence[Observation],
    pending: Sequence[AxisValues],
) -> AxisValues:
    made = code.called(tuple(axes), seed)
    for name in ("tell", "ask"):
        if not callable(getattr(made, name, None)):
            raise code.mistake(f"'{code.name}' has no method '{name}'")
    tell = code._replace(name=f"{code.name}.tell", found=made.tell)
    ask = code._replace(name=f"{code.name}.ask", found=made.ask)
    for observation in finished:
        tell.called(observation._replace(point=dict(observation.point)))
    returned = ask.called(copy.deepcopy(list(pending)))
    return _checked(ask, axes, returned)


def _checked(ask: UserCode, axes: Sequence[Axis], returned: Any) -> AxisValues:
    if not isinstance(returned, dict):
        raise ask.mistake(f"'{ask.name}' returned a {type(returned).__name__}")
    keys = [axis.key for axis in axes]
    if set(returned) != set(keys):
        raise ask.mistake(
            f"'{ask.name}' returned values for {_listed(returned)}; the axes are {_listed(keys)}"
        )
    return {axis.key: _value(ask, axis, returned[axis.key]) for axis in axes}


def _value(ask: UserCode, axis: Axis, value: Any) -> Any:
    if axis.choices:
        if value not in axis.choices:
            raise ask.mistake(
                f"'{ask.name}' returned {axis.key} = {value!r}, which is none of "
                f"{_listed(axis.choices)}"
            )
        return axis.choices[axis.choices.index(value)]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not axis.low <= number <= axis.high:
        raise ask.mistake(
            f"'{ask.name}' returned {axis.key} = {value!r}, which is no number from "
            f"{axis.low:g} to {axis.high:g}"
        )
    return axis.rounded(number)


def _listed(values: Any) -> str:
    return ", ".join(map(str, values)) or "nothing"
