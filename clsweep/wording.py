"""Numbers and commands in sentences."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from clsweep.printable import is_printable

__all__ = ["command", "counted", "duration", "seeds_of"]


def command(program: str, *words: object) -> str:
    """A command as a shell takes it, to be copied from a terminal.

    Args:
        program: what stands before the words, such as 'clsweep report'; taken as it is.
        words: paths, names; a URI without its credentials.
    """
    return " ".join([program, *(_quoted(str(word)) for word in words)])


def _quoted(word: str) -> str:
    if word.startswith("-"):
        word = f"./{word}"  # a file of such a name, not an option
    if is_printable(word):
        return shlex.quote(word)
    # As bash, zsh and ksh spell what would drive a terminal, bytes that are no text included.
    spelt = "".join(
        char if is_printable(char) else "".join(f"\\x{b:02x}" for b in os.fsencode(char))
        for char in word.replace("\\", "\\\\").replace("'", "\\'")
    )
    return f"$'{spelt}'"


def counted(n: int, noun: str, plural: str = "") -> str:
    """A number with its noun, such as '1 seed' and '2 seeds'.

    Args:
        n: at least 0.
        noun: for one of them.
        plural: for several; `noun` with an s if empty.
    """
    return f"{n} {noun}" if n == 1 else f"{n} {plural or noun + 's'}"


def duration(seconds: float) -> str:
    """A time span in at most two units, such as '2 h 5 min'.

    Args:
        seconds: at least 0.
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, unit, small_size, small in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    raise AssertionError("a minute or more has one of the units")


def seeds_of(seeds: Sequence[int]) -> str:
    """Seeds by number, at most eight of them, such as 'seed 0' and 'seeds 0, 1'.

    Args:
        seeds: at least one.
    """
    names = ", ".join(map(str, seeds[:8])) + (", …" if len(seeds) > 8 else "")
    return f"seed {names}" if len(seeds) == 1 else f"seeds {names}"
