"""Maximally interfered retrieval (MIR): replay of what the next step would hurt most.

    L_t(θ) + λ L_{M*}(θ)
    M*  of C examples drawn from the memory, the k with the largest ℓ(θ_v) − ℓ(θ)
    θ_v = θ − η_v ∇L_t(θ),   ℓ the cross-entropy of one example

Aljundi, Belilovsky, Tuytelaars, Charlin, Caccia, Lin and Page-Caccia 2019, "Online continual
learning with maximal interfered retrieval", NeurIPS; λ = 1, C = 50, and η_v is the learning rate
of training, which is written here as a number of its own (`virtual_lr`), since the look ahead is
one of plain descent whatever the optimiser is. L_{M*} is the mean over M*.

Every stored example is classified by the head of its own task. Memory and filling are those of
`replay`; a reservoir as published, and with 'loss_aware' the losses of all candidates are renewed.
The first task is plain training in all methods. A step costs two forward passes of the C examples
beside what replay costs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, NotedLoss, Phase
from clsweep.methods.exemplar_hypers import MirHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.losses import label_loss, padded_label_loss, plain_phase
from clsweep.methods.parts.memory_filling import MemoryFilling, classification_losses
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: MirHyper) -> Method:
    """The hooks of MIR; its memory is a buffer."""
    # Where nothing is replayed, every filling is the first one: that costs no bytes of losses.
    kept = MemoryFilling(net, hyper.fill if hyper.weight else "reservoir", hyper.memory_size)

    def begin(params: Params) -> Memory:
        return {"slots": kept.empty(params)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> NotedLoss:
        z = net.apply(full, batch.x, task)
        return NotedLoss(label_loss(z, batch), {filling.LOSS: classification_losses((z, batch.y))})

    def project(
        grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        stored: buffer.Buffer = memory["slots"]
        ahead = {n: v - hyper.virtual_lr * grads[n] if n in grads else v for n, v in full.items()}
        n_chosen = hyper.replay_batch or len(batch.x)
        before, after = (_losses(net, one, stored, batch, task) for one in (full, ahead))
        candidates = batch.draw["candidates"]
        worst = (after - before).topk(min(n_chosen, len(candidates))).indices
        index = candidates[worst]
        trained = {name: value for name, value in full.items() if value.requires_grad}
        with torch.enable_grad():
            logits = _logits(net, full, stored, index, batch, task)
            loss = padded_label_loss(logits, stored.labels[index], batch.smoothing)
            found = torch.autograd.grad(
                hyper.weight * loss, list(trained.values()), allow_unused=True
            )
        replayed = {n: g for n, g in zip(trained, found, strict=True) if g is not None}
        both = {n: grads[n] + g if n in grads else g for n, g in replayed.items()}
        if kept.is_by_loss:
            memory = {"slots": filling.with_losses(stored, batch, before, "candidates")}
        return {**grads, **both}, memory

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        n_filled = memory["slots"].n_filled
        return {
            "candidates": buffer.example_indices(rng, n_filled, hyper.candidates, n_steps),
            **kept.uniforms(rng, n_steps, batch_size),
        }

    def stream(memory: Memory, batch: Batch, task: int) -> Memory:
        return {"slots": kept.streamed(memory["slots"], batch, task)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        return {"slots": kept.absorbed(memory["slots"], learnt, params, learnt.task.index)}

    phase = Phase(
        "train",
        loss if kept.is_by_loss else plain_phase(net).loss,
        project=project if hyper.weight else None,
        draw=draw,
        track=stream if kept.streams else None,
    )
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)


def _logits(
    net: Net, full: Params, stored: buffer.Buffer, index: Tensor, batch: Batch, task: int
) -> Tensor:
    h = net.features(full, batch.scale(stored.raw[index]))
    return own_head_logits(net, full, h, stored.tasks[index], task)


def _losses(net: Net, params: Params, stored: buffer.Buffer, batch: Batch, task: int) -> Tensor:
    """ℓ of every candidate, [C]."""
    index = batch.draw["candidates"]
    logits = _logits(net, params, stored, index, batch, task)
    return classification_losses((logits, stored.labels[index]))
