"""Hooks that break the contract are told by name, file and line, on their first calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from clsweep.errors import MethodError
from clsweep.methods.base import Method, Phase
from clsweep.methods.guarded_hooks import _WATCHED, HookCalls, guarded
from clsweep.methods.hypers import NoHyper

NET: Any = None
PARAMS = {"w": torch.tensor([1.0, 2.0])}


class Pair(NamedTuple):
    omega: dict[str, torch.Tensor]
    n: int


def phase_hook(key: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    hooks = {"loss": lambda *args: torch.zeros(()), key: hook}
    (made,) = guarded(Method(NET, NoHyper(), (Phase("p", **hooks),)), "mine").phases
    return getattr(made, key)  # type: ignore[no-any-return]


def method_hook(key: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = getattr(
        guarded(Method(NET, NoHyper(), (), **{key: hook}), "m"), key
    )
    return made


def in_place(grads: Any, full: Any, memory: Any, batch: Any, task: int) -> Any:
    grads["w"] *= 2
    return grads


def through_memory(grads: Any, full: Any, memory: Any, batch: Any, task: int) -> Any:
    memory["pair"].omega["w"].add_(1)
    return grads


def into_the_dict(grads: Any, full: Any, memory: Any, batch: Any, task: int) -> Any:
    grads["w"] = grads["w"] * 2
    return grads


def misnamed(grads: Any, full: Any, memory: Any, batch: Any, task: int) -> Any:
    return {"wieght": grads["w"]}


def misshaped(grads: Any, full: Any, memory: Any, batch: Any, task: int) -> Any:
    return {"w": grads["w"][:1]}


def not_a_number(grads: Any, full: Any, memory: Any, batch: Any, task: int) -> Any:
    return {"w": grads["w"] / 0 * 0}


def nothing(grads: Any, full: Any, memory: Any, batch: Any, task: int) -> Any:
    pass


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (in_place, "changes what it is given: 'w'"),
        (through_memory, "changes what it is given: 'w'"),
        (into_the_dict, "changes what it is given: 'argument'"),
        (misnamed, r"names parameters that do not exist: \['wieght'\]"),
        (misshaped, r"returned 'w' of shape \(1,\), and the parameter has \(2,\)"),
        (not_a_number, "returned NaN, and was given none"),
        (nothing, "returned NoneType, not a dict"),
    ],
)
def test_a_hook_that_breaks_the_contract_is_named(hook: Callable[..., Any], said: str) -> None:
    steer = phase_hook("steer", hook)
    grads, memory = {"w": torch.ones(2)}, {"pair": Pair({"w": torch.ones(2)}, 1)}
    with pytest.raises(MethodError, match=f"steer of 'mine' {said}") as caught:
        steer(grads, PARAMS, memory, None, 1)
    line = hook.__code__.co_firstlineno
    assert f"{Path(__file__).name}, line {line}" in str(caught.value)


def test_what_it_was_given_may_be_nan() -> None:
    steer = phase_hook("steer", not_a_number)
    given = {"w": torch.tensor([float("nan"), 1.0])}
    assert torch.isnan(steer(given, PARAMS, {}, None, 1)["w"]).all()


@pytest.mark.parametrize(
    ("key", "returned", "said"),
    [
        ("loss", torch.ones(3), r"returned a tensor \(3,\), not a scalar tensor"),
        ("loss", torch.tensor(float("nan")), "returned NaN"),
        ("close", PARAMS, "returned dict, not two values"),
        ("close", ({"v": torch.ones(2)}, {}), "names parameters that do not exist"),
        ("open", None, "returned NoneType, not a dict"),
    ],
)
def test_what_a_phase_returns_is_looked_at(key: str, returned: Any, said: str) -> None:
    with pytest.raises(MethodError, match=said):
        phase_hook(key, lambda *args: returned)(PARAMS, {}, 1)


def test_hooks_of_the_method_are_watched_too() -> None:
    absorb = method_hook("absorb", lambda params, memory, statistics, learnt: memory.update(a=1))
    with pytest.raises(MethodError, match="changes what it is given"):
        absorb(PARAMS, {}, {}, None)
    measure = method_hook("measure", lambda params, learnt: {"w": torch.tensor(float("nan"))})
    with pytest.raises(MethodError, match="returned NaN"):
        measure(PARAMS, None)


def test_later_calls_are_not_looked_at() -> None:
    n_calls = 0

    def late(grads: Any, full: Any, memory: Any, batch: Any, task: int) -> Any:
        nonlocal n_calls
        n_calls += 1
        return None if n_calls > _WATCHED else grads

    steer = phase_hook("steer", late)
    found = [steer({"w": torch.ones(2)}, PARAMS, {}, None, 1) for _ in range(_WATCHED + 1)]
    assert [one is None for one in found] == [False] * _WATCHED + [True]


def test_a_hook_that_does_nothing_stays_none() -> None:
    made = guarded(Method(NET, NoHyper(), (Phase("p", lambda *a: torch.zeros(())),)), "mine")
    assert (made.begin, made.phases[0].steer, made.phases[0].name) == (None, None, "p")


def test_a_hook_that_raises_is_no_longer_at_work() -> None:
    def fails(params: Any) -> Any:
        raise ZeroDivisionError

    calls = HookCalls()
    made = guarded(Method(NET, NoHyper(), (), begin=fails), "mine", calls)
    assert made.begin is not None
    for _ in range(_WATCHED + 1):
        with pytest.raises(ZeroDivisionError):
            made.begin(PARAMS)
        assert calls.current == ""
