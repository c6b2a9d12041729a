"""SIGTERM is told from Ctrl-C, also where a library answers both in its own way."""

from __future__ import annotations

import signal

import pytest

from clsweep.interrupts import Terminated, terminable


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
