"""A regression from the study file to the figure of what was learnt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.command_line import CommandLine

STUDY = """\
name = "sines"
seeds = [0, 1]
[benchmark]
name = "polynomials"
{more}
[net]
hidden = [6]
activation = "tanh"
[training]
optimizer = "adam"
lr = 0.05
batch_size = 50
epochs = {epochs}
[resources]
device = "cpu"
[save]
models = "all"
[[methods]]
name = "finetune"
[[methods]]
name = "replay"
memory_size = 30
weight = [0.5, 1.0]
"""


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(capsys)


def write(folder: Path, more: str = "", epochs: int = 4) -> Path:
    path = folder / "study.toml"
    path.write_text(STUDY.format(more=more, epochs=epochs), encoding="utf-8")
    return path


def test_a_regression_runs_and_is_reported_and_drawn(tmp_path: Path, cli: CommandLine) -> None:
    study, out = write(tmp_path), tmp_path / "out"
    plan = cli("plan", str(study))
    assert plan.code == 0, plan.err
    ran = cli("run", str(study), "--inline", "--out", str(out), "--stages", str(tmp_path / "st"))
    assert ran.code == 0, ran.err
    assert "6 of 6 trials done" in ran.out
    assert "average R² (validation)" in ran.err
    rows = pq.read_table(out / "accuracy.parquet").to_pylist()
    assert {row["metric"] for row in rows} == {"r2"}
    assert {row["n_total"] for row in rows} == {50}
    status = cli("status", str(out))
    assert status.code == 0, status.err
    report = cli("report", str(out))
    assert report.code == 0, report.err
    assert "R²" in report.out
    drawn = cli("predictions", str(out), "--format", "svg,png", "--seed", "1")
    assert drawn.code == 0, drawn.err
    assert (out / "predictions.png").stat().st_size > 10_000
    svg = (out / "predictions.svg").read_bytes()
    cli("predictions", str(out), "--format", "svg", "--seed", "1")
    assert (out / "predictions.svg").read_bytes() == svg


def test_predictions_are_those_of_the_rows(tmp_path: Path, cli: CommandLine) -> None:
    import clsweep

    study, out = write(tmp_path, 'scenario = "domain"'), tmp_path / "out"
    cli("run", str(study), "--inline", "--out", str(out), "--stages", str(tmp_path / "st"))
    results = clsweep.load(out)
    x, y = results.examples(seed=0, task=1)
    model = results.model("fine-tuning", seed=0)
    squared = float((model(x, 1) - y).square().sum())
    trial = next(
        row["config_id"] for row in results.configs.to_pylist() if row["label"] == "fine-tuning"
    )
    (row,) = (
        row
        for row in results.accuracy.to_pylist()
        if (row["config_id"], row["seed"], row["split"]) == (trial, 0, "test")
        and (row["after_task"], row["on_task"]) == (2, 1)
    )
    assert row["squared_error"] == pytest.approx(squared, rel=1e-5)


def test_mistakes_about_predictions_end_in_one_message(tmp_path: Path, cli: CommandLine) -> None:
    from tests.support.records import make_study, write_study

    write_study(tmp_path / "classes", make_study())
    cli("predictions", str(tmp_path / "classes"), "--format", "gif").is_mistake("'gif'")
    cli("predictions", str(tmp_path / "none")).is_mistake("none")


def test_arrays_of_real_numbers_run(tmp_path: Path, cli: CommandLine) -> None:
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        x = rng.normal(size=(60, 3)).astype(np.float32)
        y = (x @ rng.normal(size=(3, 2))).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    study = tmp_path / "study.toml"
    study.write_text(
        """\
name = "own"
[benchmark]
name = "sequence"
datasets = ["arrays:one.npz", "arrays:two.npz"]
targets = "numbers"
metric = "nrmse"
[net]
hidden = []
[training]
epochs = 30
lr = 0.1
[resources]
device = "cpu"
[[methods]]
name = "finetune"
[[methods]]
name = "joint"
""",
        encoding="utf-8",
    )
    out = tmp_path / "out"
    ran = cli("run", str(study), "--inline", "--out", str(out), "--stages", str(tmp_path / "st"))
    assert ran.code == 0, ran.err
    final = [
        row
        for row in pq.read_table(out / "accuracy.parquet").to_pylist()
        if row["after_task"] == row["on_task"] == 1 and row["split"] == "test"
    ]
    # A linear network learns a linear function.
    assert all(row["squared_error"] / row["squared_deviation"] < 0.01 for row in final)
    numbers = cli("predictions", str(out))
    numbers.is_mistake("inputs of shape [3] and 2 targets")
    assert json.loads((out / "versions.json").read_text())
