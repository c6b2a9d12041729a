"""What is interrupted, killed or extended goes on with exactly what is missing."""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.studies import (
    Forked,
    accuracy_bytes,
    clsweep,
    clsweep_apart,
    committed,
    start,
    trials,
    wait_for,
    write_study,
)

# 8 trials, each long enough to be caught at work.
SLOW = {"seeds": 1, "lam": "1.0, 100.0", "steps": 60}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The accuracy table of the slow study, run in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    clsweep("run", write_study(folder, **SLOW), "--inline", "--out", folder / "out")
    return accuracy_bytes(folder / "out")


def kill_driver(pid: int) -> None:
    """SIGKILL to the driver alone, which can do nothing about it."""
    os.kill(pid, signal.SIGKILL)


def press_ctrl_c(pid: int) -> None:
    """SIGINT to the whole process group, as a terminal sends it."""
    os.killpg(pid, signal.SIGINT)


def terminate(pid: int) -> None:
    """SIGTERM to the driver, as batch systems send it."""
    os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize(
    ("executor", "stop", "code"),
    [
        pytest.param(
            "ray", kill_driver, -signal.SIGKILL, marks=[pytest.mark.ray, pytest.mark.slow]
        ),
        pytest.param("ray", press_ctrl_c, 130, marks=[pytest.mark.ray, pytest.mark.slow]),
        pytest.param("ray", terminate, 143, marks=[pytest.mark.ray, pytest.mark.slow]),
        ("inline", kill_driver, -signal.SIGKILL),
        ("inline", press_ctrl_c, 130),
    ],
    ids=["ray-kill", "ray-ctrl-c", "ray-terminate", "inline-kill", "inline-ctrl-c"],
)
def test_a_stopped_run_is_finished_by_the_same_command(
    executor: str, stop: Callable[[int], None], code: int, tmp_path: Path, undisturbed: bytes
) -> None:
    out = tmp_path / "out"
    how = ["--inline"] if executor == "inline" else ["--workers", "2"]
    command = ("run", write_study(tmp_path, **SLOW), *how, "--out", out)
    # How a command ends that is told to end is seen in a process started as a shell does.
    started = Forked if executor == "inline" and stop is kill_driver else start
    process = started(*command, cwd=tmp_path)
    wait_for(2, out, process)
    stop(process.pid)
    printed, err = process.communicate(timeout=240)
    assert process.poll() == code, err
    assert "Traceback" not in err
    if code > 0:
        assert "\nnext: clsweep run " in printed
    kept = committed(out) or {name: row["finished_at"] for name, row in trials(out).items()}
    assert 2 <= len(kept) < 8
    if code > 0:
        assert f"{len(kept)} of 8 trials done, {len(kept)} by this run" in printed
        assert list((out / "records").iterdir()) == [], "a start that was cut short counts"
    # The command that was killed with Ray is typed again as it was; the others are finished
    # without Ray, which is no part of what a study is.
    if executor == "ray" and stop is kill_driver:
        printed = clsweep_apart(*command, cwd=tmp_path)
    else:
        printed = clsweep(*command[:2], "--inline", "--out", out)
    assert "8 of 8 trials done" in printed
    after = trials(out)
    assert {name: after[name]["finished_at"] for name in kept} == kept, "run twice"
    assert accuracy_bytes(out) == undisturbed
    assert {row["status"] for row in after.values()} == {"ok"}


def test_of_two_runs_started_at_once_one_works_and_the_other_says_so(
    tmp_path: Path, undisturbed: bytes
) -> None:
    out = tmp_path / "out"
    command = ("run", write_study(tmp_path, **SLOW), "--inline", "--out", out)
    both = [Forked(*command, cwd=tmp_path) for _ in range(2)]
    ended = [process.communicate(timeout=240) for process in both]
    assert sorted(str(process.poll()) for process in both) == ["0", "2"], ended
    (refused,) = [err for process, (_, err) in zip(both, ended, strict=True) if process.poll()]
    assert "another run is writing to this results folder" in refused
    assert accuracy_bytes(out) == undisturbed
    assert len(trials(out)) == 8


