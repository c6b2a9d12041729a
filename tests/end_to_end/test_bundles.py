"""Short trials that a worker is handed together leave the same tables as single ones."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from clsweep.execution import hand_overs, runner
from clsweep.execution.hand_overs import HandOvers
from clsweep.study.study import load_study
from tests.end_to_end.studies import accuracy_bytes, clsweep, trials, write_study

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
N_VALUES = 30


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs each worker was handed."""
    found: list[int] = []
    with_more = HandOvers.with_more

    def noted(*arguments: object) -> object:
        bundle = with_more(*arguments)  # type: ignore[arg-type]
        found.append(len(bundle))
        return bundle

    monkeypatch.setattr(HandOvers, "with_more", noted)
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = ", ".join(f"{10 ** (index / 10):.3g}" for index in range(N_VALUES))
    return write_study(tmp_path_factory.mktemp("study"), seeds=2, lam=values)


@pytest.fixture(scope="module")
def expected(study: Path) -> Path:
    out = study.parent / "inline"
    clsweep("run", study, "--inline", "--out", out)
    return out


@pytest.mark.parametrize("seconds", [1.0, 0.0])
def test_tables_are_the_same_with_bundles_and_without(
    study: Path,
    expected: Path,
    sizes: list[int],
    seconds: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hand_overs, "SECONDS", seconds)
    runner.run(load_study(study), out=tmp_path / "out", workers=2)
    assert (max(sizes) > 4) == (seconds > 0)
    assert accuracy_bytes(tmp_path / "out") == accuracy_bytes(expected)
    assert trials(tmp_path / "out").keys() == trials(expected).keys()


def test_a_worker_that_is_killed_in_a_bundle(
    study: Path, expected: Path, sizes: list[int], tmp_path: Path
) -> None:
    out, killed = tmp_path / "out", threading.Event()

    def kill() -> None:
        """Kill who has begun the latest trial, once enough have ended."""
        records = out / "records"
        while not killed.is_set():
            begun = sorted(records.glob("*.attempts"), key=lambda path: path.stat().st_mtime_ns)
            if len([*records.glob("*.json")]) >= 25 and begun:
                os.kill(int(begun[-1].read_text().split()[1]), signal.SIGKILL)
                killed.set()
            time.sleep(0.002)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    summary = runner.run(load_study(study), out=out, workers=2)
    assert killed.is_set()
    assert (summary.n_failed, summary.n_new) == (0, summary.n_trials)
    assert max(sizes) > 4
    assert accuracy_bytes(out) == accuracy_bytes(expected)
    attempts = [row["attempts"] for row in trials(out).values()]
    assert {*attempts} <= {1, 2}
    assert attempts.count(2) <= 1
