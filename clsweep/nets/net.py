"""A network as a set of pure functions of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.nets.bodies import Shape
from clsweep.nets.norms import is_statistic
from clsweep.nets.parameter_trees import Params


class Net(NamedTuple):
    """A network as pure functions.

    Attributes:
        init: (generator) -> params, without running statistics.
        features: (params, x [B, C, H, W]) -> h [B, ...], everything below the heads.
        head: (params, h, task) -> logits [B, classes of that task's head].
        heads: which outputs belong to which task.
        input_shape: (C, H, W) for images.
        readout: (task) -> names of the last layer's parameters that `task` uses; empty when a
            custom module does not end in a linear layer.
        with_heads: (heads) -> the same network with other heads.
        statistics: names of the running statistics of its batch norms. Where `params` holds them
            `features` normalises by them (evaluation mode), else by the batch (training mode).
        bn_mode: when the engine sets them: 'batch' at the end of every phase, 'frozen' on the
            first task only.
        stored: type of inputs as the data set stores them, in which buffers keep them.
    """

    init: Callable[[torch.Generator], Params]
    features: Callable[[Params, Tensor], Tensor]
    head: Callable[[Params, Tensor, int], Tensor]
    heads: Heads
    input_shape: Shape
    readout: Callable[[int], tuple[str, ...]]
    with_heads: Callable[[Heads], Net]
    statistics: frozenset[str] = frozenset()
    bn_mode: str = "batch"
    stored: torch.dtype = torch.uint8

    def apply(self, params: Params, x: Tensor, task: int) -> Tensor:
        """Logits of the head of `task`, [B, classes]."""
        return self.head(params, self.features(params, x), task)


def shared(params: Params) -> Params:
    """The trained parameters that every task uses: no per-task heads, no running statistics."""
    return {
        name: value
        for name, value in params.items()
        if not name.startswith("heads.") and not is_statistic(name)
    }


def own_head_logits(net: Net, params: Params, h: Tensor, tasks: Tensor, newest: int) -> Tensor:
    """Logits of each example under the head of its own task, [B, K].

    With one head per task, K is the widest head's size and outputs that a narrower head lacks are
    −∞. With a shared head it is the head of the newest task, for every example.

    Args:
        net: the network.
        params: its parameters.
        h: features [B, ...].
        tasks: task of each example, int64 [B], each at most `newest`.
        newest: the task being learnt.
    """
    if net.heads.scenario != "task":
        return net.head(params, h, newest)
    widest = max(net.heads.sizes[: newest + 1])
    logits = [net.head(params, h, task) for task in range(newest + 1)]
    padded = [F.pad(z, (0, widest - z.shape[1]), value=float("-inf")) for z in logits]
    rows = torch.arange(len(h), device=h.device)
    return torch.stack(padded)[tasks, rows]
