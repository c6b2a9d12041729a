"""The luck of the test images: known counts, and what another draw of images really changes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from scipy.stats import beta

import clsweep
from clsweep.reporting.render import plots
from clsweep.reporting.render.page import page_of
from clsweep.reporting.render.publish import report
from clsweep.reporting.render.tables import on_terminal, tables
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.sampling_error import image_errors, luck_of, sizes_text
from tests.support.records import STUDY_TOML, make_record, write_study

SPLIT = STUDY_TOML.replace('"permuted"', '"split"').replace("n_tasks = 2", "n_tasks = 3")


def counts(*seeds: list[tuple[int, int]]) -> np.ndarray:
    return np.array(seeds, dtype=np.float64)


# ------------------------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize(("k", "n"), [(244, 249), (249, 249), (0, 10), (5000, 10_000)])
def test_one_task_is_the_deviation_of_jeffreys_posterior(k: int, n: int) -> None:
    (errors,) = image_errors(counts([(n, n), (k, n)]), is_shared=False)
    assert errors[2] == pytest.approx(beta(k + 0.5, n - k + 0.5).std(), rel=1e-12)


def test_ninety_eight_per_cent_of_249_images_is_known_to_nine_tenths_of_a_point() -> None:
    (errors,) = image_errors(counts([(1, 2), (244, 249)]), is_shared=False)
    assert 100 * errors[2] == pytest.approx(100 * np.sqrt(0.98 * 0.02 / 249), abs=0.05)
    assert f"{100 * errors[2]:.1f}" == "0.9"


def test_means_over_tasks_of_own_and_of_shared_images() -> None:
    tasks = [(90, 100), (90, 100), (900, 1000)]
    own, shared = (image_errors(counts(tasks), is_shared)[0] for is_shared in (False, True))
    a, c = beta(90.5, 10.5).std(), beta(900.5, 100.5).std()
    assert own == pytest.approx([np.sqrt(2 * a**2 + c**2) / 3, a / np.sqrt(2), c])
    assert shared == pytest.approx([(2 * a + c) / 3, a, c])


@pytest.mark.parametrize("is_same", [True, False])
def test_another_draw_of_images_changes_no_more_than_is_said(is_same: bool) -> None:
    """Images are drawn anew; all seeds err on the same of them, or each on its own."""
    rng = np.random.default_rng(0)
    n_draws, n_seeds, n, p = 2000, 5, 400, 0.9
    hits = rng.random((n_draws, 1 if is_same else n_seeds, n)) < p
    found = hits.mean(axis=(1, 2)).std()
    said = image_errors(counts(*[[(1, 2), (360, 400)]] * n_seeds), False)[:, 2].mean()
    assert found == pytest.approx(said if is_same else said / np.sqrt(n_seeds), rel=0.06)


# ------------------------------------------------------------------------------------ of a report


def rows(*tests: tuple[int, int]) -> list[list[Any]]:
    """Counts after the last of three tasks, and the same shares of 1000 validation images."""
    made: list[list[Any]] = []
    for on, (k, n) in enumerate(tests):
        made += [[2, on, "test", k, n], [2, on, "validation", round(1000 * k / n), 1000]]
    return sorted(made)


def study(tmp_path: Path, of_a: tuple[int, int], of_b: tuple[int, int], toml: str = SPLIT) -> Path:
    records = []
    for seed in range(6):
        for method, (k, n) in (("ewc", of_a), ("mas", of_b)):
            more = seed % 2 if method == "ewc" else seed % 3 // 2
            counted = [(k + more, n), (k, n), (k, n)]
            hyper = {"lam": 1.0, "variant": method}
            records.append(make_record(method, method, seed, hyper, {"lam": 1.0}, rows(*counted)))
    return write_study(tmp_path / "r", records, toml)


def text_of(data: ReportData) -> str:
    out = Console(file=io.StringIO(), width=200, record=True)
    out.print(*on_terminal(data, tables(data)), sep="\n")
    return " ".join(out.export_text().split())


def test_sizes_of_the_test_sets_are_said(tmp_path: Path) -> None:
    data = build(study(tmp_path, (90, 100), (80, 100)))
    said = "Test sets: 200 images of 2 source tasks (100 each), 100 of the target."
    assert sizes_text(data.luck) == said
    assert said in text_of(data)
    permuted = sizes_text(luck_of(data.comparison, is_shared=True))
    assert permuted == "Test set: 100 images, the same in every task."


def test_worst_and_best_seed_stand_beside_both_errors(tmp_path: Path) -> None:
    data = build(study(tmp_path, (90, 100), (80, 100)))
    # Averages are 90 and 90.33 in turns: mean 90.17, standard error 0.075.
    a = np.array([beta(91.5, 9.5).std(), beta(90.5, 10.5).std()])
    average = 100 * np.mean([np.hypot(np.hypot(a[i], a[1]), a[1]) / 3 for i in (0, 1)])
    assert f"ewc 90.0 90.3 0.1 {average:.1f} 2.1 3.0" in text_of(data)


def test_the_page_shows_it_as_well(tmp_path: Path) -> None:
    data = build(study(tmp_path, (90, 100), (80, 100)))
    page = page_of(data)
    assert "luck of seeds and images (%)" in page
    assert "Test sets: 200 images of 2 source tasks (100 each), 100 of the target." in page
    assert "Seeds differ in initial weights, batches and a method" in page


def test_few_images_are_warned_of_and_many_are_not(tmp_path: Path) -> None:
    warned = build(study(tmp_path / "few", (90, 100), (80, 100))).notes
    (note,) = (note for note in warned if "luck of the test images" in note)
    assert "ewc target 3.0 (± 0.0)" in note
    assert "mas target 4.0 (± 0.0)" in note


def test_a_claim_that_images_could_undo_is_named(tmp_path: Path) -> None:
    claims = {}
    for name, of_b in (("near", (89, 100)), ("far", (60, 100))):
        data = build(study(tmp_path / name, (92, 100), of_b))
        (pair,) = data.judgement.average_pairs
        assert pair.is_claim
        claims[name] = [n for n in data.notes if n.startswith("Claims that hold for these test")]
    assert claims["far"] == []
    (note,) = claims["near"]
    # √(σ_A² + σ_B²) with σ² a third of that of one task, nearly.
    assert "ewc above mas by 3.1 (up to 2.4)" in note


def test_a_difference_lies_between_nested_and_independent_errors(tmp_path: Path) -> None:
    data = build(study(tmp_path, (90, 100), (80, 100)))
    least, most = data.luck.pairs[frozenset(("ewc", "mas"))]
    first = 0.1 + 0.5 / 100 - 1 / 300
    variance = (first * (1 - first) + 2 * 0.1 * 0.9) / 100
    assert least == pytest.approx(np.sqrt(variance) / 3)
    assert most == pytest.approx(np.hypot(*(data.luck.best[n][0] for n in ("ewc", "mas"))))
    rng = np.random.default_rng(0)
    draws = rng.random((4000, 3, 100))
    nested = ((draws < 0.9).mean(axis=2) - (draws < 0.8).mean(axis=2)).mean(axis=1)
    assert nested.std() == pytest.approx(least, rel=0.06)


def test_the_tables_hold_what_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda data, stem, endings: [])
    folder = study(tmp_path, (90, 100), (80, 100))
    data = report(folder, console=Console(file=io.StringIO()), formats=())
    fronts = clsweep.load(folder).fronts.to_pylist()
    assert fronts == pq.read_table(folder / "fronts.parquet").to_pylist()
    for label, errors in data.luck.best.items():
        (mean,) = (
            r for r in fronts if (r["label"], r["split"], r["seed"]) == (label, "test", None)
        )
        found = [mean[f"{name}_image_error"] for name in ("average", "source", "target")]
        assert found == pytest.approx(errors)
        assert (mean["n_source_images"], mean["n_target_images"]) == (200, 100)
    assert {r["average_image_error"] for r in fronts if r["split"] == "validation"} == {None}
    pairs = pq.read_table(folder / "pairs.parquet").to_pylist()
    (average,) = (r for r in pairs if r["measure"] == "average_accuracy")
    of_pair = data.luck.pairs[frozenset(("ewc", "mas"))]
    assert (average["image_error_least"], average["image_error_most"]) == of_pair
