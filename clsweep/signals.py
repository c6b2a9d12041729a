"""SIGTERM as a request to stop, as batch systems mean it; Ctrl-C told from what code raises."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ctrl_c = threading.Event()


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; treated like Ctrl-C, with another exit code."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`, and Ctrl-C is told from other interrupts.

    Blocks may be nested: libraries that take the signal for themselves are answered by another
    block after they started.
    """
    has_arrived = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal has_arrived
        has_arrived = True
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever called keeps its own handling
        yield
        return
    before_ctrl_c = signal.getsignal(signal.SIGINT)
    if before_ctrl_c is signal.default_int_handler:
        _ctrl_c.clear()
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        # Ray, interrupted while it waits, drops what a handler raised and raises its own.
        if has_arrived and not isinstance(error, Terminated):
            raise Terminated from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if before_ctrl_c is signal.default_int_handler:
            signal.signal(signal.SIGINT, before_ctrl_c)


def from_signal(error: KeyboardInterrupt) -> bool:
    """Whether somebody has asked the process to stop; where that cannot be told, it is assumed.

    Args:
        error: as it was caught. Only the main thread is ever interrupted by a signal.
    """
    if isinstance(error, Terminated):
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    return _ctrl_c.is_set() or signal.getsignal(signal.SIGINT) is not _interrupt


@contextmanager
def contained() -> Iterator[None]:
    """Within the block a user's code runs; where it asks the process to end, that is an error.

    Raises:
        RuntimeError: in place of SystemExit, and of an interrupt that is no signal.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and from_signal(error):
            raise
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _interrupt(number: int, frame: FrameType | None) -> None:
    _ctrl_c.set()
    signal.default_int_handler(number, frame)
