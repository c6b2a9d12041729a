"""The committed reports are what the committed counts give."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from benchmarks import references
from benchmarks.references import REFERENCE, ROOT, STUDIES, TABLES
from clsweep.reporting.ledger import LEDGER, looks
from clsweep.reporting.render import plots
from clsweep.reporting.render.publish import report
from clsweep.reporting.report_building import build
from clsweep.study.study import stored_study

FOLDERS = sorted(path.parent for path in REFERENCE.glob("*/accuracy.parquet"))
REMAKE = "run `python benchmarks/references.py NAME --reports`"


def without_looks(text: str) -> str:
    """All of a report's text but who has looked at it, which a further look changes."""
    looks = r"(Accuracies|R² values) are test numbers throughout\..*?(?=\nTraining)"
    text, n = re.subn(looks, "", text, flags=re.DOTALL)
    assert n == 1
    return text


def differing(folder: Path, other: Path) -> list[str]:
    """Names of the files of a report whose content differs between two folders."""
    found = []
    for name in ("fronts", "protocols", "pairs"):
        tables = [pq.read_table(one / f"{name}.parquet") for one in (folder, other)]
        # Their text, since a number that is missing equals itself there.
        if repr(tables[0].to_pydict()) != repr(tables[1].to_pydict()):
            found.append(name)
    texts = [(one / "report.txt").read_text(encoding="utf-8") for one in (folder, other)]
    return found + ["report.txt"] * (without_looks(texts[0]) != without_looks(texts[1]))


def reported(folder: Path, out: Path) -> Path:
    """A report on a copy of the folder's counts and ledger."""
    copy = out / folder.name
    references.keep_tables(folder, copy)
    (copy / LEDGER).write_bytes((folder / LEDGER).read_bytes())
    report(copy, console=Console(file=io.StringIO()), formats=())
    return copy


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda data, stem, endings: [])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_committed_number_is_what_the_committed_counts_give(
    folder: Path, tmp_path: Path
) -> None:
    assert differing(folder, reported(folder, tmp_path)) == [], REMAKE


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_counts_are_those_of_the_study_file_and_small(folder: Path) -> None:
    study = stored_study(ROOT / STUDIES[folder.name])  # its images need not be here
    stored = stored_study(folder / "study.toml")
    assert stored.model_dump(exclude={"callbacks"}) == study.model_dump(exclude={"callbacks"})
    assert sum((folder / name).stat().st_size for name in TABLES) < 1_000_000
    for name in ("study.toml", "versions.json", LEDGER):
        assert "/work" not in (folder / name).read_text(encoding="utf-8")
        assert "/home" not in (folder / name).read_text(encoding="utf-8")
    assert looks(folder), "a report that was shown was looked at"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_documents_say_is_what_the_committed_counts_give(folder: Path) -> None:
    made = references.parts(build(folder))
    for path in (folder / "README.md", references.PAGE):
        if path.exists():
            text = path.read_text(encoding="utf-8")
            assert references.with_parts(text, folder.name, made) == text, REMAKE


def test_only_the_parts_of_the_study_are_replaced() -> None:
    text = "a\n<!-- s: claims -->\nold\n<!-- end -->\nb\n<!-- t: claims -->\nold\n<!-- end -->\n"
    made = references.with_parts(text, "s", {"claims": "new \\1"})
    assert made == text.replace("old", "new \\1", 1)


def test_claims_in_words() -> None:
    folder = REFERENCE / "quickstart"
    data = build(folder)
    few = references.parts(data)
    n = len(data.judgement.average_pairs)
    assert few["claims"] == f"3 seeds support no claim about the {n} differences of averages."
    one = data.judgement.average_pairs[0]
    above, below = one.above, one.below
    ends = replace(one.interval, mean=0.05, low=0.02, high=0.08)
    claim = replace(one, interval=ends, is_claim=True)
    pairs = (claim, *data.judgement.average_pairs)
    told = replace(data, judgement=replace(data.judgement, average_pairs=pairs))
    words = references.parts(told)["claims"]
    assert f": {above} above {below} by 5.0 points [2.0, 8.0]. The other {n} are" in words


