"""Hooks of a user's own method, watched on their first calls.

They modify no argument, return no NaN that they were not given, and no parameter that does not
exist. After a few calls of a hook nothing is looked at any more, so that a trial takes no longer.
But which hook is at work is always noted, so that one that does not return can be interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from clsweep.errors import MethodError
from clsweep.methods.base import Method, NotedLoss, Phase
from clsweep.user_code import definition_place

# Calls of a hook that are watched, in each trial.
_WATCHED = 3
_PURE = "a pure function: new tensors and dicts instead of changed ones"
METHOD_HOOKS = ("predict", "begin", "fit", "measure", "absorb", "counters")
PHASE_HOOKS = (
    "loss",
    "prepare",
    "open",
    "note",
    "pull",
    "steer",
    "project",
    "foresee",
    "settle",
    "proximal",
    "draw",
    "track",
    "survey",
    "close",
)
# What each hook returns; of a pair, the first is a dict of parameters.
_DICTS = ("begin", "measure", "absorb", "open", "steer", "foresee", "settle", "draw", "track")
_PAIRS = ("fit", "project", "close")
# Where the names of what is returned have to be among those of an argument, by its index.
_NAMED = {"steer": 1, "foresee": 1, "settle": 0, "project": 1, "close": 0, "fit": 0}


class HookCalls:
    """Which part of a user's own method is at work.

    Attributes:
        current: its name; '' while it is the turn of clsweep.
        n: calls that have begun.
    """

    __slots__ = ("current", "n")

    def __init__(self) -> None:
        """Nothing has been called."""
        self.current, self.n = "", 0


def guarded(method: Method, name: str, calls: HookCalls | None = None) -> Method:
    """The method with watched hooks.

    Args:
        method: a user's own.
        name: what messages call it.
        calls: where it is noted which hook is at work; None for nowhere.
    """
    noted = calls or HookCalls()
    hooks: dict[str, Any] = {
        key: _watched(getattr(method, key), key, name, noted) for key in METHOD_HOOKS
    }
    return replace(
        method,
        phases=tuple(_guarded_phase(phase, name, noted) for phase in method.phases),
        first_phases=tuple(_guarded_phase(phase, name, noted) for phase in method.first_phases),
        **hooks,
    )


def _guarded_phase(phase: Phase, name: str, calls: HookCalls) -> Phase:
    hooks: dict[str, Any] = {
        key: _watched(getattr(phase, key), key, name, calls) for key in PHASE_HOOKS
    }
    return replace(phase, **hooks)


def _watched(
    hook: Callable[..., Any] | None, key: str, name: str, calls: HookCalls
) -> Callable[..., Any] | None:
    if hook is None:
        return None
    n_calls = 0

    def noted(args: tuple[Any, ...]) -> Any:
        outer = calls.current
        calls.current = key
        calls.n += 1
        try:
            return hook(*args)
        finally:
            calls.current = outer

    def watched(*args: Any) -> Any:
        nonlocal n_calls
        if n_calls >= _WATCHED:
            return noted(args)
        n_calls += 1
        before = [*_contents(args, "argument")]
        returned = noted(args)
        wrong = _modified(before) or _misnamed(key, args, returned)
        if not wrong and n_calls == 1 and key != "begin" and _has_nan(returned):
            wrong = "" if _has_nan(args) else "returned NaN, and was given none"
        if wrong:
            raise MethodError(
                f"{key} of '{name}' {wrong}",
                expected=_PURE if wrong.startswith("changes") else "",
                where=definition_place(hook),
            )
        return returned

    return watched


def _contents(value: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """(name, tensor or dict, what tells that it was modified) of all in a value."""
    if isinstance(value, Tensor):
        yield path, value, _version(value)
    elif isinstance(value, Mapping):
        yield path, value, [(key, id(item)) for key, item in value.items()]
        for key, item in value.items():
            yield from _contents(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _contents(item, path)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _contents(getattr(value, field.name), field.name)


def _version(value: Tensor) -> int:
    return -1 if value.is_inference() else value._version


def _modified(before: list[tuple[str, Any, Any]]) -> str:
    for path, value, stamp in before:
        now = (
            _version(value)
            if isinstance(value, Tensor)
            else [(key, id(item)) for key, item in value.items()]
        )
        if now != stamp:
            return f"changes what it is given: '{path}'"
    return ""


def _misnamed(key: str, args: tuple[Any, ...], returned: Any) -> str:
    """What of the returned is not what the hook has to return."""
    if key == "loss" and isinstance(returned, NotedLoss):
        returned = returned.loss
    if key == "loss" and not (isinstance(returned, Tensor) and returned.ndim == 0):
        return f"returned {_kind(returned)}, not a scalar tensor"
    if key in _PAIRS:
        if not (isinstance(returned, tuple) and len(returned) == 2):
            return f"returned {_kind(returned)}, not two values"
        returned = returned[0]
    if key in (*_DICTS, *_PAIRS) and not isinstance(returned, Mapping):
        return f"returned {_kind(returned)}, not a dict"
    if key in _NAMED:
        known = args[_NAMED[key]]
        unknown = sorted(returned.keys() - known.keys())
        if unknown:
            return f"names parameters that do not exist: {unknown[:3]}"
        for name, value in returned.items():
            if value.shape != known[name].shape:
                return (
                    f"returned '{name}' of shape {tuple(value.shape)}, and the parameter has "
                    f"{tuple(known[name].shape)}"
                )
    return ""


def _kind(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _has_nan(value: Any) -> bool:
    tensors = (item for _, item, _ in _contents(value, "") if isinstance(item, Tensor))
    return any(bool(torch.isnan(t).any()) for t in tensors if t.is_floating_point())
