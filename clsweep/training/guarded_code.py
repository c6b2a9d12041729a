"""Calls into a learner's own code: what it raises, prints, or keeps for itself becomes a sentence.

An exception is a `MethodError` with the user's file and line; out of memory and a failure of the
accelerator are told by its cause, as elsewhere. What it prints goes to the standard error, and the
place of the first print into the trial's message. What is silent for too long is interrupted: in
the main thread of a process by the system's timer, whatever it does; in another thread, as that of
a worker of Ray, at its next step in Python: a call that waits is interrupted as it returns.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from clsweep.data.rng import generator, seeded_globally
from clsweep.errors import ClsweepError, MethodError
from clsweep.signals import from_signal
from clsweep.user_code import described, is_users, raising_place

if TYPE_CHECKING:
    from clsweep.methods.guarded_hooks import HookCalls


class GuardedCode:
    """Runs parts of a learner's code, and notes the first thing that it prints.

    Attributes:
        name: what messages call it.
        printed: 'FILE, line N, printed: TEXT' of the first print; '' for none.
    """

    def __init__(self, name: str, patience_seconds: float) -> None:
        """Nothing is run yet.

        Args:
            name: of the class.
            patience_seconds: how long it may be silent.
        """
        self.name, self.printed = name, ""
        self._patience = patience_seconds
        self._deadline = 0.0

    @contextmanager
    def call(self, what: str) -> Iterator[None]:
        """Within the block, code of the learner's runs.

        Args:
            what: the part of the contract that is called, for messages.

        Raises:
            MethodError: it raised, asked the process to end, or was silent for too long.
        """
        try:
            with self._timed(), contextlib.redirect_stdout(_Printed(self)):
                yield
        except ClsweepError:
            raise
        except _Silence as error:
            raise MethodError(
                f"{self.name}.{what} drew no batch for {self._patience:g} s, and did not return",
                where=_place(error),
                next_step="patience_seconds of the class says how long it may take",
            ) from error
        except Exception as error:
            raise self._mistake(what, error) from error
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and from_signal(error):
                raise
            raise self._mistake(what, error) from error

    @contextmanager
    def noting_prints(self) -> Iterator[None]:
        """Within the block what the code prints goes to the standard error, and is noted."""
        with contextlib.redirect_stdout(_Printed(self)):
            yield

    def alive(self) -> None:
        """Start to wait anew."""
        self._deadline = time.monotonic() + self._patience
        if _has_timer() and signal.getitimer(signal.ITIMER_REAL)[0] > 0:
            signal.setitimer(signal.ITIMER_REAL, self._patience)

    def _mistake(self, what: str, error: BaseException) -> MethodError:
        return MethodError(f"{self.name}.{what} raised {described(error)}", where=_place(error))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        if not _has_timer():
            with self._watched_thread():
                yield
            return
        with _timer(_end_silence, self._patience):
            yield

    @contextmanager
    def _watched_thread(self) -> Iterator[None]:
        """Within the block, another thread raises `_Silence` in this one when it is time."""
        self._deadline = time.monotonic() + self._patience
        has_ended, runner = threading.Event(), threading.get_ident()

        def watch() -> None:
            while not has_ended.wait(max(self._deadline - time.monotonic(), 0.01)):
                if time.monotonic() >= self._deadline:
                    _raise_in(runner, _Silence)
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            has_ended.set()
            watcher.join()
            _raise_in(runner, None)  # what has not been raised yet has come too late


@contextmanager
def interrupting(calls: HookCalls, name: str, patience_seconds: float) -> Iterator[None]:
    """Within the block, what does not return for too long of a user's own method is interrupted.

    Nothing is done at a call: every quarter of the time it is looked whether the same call is
    still at work, so that it ends after one to one and a half of the time.

    Args:
        calls: what is at work.
        name: of the method, for messages.
        patience_seconds: how long one call may take.

    Raises:
        MethodError: one has taken longer.
    """
    n, since, stuck = -1, 0.0, ""

    def is_stuck() -> bool:
        nonlocal n, since, stuck
        at_work = calls.current
        if not at_work or calls.n != n:
            n, since = calls.n if at_work else -1, time.monotonic()
        if n < 0 or time.monotonic() - since < patience_seconds:
            return False
        stuck = at_work  # when it has been interrupted, nothing is at work any more
        return True

    try:
        with _looking(is_stuck, patience_seconds / 4):
            yield
    except _Silence as error:
        raise MethodError(
            f"{stuck} of '{name}' did not return for {patience_seconds:g} s",
            where=_place(error),
            next_step="patience_seconds of the function that builds it says how long it may take",
        ) from error


@contextmanager
def _looking(is_stuck: Callable[[], bool], every: float) -> Iterator[None]:
    """Within the block it is looked again and again whether to raise `_Silence`."""
    if not _has_timer():
        has_ended, runner = threading.Event(), threading.get_ident()

        def watch() -> None:
            while not has_ended.wait(every):
                if is_stuck():
                    _raise_in(runner, _Silence)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            has_ended.set()
            watcher.join()
            _raise_in(runner, None)
        return

    def look(number: int, frame: FrameType | None) -> None:
        if is_stuck():
            raise _Silence

    with _timer(look, every, every):
        yield


@contextmanager
def _timer(
    handler: Callable[[int, FrameType | None], None], seconds: float, every: float = 0.0
) -> Iterator[None]:
    """Within the block the system's timer calls `handler`; that of others goes on afterwards."""
    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, handler)
    left, others = signal.setitimer(signal.ITIMER_REAL, seconds, every)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            rest = max(left - (time.monotonic() - began), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, rest, others)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block the global generators of Python, NumPy and torch are the trial's own.

    Args:
        seed: the trial's.
    """
    rng = generator(seed, "learner", "global")
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002, the users' own
    with seeded_globally(rng):
        random.seed(int(torch.randint(2**62, (), generator=rng)))
        np.random.seed(int(torch.randint(2**32, (), generator=rng)))  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


class _Silence(BaseException):
    """Nothing has happened for too long; no `except Exception` of the user's stops it."""


class _Printed(io.TextIOBase):
    """In place of the standard output."""

    def __init__(self, code: GuardedCode) -> None:
        self._code = code

    def write(self, text: str) -> int:
        if not self._code.printed and text.strip():
            self._code.printed = f"{_printing_place()} printed: {text.strip()[:80]}"
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _end_silence(number: int, frame: FrameType | None) -> None:
    raise _Silence


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Have a thread raise at its next step in Python; None takes back what it has not raised."""
    raised = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


def _has_timer() -> bool:
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and hasattr(signal, "setitimer")


def _place(error: BaseException) -> str:
    """The user's line; that which raised where the code is an installed package's."""
    if at := raising_place(error):
        return at
    last: Any = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return f"{last.tb_frame.f_code.co_filename}, line {last.tb_lineno}" if last else ""


def _printing_place() -> str:
    frame: FrameType | None = sys._getframe(2)
    first = frame
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    frame = frame or first
    assert frame is not None
    return f"{frame.f_code.co_filename}, line {frame.f_lineno},"
