"""Formats of figures and tables."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from clsweep.cli import main
from clsweep.errors import StudyError
from clsweep.outputs import FORMATS, formats_of
from clsweep.plain_tables import csv_bytes, latex_bytes, plain
from tests.records import make_study, write_study


def small_table() -> Table:
    table = Table(title=Text("Best (%)"), caption=Text("what it is"))
    table.add_column("method")
    table.add_column("mean\naccuracy", justify="right")
    table.add_row(Text("target ≥ 90"))
    table.add_row(Text("50 % & more_$x"), "81.5 ± 0.2")
    table.add_section()
    table.add_row(Text("EWC, λ"), "–")
    return table


def test_plain_table_has_cells_headings_and_lines() -> None:
    table = plain(small_table())
    assert (table.title, table.caption, table.slug) == ("Best (%)", "what it is", "best")
    assert table.columns == ("method", "mean accuracy")
    rows = (("target ≥ 90",), ("50 % & more_$x", "81.5 ± 0.2"), ("EWC, λ", "–"))
    assert table.rows == rows
    assert table.starts == {2}
    assert table.is_number == (False, True)


def test_csv_splits_mean_and_error_and_repeats_the_group() -> None:
    rows = list(csv.reader(io.StringIO(csv_bytes(plain(small_table())).decode())))
    assert rows == [
        ["group", "method", "mean accuracy", "mean accuracy error"],
        ["target ≥ 90", "50 % & more_$x", "81.5", "0.2"],
        ["target ≥ 90", "EWC, λ", "–", ""],
    ]


def test_latex_spells_out_what_it_would_read_as_commands() -> None:
    lines = latex_bytes(plain(small_table())).decode().splitlines()
    assert lines[1:] == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"method & mean accuracy \\",
        r"\midrule",
        r"\multicolumn{2}{l}{\emph{target $\geq$ 90}} \\",
        r"50 \% \& more\_\$x & 81.5 $\pm$ 0.2 \\",
        r"\midrule",
        r"EWC, $\lambda$ & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_formats_are_names_with_commas() -> None:
    assert formats_of(" PDF, html,pdf") == ("pdf", "html")
    assert formats_of(",".join(FORMATS)) == FORMATS


@pytest.mark.parametrize(
    ("text", "words"), [("pfd", "did you mean 'pdf'"), (" , ", "no format is named")]
)
def test_unknown_formats_are_refused(text: str, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        formats_of(text)


def test_every_format_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = write_study(tmp_path / "results", make_study(("EWC",), n_values=3))
    out = tmp_path / "out"
    arguments = ["report", str(directory), "--out", str(out), "--format", ",".join(FORMATS)]
    assert main(arguments) == 0
    names = {path.name for path in out.iterdir()}
    assert {"report.html", "front.png", "front.svg", "front.pdf", "fronts.csv"} <= names
    assert {"table_trials.csv", "table_trials.tex", "report.txt", "fronts.parquet"} <= names
    assert (out / "front.pdf").read_bytes().startswith(b"%PDF")
    trials = csv.DictReader((out / "table_trials.csv").open())
    assert "configurations" in (trials.fieldnames or [])
    rows = list(csv.DictReader((out / "table_best_average_accuracy.csv").open()))
    assert [row["method"] for row in rows][0] == "EWC"
    assert 0 < float(rows[0]["average error"]) < 5 < float(rows[0]["average"])
    printed = capsys.readouterr().out
    assert str(out / "table_trials.tex") in printed


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "results", make_study(("EWC",), n_values=3))
    out = tmp_path / "out"
    assert main(["report", str(directory), "--out", str(out), "--format", "html"]) == 0
    always = {"report.txt", "fronts.parquet", "pairs.parquet", "protocols.parquet"}
    assert {p.name for p in out.iterdir()} == {"report.html", *always}
