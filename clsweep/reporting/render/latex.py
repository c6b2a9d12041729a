r"""Text as LaTeX: every character that it would obey is spelt out, and numbers are set as such."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clsweep.text import in_ascii

# Of the characters that reports use, those that LaTeX wants to be spelt out.
_SPELT = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "→": r"$\rightarrow$",
    "†": r"\dag{}",
    "…": r"\ldots{}",
    "²": r"$^2$",
    "½": r"$\frac{1}{2}$",
    "√": r"$\surd$",
    "∞": r"$\infty$",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "\u00a0": "~",
}
_GREEK = {
    char: rf"$\{name}$"
    for char, name in zip(
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma "
        "tau upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi "
        "Omega".split(),
        strict=True,
    )
}
_CHARACTERS = _SPELT | _GREEK
# Letters beyond these are not in the fonts that LaTeX starts with.
_LAST_LATIN = "\u017f"
_POWER = re.compile(r"(?<![\w.$])(\d+(?:\.\d+)?)e(-?)(\d+)(?![\w.])", re.ASCII)


def escaped(text: str) -> str:
    """The text in one line, in characters that LaTeX sets.

    What its first fonts do not have is written in letters that they do have.

    Args:
        text: anything.
    """
    return "".join(map(_spelt, " ".join(text.split())))


def _spelt(char: str) -> str:
    if char in _CHARACTERS:
        return _CHARACTERS[char]
    if char.isascii() or (char.isalpha() and char <= _LAST_LATIN):
        return char
    return "".join(_CHARACTERS.get(one, one) for one in in_ascii(char))


def table_row(cells: Sequence[str]) -> str:
    r"""A row of a `tabular`, whatever its first cell begins with.

    `\\` and the rules before a row take `[…]` and `*` after them as their own arguments, across
    blanks and ends of lines: an empty group stands between.

    Args:
        cells: what `escaped` made.
    """
    row = " & ".join(cells)
    start = "{}" if row.startswith(("[", "*")) else ""
    return rf"{start}{row} \\"


def with_powers(text: str) -> str:
    """Powers of ten as they are printed: 10 to the 6 for `1e6`; text that is LaTeX already.

    Args:
        text: what `escaped` made.
    """
    return _POWER.sub(_power, text)


def _power(found: re.Match[str]) -> str:
    mantissa, sign, digits = found.groups()
    factor = "" if mantissa == "1" else rf"{mantissa} \times "
    return rf"${factor}10^{{{sign}{digits}}}$"
