"""SIGTERM is told from Ctrl-C, also where a library answers both in its own way."""

from __future__ import annotations

import signal

import pytest

from clsweep.signals import Terminated, contained, from_signal, terminable


def test_sigterm_raises_within_the_block_and_not_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_that_takes_the_place_of_sigterm_is_still_sigterm() -> None:
    def wait_as_ray_does() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    with pytest.raises(Terminated), terminable():
        wait_as_ray_does()


def test_ctrl_c_stays_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, terminable():
        signal.raise_signal(signal.SIGINT)
    assert type(caught.value) is KeyboardInterrupt


def test_an_interrupt_that_code_raises_is_told_from_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGINT)
    with terminable():
        assert not from_signal(KeyboardInterrupt())
        assert from_signal(Terminated())
        with pytest.raises(KeyboardInterrupt) as caught:
            signal.raise_signal(signal.SIGINT)
        assert from_signal(caught.value)
    assert signal.getsignal(signal.SIGINT) is before
    assert from_signal(KeyboardInterrupt()), "outside it cannot be told, and is assumed"
    with terminable():
        assert not from_signal(KeyboardInterrupt()), "an earlier one is over"


def test_who_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as after `nohup` and `&`
    try:
        with terminable():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt("mine"), GeneratorExit()])
def test_where_a_users_code_asks_the_process_to_end_is_an_error(ending: BaseException) -> None:
    with terminable(), pytest.raises(RuntimeError, match=type(ending).__name__), contained():
        raise ending
    with pytest.raises(ValueError, match="odd"), contained():
        raise ValueError("odd")


def test_ctrl_c_goes_through_a_users_code() -> None:
    with terminable(), pytest.raises(KeyboardInterrupt), contained():
        signal.raise_signal(signal.SIGINT)
