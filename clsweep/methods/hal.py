"""Hindsight anchor learning (HAL): replay, and a step may not move the outputs at anchors.

    θ̃ = θ − η ∇L(θ),   L the mean loss of the new batch and of one drawn from the memory
    L(θ) + λ mean_e (1/K) ‖z_θ(e) − z_θ̃(e)‖²,   e the anchors of all earlier tasks, θ̃ held

After a task, each of its classes y gets an anchor that a copy of the network forgets most:

    e ← e + η ∇_e [ℓ(θ_M; e, y) − ℓ(θ; e, y) − γ ‖φ_θ(e) − φ_t‖²],   k times
    θ_M  the copy, after steps of plain descent at the rate η on the memory
    φ_t  ← β φ_t + (1 − β) mean_x φ_θ(x) in every step of the task, from 0 on;
         φ the features below the head

Chaudhry, Gordo, Dokania, Torr and Lopez-Paz 2021, "Using hindsight to anchor past knowledge in
continual learning", AAAI (arXiv 2002.08165). λ weighs the mean over anchors and outputs, as in
Mammoth's code. An anchor starts uniform on [0, 1) and is classified by the head of its task. The
memory is a ring per task as published; Mammoth's code (commit d20f640) calls it one and fills a
reservoir, and its copy makes one step.

η is a number of its own (`inner_lr`), since θ̃ is a step of plain descent whatever the optimiser
is; under plain SGD it is the learning rate. A step costs two passes of the anchors beside replay.

Deviations. The mean of the features is that of the network before the step. The first task is
plain training, as in all methods, and its φ_t the mean over its training set; or with `first_task
= "own"` it is of this kind too.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.tasks import Scale
from clsweep.methods.base import Batch, LearntTask, Memory, Method
from clsweep.methods.exemplar_hypers import HalHyper
from clsweep.methods.parts import buffer
from clsweep.methods.parts.buffer import Buffer
from clsweep.methods.parts.example_replay import example_replay
from clsweep.methods.parts.losses import label_loss
from clsweep.methods.parts.plain_descent import Examples, descended
from clsweep.methods.parts.stored_outputs import mean_squared_error
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.parameter_trees import Params

_EMBEDDING = "embedding"
_CHUNK_ROWS = 1024


def build(net: Net, hyper: HalHyper) -> Method:
    """The hooks of HAL; its memory is a buffer, another of anchors, and a mean of features."""
    has_anchors = hyper.anchor_weight > 0
    noting = _embedding if has_anchors else None
    # Where nothing stored is looked at, every filling is the first one.
    fill = hyper.fill if has_anchors or hyper.weight else "reservoir"
    replay = example_replay(net, hyper, label_loss, fill, hyper.average, noting)
    (phase,), begun, absorbed = replay.phases, replay.begin, replay.absorb
    assert begun is not None
    assert absorbed is not None

    def begin(params: Params) -> Memory:
        device = next(iter(params.values())).device
        n_anchors = max(1, sum(net.heads.sizes[:-1]))
        anchors = buffer.empty(n_anchors, net.input_shape, device, torch.float32)
        h = net.features(params, torch.zeros(2, *net.input_shape, device=device)).flatten(1)
        return {**begun(params), "anchors": anchors, "mean": torch.zeros_like(h[0])}

    def project(
        grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        anchors: Buffer = memory["anchors"]
        if not anchors.n_filled:
            return grads, memory
        ahead = {n: v - hyper.inner_lr * grads[n] if n in grads else v for n, v in full.items()}
        then = _outputs(net, ahead, anchors, task)
        trained = {name: value for name, value in full.items() if value.requires_grad}
        with torch.enable_grad():
            moved = mean_squared_error(_outputs(net, full, anchors, task), then)
            found = torch.autograd.grad(
                hyper.anchor_weight * moved, list(trained.values()), allow_unused=True
            )
        pulls = {n: g for n, g in zip(trained, found, strict=True) if g is not None}
        return {
            **grads,
            **{n: grads[n] + g if n in grads else g for n, g in pulls.items()},
        }, memory

    def track(memory: Memory, batch: Batch, task: int) -> Memory:
        streamed = phase.track(memory, batch, task) if phase.track else {}
        if not has_anchors:
            return {**memory, **streamed}
        mean = hyper.decay * memory["mean"] + (1 - hyper.decay) * batch.noted[_EMBEDDING]
        return {**memory, **streamed, "mean": mean}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        found = {**memory, **absorbed(params, memory, statistics, learnt)}
        if not has_anchors:
            return found
        mean: Tensor = memory["mean"]
        if learnt.task.index == 0 and not hyper.learns_first_task:
            mean = _training_mean(net, params, learnt)
        copy = _forgetful(net, params, found["slots"], learnt, hyper)
        anchors = _with_anchors(net, (params, copy), memory["anchors"], mean, learnt, hyper)
        return {**found, "anchors": anchors, "mean": torch.zeros_like(mean)}

    anchored = replace(
        phase,
        project=project if has_anchors else None,
        track=track if has_anchors or phase.track else None,
    )
    return replace(replay, phases=(anchored,), begin=begin, absorb=absorb)


def ascent_gradient(
    net: Net,
    networks: tuple[Params, Params],
    e: Tensor,
    labels: Tensor,
    mean: Tensor,
    task: int,
    weight: float,
) -> Tensor:
    """The module's gradient by anchors, shape of `e`.

    Args:
        net: the network.
        networks: θ and θ_M.
        e: anchors, float32 [B, ...].
        labels: theirs, int64 [B].
        mean: φ_t, [d].
        task: t.
        weight: γ.
    """
    now, copy = networks
    e = e.detach().requires_grad_()
    with torch.enable_grad():
        h = net.features(now, e)
        forgotten = F.cross_entropy(net.apply(copy, e, task), labels, reduction="sum")
        known = F.cross_entropy(net.head(now, h, task), labels, reduction="sum")
        far = (h.flatten(1) - mean).square().sum()
        (found,) = torch.autograd.grad(forgotten - known - weight * far, [e])
    return found


def _embedding(h: Tensor) -> dict[str, Tensor]:
    return {_EMBEDDING: h.flatten(1).mean(0)}


def _outputs(net: Net, params: Params, anchors: Buffer, task: int) -> Tensor:
    """Outputs at all anchors, [A, K]."""
    n = anchors.n_filled
    return own_head_logits(
        net, params, net.features(params, anchors.raw[:n]), anchors.tasks[:n], task
    )


def _training_mean(net: Net, params: Params, learnt: LearntTask) -> Tensor:
    """The mean of φ over a task's training set, [d]."""
    data, scale = learnt.task.train, learnt.scale
    with torch.no_grad():
        sums = [
            net.features(params, scale(data.raw(index))).flatten(1).sum(0)
            for index in torch.arange(len(data), device=data.labels.device).split(_CHUNK_ROWS)
        ]
    return torch.stack(sums).sum(0) / len(data)


