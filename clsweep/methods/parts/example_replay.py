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
    n_tasks, by_loss = len(net.heads.sizes), fill == "loss_aware"
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
        return NotedLoss(total, {filling.LOSS: _losses((z, batch.y), (logits, again.labels))})

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        """Per step: the examples to replay, and one uniform number per new example."""
        stored, n_drawn = memory["slots"], hyper.replay_batch or batch_size
        grows = filling.growth(hyper, fill, stored, batch_size, n_tasks)
        found = filling.replay_draw("slots", rng, stored, n_drawn, n_steps, grows)
        names = ("uniform", "victim") if by_loss else ("uniform",)
        return found | {name: filling.uniforms(rng, n_steps, batch_size) for name in names}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        stored = memory["slots"]
        if by_loss:
            return {"slots": _absorbed_by_loss(net, params, stored, learnt)}
        return {"slots": filling.absorbed(stored, learnt, fill, n_tasks=n_tasks)}

    phase = Phase(
        "train", loss, draw=draw, track=_stream(net, fill) if fill != "balanced" else None
    )
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)


def _losses(*classified: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of every example, [B]."""
    each = [F.cross_entropy(logits, labels, reduction="none") for logits, labels in classified]
    return torch.cat(each)


def _stream(net: Net, fill: filling.Filling) -> Callable[[Memory, Batch, int], Memory]:
    """The hook that takes examples from the stream of batches."""
    n_tasks, has_heads = len(net.heads.sizes), net.heads.scenario == "task"

    def stream(memory: Memory, batch: Batch, task: int) -> Memory:
        return {"slots": filling.streamed(memory["slots"], batch, task, None, fill, n_tasks)}

    def stream_by_loss(memory: Memory, batch: Batch, task: int) -> Memory:
        sizes = [len(batch.y), len(batch.draw["slots"])]
        new, again = batch.noted[filling.LOSS].split(sizes)
        stored = filling.with_losses(memory["slots"], batch, again)
        return {"slots": filling.streamed_by_loss(stored, batch, task, new, has_heads)}

    return stream_by_loss if fill == "loss_aware" else stream


def _absorbed_by_loss(
    net: Net, params: Params, stored: buffer.Buffer, learnt: LearntTask
) -> buffer.Buffer:
    """The buffer after a task; the first examples have the losses of the network after it."""

    def unknown(raw: Tensor) -> dict[str, Tensor]:
        return {filling.LOSS: torch.zeros(len(raw), device=raw.device)}

    found = filling.absorbed(stored, learnt, "loss_aware", unknown)
    if stored.n_filled:
        return found
    with torch.no_grad():
        z = net.apply(params, learnt.scale(found.raw), learnt.task.index)
        each = F.cross_entropy(z, found.labels, reduction="none")
    return found._replace(noted={filling.LOSS: each})
