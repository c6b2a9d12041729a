"""Streams of the command line: any encoding, a full disk, a reader that has gone, or nothing.

A character that an encoding lacks is written in others that it has. That the standard output takes
no more is remembered, so that no command ends as if all had been said; what cannot be said on the
standard error is dropped, since nothing is left to say it to.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clsweep.errors import ClsweepError
from clsweep.text import in_ascii

_ERRORS = "clsweep-spelt"
_OUTPUTS: list[_Stream] = []  # the standard output, whatever a library has put around it


class _Stream(io.TextIOWrapper):
    """A standard stream, over the same bytes as the interpreter's own.

    Attributes:
        lost: why it takes no more; None while it does.
        is_closed: whether nobody ever had a place for what it is told.
        may_raise: whether who writes hears of a loss.
    """

    lost: OSError | None = None
    is_closed = False
    may_raise = True

    def write(self, text: str) -> int:
        if self.is_closed and text:
            self.lost = self.lost or OSError(errno.EBADF, "it is closed")
        with self._noticed():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._noticed():
            super().flush()

    def close(self) -> None:
        """Write what is left; the interpreter's own stream, over the same bytes, closes them.

        A library may keep this stream until the process ends (Ray's colorama does), so that it has
        to answer as long.
        """
        if not self.closed:
            with contextlib.suppress(OSError):
                self.flush()

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.lost = self.lost or error
            with contextlib.suppress(OSError):  # what is buffered has to go somewhere
                _onto_nothing(self.fileno(), os.O_WRONLY)
            if self.may_raise:
                raise


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Within the block the standard streams are there, and can spell whatever is written.

    Streams that somebody has put in place of the interpreter's own are left as they are.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        # Else the next file that is opened takes the place, and is written to by who prints.
        with contextlib.suppress(OSError):
            if _is_closed(number):
                _onto_nothing(number, flags)
    codecs.register_error(_ERRORS, _spelt)
    before = sys.stdout, sys.stderr
    made: list[_Stream] = []
    try:
        if sys.stdout is sys.__stdout__:
            sys.stdout = _guarded(sys.stdout, 1, made)
            _OUTPUTS.append(made[-1])
        if sys.stderr is sys.__stderr__:
            sys.stderr = _guarded(sys.stderr, 2, made)
            made[-1].may_raise = False
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in made:
            if stream in _OUTPUTS:
                _OUTPUTS.remove(stream)
            with contextlib.suppress(OSError):
                stream.flush()


def lost_output() -> OSError | None:
    """Why the standard output takes no more, after everything has been handed to it; or None."""
    if not _OUTPUTS:
        return None
    with contextlib.suppress(OSError):
        _OUTPUTS[-1].flush()
    return _OUTPUTS[-1].lost


def excuse_lost_output() -> OSError | None:
    """The same, and forgotten: for a command whose work is not what it prints."""
    lost = lost_output()
    if _OUTPUTS:
        _OUTPUTS[-1].lost = None
    return lost


def output_refused(lost: OSError) -> ClsweepError:
    """The sentence about it.

    Args:
        lost: why nothing more is taken.
    """
    return ClsweepError(
        f"the standard output cannot be written: {lost.strerror or lost}",
        next_step="send it elsewhere, such as `> FILE`; the files that the command writes are "
        "complete",
    )


def as_json_text(value: Any, indent: int | None = None) -> str:
    """JSON that the standard output takes letter by letter.

    Args:
        value: what json can write.
        indent: as json has it.
    """
    import json

    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    return json.dumps(value, indent=indent, ensure_ascii=not encoding.startswith("utf"))


def _guarded(stream: Any, number: int, made: list[_Stream]) -> _Stream:
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.flush()
    raw: Any = open(number, "wb", closefd=False) if stream is None else stream.buffer
    guarded = _Stream(
        raw,
        encoding="utf-8" if stream is None else stream.encoding,
        errors=_ERRORS,
        line_buffering=stream is None or stream.line_buffering,
        write_through=stream is not None and stream.write_through,
    )
    guarded.is_closed = stream is None
    made.append(guarded)
    return guarded


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


def _onto_nothing(number: int, flags: int) -> None:
    """Have a number of the system's lead to where everything vanishes."""
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


def _spelt(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return in_ascii(text), error.end
