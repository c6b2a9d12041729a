"""The learning rate that a proximal step is told, against the step that torch has made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clsweep.errors import StudyError
from clsweep.methods.base import Batch, Memory, Phase
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase
from clsweep.training.schedules import rate_of
from tests.training.test_engine_with_methods import DATA, NET, SCALE, SIZE

N_STEPS = 8
# A gradient of one: Adagrad divides it by √t; ASGD decays w by λη as well; Adafactor's step is
# relative to |w|.
MOVES_BY_RATE: dict[str, Any] = {
    "adagrad": lambda w, t: t**-0.5,
    "asgd": lambda w, t: 1 + 0.5 * w,
    "adafactor": lambda w, t: max(1e-3, abs(w)),
    "sgd": lambda w, t: 1.0,
}
NUMBERS: dict[str, dict[str, Any]] = {
    "adagrad": {"lr_decay": 1.0},
    "asgd": {"lambd": 0.5, "alpha": 1.0},
    "adafactor": {"lr": 0.6},
    "sgd": {},
}


def config(name: str, schedule: str = "constant") -> TrainingConfig:
    given = {"optimizer": name, "lr": 0.1, "batch_size": SIZE, "schedule": schedule}
    return TrainingConfig(**{**given, **NUMBERS.get(name, {})}, reset=False)


def told(training: TrainingConfig, state: State, task: int) -> tuple[list[float], Tensor, State]:
    """What `settle` is told, and w before and after every step."""
    rates, path = [], [state.params["w"]]

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        return sum((value.sum() for value in full.values()), torch.zeros(()))

    def settle(trained: Params, memory: Memory, step_size: float, task: int) -> Params:
        rates.append(step_size)
        path.append(trained["w"].detach().clone())
        return trained

    phase, setting = Phase("train", loss, settle=settle), Setting(NET, SCALE, training, 0)
    after = train_phase(phase, state, DATA, setting, task=task, n_steps=N_STEPS)
    return rates, torch.stack(path), after


@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize("name", MOVES_BY_RATE)
def test_it_is_the_rate_of_the_step_that_was_made(name: str, schedule: str) -> None:
    training = config(name, schedule)
    state = State({"w": torch.tensor(2.0)}, {})
    for task in (0, 1):  # a parameter that comes with the second task has made fewer steps
        rates, path, state = told(training, state, task)
        for i, rate in enumerate(rates):
            w, moved = float(path[i]), float(path[i] - path[i + 1])
            by_rate = MOVES_BY_RATE[name](w, task * N_STEPS + i + 1)
            assert moved / by_rate == pytest.approx(rate, rel=1e-3), (task, i)
        state = state._replace(params={**state.params, "head": torch.tensor(1.0)})
    given = rate_of(training, N_STEPS)
    last = given(N_STEPS - 1) if given else training.lr
    assert (rates[-1] == last) == (name == "sgd" or (name == "adafactor" and schedule == "linear"))


def test_an_optimiser_without_a_rate_is_refused() -> None:
    with pytest.raises(StudyError, match="not proportional to its learning rate"):
        told(config("rprop"), State({"w": torch.tensor(2.0)}, {}), 0)
