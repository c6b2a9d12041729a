"""Numbers, lists and commands in sentences, and texts of others made fit to be shown.

What others wrote drives no terminal: characters that would are spelt out.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

# Controls but line ends and tabs; marks of direction, which show a text in another order than it
# has; halves of characters. The ranges mean the same to Python and to RE2, but for the last.
_RANGES = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
_MARKS = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNFIT = re.compile(f"[{_RANGES}{_MARKS}\ud800-\udfff]")
_UNFIT_LINE = re.compile(f"[\\t\\n{_RANGES}{_MARKS}\ud800-\udfff]")
UNFIT_NAME = rf"[{_RANGES}\t\n{_MARKS}]"
_LONGEST = 1500

# Greek letters by their names, as formulas are written without them.
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψωΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
        "sigma tau upsilon phi chi psi omega Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota "
        "Kappa Lambda Mu Nu Xi Omicron Pi Rho Sigma Tau Upsilon Phi Chi Psi Omega".split(),
        strict=True,
    )
)
_PLAIN = _GREEK | {
    "≥": ">=", "≤": "<=", "→": "->", "←": "<-", "↑": "^", "↓": "v", "±": "+-", "×": "x", "·": "*",
    "−": "-", "–": "-", "—": "-", "…": "...", "•": "*", "†": "!", "√": "sqrt", "∂": "d",
    "∞": "inf", "½": "1/2", "²": "^2", "³": "^3", "⁴": "^4", "ᵀ": "^T", "ⁿ": "^n", "₀": "_0",
    "₁": "_1", "₂": "_2", "‖": "||", "⟨": "<", "⟩": ">", "⊙": "o", "∘": "o", "∈": "in",
    "‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " ", "\u2009": " ", "\u202f": " ",
}  # fmt: skip


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


_UNITS = {"d": 86_400, "h": 3_600, "min": 60, "m": 60, "s": 1}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?(?:d|h|min|m|s))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(d|h|min|m|s)", re.ASCII)


def seconds_in(text: str) -> float | None:
    """The seconds of a time span such as '2h', '90min' or '1h30m'; None if it is none.

    Args:
        text: numbers, each with its unit: d, h, min or m, s.
    """
    plain = text.replace(" ", "").lower()
    if not _SPAN.fullmatch(plain):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(plain))


def seeds_of(seeds: Sequence[int]) -> str:
    """Seeds by number, at most eight of them, such as 'seed 0' and 'seeds 0, 1'.

    Args:
        seeds: at least one.
    """
    names = ", ".join(map(str, seeds[:8])) + (", …" if len(seeds) > 8 else "")
    return f"seed {names}" if len(seeds) == 1 else f"seeds {names}"


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


def in_ascii(text: str) -> str:
    """The text in characters that every terminal has: `lambda >= 1` for `λ ≥ 1`.

    Args:
        text: anything.
    """
    return text if text.isascii() else "".join(_PLAIN.get(char) or _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if "\u2500" <= char <= "\u257f":  # lines of tables
        return "-" if char in "─━╌╍╴╶╸╺" else "|" if char in "│┃╎╏╵╷╹╻" else "+"
    return char.encode("ascii", "backslashreplace").decode()


def _spelt(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


# The letters that papers and people write for keys of study files.
_SYMBOLS = {"lam": "λ", "beta": "β", "gamma": "γ", "generator_beta": "generator β"}


def key_text(name: str) -> str:
    """A number's key as people write it: λ for `lam`.

    Args:
        name: of a number, as a study file has it.
    """
    return _SYMBOLS.get(name, name)


def with_keys(text: str) -> str:
    """Numbers in words with the keys of the study file again: `lam = 1` for `λ = 1`.

    Args:
        text: as `key_text` writes numbers.
    """
    for key, symbol in sorted(_SYMBOLS.items(), key=lambda item: -len(item[1])):
        text = text.replace(f"{symbol} = ", f"{key} = ")
    return text


def axes_text(axes: Mapping[str, Any]) -> str:
    """The numbers that set a configuration apart: `λ=10000, lr=0.1`."""
    return ", ".join(f"{key_text(n)}={number_text(value)}" for n, value in axes.items()) or "–"


def number_text(value: Any) -> str:
    """A setting's value in at most four significant digits, in one style for all usual sizes.

    Between 0.0001 and a million all digits are written, such as 0.001, 1000 and 17800; beyond that
    a power of ten without zeros, such as 1e6 and 2.5e-7.

    Args:
        value: a number, or anything else, which is written as it is.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) and abs(value) < 10**6:
        return str(value)
    rounded = float(f"{value:.4g}")
    if not math.isfinite(rounded) or rounded == 0:
        return f"{rounded:g}"
    if 1e-4 <= abs(rounded) < 1e6:
        # Fifteen digits are exact for what has four; none is a zero behind the point.
        return f"{rounded:.15f}".rstrip("0").rstrip(".") if abs(rounded) < 1 else f"{rounded:.10g}"
    mantissa, power = f"{rounded:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
