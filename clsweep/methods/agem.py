"""Averaged gradient episodic memory (A-GEM).

    g̃ = g − (⟨g, g_ref⟩ / ⟨g_ref, g_ref⟩) g_ref   if ⟨g, g_ref⟩ < 0,   else g
    g      gradient of the new task's loss on the training batch
    g_ref  gradient of the mean cross-entropy of a random mini-batch of all past tasks' memory

Chaudhry et al. 2019, "Efficient lifelong learning with A-GEM", ICLR. The reference batch is drawn
without replacement, each of its examples is classified by the head of its own task, and the
reference gradient is taken apart from the new task's: it is never added to g unless they conflict.

The memory is filled when a task ends, with equal numbers per class ('balanced', the authors') or
with a uniform sample of each task ('uniform'). It holds `memory_size` examples over all tasks, is
full from the first task on, and shares shrink; or, with `per_task`, that many of each task, as the
authors' does.

A-GEM has no number that trades stability for plasticity: sweep the memory and the reference batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.hypers import AgemHyper
from clsweep.methods.parts import buffer
from clsweep.methods.parts.losses import padded_label_loss, plain_phase
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.parameter_trees import Params, dot


def build(net: Net, hyper: AgemHyper) -> Method:
    """A-GEM of `net`; its memory is a buffer and a count of projections."""

    def begin(params: Params) -> Memory:
        device = next(iter(params.values())).device
        n_past = len(net.heads.sizes) - 1
        capacity = hyper.memory_size * (n_past if hyper.per_task else 1)
        n_targets = net.heads.n_targets
        empty = buffer.empty(capacity, net.input_shape, device, net.stored, n_targets=n_targets)
        return {"slots": empty, "projected_steps": 0}

    def project(
        grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        reference = _reference(net, full, memory["slots"], batch, task)
        found = projected(grads, reference)
        if found is grads:
            return grads, memory
        return found, {**memory, "projected_steps": memory["projected_steps"] + 1}

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        n_filled = memory["slots"].n_filled
        return {"slots": buffer.example_indices(rng, n_filled, hyper.reference_batch, n_steps)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        filled = buffer.balanced if hyper.fill == "balanced" else buffer.uniform
        most = hyper.memory_size if hyper.per_task else 0
        return {**memory, "slots": filled(memory["slots"], learnt.task, learnt.rng, most)}

    phase = Phase("train", plain_phase(net).loss, project=project, draw=draw)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb, counters=_counters)


def projected(grads: Params, reference: Params) -> Params:
    """g̃ of the module's equation; `grads` itself where nothing conflicts.

    Args:
        grads: g by name; a parameter that the new task's loss does not reach has no entry.
        reference: g_ref by name, at least the names of `grads`.
    """
    along = float(dot(grads, reference))
    if not along < 0:
        return grads
    share = along / float(dot(reference, reference))
    return {
        name: (grads[name] if name in grads else 0) - share * value
        for name, value in reference.items()
    }


def _reference(net: Net, full: Params, stored: buffer.Buffer, batch: Batch, task: int) -> Params:
    """g_ref by the names of the trained parameters, zero where the drawn examples do not reach."""
    index = batch.draw["slots"]
    trained = {name: value for name, value in full.items() if value.requires_grad}
    with torch.enable_grad():
        h = net.features(full, batch.scale(stored.raw[index]))
        logits = own_head_logits(net, full, h, stored.tasks[index], task)
        loss = padded_label_loss(logits, stored.labels[index], batch.smoothing)
        found = torch.autograd.grad(
            loss, list(trained.values()), allow_unused=True, materialize_grads=True
        )
    return dict(zip(trained, found, strict=True))


def _counters(params: Params, memory: Memory) -> dict[str, float]:
    return {"projected_steps": memory["projected_steps"]}
