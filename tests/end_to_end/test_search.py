"""A search on real digits: continued, extended, and the same on Ray as in this process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.studies import (
    Forked,
    accuracy_bytes,
    clsweep,
    clsweep_apart,
    committed,
    trials,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

STUDY = """\
name = "search"
seeds = 2
[benchmark]
name = "split"
n_tasks = 2
scenario = "domain"
examples_per_task = 100
[net]
hidden = [8]
[training]
steps = 20
[resources]
device = "cpu"
[search]
{search}
[[methods]]
name = "finetune"
[[methods]]
name = "frozen"
[[methods]]
name = "ewc"
form = "gradient"
lam = {{ low = 1, high = 1e12 }}
[[methods]]
name = "lwf"
training = {{ lr = [0.05, 0.1] }}
"""
OPTUNA = 'kind = "optuna"\ntrials = {}'


def study(folder: Path, search: str) -> Path:
    path = folder / "study.toml"
    path.write_text(STUDY.format(search=search))
    return path


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of eight configurations per curve, after four in a run before."""
    folder = tmp_path_factory.mktemp("inline")
    out = folder / "out"
    # Wide as the range is, the gradient form diverges at its upper end: exit code 1.
    printed = clsweep("run", study(folder, OPTUNA.format(4)), "--inline", "--out", out, expect=1)
    assert "20 of 20 trials done, 20 by this run" in printed
    before = trials(out)
    larger = study(folder, OPTUNA.format(8))
    planned = clsweep("plan", larger, "--out", out)
    assert "36 trials; 20 done" in planned
    assert "search: at most 8 configurations per curve" in planned
    printed = clsweep("run", larger, "--inline", "--out", out, expect=1)
    assert "36 of 36 trials done, 16 by this run" in printed
    after = trials(out)
    assert {name: after[name] for name in before} == before
    assert "left out" not in clsweep("report", out, "--full")  # what was searched for is shown
    return out


def test_every_curve_has_its_budget_and_a_diverged_trial_is_part_of_it(inline: Path) -> None:
    rows = trials(inline).values()
    for label, n in {"EWC": 16, "LwF": 16, "fine-tuning": 2, "frozen trunk": 2}.items():
        assert sum(row["label"] == label for row in rows) == n
    assert {row["status"] for row in rows} == {"ok", "diverged"}
    # Each learning rate has a source model of its own, whose training is shared.
    lwf = [row["stages"] for row in rows if row["label"] == "LwF" and row["seed"] == 0]
    assert {len(set(map(str, lwf)))} <= {1, 2}
    configs = pq.read_table(inline / "configs.parquet").to_pylist()
    lams = [row["lam"] for row in configs if row["method"] == "ewc"]
    assert len(set(lams)) == 8
    assert all(lam == float(f"{lam:.3g}") for lam in lams)


@pytest.mark.ray
@pytest.mark.slow  # half a minute; the CI runs it by name
def test_on_ray_with_two_workers_the_same_is_chosen(inline: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = study(tmp_path, OPTUNA.format(8))
    clsweep_apart("run", path, "--workers", 2, "--out", out, cwd=tmp_path, expect=1)
    assert trials(out).keys() == trials(inline).keys()
    assert accuracy_bytes(out) == accuracy_bytes(inline)


FILL = """kind = "fill"
trials = 8
coarse = 3
gap = 0.02
"""
# The same two curves; a fill search turns one knob.
FILLED = STUDY.replace("training = {{ lr = [0.05, 0.1] }}\n", "")


@pytest.mark.parametrize(
    ("text", "search"),
    [(STUDY, OPTUNA.format(8)), pytest.param(FILLED, FILL, marks=pytest.mark.slow)],
)
def test_a_search_killed_in_the_middle_asks_for_what_it_would_have_asked_for(
    text: str, search: str, tmp_path: Path
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text.format(search=search))
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    clsweep("run", path, "--inline", "--out", undisturbed, expect=1)
    # Twice, so that the second run is itself one that continues.
    kept: dict[str, str] = {}
    for more in (6, 5):
        process = Forked("run", path, "--inline", "--out", out, cwd=tmp_path)
        wait_for(len(kept) + more, out, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        kept = committed(out)
    clsweep("run", path, "--inline", "--out", out, expect=1)
    after = trials(out)
    assert 11 <= len(kept) < len(after)
    assert {name: after[name]["finished_at"] for name in kept} == kept, "run twice"
    assert after.keys() == trials(undisturbed).keys()
    assert accuracy_bytes(out) == accuracy_bytes(undisturbed)
