"""Replay of stored examples with their labels: what plain replay and ER-ACE have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.methods.base import Batch, LearntTask, Memory, Method, NotedLoss, Phase
from clsweep.methods.exemplar_hypers import ReplayedHyper
from clsweep.methods.hypers import ReplayHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.losses import padded_label_loss
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.parameter_trees import Params


def example_replay(
    net: Net,
    hyper: ReplayHyper | ReplayedHyper,
    new_loss: Callable[[Tensor, Batch], Tensor],
    fill: filling.Filling,
    average: bool = False,
) -> Method:
    """Replay for `net`; its memory is a buffer.

    Args:
        net: the network.
        hyper: weight λ, size of the memory and of what is drawn.
        new_loss: (logits of the new task's head [B, K], batch) -> scalar.
        fill: how the memory is filled.
        average: whether the sum of both losses is divided by 1 + λ.
    """
    n_tasks, has_heads = len(net.heads.sizes), net.heads.scenario == "task"
    by_loss = fill == "loss_aware"
    if fill == "ring":
        filling.ring_share(hyper.memory_size, n_tasks)

    def begin(params: Params) -> Memory:
        noted: dict[str, tuple[int, ...]] = {filling.LOSS: ()} if by_loss else {}
        return {"slots": filling.empty_for(net, params, hyper.memory_size, noted)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor | NotedLoss:
        stored: buffer.Buffer = memory["slots"]
        again = filling.replayed(stored, batch, task, "slots")
        n_new = len(batch.x)
        h = net.features(full, torch.cat([batch.x, batch.scale(again.raw)]))
        z = net.head(full, h[:n_new], task)
        new = new_loss(z, batch)
        logits = own_head_logits(net, full, h[n_new:], again.tasks, task)
        old = padded_label_loss(logits, again.labels, batch.smoothing, again.weights)
        total = new + hyper.weight * old
        total = total / (1 + hyper.weight) if average else total
        if not by_loss:
            return total
        each = [F.cross_entropy(z, batch.y, reduction="none")]
        each += [F.cross_entropy(logits, again.labels, reduction="none")]
        return NotedLoss(total, {filling.LOSS: torch.cat(each)})

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        """Per step: the examples to replay, and one uniform number per new example."""
        n_drawn = hyper.replay_batch or batch_size
        stored = memory["slots"]
        grows = filling.growth(hyper, fill, stored, batch_size, n_tasks)
        found = filling.drawn("slots", rng, stored, n_drawn, n_steps, grows)
        found["uniform"] = filling.uniforms(rng, n_steps, batch_size)
        if by_loss:
            found["victim"] = filling.uniforms(rng, n_steps, batch_size)
        return found

    def stream(memory: Memory, batch: Batch, task: int) -> Memory:
        stored: buffer.Buffer = memory["slots"]
        if not by_loss:
            return {"slots": filling.streamed(stored, batch, task, None, fill, n_tasks)}
        n_new = len(batch.y)
        new, again = batch.noted[filling.LOSS].split([n_new, len(batch.draw["slots"])])
        stored = filling.with_losses(stored, batch, again)
        return {"slots": filling.streamed_by_loss(stored, batch, task, new, has_heads)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        def unknown(raw: Tensor) -> dict[str, Tensor]:
            return {filling.LOSS: torch.zeros(len(raw), device=raw.device)} if by_loss else {}

        stored = memory["slots"]
        found = filling.absorbed(stored, learnt, fill, unknown, n_tasks)
        if by_loss and stored.n_filled == 0:
            found = _with_losses_of(net, params, found, learnt)
        return {"slots": found}

    phase = Phase("train", loss, draw=draw, track=None if fill == "balanced" else stream)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)


def _with_losses_of(
    net: Net, params: Params, stored: buffer.Buffer, learnt: LearntTask
) -> buffer.Buffer:
    """The buffer with the losses of the network that has learnt the task of all its examples."""
    with torch.no_grad():
        z = net.apply(params, learnt.scale(stored.raw), learnt.task.index)
        each = F.cross_entropy(z, stored.labels, reduction="none")
    return stored._replace(noted={filling.LOSS: each})
