"""Formats of figures and tables."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from clsweep.cli.main import main
from clsweep.errors import StudyError
from clsweep.reporting.render.judgement_tables import front_table
from clsweep.reporting.render.publish import FORMATS, formats_of, report
from clsweep.reporting.render.table_formats import csv_bytes, html_text, latex_bytes, rich_table
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import Cell, ReportTable, Section, report_table
from tests.support.records import make_study, write_study


def small_table() -> ReportTable:
    rows = [
        Section([["50 % & more_$x", Cell(81.46, 0.2)]], "target ≥ 90"),
        Section([]),
        Section([["EWC, λ", "–"], ["a ± b", Cell(7, 0.25, mark="†")]]),
    ]
    return report_table("Best (%)", ["mean\naccuracy"], "what it is", rows, with_choice=False)


def test_a_table_has_named_columns_and_no_empty_section() -> None:
    table = small_table()
    assert (table.title, table.caption, table.slug) == ("Best (%)", "what it is", "best")
    assert [column.name for column in table.columns] == ["method", "mean accuracy"]
    assert [column.heading for column in table.columns] == ["method", "mean\naccuracy"]
    assert [column.is_number for column in table.columns] == [False, True]
    assert [section.heading for section in table.sections] == ["target ≥ 90", ""]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell(81.46, 0.25), "81.5 ± 0.2"),
        (Cell(81.46), "81.5"),
        (Cell(0.4182, 0.023, digits=3), "0.418 ± 0.023"),
        (Cell(2.7, 1.3, sign=True), "+2.7 ± 1.3"),
        (Cell(-0.04), "0.0"),
        (Cell(math.nan, 0.1), "–"),
        (Cell(96.4, 0.6, mark="†"), "96.4 ± 0.6 †"),
        (Cell(97.7, 0.5, mark=" "), "97.7 ± 0.5  "),
    ],
)
def test_a_number_is_printed_with_its_error_and_mark(cell: Cell, text: str) -> None:
    assert str(cell) == text


def test_the_terminal_has_every_cell_and_lines_between_sections() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(rich_table(small_table()))
    assert isinstance(console.file, io.StringIO)
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert lines == [
        "Best (%)",
        "mean",
        "method accuracy",
        "─" * 27,
        "target ≥ 90",
        "50 % & more_$x 81.5 ± 0.2",
        "",
        "EWC, λ –",
        "a ± b 7.0 ± 0.2 †",
        "what it is",
    ]


def test_html_escapes_every_cell_and_sorts_no_table_with_headings() -> None:
    row: list[Cell | str] = ["<b>", Cell(1, 0.5)]
    table = report_table("A & B", ["<i>"], "c", [Section([row])], with_choice=False)
    text = html_text(table, 3)
    assert text.startswith('<figure class="table" id="table-3" tabindex="0"><h3>A &amp; B</h3>')
    assert '<th scope="col" class="number">&lt;i&gt;</th>' in text
    assert '<td>&lt;b&gt;</td><td class="number">1.0 ± 0.5</td>' in text
    assert 'class="sortable"' in text
    text = html_text(small_table(), 0)
    assert 'class="sortable"' not in text
    assert '<tr class="group"><th colspan="2">target ≥ 90</th></tr>' in text
    assert '<tr class="start"><td>EWC, λ</td><td class="number">–</td></tr>' in text


def test_csv_splits_mean_and_error_and_repeats_the_group() -> None:
    rows = list(csv.reader(io.StringIO(csv_bytes(small_table()).decode())))
    assert rows == [
        ["group", "method", "mean accuracy", "mean accuracy error"],
        ["target ≥ 90", "50 % & more_$x", "81.5", "0.2"],
        ["", "EWC, λ", "–", ""],
        ["", "a ± b", "7.0", "0.2 †"],
    ]


def test_latex_spells_out_what_it_would_read_as_commands() -> None:
    lines = latex_bytes(small_table()).decode().splitlines()
    assert lines[1:] == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"method & mean accuracy \\",
        r"\midrule",
        r"\multicolumn{2}{l}{\emph{target $\geq$ 90}} \\",
        r"50 \% \& more\_\$x & 81.5 $\pm$ 0.2 \\",
        r"\midrule",
        r"EWC, $\lambda$ & -- \\",
        r"a $\pm$ b & 7.0 $\pm$ 0.2 \dag{} \\",
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
    assert f"wrote {out / 'report.html'}, " in printed


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "results", make_study(("EWC",), n_values=3))
    out = tmp_path / "out"
    assert main(["report", str(directory), "--out", str(out), "--format", "html"]) == 0
    always = {"report.txt", "fronts.parquet", "pairs.parquet", "protocols.parquet"}
    assert {p.name for p in out.iterdir()} == {"report.html", *always}


def test_every_table_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(data: ReportData) -> ReportTable:
        made.append(data)
        return front_table(data)

    monkeypatch.setattr("clsweep.reporting.render.tables.front_table", counted)
    directory = write_study(tmp_path / "results", make_study(("EWC",), n_values=3))
    report(directory, formats=("html", "latex", "csv"))
    assert len(made) == 1
    assert list(directory.glob("table_fronts_*.csv"))
