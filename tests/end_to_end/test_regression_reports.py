"""The report of a regression: it chooses and ranks by the metric, and says its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clsweep.records.metrics import METRICS
from clsweep.reporting.report_building import build
from clsweep.reporting.result_tables import points_table
from clsweep.storage.remote_path import place_of
from tests.support.command_line import CommandLine
from tests.support.regressions import write_regression

# Σ (y − ŷ)² of the two earlier tasks and of the last, for λ = 1, 10, 100; Σ (y − ȳ)² = 10.
ERRORS = ((30.0, 0.4), (5.0, 0.9), (1.0, 4.0))


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(capsys)


@pytest.mark.parametrize("metric", ["r2", "nrmse"])
def test_validation_chooses_and_the_front_is_drawn_by_the_metric(
    metric: str, tmp_path: Path
) -> None:
    write_regression(tmp_path / "out", metric)
    data = build(place_of(tmp_path / "out"))
    (curve,) = data.comparison.curves
    expected = [[METRICS[metric].of(error, 10.0) for error in pair] for pair in ERRORS]
    assert np.allclose([point.mean("test") for point in curve.points], expected)
    averages = [(2 * source + target) / 3 for source, target in expected]
    assert curve.best == int(np.argmax(averages))
    assert curve.on_front.all()
    guess = METRICS[metric].guess
    assert data.comparison.reference_point == (guess, guess)
    beyond = [pair for pair in expected if min(pair) > guess]
    assert bool(curve.hypervolumes.min() > 0) is bool(beyond)
    assert data.comparison.metric is METRICS[metric]


def test_the_luck_of_the_test_examples_is_that_of_the_squared_errors(tmp_path: Path) -> None:
    write_regression(tmp_path / "out")
    data = build(place_of(tmp_path / "out"))
    # All errors of a row are of one size: another draw of examples would change nothing.
    assert np.allclose(data.luck.best["EWC"], 0.0, atol=1e-6)
    assert data.luck.n_images == ((50, 50),) * 3
    points = points_table(data.comparison).to_pylist()
    assert {row["n_target_images"] for row in points if row["split"] == "test"} == {50}


def test_every_text_of_a_report_names_the_metric(tmp_path: Path, cli: CommandLine) -> None:
    out = tmp_path / "out"
    write_regression(out, n_seeds=7)
    ran = cli("report", str(out), "--format", "html,csv,latex,svg", "--full")
    assert ran.code == 0, ran.err
    cli("report", str(out), "--paper")
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in [*out.glob("report.*"), *out.glob("table_*"), *out.glob("paper/*.t*")]
    }
    assert len(texts) > 12
    for path, text in {**texts, Path("screen"): ran.out}.items():
        words = text.lower().replace("tab:accuracies", "")
        assert "accurac" not in words, path
    assert "the larger the better" in " ".join(ran.out.split())
    assert "R²" in ran.out
    assert "Best average R² (%)" in texts[out / "report.txt"]
    assert "source R²" in texts[out / "report.html"]
    assert "average R²" in texts[out / "paper" / "methods.txt"]


def test_a_metric_of_which_the_smaller_is_better_is_shown_as_its_negative(
    tmp_path: Path, cli: CommandLine
) -> None:
    out = tmp_path / "out"
    write_regression(out, "nrmse")
    ran = cli("report", str(out))
    assert ran.code == 0, ran.err
    assert "the smaller NRMSE the better" in " ".join(ran.out.split())
    best = max((2 * -np.sqrt(s / 10) - np.sqrt(t / 10)) / 3 for s, t in ERRORS)
    assert f"{100 * best:.1f}" in ran.out
    table = pq.read_table(out / "accuracy.parquet")
    assert set(table["metric"].to_pylist()) == {"nrmse"}


def test_the_axes_of_the_figures_name_the_metric(tmp_path: Path) -> None:
    from clsweep.reporting.render import plots, views

    write_regression(tmp_path / "out")
    data = build(place_of(tmp_path / "out"))
    view, _ = views.views(data)
    (axes,) = plots.figure(data, view).axes
    assert axes.get_xlabel() == "source R², mean of tasks 1–2 (%)"
    assert axes.get_ylabel() == "target R², task 3 (%)"


def test_a_label_of_the_users_keeps_its_words(tmp_path: Path, cli: CommandLine) -> None:
    from tests.support.records import make_record, write_study
    from tests.support.regressions import sum_rows

    rows = sum_rows([[1.0], [1.0, 1.0]])
    record = make_record("by accuracy", accuracy=rows) | {"schema": 2}
    write_study(tmp_path / "out", [record])
    ran = cli("report", str(tmp_path / "out"))
    assert "by accuracy" in ran.out
