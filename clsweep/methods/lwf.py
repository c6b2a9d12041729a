"""Learning without forgetting (LwF).

    L_t(θ) + λ_o Σ_{k<t} KD_k,   KD_k = −Σ_c q_c log p_c averaged over the new task's inputs
    q = softmax(teacher's logits of head k / T), p = softmax(current logits of head k / T)
    teacher: the network before task t

Li and Hoiem 2016, "Learning without forgetting", ECCV; T = 2, no factor T².

Heads. One head per task: a term per old head. Domain-incremental: all old heads are the shared
head, so the sum is t − 1 times its term. Class-incremental: one term over all old classes.

Deviations. Old heads are trained along, as in the paper; the warm-up of the new head is left out;
the teacher runs on the fly instead of being recorded.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.methods.base import Batch, Learnt, Memory, Method, Phase
from clsweep.methods.heads import old_heads
from clsweep.methods.hypers import LwfHyper
from clsweep.methods.terms import distillation
from clsweep.nets import Net
from clsweep.trees import Params

__all__ = ["build"]


def build(net: Net) -> Method:
    """LwF of `net`; its memory is the network before the current task."""

    def loss(full: Params, memory: Memory, batch: Batch, hyper: LwfHyper, task: int) -> Tensor:
        h = net.features(full, batch.x)
        with torch.no_grad():
            h_old = net.features(memory["teacher"], batch.x)
        kept = [
            times
            * distillation(
                net.head(full, h, k), net.head(memory["teacher"], h_old, k), hyper.temperature
            )
            for k, times in old_heads(net, task)
        ]
        scale = hyper.lam * (hyper.temperature**2 if hyper.t_squared else 1.0)
        return F.cross_entropy(net.head(full, h, task), batch.y) + scale * torch.stack(kept).sum()

    return Method(net, (Phase("train", loss),), begin=_begin, absorb=_absorb)


def _begin(params: Params, hyper: LwfHyper) -> Memory:
    return {"teacher": params}


def _absorb(
    params: Params, memory: Memory, statistics: Params, learnt: Learnt, hyper: LwfHyper
) -> Memory:
    return {"teacher": params}
