r"""Texts that others wrote, made fit to be shown: nothing in them drives a terminal.

What a study file, a record of a shared folder or an exception says may hold anything. Control
characters and marks of direction are shown as `\x1b` or `\u202e`.
"""

from __future__ import annotations

import re

__all__ = ["UNFIT_NAME", "is_printable", "printable", "shortened"]

# Controls but line ends and tabs; marks of direction, which show a text in another order than it
# has; halves of characters. The ranges mean the same to Python and to RE2, but for the last.
_RANGES = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
_MARKS = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNFIT = re.compile(f"[{_RANGES}{_MARKS}\ud800-\udfff]")
_UNFIT_LINE = re.compile(f"[\\t\\n{_RANGES}{_MARKS}\ud800-\udfff]")
UNFIT_NAME = rf"[{_RANGES}\t\n{_MARKS}]"
_LONGEST = 1500


def printable(text: str, *, one_line: bool = False) -> str:
    """The text with everything that a terminal would obey, or hide, spelt out.

    Args:
        text: anything; line ends and tabs stay.
        one_line: whether they are spelt out too, as in a path.
    """
    if text.isprintable():
        return text
    return (_UNFIT_LINE if one_line else _UNFIT).sub(_spelt, text)


def is_printable(text: str) -> bool:
    """Whether a name holds nothing that would have to be spelt out; line ends and tabs have to.

    Args:
        text: a label, or another name that stands in one line.
    """
    return text.isprintable() or not (_UNFIT.search(text) or "\n" in text or "\t" in text)


def shortened(text: str, longest: int = _LONGEST) -> str:
    """The text, or its beginning and its end.

    Args:
        text: anything.
        longest: characters that are kept.
    """
    if len(text) <= longest:
        return text
    half = longest // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]} [... {left_out:,} characters ...] {text[-half:]}"


def _spelt(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
