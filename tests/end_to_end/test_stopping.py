"""Early stopping on real digits: the same trials are stopped whoever runs it, and are reported."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from clsweep.status.reader import StatusReader
from clsweep.training.early_stopping import LEAD
from tests.end_to_end.studies import (
    Forked,
    accuracy_bytes,
    clsweep,
    clsweep_apart,
    trials,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

STUDY = """\
name = "stopping"
seeds = 2
[benchmark]
name = "split"
n_tasks = 5
scenario = "domain"
examples_per_task = 100
[net]
hidden = [8]
[training]
steps = 60
[resources]
device = "cpu"
[search]
kind = "optuna"
trials = 8
sampler = "random"
at_once = 2
{margin}
training = {{ lr = [0.001, 0.1, 0.3] }}
[[methods]]
name = "finetune"
[[methods]]
name = "ewc"
form = "proximal"
[[methods]]
name = "lwf"
"""
SMALL, LARGE, NONE = "stop_margin = 0.05", "stop_margin = 0.25", ""
RESULT = ("status", "message", "n_steps", "label")


def study(folder: Path, margin: str) -> Path:
    path = folder / "study.toml"
    path.write_text(STUDY.format(margin=margin))
    return path


def results(out: Path) -> dict[str, Any]:
    """What has to be the same whoever ran it; of the counters all but the time."""
    found = {}
    for name, row in trials(out).items():
        noted = {k: v for k, v in json.loads(str(row["counters"])).items() if k != "cpu_seconds"}
        found[name] = ([row[key] for key in RESULT], noted)
    return found


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("inline")
    printed = clsweep("run", study(folder, SMALL), "--inline", "--out", folder / "out")
    return folder / "out", printed


def stopped(out: Path) -> dict[str, dict[str, object]]:
    return {name: row for name, row in trials(out).items() if row["status"] == "stopped"}


def test_trials_are_stopped_after_a_task_and_within_the_last(inline: tuple[Path, str]) -> None:
    out, printed = inline
    rows = stopped(out)
    assert 4 <= len(rows) < 28
    assert "34 of 34 trials done, 34 by this run" in printed
    assert f"{len(rows)} trials stopped: behind another configuration" in printed
    assert "not ok" not in printed
    whole = 4 * 60
    assert all(0 < row["n_steps"] < whole for row in rows.values())
    assert {r["n_steps"] for r in trials(out).values() if r["status"] == "ok"} == {whole}
    texts = " ".join(str(row["message"]) for row in rows.values())
    assert "after task 2 of 5" in texts
    # Rows end with the last task that was learnt.
    accuracy = pq.read_table(out / "accuracy.parquet").to_pylist()
    for row in rows.values():
        own = [
            r for r in accuracy if (r["config_id"], r["seed"]) == (row["config_id"], row["seed"])
        ]
        n_learnt = row["n_steps"] // 60
        assert max(r["after_task"] for r in own) == n_learnt


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_with_two_workers_the_same_is_stopped(
    inline: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    clsweep_apart("run", study(tmp_path, SMALL), "--workers", 2, "--out", out, cwd=tmp_path)
    assert results(out) == results(inline[0])
    assert accuracy_bytes(out) == accuracy_bytes(inline[0])


def test_a_run_that_was_killed_stops_the_same(inline: tuple[Path, str], tmp_path: Path) -> None:
    out, path = tmp_path / "out", study(tmp_path, SMALL)
    for n in (14,):
        process = Forked("run", path, "--inline", "--out", out, cwd=tmp_path)
        wait_for(n, out, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    clsweep("run", path, "--inline", "--out", out)
    assert results(out) == results(inline[0])
    assert accuracy_bytes(out) == accuracy_bytes(inline[0])


def test_a_status_tells_what_was_stopped_from_what_failed(inline: tuple[Path, str]) -> None:
    out, _ = inline
    n = len(stopped(out))
    seen = StatusReader(out).read(0.0)
    assert (seen.n_done, seen.n_ok, seen.n_stopped, seen.n_to_come) == (34, 34 - n, n, 0)
    assert (seen.errors, seen.exit_code, seen.state) == ((), 0, "finished")
    assert [curve.n_not_ok for curve in seen.curves] == [0, 0, 0]
    assert f"{34 - n} ok, {n} stopped early" in clsweep("status", out)


def test_report_counts_what_was_stopped_and_promises_nothing(inline: tuple[Path, str]) -> None:
    out, _ = inline
    n = {"EWC": 0, "LwF": 0}
    for row in stopped(out).values():
        n[str(row["label"])] += 1
    printed = clsweep("report", out, "--full")
    flat = " ".join(printed.split())
    said = ", ".join(f"{label} {count}" for label, count in n.items() if count)
    assert f"Trials stopped early, which count as spent: {said}." in flat
    assert "nothing guarantees that none would" in flat
    table = (out / "report.txt").read_text().partition("\nTrials\n")[2]
    rows: dict[str, list[str]] = {}
    for line in filter(str.strip, table.splitlines()):
        rows.setdefault(line.split()[0], line.split())
    # configurations, trials, failed, diverged, stopped
    for label, count in n.items():
        assert rows[label][1:6] == ["8", "16", "0", "0", str(count)]
    ids = {row["config_id"] for row in stopped(out).values()}
    points = pq.read_table(out / "fronts.parquet").to_pylist()
    assert ids.isdisjoint(row["config_id"] for row in points)
    chosen = pq.read_table(out / "protocols.parquet").to_pylist()
    assert ids.isdisjoint(row["config_id"] for row in chosen)
    assert "Trials that failed or diverged" not in (out / "report.html").read_text()


def test_a_changed_margin_runs_again_what_it_would_not_stop(
    inline: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    path = study(tmp_path, SMALL)
    shutil.copytree(inline[0], out)
    first = stopped(out)
    # A stopped trial is no failed one.
    printed = clsweep("run", path, "--inline", "--out", out, "--retry-failed")
    assert "34 of 34 trials done, 0 by this run" in printed
    leads = {name: json.loads(str(row["counters"]))[LEAD] for name, row in first.items()}
    n_wrong = sum(lead <= 0.25 for lead in leads.values())
    assert 0 < n_wrong < len(leads), "the study no longer tells the margins apart"
    path = study(tmp_path, LARGE)
    assert f"34 trials; {34 - n_wrong} done" in clsweep("plan", path, "--out", out)
    printed = clsweep("run", path, "--inline", "--out", out)
    assert f"34 of 34 trials done, {n_wrong} by this run" in printed
    assert stopped(out).keys() == {name for name, lead in leads.items() if lead > 0.25}
    printed = clsweep("run", study(tmp_path, NONE), "--inline", "--out", out)
    assert f"{len(leads) - n_wrong} by this run" in printed
    assert stopped(out) == {}


@pytest.mark.slow  # a run that never stops takes longest; the CI runs it by name
def test_what_is_run_again_is_what_a_run_that_never_stopped_would_have_had(
    inline: tuple[Path, str], tmp_path: Path
) -> None:
    out, never = tmp_path / "out", tmp_path / "never"
    shutil.copytree(inline[0], out)
    clsweep("run", study(tmp_path, NONE), "--inline", "--out", out)
    assert stopped(out) == {}
    clsweep("run", study(tmp_path, NONE), "--inline", "--out", never)
    assert accuracy_bytes(never) == accuracy_bytes(out)
