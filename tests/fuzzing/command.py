"""A command called in this process, and what its output must never hold."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["Ran", "called", "is_readable"]

# What moves the cursor, colours, rings, hides or turns round text: all controls but line ends and
# tabs, and the marks of direction.
_DRIVES_TERMINALS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


class Ran(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def called(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> Ran:
    """Run a command in this process; what it raises is raised."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return Ran(code, out.getvalue(), err.getvalue())


def is_readable(text: str) -> None:
    """Assert that nothing in a text drives a terminal."""
    found = _DRIVES_TERMINALS.search(text)
    assert not found, f"{found[0]!r} in {text[max(0, found.start() - 80) : found.end()]!r}"
    assert "Traceback" not in text, text
