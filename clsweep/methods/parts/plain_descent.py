"""Steps of plain descent that a method makes by itself, beside those of the optimiser."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clsweep.methods.parts.losses import padded_label_loss
from clsweep.methods.parts.memory_filling import classification_losses
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.norms import is_statistic
from clsweep.nets.parameter_trees import Params


class Examples(NamedTuple):
    """Examples of a step.

    Attributes:
        x: inputs, float32 [B, C, H, W].
        y: labels in the numbering of the head of their task, int64 [B].
        tasks: int64 [B].
        weights: how much each counts, float32 [B].
    """

    x: Tensor
    y: Tensor
    tasks: Tensor
    weights: Tensor


class Descended(NamedTuple):
    """A step.

    Attributes:
        params: after it.
        names: of what the loss depends on.
        losses: of the examples before it, [B].
    """

    params: Params
    names: set[str]
    losses: Tensor


def descended(
    net: Net, theta: Params, some: Examples, task: int, smoothing: float, rate: float
) -> Descended:
    """θ − α ∇ℓ(θ); running statistics of batch norms stay.

    Args:
        net: the network.
        theta: θ.
        some: the examples, whose mean loss is ℓ.
        task: the task being learnt.
        smoothing: share of every label that is spread evenly over the classes of its head.
        rate: α.
    """
    leaves = {n: v.detach().requires_grad_() for n, v in theta.items() if not is_statistic(n)}
    full = {**theta, **leaves}
    with torch.enable_grad():
        h = net.features(full, some.x)
        logits = own_head_logits(net, full, h, some.tasks, task)
        loss = padded_label_loss(logits, some.y, smoothing, some.weights)
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    moved = {n: g for n, g in zip(leaves, found, strict=True) if g is not None}
    after = {**theta, **{n: theta[n].detach() - rate * g for n, g in moved.items()}}
    return Descended(after, set(moved), classification_losses((logits.detach(), some.y)))