def test_a_picture_shows_the_methods_that_are_named(tmp_path: Path) -> None:
    data = build(REFERENCE / "quickstart")
    labels = references.PICTURES["quickstart"]
    assert set(labels) < {curve.label for curve in data.comparison.curves}
    path = tmp_path / "some.png"
    references.draw_picture(data, labels, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_there_are_committed_counts() -> None:
    assert FOLDERS
    assert {folder.name for folder in FOLDERS} <= set(STUDIES)


def test_counts_that_were_edited_are_found(tmp_path: Path) -> None:
    folder = FOLDERS[0]
    copy = reported(folder, tmp_path / "a")
    assert differing(folder, copy) == []
    table = pq.read_table(copy / "fronts.parquet")
    column = table.column_names.index("target_accuracy")
    shifted = pa.compute.add(table["target_accuracy"], 0.001)
    pq.write_table(table.set_column(column, "target_accuracy", shifted), copy / "fronts.parquet")
    text = (copy / "report.txt").read_text(encoding="utf-8")
    (copy / "report.txt").write_text(text.replace("±", "+", 1), encoding="utf-8")
    assert differing(folder, copy) == ["fronts", "report.txt"]


def test_a_change_of_the_statistics_after_the_first_report_is_said_of_the_search() -> None:
    """Two claims became ten by a change of the interval: the ledger tells whoever reads."""
    lines = (REFERENCE / "search_mnist" / LEDGER).read_text(encoding="utf-8").splitlines()
    versions = [json.loads(line)["analysis"]["statistics"] for line in lines]
    assert versions[:2] == ["1", "2"]
    if REFERENCE / "search_mnist" in FOLDERS:
        (note,) = (n for n in build(REFERENCE / "search_mnist").notes if "analysis was" in n)
        assert "version of the statistics (was 1 or 2" in note


def test_one_command_runs_a_study_and_keeps_what_its_report_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def instead(words: list[str]) -> int:
        asked.append(words)
        if words[0] == "run":
            out = Path(words[words.index("--out") + 1])
            references.keep_tables(REFERENCE / "quickstart", out)
        return 0

    monkeypatch.setattr(references, "clsweep", instead)
    page = tmp_path / "results.md"
    page.write_text("<!-- quickstart: averages -->\nold\n<!-- end -->\n", encoding="utf-8")
    where = ["--out", str(tmp_path / "results"), "--reference", str(tmp_path / "reference")]
    where += ["--page", str(page)]
    assert references.main(["quickstart", *where, "--data-root", "data"]) == 0
    kept = tmp_path / "reference" / "quickstart"
    assert [words[0] for words in asked] == ["run", "report"]
    assert asked[0][1] == str(ROOT / "configs" / "quickstart.toml")
    assert asked[0][-4:] == ["--data-root", "data", "--workers", "2"]
    assert asked[1] == ["report", str(kept), "--format", "png"]
    assert sorted(path.name for path in kept.iterdir()) == sorted(TABLES)
    assert "Best average accuracies (%): experience replay" in page.read_text(encoding="utf-8")
    asked.clear()
    assert references.main(["quickstart", "search_mnist", *where, "--reports"]) == 0
    assert asked == [["report", str(kept), "--format", "png"]]
    with pytest.raises(SystemExit, match="2"):
        references.main(["no_such_study"])


@pytest.mark.parametrize(
    "name", ["search_mnist", "rescl_split_mnist", "rescl_permuted_mnist", "rescl_cifar10"]
)
def test_the_figures_of_the_documents_are_those_of_the_reports(name: str) -> None:
    drawn, shown = REFERENCE / name / "front.png", ROOT / "docs" / f"{name}.png"
    assert shown.read_bytes() == drawn.read_bytes(), f"copy {drawn} to {shown}"
