"""Numbers in sentences."""

from __future__ import annotations

__all__ = ["counted", "duration"]


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
