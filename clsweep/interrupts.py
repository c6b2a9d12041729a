"""SIGTERM as a request to stop, as batch systems mean it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Terminated", "terminable"]


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; treated like Ctrl-C, with another exit code."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`.

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
    try:
        yield
    except KeyboardInterrupt as error:
        # Ray, interrupted while it waits, drops what a handler raised and raises its own.
        if has_arrived and not isinstance(error, Terminated):
            raise Terminated from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
