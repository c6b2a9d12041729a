"""Weights that will diverge, against what SGD and whole trials really do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from clsweep.execution import dry_run, runner
from clsweep.execution.listeners.base import Listener
from clsweep.execution.outcomes import Outcome
from clsweep.execution.unstable_weights import largest_curvature
from clsweep.methods import METHODS
from clsweep.methods.regulariser_hypers import PenaltyHyper
from clsweep.records.schema import Record
from clsweep.study.configurations import Configuration
from clsweep.study.jobs import Job
from clsweep.study.study import Study, parse_study
from clsweep.training.config import TrainingConfig

KNOBS = {"l2": "lam", "ewc": "lam", "mas": "lam", "si": "c", "rwalk": "lam", "l2init": "lam"}
# What each needs of the bound to be stable: the importances of RWalk may be twice what is known.
SAFE = {"rwalk": 0.45}


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"weight_decay": 0.5},
        {"momentum": 0.9},
        {"momentum": 0.5, "dampening": 0.5},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ],
)
def test_sgd_diverges_just_beyond_and_not_just_below(numbers: dict[str, float]) -> None:
    training = TrainingConfig(lr=0.1, **numbers)  # type: ignore[arg-type]
    limit = largest_curvature(training)
    assert limit is not None

    def size_after(curvature: float) -> float:
        x = torch.ones((), dtype=torch.float64, requires_grad=True)
        sgd = torch.optim.SGD([x], lr=0.1, **numbers)  # type: ignore[arg-type]
        for _ in range(700):
            x.grad = curvature * x.detach()
            sgd.step()
        return abs(x.item())

    assert size_after(0.98 * limit) < 1e-6
    assert size_after(1.02 * limit) > 1e6


@pytest.mark.parametrize(
    "numbers", [{"optimizer": "adam"}, {"clip_norm": 1.0}, {"clip_value": 1.0}]
)
def test_nothing_is_told_of_steps_that_are_rescaled_or_bounded(numbers: dict[str, float]) -> None:
    assert largest_curvature(TrainingConfig(**numbers)) is None  # type: ignore[arg-type]


def _study(values: dict[str, list[float]], form: str = 'form = "gradient"\n') -> Study:
    tables = "".join(
        f'[[methods]]\nname = "{name}"\n{KNOBS[name]} = {values[name]}\n{form}' for name in KNOBS
    )
    return parse_study(
        'name = "bounds"\nseeds = 1\n[benchmark]\nname = "split"\nn_tasks = 2\n'
        'scenario = "domain"\nexamples_per_task = 60\n[net]\nhidden = [6]\n'
        f'[training]\nsteps = 120\nlr = 0.002\n[resources]\ndevice = "cpu"\n{tables}'
    )


class Told(Listener):
    """What was said, and which labels' trials had started by then."""

    def __init__(self) -> None:
        super().__init__()
        self.started_labels: list[str] = []
        self.sentences: list[tuple[str, tuple[str, ...]]] = []

    def started(self, job: Job) -> None:
        if job.kind == "trial":
            self.started_labels.append(job.label)

    def warned(self, sentence: str) -> None:
        self.sentences.append((sentence, tuple(self.started_labels)))

    def finished(
        self,
        job: Job,
        outcome: Outcome,
        configuration: Configuration,
        record: Callable[[], Record],
    ) -> None:
        assert outcome.status in ("ok", "diverged"), outcome.message


def _bounds(sentences: list[str]) -> dict[str, float]:
    """Label -> the bound that a sentence names."""
    found = {}
    for sentence in sentences:
        label, _, said = sentence.partition(": ")
        if "will diverge" in said:
            found[label] = float(re.findall(r"stable at most up to \S+ = ([\d.e+]+)", said)[0])
    return found


def test_trials_diverge_beyond_the_bound_that_is_told_and_not_below(tmp_path: Path) -> None:
    assert {*KNOBS} == {n for n, e in METHODS.items() if issubclass(e.hyper, PenaltyHyper)}
    labels = {name: METHODS[name].title for name in KNOBS}
    out, told = tmp_path / "out", Told()
    first = _study({name: [1e-3, 1e12] for name in KNOBS})
    before = dry_run.plan(first, out).notes
    # Where data decide, nothing is known before there are importances.
    assert _bounds(before).keys() == {labels[name] for name in ("l2", "rwalk", "l2init")}
    assert not any("form" in note and "named" in note for note in before)
    summary = runner.run(first, out=out, inline=True, listeners=[told])
    assert summary.warnings == ()
    said = {s.partition(": ")[0]: labels for s, labels in told.sentences}
    assert said.keys() == {*labels.values()}
    assert len(told.sentences) == len(labels), "each once"
    assert all(label not in started for label, started in said.items()), "before its first trial"

    bounds = _bounds([s for s, _ in told.sentences])
    near = {
        name: [SAFE.get(name, 0.95) * bounds[label], 1.3 * bounds[label]]
        for name, label in labels.items()
    }
    second = _study({name: [1e-3, *values, 1e12] for name, values in near.items()})
    assert _bounds(dry_run.plan(second, out).notes) == pytest.approx(bounds, rel=1e-3)
    runner.run(second, out=out, inline=True)
    trials = pq.read_table(out / "trials.parquet").to_pylist()
    knobs = {
        row["config_id"]: row["knob_values"][0]
        for row in pq.read_table(out / "configs.parquet").to_pylist()
    }
    for name, (below, beyond) in near.items():
        ended = {knobs[row["config_id"]]: row["status"] for row in trials if row["method"] == name}
        wanted = {1e-3: "ok", below: "ok", beyond: "diverged", 1e12: "diverged"}
        assert ended == wanted, name


def test_just_beyond_the_bound_nothing_is_said_to_be_sure(tmp_path: Path) -> None:
    def notes_of(value: float) -> list[str]:
        study = _study({name: [value if name == "l2" else 1e-3] for name in KNOBS})
        return [*dry_run.plan(study, tmp_path).notes]

    (bound,) = _bounds(notes_of(1e12)).values()
    for factor, fate in ((1.02, "is unstable"), (1.1, "will diverge")):
        notes = notes_of(factor * bound)
        assert sum(f" {fate}: the largest importance" in note for note in notes) == 1, notes


def test_a_form_that_no_file_names_is_told_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    study = _study({name: [1e-3] for name in KNOBS}, form="")
    notes = [note for note in dry_run.plan(study, out).notes if "`form`" in note]
    assert len(notes) == 1
    assert notes[0].startswith(
        "L2 anchor, EWC, MAS, SI, RWalk, L2 Init: no `form` is named, which means"
    )
    first, second = Told(), Told()
    runner.run(study, out=out, inline=True, only=["L2 anchor"], listeners=[first])
    runner.run(study, out=out, inline=True, only=["L2 anchor", "EWC"], listeners=[second])
    assert [s for s, _ in first.sentences] == notes
    assert second.sentences == []
