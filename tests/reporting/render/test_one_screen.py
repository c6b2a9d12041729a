"""The report in one screen, at any width, for terminals with and without Unicode."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from clsweep.cli.main import main
from clsweep.reporting.render import plots
from clsweep.reporting.render.one_screen import OneScreen, print_more, screen_lines
from clsweep.reporting.render.publish import report
from clsweep.reporting.render.styles import letter_of
from clsweep.reporting.render.text_front import front_lines
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from tests.support.records import make_record, make_study, split_rows, write_study

REFERENCE = Path(__file__).resolve().parents[3] / "results" / "reference"


@pytest.fixture(scope="module")
def quickstart() -> ReportData:
    return build(REFERENCE / "quickstart")


@pytest.fixture(scope="module")
def search() -> ReportData:
    return build(REFERENCE / "search_mnist")


def lines(data: ReportData, width: int = 80, is_plain: bool = False) -> list[str]:
    return [line.text for line in screen_lines(data, width, is_plain)]


def test_the_quickstart_is_one_screen_that_answers_the_questions(quickstart: ReportData) -> None:
    shown = lines(quickstart)
    assert 24 <= len(shown) <= 36
    assert max(map(len, shown)) <= 80
    text = "\n".join(shown)
    # Who won, by how much, at what cost: the numbers of the full tables.
    assert re.search(r"^1  experience replay +90\.1 +88\.4–91\.2 +first  weight=1$", text, re.M)
    mas = r"^2  MAS +82\.7 +81\.3–84\.6 +−7\.4 \[−22\.0, \+7\.1\]  λ=0\.1$"
    assert re.search(mas, text, re.M)
    assert "1   47.0 (97.7)   80.1 (94.5)  examples; 8 kB" in text
    # What misses its target is not read as the best of its column.
    assert "4  †55.1 (96.4)   55.1 (96.4)  nothing; 68.4 kB" in text
    assert re.search(r"^   rank of the .*\n   chosen point ", text, re.M)
    assert "fine-tuning's 98.0 % by" in text
    assert "114 trials, 0 failed, 0 diverged. 7 configurations per method" in text
    assert "3 seeds vary weights and batches." in text
    assert "J joint 93.7 (95.0, 92.5)" in " ".join(text.split())
    assert "CAN SAY  • nothing at 95 %: 3 seeds, and a claim takes 6 (`seeds = 6`)." in text
    assert text.count("\nBEWARE   • ") == 1


def test_claims_have_a_star_and_are_said(search: ReportData) -> None:
    text = " ".join("\n".join(lines(search)).split())
    assert "2 experience replay 87.9 86.5–89.0 −3.1 [−4.9, −1.2]* weight=3.16" in text
    assert "GEM is above all 6 others, by 1.2 points or more; 11 of 21 pairs differ." in text
    assert "3 not reached not reached nothing; 355 kB" in text
    assert "not reached: no value meets it by 1 standard error on validation data" in text
    assert "source kept, 1 and 5 points short: GEM is above all 5 others that reach it" in text


@pytest.mark.parametrize("width", [40, 80])
def test_it_is_one_screen_with_its_commands(
    search: ReportData, quickstart: ReportData, width: int
) -> None:
    for data in (search, quickstart):
        out = io.StringIO()
        console = Console(file=out, width=width)
        console.print(OneScreen(data))
        print_more(
            console, [("clsweep report results/NAME --full", "all"), ("b", "c"), ("d", "e")]
        )
        assert 24 <= out.getvalue().count("\n") <= 40
        assert "CAN SAY" in out.getvalue()
        assert "BEWARE" in out.getvalue()


def test_what_has_no_room_is_counted(search: ReportData) -> None:
    text = " ".join(lines(search, 40))
    assert re.search(r"… and \d more: --tables average,required", text)
    assert re.search(r"pairs differ\. 1 more: --full", " ".join(text.split()))


@pytest.mark.parametrize("width", [34, 40, 60, 78, 80, 120])
@pytest.mark.parametrize("is_plain", [False, True])
def test_no_line_is_too_long_and_no_number_lost_where_there_is_room(
    search: ReportData, width: int, is_plain: bool
) -> None:
    shown = lines(search, width, is_plain)
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert text.isascii() == is_plain
    if width < 78:
        return
    wide = re.findall(r"\d+\.\d \(\d+\.\d", "\n".join(lines(search, 100)))
    assert set(wide) == set(re.findall(r"\d+\.\d \(\d+\.\d", text.replace("\n  ", " ")))
    assert ("λ=100000" if not is_plain else "lambda=100000") in re.sub(r"\s", "", text)
    assert "…" not in text


def test_a_label_that_is_long_is_wrapped_and_not_cut(tmp_path: Path) -> None:
    names = ("a very long name of a method that somebody gave", "x" * 60)
    records = [
        make_record(name, "ewc", s, {"lam": lam, "v": name}, {"lam": lam}, split_rows((0.8, 0.9)))
        for name in names
        for lam in (1.0, 2.0)
        for s in range(2)
    ]
    data = build(write_study(tmp_path / "r", records))
    for width in (40, 80):
        text = re.sub(r"[\s\d.–λ=−+\[\]]|first|nolimit", "", "\n".join(lines(data, width)[5:]))
        assert "somebody" in text
        assert text.count("x") >= 60
        assert max(map(len, lines(data, width))) <= width


def test_twelve_methods_show_ten_and_say_how_many_more(tmp_path: Path) -> None:
    records = [
        make_record(f"m{i}", "ewc", s, {"lam": 1.0, "v": i}, {"lam": 1.0}, split_rows((0.5, 0.9)))
        for i in range(12)
        for s in range(3)
    ]
    shown = lines(build(write_study(tmp_path / "r", records)))
    assert "… and 2 more: --tables average,required" in shown
    assert sum(line.startswith("a  m") for line in shown) == 1


def test_references_alone_and_what_diverged(tmp_path: Path) -> None:
    alone = build(write_study(tmp_path / "r", make_study((), 1)))
    text = " ".join(lines(alone))
    assert "References, average (source, target) %: F fine-tuning" in text
    assert "CAN SAY  • nothing about which method is better: no method has results" in text
    lost = [make_record("A", "ewc", s, status="diverged") for s in range(3)]
    data = build(write_study(tmp_path / "d", [*lost, *make_study((), 1)]))
    assert any(re.match(r" +A +diverged", line) for line in lines(data))


def test_the_figure_has_a_mark_of_every_method_and_its_axes(quickstart: ReportData) -> None:
    order = ["experience replay", "MAS", "SI", "LwF", "EWC"]
    drawn = front_lines(quickstart, order, 60, 16)
    assert len(drawn) == 16
    assert max(map(len, drawn)) <= 60
    assert drawn[0] == "target %; marks: ranks"
    field = "".join(line[5:] for line in drawn[1:-2])
    assert set(field) - {" "} == set("12345FJ")
    # The axes are of whole percent, around all that is drawn.
    assert drawn[1].startswith("  98┤")
    assert drawn[-3].startswith("  24┤")
    assert drawn[-1].split() == ["39", "source", "%", "98"]
    # Fine-tuning is at the upper left; the method of the best rank is drawn over others.
    assert drawn[1].split("┤")[1].lstrip().startswith("F")
    letters = [letter_of(curve) for curve in quickstart.comparison.references]
    assert letters == ["F", "", "J"]


def test_equal_accuracies_have_two_ends_and_do_not_hide_fine_tuning(tmp_path: Path) -> None:
    rows = split_rows((1.0, 1.0))
    records = [
        make_record(name, method, s, {"v": name}, {"lam": 1.0}, rows, is_reference=name == "F")
        for name, method in (("A", "ewc"), ("F", "finetune"))
        for s in range(2)
    ]
    drawn = front_lines(build(write_study(tmp_path / "r", records)), ["A"], 30, 9)
    assert drawn[1].startswith(" 100┤")
    assert drawn[-3].startswith("  99┤")
    assert drawn[-1].split() == ["99", "source", "%", "100"]
    assert "F" in "".join(drawn[1:-2])
    assert "1" in "".join(line[5:] for line in drawn[1:-2])


def test_without_points_there_is_no_figure(tmp_path: Path) -> None:
    lost = [make_record("A", "ewc", s, status="diverged") for s in range(3)]
    data = build(write_study(tmp_path / "d", lost))
    assert front_lines(data, ["A"], 40, 10) == []


def test_a_console_of_another_encoding_gets_ascii(quickstart: ReportData) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1", errors="strict")
    Console(file=stream, width=80).print(OneScreen(quickstart))
    stream.flush()
    text = raw.getvalue().decode("latin-1")
    assert text.isascii()
    assert "lambda=0.1" in text


@pytest.mark.parametrize(("width", "n_lines"), [(100, 2), (60, 3)])
def test_commands_can_be_copied_whole(width: int, n_lines: int) -> None:
    out = io.StringIO()
    long = "clsweep report " + "'a folder'/" * 4 + " --full"
    print_more(Console(file=out, width=width), [(long, "all tables"), ("b.html", "the page")])
    made = out.getvalue().splitlines()
    assert len(made) == n_lines
    assert any(long in line for line in made)
    assert made[0].startswith("MORE")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(plots, "draw", lambda *arguments: [])
    return write_study(tmp_path / "of mine", make_study(("EWC", "MAS"), 3))


def test_the_command_line_shows_one_screen_all_or_one_table(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    def shown(*arguments: str) -> str:
        assert main(["report", str(results), "--format", "csv", *arguments]) == 0
        return capsys.readouterr().out

    short, full, pairs = shown(), shown("--full"), shown("--tables", "pairs,trials")
    assert "CAN SAY" in short
    assert "Best average accuracy" not in short
    # A folder with a blank is quoted.
    assert f"clsweep report '{results}' --full" in short
    assert "Best average accuracy" in full
    assert "Before trusting these numbers" in full
    assert "CAN SAY" not in full
    assert pairs.startswith("Pairs of methods")
    assert re.search(r"^Trials\s*$", pairs, re.MULTILINE)
    assert "Best average" not in pairs
    text = (results / "report.txt").read_text(encoding="utf-8")
    assert text.index("CAN SAY") < text.index("Best average accuracy")


def test_a_table_that_is_not_there_is_named_and_nothing_is_looked_at(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(results), "--tables", "pair"]) == 2
    assert "did you mean 'pairs'" in capsys.readouterr().err
    assert not (results / "test_looks.jsonl").exists()


def test_every_table_has_a_short_name(results: Path) -> None:
    from clsweep.reporting.render.tables import tables

    names = [table.name for table in tables(build(results, protocol="target"))]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 12
    assert {"protocol", "average", "required", "source-pairs", "memory"} <= set(names)


def test_a_protocol_is_shown_below_the_screen(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(results, formats=(), protocol="target")
    shown = capsys.readouterr().out
    assert shown.index("CAN SAY") < shown.index("Chosen by 'target'")


MESSAGE = "KeyError: 'sta' (mine.py, line 37)"


def with_a_failed_method(folder: Path, others: tuple[str, ...] = ("EWC",)) -> ReportData:
    lost = [
        make_record("mine", "ewc", s, {"lam": lam, "v": 1}, status="failed", message=MESSAGE)
        for lam in (1.0, 2.0)
        for s in range(3)
    ]
    return build(write_study(folder, [*lost, *(make_study(others, 3) if others else ())]))


@pytest.mark.parametrize("width", [40, 80])
def test_a_method_that_failed_is_named_once_with_its_cause(tmp_path: Path, width: int) -> None:
    data = with_a_failed_method(tmp_path / "r")
    shown = lines(data, width)
    assert sum("mine" in line and "failed" in line for line in shown) == 2, "once with its cause"
    unlabelled = [line for line in shown if re.fullmatch(r" +(nothing|statistics).*", line)]
    assert unlabelled == [], "no row without its label"
    text = re.sub(r"[\s]+", " ", " ".join(shown))
    assert f"• mine: all 6 trials failed: {MESSAGE}; `clsweep status" in text


def test_where_everything_failed_nothing_is_ranked(tmp_path: Path) -> None:
    data = with_a_failed_method(tmp_path / "r", ())
    for width in (40, 80):
        text = " ".join(" ".join(lines(data, width)).split())
        assert "ranked" not in text
        assert "chosen on" not in text
        assert "6 trials, 6 failed, 0 diverged. 2 configurations per method" in text
        assert f"mine: all 6 trials failed: {MESSAGE}" in text


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("mark", ["†", "!"])
def test_a_missed_target_is_explained_on_the_screen(
    quickstart: ReportData, width: int, mark: str
) -> None:
    shown = lines(quickstart, width, is_plain=mark == "!")
    assert any(re.search(rf"\{mark}\d\d\.\d \(", line) for line in shown)
    text = " ".join(" ".join(shown).split())
    assert text.count(f"{mark} the target got is below what is required") == 1