def _forgetful(
    net: Net, params: Params, stored: Buffer, learnt: LearntTask, hyper: HalHyper
) -> Params:
    """θ_M."""
    n, size = stored.n_filled, min(hyper.copy_batch, stored.n_filled)
    if hyper.copy_steps:
        batches = [*buffer.example_indices(learnt.rng, n, size, hyper.copy_steps)]
    else:
        batches = [*torch.randperm(n, generator=learnt.rng).split(size)]
    for index in batches:
        some = _stored_examples(stored, index.to(stored.labels.device), learnt.scale)
        params = descended(net, params, some, learnt.task.index, 0.0, hyper.inner_lr).params
    return params


def _stored_examples(stored: Buffer, index: Tensor, scale: Scale) -> Examples:
    x = scale(stored.raw[index])
    return Examples(x, stored.labels[index], stored.tasks[index], x.new_ones(len(index)))


def _with_anchors(
    net: Net,
    networks: tuple[Params, Params],
    old: Buffer,
    mean: Tensor,
    learnt: LearntTask,
    hyper: HalHyper,
) -> Buffer:
    """The anchors with those of the task that was learnt."""
    task, labels = learnt.task.index, learnt.task.train.labels.unique()
    start = torch.rand(len(labels), *old.raw.shape[1:], generator=learnt.rng)
    e = start.to(old.raw.device)
    for _ in range(hyper.ascent_steps):
        weight = hyper.embedding_weight
        e = e + hyper.inner_lr * ascent_gradient(net, networks, e, labels, mean, task, weight)
    first, stop = old.n_filled, old.n_filled + len(labels)
    rows = torch.arange(first, stop, device=e.device)
    return old._replace(
        raw=old.raw.index_copy(0, rows, e),
        labels=old.labels.index_copy(0, rows, labels),
        tasks=old.tasks.index_fill(0, rows, task),
        n_filled=stop,
        n_seen=stop,
    )
