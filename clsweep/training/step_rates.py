"""The learning rate of a step where the optimiser itself lowers the rate that it is given."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clsweep.errors import StudyError
from clsweep.training.optimiser_names import WITHOUT_RATE

if TYPE_CHECKING:
    from clsweep.training.config import TrainingConfig


def rate_of_next_step(
    optimiser: torch.optim.Optimizer, training: TrainingConfig, lr: float, leaves: list[Tensor]
) -> float:
    """η of the step that is about to be made, as the proximal form of a penalty takes it.

    With the steps t already made: η / (1 + t lr_decay) of Adagrad; the η_t that ASGD keeps,
    η / (1 + λ η t)^α; min(η, 1 / √(t + 1)) of Adafactor. The given η of every other optimiser. By
    what an adaptive one scales its gradient is no part of it.

    Parameters that came later have made fewer steps: t is that of the oldest, which are those
    that a penalty pulls.

    Args:
        optimiser: before the step.
        training: names it.
        lr: η of the schedule at this step.
        leaves: the parameters that the step moves.

    Raises:
        StudyError: the optimiser has no learning rate that a step is proportional to.
    """
    name = training.optimizer
    if name in WITHOUT_RATE:
        raise StudyError(
            f"a step of '{name}' is not proportional to its learning rate, which the proximal "
            "form needs",
            expected="form = 'gradient', or another optimizer",
            where="[training] optimizer",
        )
    if name not in ("adagrad", "adafactor", "asgd") or (
        name == "adagrad" and not training.lr_decay
    ):
        return lr
    states = [optimiser.state[leaf] for leaf in leaves if leaf in optimiser.state]
    oldest: dict[str, Any] = max(states, key=_n_steps, default={})
    n_made = _n_steps(oldest)
    if name == "adagrad":
        return lr / (1 + n_made * training.lr_decay)
    if name == "adafactor":
        return min(lr, 1 / math.sqrt(n_made + 1))
    return float(oldest["eta"]) if "eta" in oldest else lr


def _n_steps(state: dict[str, Any]) -> float:
    return float(state["step"]) if "step" in state else 0.0
