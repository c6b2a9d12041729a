"""What a run says that sharing has saved: the first stage of a process is no measure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clsweep.execution import runner, stage_cache
from clsweep.execution.outcomes import seconds_spared
from clsweep.study.study import load_study
from tests.support.command_line import tiny_study


@pytest.mark.parametrize(
    ("uses", "seconds", "expected"),
    [
        ([36, 36, 36], [11.0, 1.4, 1.5], 108 * 1.5),
        ([5, 5], [11.0, 1.4], 10 * 1.4),
        ([4], [3.0], 12.0),
        ([0, 4, 4], [11.0, 1.4, 1.5], 8 * 1.5),
        ([0, -1], [11.0, 1.4], 0.0),  # trained, and no trial came to use it
        ([], [], 0.0),
    ],
)
def test_a_use_counts_the_median_over_seeds(
    uses: list[int], seconds: list[float], expected: float
) -> None:
    def named(values: list) -> dict:
        return {str(seed): value for seed, value in enumerate(values)}

    found = seconds_spared(named(uses), named(seconds), named(["one"] * len(uses)))
    assert found == pytest.approx(expected)


def test_trainings_of_other_settings_are_measured_apart() -> None:
    uses, seconds = {"short": 10, "long": 2}, {"short": 1.0, "long": 60.0}
    assert seconds_spared(uses, seconds, {"short": "a", "long": "b"}) == 130.0


def test_what_a_run_saved_is_no_multiple_of_its_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(tiny_study(tmp_path, seeds=3))  # two trials per seed share the source model
    slow, real = [1100.0, 2.0, 3.0], stage_cache.commit

    def commit(folder, key: str, tensors, facts) -> None:
        is_source = "rows" in facts
        real(folder, key, tensors, {**facts, "wall_seconds": slow.pop(0)} if is_source else facts)

    monkeypatch.setattr(stage_cache, "commit", commit)
    summary = runner.run(study, out=tmp_path / "out", inline=True)
    assert (summary.n_sources_trained, summary.n_sources_reused) == (3, 3)
    assert summary.seconds_saved == 3 * 3.0


def test_the_first_training_of_a_process_imports_nothing() -> None:
    code = (
        "import sys, torch; from clsweep.execution.devices import prepare; "
        "prepare('cpu', 1, 1.0); "
        "from clsweep.training.config import TrainingConfig; "
        "from clsweep.training.optimisers import made_optimiser; before = {*sys.modules}; "
        "[made_optimiser(TrainingConfig(optimizer=kind), [torch.zeros(1, requires_grad=True)]) "
        "for kind in ('adam', 'sgd')]; print({*sys.modules} - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
