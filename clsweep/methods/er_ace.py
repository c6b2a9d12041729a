"""Experience replay with asymmetric cross-entropy (ER-ACE).

    L_new(θ) + λ L_M(θ)
    L_new  cross-entropy of the new batch among the classes that are in this batch only: all other
           logits are −∞, so that it lowers no output of an earlier class
    L_M    cross-entropy of examples drawn from the memory, among all classes seen

Caccia, Aljundi, Asadi, Tuytelaars, Pineau and Belilovsky 2022, "New insights on reducing abrupt
representation change in online continual learning", ICLR; λ = 1. A class of the new task that
happens to be absent from the batch is left out as well, as in the authors' code, which keeps the
outputs of classes to come; here the head grows, and has none.

One head per task: the mask acts within the new task's head. Domain-incremental: within the shared
head, so that a batch of few classes moves the others no more. Memory and draws are those of
`replay`; a reservoir as published. The first task is
plain training, as in all methods, or with `first_task = "own"`, as published, of this kind too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.methods.base import Batch, Method
from clsweep.methods.exemplar_hypers import ErAceHyper
from clsweep.methods.parts.example_replay import example_replay
from clsweep.methods.parts.losses import padded_label_loss
from clsweep.nets.net import Net


def build(net: Net, hyper: ErAceHyper) -> Method:
    """ER-ACE of `net`; its memory is a buffer."""
    return example_replay(net, hyper, present_label_loss, hyper.fill)


def present_label_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy among the classes that the batch holds, shape ().

    Args:
        logits: of the head, [B, K].
        batch: holds labels, their smoothing and weights.
    """
    is_there = logits.new_zeros(logits.shape[1]).index_fill(0, batch.y, 1.0) > 0
    among = torch.where(is_there, logits, float("-inf"))
    return padded_label_loss(among, batch.y, batch.smoothing, batch.weights)
