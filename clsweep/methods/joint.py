"""Joint training: one run from the initial network on the union of all tasks.

    min_θ Σ_t L_t(θ)

Every batch is drawn from the union, and each example is classified by the head of its own task.
As many passes over the union as the other methods make over each task, hence the same number of
gradient steps in all. It is the usual upper reference, not a continual learner.
"""

from __future__ import annotations

from torch import Tensor

from clsweep.methods.base import Batch, Memory, Method, Phase
from clsweep.methods.hypers import NoHyper
from clsweep.methods.parts.losses import padded_label_loss
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: NoHyper) -> Method:
    """Joint training of `net`."""

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        assert batch.tasks is not None
        h = net.features(full, batch.x)
        logits = own_head_logits(net, full, h, batch.tasks, task)
        return padded_label_loss(logits, batch.y, batch.smoothing, batch.weights)

    return Method(net, hyper, (Phase("union", loss),), joint=True)
