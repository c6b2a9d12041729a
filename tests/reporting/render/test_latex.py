"""Text as LaTeX: nothing of it is obeyed, and every character is one that LaTeX has."""

from __future__ import annotations

import pytest

from clsweep.reporting.render.latex import escaped, table_row, with_powers
from clsweep.reporting.render.table_formats import latex_bytes
from clsweep.reporting.report_table import Column, ReportTable, Section


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b & 5 % of $x^2$ #1", r"a\_b \& 5 \% of \$x\textasciicircum{}2\$ \#1"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("λ ≥ 1 ± 2 − 3", r"$\lambda$ $\geq$ 1 $\pm$ 2 $-$ 3"),
        ("two\nlines", "two lines"),
        ("Müller, Łukasz", "Müller, Łukasz"),
        ("学 ο", r"\textbackslash{}u5b66 omicron"),
        ('say "it"', "say ''it''"),
    ],
)
def test_a_character_is_spelt_as_latex_sets_it(text: str, latex: str) -> None:
    assert escaped(text) == latex


@pytest.mark.parametrize("label", ["[5pt] of mine", "*", "*EWC"])
def test_a_row_is_no_argument_of_the_line_before_it(label: str) -> None:
    columns = (Column("[name]", ""), Column("n", ""))
    table = ReportTable("t", "", columns, (Section(((label, "[1]"),)),))
    assert table_row([label, "[1]"]) == rf"{{}}{label} & [1] \\"
    lines = latex_bytes(table).decode().splitlines()
    assert r"{}[name] & n \\" in lines
    assert rf"{{}}{label} & [1] \\" in lines
    assert table_row(["EWC", "*"]) == r"EWC & * \\"


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("1e6", "$10^{6}$"),
        ("from 2.5e-7 to 1", r"from $2.5 \times 10^{-7}$ to 1"),
        ("a1e6 1e6b v1.1e6.2", "a1e6 1e6b v1.1e6.2"),
        ("10000", "10000"),
    ],
)
def test_a_power_of_ten_is_set_as_one(text: str, latex: str) -> None:
    assert with_powers(text) == latex
