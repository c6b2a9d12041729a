"""Learning without forgetting (LwF).

    L_t(θ) + λ_o Σ_{k<t} KD_k,   KD_k = −Σ_c q_c log p_c averaged over the new task's inputs
    q = softmax(teacher's logits of head k / T), p = softmax(current logits of head k / T)
    teacher: the network before task t

    weighting = 'average': (L_t + λ_o k KD) / (1 + λ_o k), k = t − 1 and KD the mean over old heads

Li and Hoiem 2016, "Learning without forgetting", ECCV; T = 2, no factor T². The average, at
λ_o = 1 (1/t) L_t + (1 − 1/t) KD, is van de Ven and Tolias 2018, "Generative replay with feedback
connections"; their code multiplies KD by T² (`t_squared`) and pads it (`padded`). Until May 2019,
and so for that paper, it also took KD's mean over the C outputs compared, KD / C (`per_output`).

Heads. One head per task: a term per old head. Domain-incremental: all old heads are the shared
head, so the sum is t − 1 times its term. Class-incremental: one term over all old classes, which
'sum' counts once; padded, its softmaxes run over all classes seen, and q is 0 for the new ones.

Regression. KD_k is ½ ‖ŷ − ŷ*‖², ŷ* the teacher's predictions under head k, as the loss on the new
task is ½ ‖ŷ − y‖²; there is no temperature.

Deviations. Old heads are trained along, as in the paper; the warm-up of the new head is left out;
the teacher runs on the fly instead of being recorded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.hypers import LwfHyper
from clsweep.methods.parts.heads import old_heads
from clsweep.methods.parts.losses import (
    label_loss,
    padded_distillation,
    regression_distillation,
)
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: LwfHyper) -> Method:
    """LwF of `net`; its memory is the network before the current task."""

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        h = net.features(full, batch.x)
        with torch.no_grad():
            h_old = net.features(memory["teacher"], batch.x)
        widest = hyper.padded and net.heads.scenario == "class"
        kept = [
            times
            * _distillation(
                net,
                net.head(full, h, task if widest else k),
                net.head(memory["teacher"], h_old, k),
                hyper,
            )
            for k, times in old_heads(net, task)
        ]
        new = label_loss(net.head(full, h, task), batch)
        return _weighted(net, new, torch.stack(kept).sum(), hyper, task)

    return Method(net, hyper, (Phase("train", loss),), begin=_begin, absorb=_absorb)


def _distillation(net: Net, student: Tensor, teacher: Tensor, hyper: LwfHyper) -> Tensor:
    if net.heads.is_regression:
        return regression_distillation(student, teacher, hyper.temperature)
    return padded_distillation(student, teacher, hyper.temperature, per_output=hyper.per_output)


def _weighted(net: Net, new: Tensor, kept: Tensor, hyper: LwfHyper, task: int) -> Tensor:
    """The loss of the new task and the sum of the distillations, put together."""
    weight = hyper.lam * (hyper.temperature**2 if hyper.t_squared else 1.0)
    if hyper.weighting == "sum":
        return new + weight * kept
    # The one term of class-incremental learning stands for all past tasks already.
    repeated = task if net.heads.scenario == "class" else 1
    return (new + weight * repeated * kept) / (1 + hyper.lam * task)


def _begin(params: Params) -> Memory:
    return {"teacher": params}


def _absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
    return {"teacher": params}
