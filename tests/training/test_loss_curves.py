"""Losses on request: every step counts, means over blocks, and training is the same without."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from clsweep.errors import StoreError
from clsweep.execution import runner
from clsweep.records.loss_table import loss_table, losses_from_parquet, merged_losses
from clsweep.storage.loss_files import collect_losses, write_losses
from clsweep.study.study import Study, load_study
from clsweep.training import loss_curves
from clsweep.training.loss_curves import MAX_ROWS, LossRow
from tests.support.command_line import tiny_study

TABLES = ("accuracy.parquet", "configs.parquet")


def curve_of(n: int, chunk: int = 7) -> list[LossRow]:
    """The rows of a phase whose step s costs s, noted in chunks."""
    with loss_curves.recorded() as curves:
        curve = loss_curves.begun(2, "plain")
        for first in range(1, n + 1, chunk):
            losses: list[torch.Tensor] = []
            with loss_curves.kept(curve, losses):
                losses += [torch.tensor(float(s)) for s in range(first, min(first + chunk, n + 1))]
    return curves.rows()


@pytest.mark.parametrize("n", [1, 7, 8, 199, 200, 201, 400, 1234])
def test_rows_are_means_over_blocks_of_equal_size(n: int) -> None:
    rows = curve_of(n)
    size = math.ceil(n / MAX_ROWS)
    assert len(rows) == math.ceil(n / size) <= MAX_ROWS
    assert [row.step for row in rows] == [*range(size, n, size), n]
    for row in rows:
        first = size * ((row.step - 1) // size) + 1
        assert row.loss == pytest.approx((first + row.step) / 2)
        assert row[:3] == (2, "plain", 0)


def test_phases_of_a_task_are_told_apart_and_nothing_is_noted_unasked() -> None:
    assert loss_curves.begun(0, "plain") is None
    with loss_curves.kept(None, [torch.tensor(1.0)]):
        pass
    with loss_curves.recorded() as curves:
        for task, phase in ((0, "a"), (1, "a"), (1, "b"), (1, "a")):
            with loss_curves.kept(loss_curves.begun(task, phase), [torch.tensor(1.0)]):
                pass
    assert [row[:3] for row in curves.rows()] == [
        (0, "a", 0),
        (1, "a", 0),
        (1, "b", 1),
        (1, "a", 2),
    ]
    assert loss_curves.begun(0, "plain") is None


def test_what_was_noted_before_an_end_in_between_is_kept() -> None:
    with loss_curves.recorded() as curves:
        curve, losses = loss_curves.begun(0, "plain"), []
        with pytest.raises(KeyboardInterrupt):
            _cut_short(curve, losses)
    assert [row.loss for row in curves.rows()] == [3.0]


def _cut_short(curve: list[torch.Tensor] | None, losses: list[torch.Tensor]) -> None:
    with loss_curves.kept(curve, losses):
        losses.append(torch.tensor(3.0))
        raise KeyboardInterrupt


def small(folder: Path, *, losses: str = "true", lam: str = "[1.0]", steps: int = 5) -> Study:
    more = f"[save]\nlosses = {losses}\n[[methods]]\nname = 'rescl'\n"
    return load_study(tiny_study(folder, lam=lam, steps=steps, seeds=2, more=more))


def test_a_run_leaves_a_row_per_step_of_every_phase_it_trained(tmp_path: Path) -> None:
    runner.run(small(tmp_path), out=tmp_path / "with", inline=True)
    runner.run(small(tmp_path, losses="false"), out=tmp_path / "without", inline=True)
    assert not (tmp_path / "without/losses.parquet").exists()
    for name in TABLES:
        assert (tmp_path / "with" / name).read_bytes() == (
            tmp_path / "without" / name
        ).read_bytes()
    assert not list((tmp_path / "with/losses").iterdir())
    rows = pq.read_table(tmp_path / "with/losses.parquet").to_pylist()
    # Two tasks of five steps: the first in the source stage, the second in fine-tuning and EWC;
    # ResCL starts from the fine-tuned network, which is a stage, and combines it in five more.
    found: dict[tuple[str, str, int], set[tuple[int, str, int]]] = {}
    for row in rows:
        key = (row["kind"], row["label"], row["seed"])
        found.setdefault(key, set()).add((row["task"], row["phase"], row["step"]))
    for seed in (0, 1):
        steps = range(1, 6)
        assert {r[::2] for r in found["source", f"source, seed {seed}", seed]} == {
            (0, s) for s in steps
        }
        for kind, label in (
            ("finetuned", f"fine-tuned, seed {seed}"),
            ("trial", "fine-tuning"),
            ("trial", "EWC"),
            ("trial", "ResCL"),
        ):
            assert {r[::2] for r in found[kind, label, seed]} == {(1, s) for s in steps}, label
    assert len(found) == 2 * 5
    assert {row["config_id"] == "" for row in rows if row["kind"] != "trial"} == {True}
    assert all(math.isfinite(row["loss"]) and row["loss"] > 0 for row in rows)
    again = small(tmp_path, lam="[1.0, 2.0]")
    runner.run(again, out=tmp_path / "with", inline=True)
    more = pq.read_table(tmp_path / "with/losses.parquet").to_pylist()
    assert [row for row in more if row in rows] == rows
    assert len(more) == len(rows) + 2 * 5


def test_a_trial_that_diverged_leaves_its_curve(tmp_path: Path) -> None:
    summary = runner.run(small(tmp_path, lam="[1e30]"), out=tmp_path / "o", inline=True)
    assert summary.n_diverged == 2
    rows = pq.read_table(tmp_path / "o/losses.parquet").to_pylist()
    lost = [row["loss"] for row in rows if row["label"] == "EWC"]
    assert 0 < len(lost) <= 2 * 5  # it is seen at the end of an epoch
    assert not all(map(math.isfinite, lost))


def test_a_job_that_is_done_again_replaces_its_rows_and_damage_is_named(tmp_path: Path) -> None:
    (tmp_path / "losses").mkdir()

    def write(job: str, loss: float) -> None:
        write_losses(
            tmp_path, job, loss_table((job, "trial", job, "EWC", 0), [(0, "plain", 0, 1, loss)])
        )

    for job, loss in (("b", 1.0), ("a", 2.0)):
        write(job, loss)
    assert collect_losses(tmp_path) == 2
    write("b", 3.0)
    assert collect_losses(tmp_path) == 1
    assert collect_losses(tmp_path) == 0
    path = tmp_path / "losses.parquet"
    table = losses_from_parquet(path.read_bytes(), str(path))
    assert [(r["job"], r["loss"]) for r in table.to_pylist()] == [("a", 2.0), ("b", 3.0)]
    assert merged_losses(table, []).equals(table)

    data = bytearray(path.read_bytes())
    data[40] ^= 1
    for wrong in (bytes(data), data[:-5], b"", b"PAR1"):
        with pytest.raises(StoreError, match="a table of losses is damaged"):
            losses_from_parquet(bytes(wrong), str(path))
    write("c", 1.0)
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"damaged(.|\n)*delete the file"):
        collect_losses(tmp_path)
    assert list((tmp_path / "losses").glob("*.parquet")), "nothing is lost"
