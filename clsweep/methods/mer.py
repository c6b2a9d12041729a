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

Deviations. Stored examples of a batch are drawn without replacement. The first task is plain
training, as in all methods, or with `first_task = "own"`, as published, of this kind too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.exemplar_hypers import MerHyper
from clsweep.methods.parts import filling
from clsweep.methods.parts.losses import padded_label_loss, plain_phase
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.parameter_trees import Params


class Examples(NamedTuple):
    """Examples of an inner step.

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


def build(net: Net, hyper: MerHyper) -> Method:
    """The hooks of MER; its memory is a buffer."""
    draws = tuple(f"batch_{number}" for number in range(hyper.n_batches))

    def begin(params: Params) -> Memory:
        return {"slots": filling.empty_for(net, params, hyper.memory_size)}

    def project(
        grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        reached, theta = set(grads), full
        for name in draws:
            mixed = interleaved(filling.replayed(memory["slots"], batch, task, name), batch, task)
            size = 1 if hyper.inner == "example" else len(mixed.y)
            ahead = theta
            for step in zip(*(part.split(size) for part in mixed), strict=True):
                some = Examples(*step)
                ahead, names = descended(net, ahead, some, task, batch.smoothing, hyper.inner_lr)
                reached |= names
            theta = {n: theta[n].lerp(ahead[n], hyper.beta) for n in theta}
        share = hyper.gamma / hyper.inner_lr
        return {n: (full[n] - theta[n]) * share for n in full if n in reached}, memory

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        stored = memory["slots"]
        grows = filling.growth(hyper, "reservoir", stored, batch_size)
        found = {"uniform": filling.uniforms(rng, n_steps, batch_size)}
        for name in draws:
            found |= filling.replay_draw(name, rng, stored, hyper.replay_batch, n_steps, grows)
        return found

    def stream(memory: Memory, batch: Batch, task: int) -> Memory:
        return {"slots": filling.streamed(memory["slots"], batch, task)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        return {"slots": filling.absorbed(memory["slots"], learnt, "reservoir")}

    phase = Phase("train", plain_phase(net).loss, project=project, draw=draw, track=stream)
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


def descended(
    net: Net, theta: Params, some: Examples, task: int, smoothing: float, rate: float
) -> tuple[Params, set[str]]:
    """θ − α ∇ℓ(θ), and the names of what the loss depends on.

    Args:
        net: the network.
        theta: θ, all of which is trained.
        some: the examples, whose mean loss is ℓ.
        task: the task being learnt.
        smoothing: share of every label that is spread evenly over the classes of its head.
        rate: α.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in theta.items()}
    with torch.enable_grad():
        h = net.features(leaves, some.x)
        logits = own_head_logits(net, leaves, h, some.tasks, task)
        loss = padded_label_loss(logits, some.y, smoothing, some.weights)
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    moved = {n: g for n, g in zip(leaves, found, strict=True) if g is not None}
    return {**theta, **{n: theta[n] - rate * g for n, g in moved.items()}}, set(moved)
