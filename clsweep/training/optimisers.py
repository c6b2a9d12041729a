"""Torch's optimisers as a study names them, and the clipping before their step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clsweep.nets.parameter_trees import Params

if TYPE_CHECKING:
    from clsweep.training.config import TrainingConfig


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
        made = torch.optim.SGD(leaves, momentum=training.momentum, **options)
        if training.momentum:
            # Torch sets the buffer at a parameter's first gradient to that gradient, which zero
            # times the momentum, plus the gradient, is as well; its fused form fails where only
            # some parameters have a buffer, as with the new head of a task.
            for leaf in leaves:
                made.state[leaf]["momentum_buffer"] = torch.zeros_like(leaf, requires_grad=False)
        return made
    if training.optimizer == "adam":
        return torch.optim.Adam(leaves, **options)
    if leaves and leaves[0].is_cuda:
        options["fused"] = False  # torch has no fused Adagrad on CUDA
    return torch.optim.Adagrad(leaves, **options)


def laid_out(grad: Tensor, leaf: Tensor) -> Tensor:
    """A gradient in the memory layout of its parameter; copied only where the two differ.

    `torch.autograd.grad` returns any layout (a slice of a larger gradient, a transposed product,
    one number for all), and torch's fused optimisers read memory in order: they step by other
    numbers on a processor, and refuse on CUDA.

    Args:
        grad: any strides.
        leaf: the parameter, same shape.
    """
    if grad.stride() == leaf.stride():
        return grad
    return torch.empty_like(leaf, requires_grad=False).copy_(grad)


def clipped(grads: Params, bound: float) -> Params:
    """Gradients with every element in [−bound, bound].

    Args:
        grads: by name.
        bound: at least 0.
    """
    if not grads:
        return grads
    values = torch._foreach_clamp_min(list(grads.values()), -bound)
    torch._foreach_clamp_max_(values, bound)
    return dict(zip(grads, values, strict=True))