def test_more_seeds_values_and_methods_run_only_what_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def run(**changes: object) -> tuple[str, dict[str, object]]:
        study = write_study(tmp_path, **changes)  # type: ignore[arg-type]
        printed = clsweep("run", study, "--inline", "--out", out)
        return printed, {name: row["finished_at"] for name, row in trials(out).items()}

    printed, first = run(seeds=1, lam="1.0")
    assert "7 of 7 trials done, 7 by this run" in printed
    printed, second = run(seeds=2, lam="1.0")
    assert "14 of 14 trials done, 7 by this run" in printed
    printed, third = run(seeds=2, lam="1.0, 100.0")
    assert "16 of 16 trials done, 2 by this run" in printed
    assert "source models: 0 trained, 2 times reused" in printed
    more = '[[methods]]\nname = "lwf"\nlam = [0.1, 1.0]\n'
    printed, fourth = run(seeds=2, lam="1.0, 100.0", more=more)
    assert "20 of 20 trials done, 4 by this run" in printed
    assert first.items() < second.items() < third.items() < fourth.items()


def test_a_front_of_interpolation_costs_one_fine_tuning_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = '[[methods]]\nname = "interpolate"\nbeta = [{}]\n'

    def study(betas: str) -> Path:
        path = write_study(tmp_path, seeds=2, more=more.format(betas))
        path.write_text(path.read_text().replace("n_tasks = 5", "n_tasks = 2"))
        return path

    planned = clsweep("plan", study("0.25, 0.5, 0.75"), "--out", out)
    assert "2 fine-tuned networks" in planned
    # Per seed: source, fine-tuned network, 3 + 2 + 2 trials of other methods, joint of two tasks.
    assert f"{2 * (1 + 1 + 7 + 2) * 10} to do" in planned
    printed = clsweep("run", study("0.25, 0.5, 0.75"), "--inline", "--out", out)
    assert "fine-tuned networks: 2 trained, 4 times reused" in printed
    steps = [row["n_steps"] for row in trials(out).values() if row["method"] == "interpolate"]
    assert steps == [0] * 6
    printed = clsweep("run", study("0.0, 0.25, 0.5, 0.75, 1.0"), "--inline", "--out", out)
    assert "4 by this run" in printed
    assert "fine-tuned networks: 0 trained, 4 times reused" in printed
    curves = fronts(out)
    for split in ("validation", "test"):
        assert curves["weight interpolation", 1.0, split] == curves["fine-tuning", None, split]


def fronts(out: Path) -> dict[tuple[str, float | None, str], list[float]]:
    """(label, β, split) -> final accuracies on both tasks, seed by seed."""
    configs = {c["config_id"]: c for c in pq.read_table(out / "configs.parquet").to_pylist()}
    found = defaultdict(list)
    for row in pq.read_table(out / "accuracy.parquet").to_pylist():
        config = configs[row["config_id"]]
        if row["after_task"] == 1:
            beta = json.loads(config["hyper"]).get("beta")
            found[config["label"], beta, row["split"]].append(row["n_correct"])
    return found


def test_plan_knows_what_is_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    clsweep("run", write_study(tmp_path, seeds=1), "--inline", "--out", out)
    printed = clsweep("plan", write_study(tmp_path, seeds=2), "--out", out)
    assert "8 configurations × 2 seeds = 16 trials; 8 done" in printed
    assert "source stages to compute: 1 source model," in printed


@pytest.mark.ray
@pytest.mark.slow  # half a minute; the CI runs it by name
def test_a_killed_worker_costs_one_attempt_and_no_trial(
    tmp_path: Path, undisturbed: bytes
) -> None:
    out = tmp_path / "out"
    study = write_study(tmp_path, **SLOW)
    process = start("run", study, "--workers", 2, "--out", out, cwd=tmp_path)
    wait_for(2, out, process)
    killed = _workers(process.pid)
    assert killed, "no Ray worker is running a trial"
    killed[0].kill()
    printed, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "8 of 8 trials done, 8 by this run" in printed
    assert accuracy_bytes(out) == undisturbed


def _workers(driver: int) -> list[psutil.Process]:
    """Ray's worker processes that hold a trial; Ray's own helpers are named otherwise."""
    below = psutil.Process(driver).children(recursive=True)
    return [process for process in below if process.name().startswith("ray::ImplicitFunc")]
