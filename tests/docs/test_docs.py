"""Every code block of README and docs is run, or read where the page says why it cannot be run.

The blocks of a page are run in order in a folder of its own. It holds the study files of configs/,
the README's `mine.toml`, finished results of this and of the quickstart, and images in `photos`.
Every task is trained for two steps, and nothing uses Ray.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

import clsweep
from clsweep.errors import StoreError
from clsweep.reporting.render.publish import report
from clsweep.reporting.report_data import ReportData
from clsweep.training.config import TrainingConfig
from tests.support.records import make_study, write_study
from tests.support.snippets import (
    HOUSE,
    LANGUAGES,
    PAGES,
    blocks,
    check_command,
    commands,
    run_shell,
    study_of,
)

DOCS = HOUSE / "docs"


def texts(name: str, language: str) -> list[str]:
    return [block.text for block in blocks(DOCS / name) if block.language == language]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files and the finished results that pages start from."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(HOUSE / "configs", folder / "configs")
    for name in ("search_mnist", "hnet_compression_small"):
        kept = f"results/reference/{name}"
        shutil.copytree(HOUSE / kept, folder / kept)
    (mine,) = (b.text for b in blocks(HOUSE / "README.md") if b.title == "mine.toml")
    (folder / "mine.toml").write_text(mine, encoding="utf-8")
    for split in ("train", "test"):
        for number, name in enumerate("abcd"):
            images = folder / "photos" / split / name
            images.mkdir(parents=True)
            for i in range(4):
                size = (33 + number, 34 + i)
                Image.new("L", size, 40 * i + number).save(images / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(TrainingConfig, "n_steps", lambda self, n_examples, task=1: 2)
        for path in ("configs/quickstart.toml", "mine.toml"):
            study = clsweep.load_study(path)
            directory = Path("results") / study.name
            clsweep.run(study, out=directory, inline=True)
            report(directory, formats=())
    return folder


@pytest.mark.usefixtures("figures_drawn_once")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs(
    page: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = blocks(page)
    folder = tmp_path / "page"
    if all(block.reason or block.language in ("text", "bibtex") for block in there):
        return
    shutil.copytree(finished, folder)
    monkeypatch.setattr(TrainingConfig, "n_steps", lambda self, n_examples, task=1: 2)
    monkeypatch.syspath_prepend(folder)
    if any(block.title == "mine.toml" for block in there):
        shutil.rmtree(folder / "results/mine")
    for block in there:
        monkeypatch.chdir(folder / block.folder)
        if block.reason:
            continue
        if block.title:
            Path(block.title).parent.mkdir(exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        if block.language == "toml":
            study_of(block)
        elif block.language == "python":
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                exec(compile(block.text, str(block), "exec"), {"__name__": "snippet"})
        elif block.language in ("sh", "console"):
            run_shell(block, folder)
        elif block.language == "sql":
            pytest.importorskip("duckdb").sql(block.text).fetchall()


@pytest.mark.parametrize("page", [*PAGES, HOUSE / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_what_is_not_run_is_read(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").touch()
    shutil.copytree(HOUSE / "configs", "configs")
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block}: a block has a language, and a fence"
        is_run = not block.reason and page.name != "CONTRIBUTING.md"
        if block.language in ("sh", "console") and not is_run:
            for words in commands(block):
                check_command(words)


@pytest.mark.parametrize(
    "words",
    [
        ["clsweep", "run", "mine.toml", "--adress", "auto"],
        ["clsweep", "rnu", "mine.toml"],
        ["pip", "install", ".[tests]"],
        ["python", "benchmarks/coverage.py", "--slow"],
        ["make", "everything"],
        ["bash", "heads.sh"],
    ],
)
def test_a_command_that_does_not_exist_is_found(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").touch()
    with pytest.raises(Exception, match="."):  # of click, or an assertion
        check_command(words)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportData]:
    root = tmp_path_factory.mktemp("docs")
    records = make_study(("EWC", "MAS", "LwF"), n_values=5)
    directory = write_study(root / "results" / "quickstart", records)
    return directory, report(directory, formats=())


def expected(data: ReportData) -> list[dict[Any, float]]:
    """What the three queries ask for, from the report's own values."""
    curves = data.comparison.all_curves
    best = {c.label: c.points[c.best] for c in curves if c.best is not None}
    (requirement,) = (r for r in data.comparison.requirements if r.drop == 0.01)
    kept = {
        curve.label: float(curve.points[index].mean("test")[0])
        for curve in data.comparison.curves
        if (index := requirement.chosen[curve.label]) is not None
    }
    ewc = next(curve for curve in curves if curve.label == "EWC")
    forgetting = {p.axes["lam"]: float(p.measures["forgetting"].mean()) for p in ewc.points}
    average = {n: float(p.measures["average_accuracy"].mean()) for n, p in best.items()}
    return [average, kept, forgetting]


@pytest.mark.parametrize("index", range(3))
def test_queries_agree_with_the_report(
    index: int, results: tuple[Path, ReportData], monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb")
    directory, data = results
    monkeypatch.chdir(directory)
    sql, python = texts("tables.md", "sql")[index], texts("tables.md", "python")[index]
    scope: dict[str, Any] = {}
    exec(python, scope)
    by_pandas = scope["result"].to_dict()
    by_sql = dict(duckdb.sql(sql).fetchall())
    wanted = expected(data)[index]
    for found in (by_sql, by_pandas):
        assert {key: found[key] for key in wanted} == pytest.approx(wanted, abs=1e-12)
    assert by_sql.keys() == by_pandas.keys()


def test_every_column_is_documented(results: tuple[Path, ReportData]) -> None:
    text = (DOCS / "tables.md").read_text(encoding="utf-8")
    loaded = clsweep.load(results[0])
    numbers = {"lam", "variant"}
    written = [pq.read_table(results[0] / f"{name}.parquet") for name in ("protocols", "pairs")]
    for table in (loaded.accuracy, loaded.configs, loaded.trials, loaded.fronts, *written):
        for name in set(table.column_names) - {"folder"} - numbers:
            assert f"`{name}`" in text, name


def test_the_example_of_the_notebook_runs(
    results: tuple[Path, ReportData],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(results[0].parent.parent)
    (example,) = (t for t in texts("python.md", "python") if "results = clsweep.load(" in t)
    exec(example, {})
    printed = capsys.readouterr().out
    assert (
        "<synthetic: permuted mnist, 2 tasks, domain-incremental: 6 labels, 18 config" in printed
    )
    assert Path("fronts.pdf").read_bytes().startswith(b"%PDF")
    assert "window.clsweepPage" in Path("fronts.html").read_text(encoding="utf-8")


def test_tables_of_two_folders_name_their_folder(
    results: tuple[Path, ReportData], tmp_path: Path
) -> None:
    other = write_study(tmp_path / "other", make_study(("SI",), n_values=3, n_seeds=1))
    loaded = clsweep.load(results[0], other)
    folders = loaded.trials["folder"].to_pylist()
    assert set(folders) == {str(results[0]), str(other)}
    assert len(loaded.accuracy) == sum(
        len(clsweep.load(folder).accuracy) for folder in (results[0], other)
    )


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no folder"):
        clsweep.load(tmp_path / "nothing")


def test_loading_imports_neither_torch_nor_ray(results: tuple[Path, ReportData]) -> None:
    program = (
        "import sys, clsweep; clsweep.load(sys.argv[1]).fronts; "
        "assert not {'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(results[0])], check=True)
