"""Code of a user's own that does not return is interrupted, in every thread."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from clsweep.errors import MethodError
from clsweep.methods.base import Method, Phase
from clsweep.methods.guarded_hooks import _WATCHED, HookCalls, guarded
from clsweep.methods.hypers import NoHyper
from clsweep.training.guarded_code import interrupting

NET: Any = None
PATIENCE = 0.4


def spins(params: Any) -> Any:
    while True:
        try:
            time.sleep(0.01)  # here
        except Exception:  # what ends it is none
            pass


def slept(seconds: float, n: int) -> None:
    """Call hooks of which each returns in time."""
    calls = HookCalls()
    method = guarded(
        Method(NET, NoHyper(), (), begin=lambda _: time.sleep(seconds) or {}), "m", calls
    )
    assert method.begin is not None
    with interrupting(calls, "m", PATIENCE):
        for _ in range(n):
            method.begin({})
        time.sleep(2 * PATIENCE)  # clsweep's own turn may take as long as it likes


def stuck() -> None:
    calls = HookCalls()
    method = guarded(Method(NET, NoHyper(), (), begin=spins), "mine", calls)
    assert method.begin is not None
    with interrupting(calls, "mine", PATIENCE):
        method.begin({})


def in_this_thread(do: Any, *args: Any) -> None:
    do(*args)


def in_another(do: Any, *args: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(do, *args).result(30)


@pytest.mark.parametrize("where", [in_this_thread, in_another])
def test_a_hook_that_does_not_return_is_named_with_its_line(where: Any) -> None:
    said = r"begin of 'mine' did not return for 0.4 s"
    with pytest.raises(MethodError, match=said) as caught:
        where(stuck)
    line = spins.__code__.co_firstlineno
    assert caught.value.where.startswith(f"{__file__}, line ")
    assert line < int(caught.value.where.rpartition(" ")[2]) <= line + 5
    assert "patience_seconds" in caught.value.next_step


@pytest.mark.parametrize("where", [in_this_thread, in_another])
def test_many_calls_that_return_are_not_interrupted(where: Any) -> None:
    threads, handler = {*threading.enumerate()}, signal.getsignal(signal.SIGALRM)
    where(slept, PATIENCE / 8, 16)
    assert {*threading.enumerate()} <= threads  # one of an earlier test may have ended meanwhile
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL)[1] == 0


def test_what_is_at_work_is_noted_on_every_call_and_nothing_afterwards() -> None:
    calls, seen = HookCalls(), []

    def loss(*args: Any) -> torch.Tensor:
        seen.append((calls.current, calls.n))
        return torch.zeros(())

    (phase,) = guarded(Method(NET, NoHyper(), (Phase("p", loss),)), "m", calls).phases
    for _ in range(_WATCHED + 2):
        phase.loss({}, {}, None, 1)
        assert calls.current == ""
    assert seen == [("loss", n + 1) for n in range(_WATCHED + 2)]
