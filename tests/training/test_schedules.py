"""Schedules against torch's schedulers, stepped once per batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as torch_schedules

from clsweep.training.config import TrainingConfig
from clsweep.training.schedules import rate_of

LR = 0.3
Made = Callable[[Any, int], Any]  # (optimiser, steps) -> torch's scheduler

SCHEDULES: dict[str, tuple[dict[str, Any], Made]] = {
    "linear": (
        {"end_factor": 0.1},
        lambda o, n: torch_schedules.LinearLR(o, 1.0, 0.1, total_iters=n),
    ),
    "cosine": (
        {"end_factor": 0.2},
        lambda o, n: torch_schedules.CosineAnnealingLR(o, n, eta_min=0.2 * LR),
    ),
    "step": (
        {"milestones": [0.3, 0.5, 0.9], "gamma": 0.4},
        lambda o, n: torch_schedules.MultiStepLR(
            o, [round(0.3 * n), round(0.5 * n), round(0.9 * n)], 0.4
        ),
    ),
    "onecycle": (
        {"pct_start": 0.4, "div_factor": 10.0, "final_div_factor": 50.0},
        lambda o, n: torch_schedules.OneCycleLR(
            o,
            LR,
            total_steps=n,
            pct_start=0.4,
            div_factor=10.0,
            final_div_factor=50.0,
            cycle_momentum=False,
        ),
    ),
    "constant": ({}, lambda o, n: torch_schedules.ConstantLR(o, 1.0)),
}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def rates(name: str, n_steps: int, **changes: Any) -> list[float]:
    training = TrainingConfig(lr=LR, schedule=name, **{**SCHEDULES[name][0], **changes})
    rate = rate_of(training, n_steps)
    return [training.lr if rate is None else rate(step) for step in range(n_steps)]


def of_torch(made: Made, n_steps: int) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    schedule, found = made(optimiser, n_steps), []
    for _ in range(n_steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


@pytest.mark.parametrize("n_steps", [2, 7, 40])
@every_schedule
def test_the_rates_are_those_of_torch(name: str, n_steps: int) -> None:
    found = rates(name, n_steps)
    assert found == pytest.approx(of_torch(SCHEDULES[name][1], n_steps), rel=1e-12)
    assert max(found) <= LR
    assert (len(set(found)) > 1) == (name != "constant")


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "step"])
def test_warm_up_comes_before_the_schedule(name: str) -> None:
    n_steps, warm = 30, 6

    def made(optimiser: Any, n: int) -> Any:
        first = torch_schedules.LinearLR(optimiser, 1 / (warm + 1), 1.0, total_iters=warm)
        after = SCHEDULES[name][1](optimiser, n - warm)
        return torch_schedules.SequentialLR(optimiser, [first, after], milestones=[warm])

    found = rates(name, n_steps, warmup_steps=warm)
    assert found == pytest.approx(of_torch(made, n_steps), rel=1e-12)
    assert found[0] == pytest.approx(LR / (warm + 1))
    assert found[warm] == LR


def test_a_rate_that_stays_has_no_schedule() -> None:
    assert rate_of(TrainingConfig(), 10) is None
    assert rate_of(TrainingConfig(warmup_steps=1), 10) is not None


def test_a_warm_up_as_long_as_the_task_ends_with_it() -> None:
    found = rates("cosine", 3, warmup_steps=5)
    assert found == pytest.approx([LR / 6, 2 * LR / 6, 3 * LR / 6])


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_one_cycle_of_a_few_steps(n_steps: int) -> None:
    found = rates("onecycle", n_steps, pct_start=1 / n_steps)
    assert all(0 < rate <= LR for rate in found)
