"""The examples of the documentation, executed on a results folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import clsweep
from clsweep.errors import StoreError
from clsweep.report import ReportData, report
from tests.records import make_study, write_study

DOCS = Path(__file__).parent.parent / "docs"


def blocks(name: str, language: str) -> list[str]:
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


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
    sql, python = blocks("tables.md", "sql")[index], blocks("tables.md", "python")[index]
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
    (example,) = blocks("python.md", "python")
    exec(example, {})
    printed = capsys.readouterr().out
    assert (
        "<synthetic: permuted mnist, 2 tasks, domain-incremental: 6 labels, 18 config" in printed
    )
    assert Path("fronts.pdf").read_bytes().startswith(b"%PDF")
    assert "Plotly.newPlot" in Path("fronts.html").read_text(encoding="utf-8")


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
