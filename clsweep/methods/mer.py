"""Meta-experience replay (MER): Reptile over steps that interleave new and stored examples.

For the new examples of a step, and s batches B_i that each hold them and k − 1 stored ones:

    θ_i,j  = θ_i,j−1 − α ∇ℓ(θ_i,j−1; x_j, y_j),   (x_j, y_j) the examples of B_i in turn
    θ_i+1  = θ_i + β (θ_i,|B_i| − θ_i),           θ_i,0 = θ_i, θ_0 = θ
    θ      ← θ + γ (θ_s − θ)

Riemer, Cases, Ajemian, Liu, Rish, Tu and Tesauro 2019, "Learning to learn without forgetting by
maximizing transfer and minimizing interference", ICLR, algorithm 1. The memory is a reservoir of
the stream. Every example is classified by the head of its own task; the new ones come first, as in
the authors' code. `inner = "batch"` makes one step down the mean loss of B_i in place of one per
example, as Mammoth's code does.

The optimiser is given (θ − θ_s) γ / α for a gradient, so that plain SGD with the rate α ends where
the last line says. A step costs s gradients per example of a batch, none of which is counted as a
step.

Published: one new example per step (`batch_size = 1`); with more, B_i holds them all. On rotated
MNIST with 500 stored examples α = 0.1, β = 0.01, γ = 1, k − 1 = 10, s = 10. A gradient of one
example does not exist under batch norm.

Filling. A reservoir as published, or another of `replay`'s; with 'loss_aware' a stored example has
the loss with which an inner step has last met it, a new one that before the step.

Deviations. Stored examples of a batch are drawn without replacement. The first task is plain
training, as in all methods, or with `first_task = "own"`, as published, of this kind too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, NotedLoss, Phase
from clsweep.methods.exemplar_hypers import MerHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.losses import label_loss, plain_phase
from clsweep.methods.parts.memory_filling import MemoryFilling, classification_losses
from clsweep.methods.parts.plain_descent import Examples, descended
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: MerHyper) -> Method:
    """The hooks of MER; its memory is a buffer."""
    draws = tuple(f"batch_{number}" for number in range(hyper.n_batches))
    rate = hyper.inner_lr

    # Where no step is made, every filling is the first one: that costs no bytes of losses.
    is_moving = hyper.gamma and hyper.beta
    kept = MemoryFilling(net, hyper.fill if is_moving else "reservoir", hyper.memory_size)

    def begin(params: Params) -> Memory:
        return {"slots": kept.empty(params)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> NotedLoss:
        z = net.apply(full, batch.x, task)
        losses = classification_losses((z, batch.y))
        return NotedLoss(label_loss(z, batch), {filling.LOSS: losses})

    def project(
        grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        stored: buffer.Buffer = memory["slots"]
        reached, theta, n_new = set(grads), full, len(batch.y)
        for name in draws:
            again = filling.replayed(stored, batch, task, name)
            mixed = interleaved(again, batch, task)
            size = 1 if hyper.inner == "example" else len(mixed.y)
            ahead, losses = theta, list[Tensor]()
            for step in zip(*(part.split(size) for part in mixed), strict=True):
                found = descended(net, ahead, Examples(*step), task, batch.smoothing, rate)
                ahead, reached = found.params, reached | found.names
                losses.append(found.losses)
            theta = {n: theta[n].lerp(ahead[n], hyper.beta) for n in theta}
            if kept.is_by_loss:
                stored = filling.renewed_losses(stored, again.there, torch.cat(losses)[n_new:])
        share = hyper.gamma / rate
        moved = {n: (full[n] - theta[n]) * share for n in full if n in reached}
        return moved, {"slots": stored} if kept.is_by_loss else memory

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        stored = memory["slots"]
        grows = kept.growth(hyper, stored, batch_size)
        found = kept.uniforms(rng, n_steps, batch_size)
        for name in draws:
            found |= filling.replay_draw(name, rng, stored, hyper.replay_batch, n_steps, grows)
        return found

    def stream(memory: Memory, batch: Batch, task: int) -> Memory:
        return {"slots": kept.streamed(memory["slots"], batch, task)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        return {"slots": kept.absorbed(memory["slots"], learnt, params, learnt.task.index)}

    phase = Phase(
        "train",
        loss if kept.is_by_loss else plain_phase(net).loss,
        project=project,
        draw=draw,
        track=stream if kept.streams else None,
    )
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)


def interleaved(again: filling.Replayed, batch: Batch, task: int) -> Examples:
    """B_i: the new examples, then the stored ones that are there.

    Args:
        again: the stored ones.
        batch: the new ones.
        task: theirs.
    """
    is_there = slice(None) if again.weights is None else again.weights > 0
    labels = again.labels[is_there]
    new = batch.x.new_ones(len(batch.y)) if batch.weights is None else batch.weights
    return Examples(
        torch.cat([batch.x, batch.scale(again.raw[is_there])]),
        torch.cat([batch.y, labels]),
        torch.cat([torch.full_like(batch.y, task), again.tasks[is_there]]),
        torch.cat([new, new.new_ones(len(labels))]),
    )
