"""What Ray says of an error, for people."""

from __future__ import annotations


def in_one_line(cause: Exception) -> str:
    """The sentence of Ray's error that gives the reason, which it puts last."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(cause).__name__
