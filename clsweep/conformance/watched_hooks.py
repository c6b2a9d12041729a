"""A method whose every hook is looked at: what it does to its arguments, and what it draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from clsweep.methods.base import Method, Phase
from clsweep.methods.guarded_hooks import METHOD_HOOKS, PHASE_HOOKS


def watched(method: Method, faults: list[str]) -> Method:
    """The same method, which notes what its hooks should not do.

    Args:
        method: pure hooks.
        faults: gets a sentence for each hook that modifies an argument, or draws from torch's
            global generator.
    """
    found: dict[str, Any] = {
        name: _watched(name, getattr(method, name), faults) for name in METHOD_HOOKS
    }
    for name in ("phases", "first_phases"):
        found[name] = tuple(_watched_phase(phase, faults) for phase in getattr(method, name))
    return dataclasses.replace(method, **found)


def _watched_phase(phase: Phase, faults: list[str]) -> Phase:
    found: dict[str, Any] = {
        hook: _watched(f"{hook} of phase '{phase.name}'", getattr(phase, hook), faults)
        for hook in PHASE_HOOKS
    }
    return dataclasses.replace(phase, **found)


def _watched(
    name: str, hook: Callable[..., Any] | None, faults: list[str]
) -> Callable[..., Any] | None:
    if hook is None:
        return None

    def called(*args: Any) -> Any:
        before = [(path, value, value.detach().clone()) for path, value in _tensors("", args)]
        names = [set(one) for one in args if isinstance(one, Mapping)]
        state = torch.get_rng_state()
        returned = hook(*args)
        for path, value, then in before:
            if not _same(value.detach(), then):
                _note(faults, f"{name} modifies its argument {path}")
        if names != [set(one) for one in args if isinstance(one, Mapping)]:
            _note(faults, f"{name} adds to its arguments, or takes from them")
        if not torch.equal(state, torch.get_rng_state()):
            _note(faults, f"{name} draws from torch's global generator")
        return returned

    return called


def _note(faults: list[str], sentence: str) -> None:
    if sentence not in faults:
        faults.append(sentence)


def _same(now: Tensor, then: Tensor) -> bool:
    return now.shape == then.shape and bool(((now == then) | (now != now)).all())


def _tensors(path: str, one: object) -> Iterator[tuple[str, Tensor]]:
    if isinstance(one, Tensor):
        yield path or "itself", one
    elif isinstance(one, Mapping):
        for key, value in one.items():
            yield from _tensors(f"{path}[{key!r}]", value)
    elif isinstance(one, tuple) and hasattr(one, "_fields"):
        for name, value in zip(one._fields, one, strict=True):
            yield from _tensors(f"{path}.{name}", value)
    elif isinstance(one, tuple):
        for index, value in enumerate(one):
            yield from _tensors(f"{path}{index + 1}" if not path else f"{path}[{index}]", value)
