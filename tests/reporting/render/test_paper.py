"""Files for a paper: LaTeX that compiles, fonts in the figure, marks that grey print leaves."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from clsweep.cli.main import main
from clsweep.reporting.paper_table import PaperTable, paper_table
from clsweep.reporting.render.paper import figure_latex, table_latex, write_paper
from clsweep.reporting.render.paper_figure import figure_bytes, paper_figure, paper_styles
from clsweep.reporting.render.plots import settings
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from tests.support.records import make_study, write_study

FILES = [
    "example.tex",
    "figure.pdf",
    "figure.tex",
    "methods.tex",
    "methods.txt",
    "references.bib",
    "table.tex",
]
ODD = "50 % & more_$x^λ {x} é"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = make_study(("EWC", "LwF", "replay"), 3, 6)
    for record in records:
        if record["config"]["label"] == "LwF":
            record["trial"]["label"] = record["config"]["label"] = ODD
    return write_study(tmp_path_factory.mktemp("paper") / "study_1", records)


@pytest.fixture(scope="module")
def data(folder: Path) -> ReportData:
    return build(folder)


@pytest.fixture(scope="module")
def written(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("files") / "paper"
    names = [path.name for path in write_paper(data, target, 3.25)]
    assert sorted(names) == FILES == sorted(path.name for path in target.iterdir())
    return target


def test_the_command_writes_them_beside_the_report(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["report", str(folder), "--out", str(tmp_path), "--format", "csv"]
    assert main([*arguments, "--paper", "--width", "6.5"]) == 0
    assert sorted(path.name for path in (tmp_path / "paper").iterdir()) == FILES
    assert "paper: figure.pdf" in capsys.readouterr().out
    box = re.search(rb"/MediaBox \[ 0 0 (\d+)", (tmp_path / "paper" / "figure.pdf").read_bytes())
    assert box
    assert int(box[1]) == 468  # 6.5 inches of 72 points
    for wrong in (["--width", "3"], ["--paper", "--width", "0.5"]):
        assert main([*arguments, *wrong]) == 2
        assert "--width" in capsys.readouterr().err


def test_the_fonts_are_in_the_figure(written: Path) -> None:
    content = (written / "figure.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"/Subtype /Image" not in content


def test_equal_data_give_equal_bytes(data: ReportData, written: Path) -> None:
    assert figure_bytes(data, 3.25) == (written / "figure.pdf").read_bytes()
    assert figure_bytes(data, 3.3) != (written / "figure.pdf").read_bytes()


def test_methods_differ_without_colour_and_lightness_is_in_the_order_of_the_ranking(
    data: ReportData,
) -> None:
    styles = paper_styles(data.comparison.curves * 3)
    assert len({(look.marker, str(look.dashes)) for look in styles}) == len(styles)
    light = [float(np.dot((0.3, 0.6, 0.1), to_rgb(s.colour))) for s in styles]
    assert light == sorted(light)
    assert light[-1] < 0.75


def test_every_label_is_in_the_legend_and_nothing_overlaps_the_frame(data: ReportData) -> None:
    with settings():
        made = paper_figure(data, 3.25)
        made.draw_without_rendering()
        (legend,) = made.legends
        texts = [text.get_text() for text in legend.get_texts()]
        labels = [curve.label for curve in data.comparison.curves]
        assert {*labels, "chosen"} <= set(texts)
        box, axes = legend.get_window_extent(), made.axes[0].get_tightbbox()
        assert axes is not None
        assert box.y1 <= axes.y0 + 1
        assert box.x0 >= -1
        assert box.x1 <= made.bbox.width + 1


def structure_of(text: str) -> None:
    """Environments close in order, braces close, and nothing is left that LaTeX would obey."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("%"))
    assert code.isprintable() or set(filter(lambda c: not c.isprintable(), code)) == {"\n"}
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", code):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    bare = re.sub(r"\\[\\{}$&#%_]", "", code)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert "%" not in bare
    assert "#" not in bare


def test_the_latex_is_sound(data: ReportData, written: Path) -> None:
    for name in ("figure.tex", "table.tex", "methods.tex", "example.tex"):
        structure_of((written / name).read_text(encoding="utf-8"))
    table = (written / "table.tex").read_text(encoding="utf-8")
    width = len(paper_table(data).headings)
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {width - 1}
    assert r"50 \% \& more\_\$x\textasciicircum{}$\lambda$" in table
    for rule in ("toprule", "midrule", "bottomrule"):
        assert f"\\{rule}" in table


def test_a_label_in_brackets_begins_no_argument(tmp_path: Path) -> None:
    records = make_study(("EWC", "LwF"), 1, 1, references=())
    names = {"EWC": "[a]", "LwF": "* b"}
    for record in records:
        label = names[record["config"]["label"]]
        record["trial"]["label"] = record["config"]["label"] = label
    lines = table_latex(build(write_study(tmp_path / "a", records))).splitlines()
    starts = [line.strip()[:5] for line in lines if line.endswith(r"\\")][-2:]
    assert sorted(starts) == ["{}* b", "{}[a]"]


def test_bold_is_a_claim_and_a_minus_is_a_minus(data: ReportData) -> None:
    table = table_latex(data)
    n_claims = sum(cell.is_claim for row in paper_table(data).methods for cell in row)
    assert n_claims > 0
    assert table.count(r"\textbf{") == n_claims
    assert "$-$" in table
    assert not re.search(r"[ [{]-\d", table)


def test_papers_that_are_cited_have_an_entry(written: Path) -> None:
    text = (written / "methods.tex").read_text(encoding="utf-8")
    keys = {key for found in re.findall(r"\\cite\{([^}]+)\}", text) for key in found.split(",")}
    entries = re.findall(r"@\w+\{(\w+),", (written / "references.bib").read_text("utf-8"))
    assert keys == set(entries)
    assert len(entries) == len(set(entries))


def test_what_lies_outside_is_said_in_the_caption(data: ReportData) -> None:
    ends = data.comparison.references
    frozen = next(curve for curve in ends if curve.method == "frozen")
    far = replace(frozen.points[0], test_S2=0 * frozen.points[0].test_S2 + [0.05, 0.05])
    moved = tuple(replace(c, points=(far,)) if c is frozen else c for c in ends)
    told = figure_latex(replace(data, comparison=replace(data.comparison, references=moved)))
    assert "Arrows point to what lies outside: frozen trunk (5.0, 5.0)" in told


def test_several_folders_are_one_paper(folder: Path, data: ReportData, tmp_path: Path) -> None:
    other = write_study(tmp_path / "other_1", make_study(("EWC",), 3, 6, references=()))
    joined = build(folder, other)
    write_paper(joined, tmp_path / "paper", 3.25)
    text = (tmp_path / "paper" / "methods.txt").read_text(encoding="utf-8")
    labels = [curve.label for curve in joined.comparison.curves]
    assert len(labels) == 4
    assert all(" ".join(label.split()) in " ".join(text.split()) for label in labels)
    table: PaperTable = paper_table(joined)
    assert len(table.methods) == len(data.comparison.curves) + 1


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
def test_latex_compiles_it(written: Path, tmp_path: Path) -> None:
    build_in = tmp_path / "build"
    shutil.copytree(written, build_in)
    for program in (["pdflatex", "-interaction=nonstopmode", "-halt-on-error"], ["bibtex"]) * 2:
        made = subprocess.run(
            [*program, "example"], cwd=build_in, capture_output=True, check=False, timeout=120
        )
        assert made.returncode == 0, made.stdout.decode(errors="replace")[-2000:]
    log = (build_in / "example.log").read_text(errors="replace")
    assert "Missing character" not in log
    wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    assert max(wide, default=0.0) < 10
    assert "Citation" not in (build_in / "example.blg").read_text(errors="replace")


def test_a_study_with_nothing_to_draw_still_has_its_files(tmp_path: Path) -> None:
    records = make_study((), 5, 1, references=("fine-tuning",))
    data = build(write_study(tmp_path / "a", records))
    write_paper(data, tmp_path / "paper", 3.25)
    for name in ("figure.tex", "table.tex", "methods.tex"):
        structure_of((tmp_path / "paper" / name).read_text(encoding="utf-8"))
    assert not matplotlib.rcParams["pdf.fonttype"] == 42
