"""Greedy sampler and dumb learner (GDumb): a network from scratch on a balanced memory alone.

    θ_t = argmin_θ E_{(x, y) ~ M_t} CE(y, x), from fresh initial weights at every task
    M_t   a greedy sample: an example of class c is taken while c has less than its share
          K / (classes seen); where the memory is full, one of the largest class makes room

Prabhu, Torr and Dokania 2020, "GDumb: a simple approach that questions our progress in continual
learning", ECCV. What the greedy sampler holds at the end of a task of a shuffled stream is an
equal share of every class, a uniform sample of it, and that is how the memory is filled here:
every (task, class) has its share, so that with a shared head later domains are stored as well
(the sampler of classes alone would keep the first domain for ever). One head per task: each
example is classified by the head of its task.

It asks whether a method learns more than its memory holds. Nothing is carried but the memory; the
network of the first task is trained on the memory alone as well, not taken from the source model.
It makes as many gradient steps on every task as the other methods, hence many passes over a small
memory; they count as theirs do.

Deviations. The authors train until convergence with a cosine schedule with restarts and CutMix;
here as the study's `[training]` says.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.data.tasks import Task
from clsweep.methods.base import Batch, Memory, Method, Phase, Prepared
from clsweep.methods.exemplar_hypers import GdumbHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.losses import padded_label_loss
from clsweep.methods.parts.training_sets import stored_set
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: GdumbHyper) -> Method:
    """GDumb with networks like `net`; its memory is a buffer."""

    def begin(params: Params) -> Memory:
        return {"slots": filling.empty_for(net, params, hyper.memory_size)}

    def prepare(params: Params, memory: Memory, task: Task, rng: torch.Generator) -> Prepared:
        slots = buffer.balanced(memory["slots"], task, rng)
        device = slots.raw.device
        fresh = {name: value.to(device) for name, value in net.init(rng).items()}
        return Prepared(fresh, {"slots": slots}, stored_set(slots))

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        assert batch.tasks is not None
        h = net.features(full, batch.x)
        logits = own_head_logits(net, full, h, batch.tasks, task)
        return padded_label_loss(logits, batch.y, batch.smoothing, batch.weights)

    return Method(net, hyper, (Phase("train", loss, prepare=prepare),), begin=begin)
