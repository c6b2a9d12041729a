"""Torch's optimisers as a study names them, and the clipping before their step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clsweep.trees import Params

if TYPE_CHECKING:
    from clsweep.settings import TrainingConfig

__all__ = ["clipped", "made_optimiser"]


def made_optimiser(training: TrainingConfig, leaves: list[Tensor]) -> torch.optim.Optimizer:
    """Torch's own optimiser, in its fused form (one kernel for all parameters).

    Args:
        training: names it, with learning rate, momentum and decay.
        leaves: what it is to step.
    """
    options: dict[str, Any] = {
        "lr": training.lr,
        "weight_decay": training.weight_decay,
        "fused": True,
    }
    if training.optimizer == "sgd":
        return torch.optim.SGD(leaves, momentum=training.momentum, **options)
    if training.optimizer == "adam":
        return torch.optim.Adam(leaves, **options)
    if leaves and leaves[0].is_cuda:
        options["fused"] = False  # torch has no fused Adagrad on CUDA
    return torch.optim.Adagrad(leaves, **options)


def clipped(grads: Params, bound: float) -> Params:
    """Gradients with every element in [−bound, bound].

    Args:
        grads: by name.
        bound: at least 0.
    """
    values = torch._foreach_clamp_min(list(grads.values()), -bound)
    torch._foreach_clamp_max_(values, bound)
    return dict(zip(grads, values, strict=True))
