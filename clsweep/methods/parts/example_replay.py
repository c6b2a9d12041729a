"""Replay of stored examples with their labels: what plain replay and ER-ACE have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, NotedLoss, Phase
from clsweep.methods.exemplar_hypers import ReplayedHyper
from clsweep.methods.hypers import ReplayHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.losses import padded_label_loss
from clsweep.methods.parts.memory_filling import MemoryFilling, classification_losses
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.parameter_trees import Params


def example_replay(
    net: Net,
    hyper: ReplayHyper | ReplayedHyper,
    new_loss: Callable[[Tensor, Batch], Tensor],
    fill: filling.Filling,
    average: bool = False,
    noting: Callable[[Tensor], dict[str, Tensor]] | None = None,
) -> Method:
    """Replay for `net`; its memory is a buffer.

    Args:
        net: the network.
        hyper: weight λ, size of the memory and of what is drawn.
        new_loss: (logits of the new task's head [B, K], batch) -> scalar.
        fill: how the memory is filled.
        average: whether the sum of both losses is divided by 1 + λ.
        noting: (features of the new examples [B, ...]) -> what the loss notes for `track`; None
            for nothing.
    """
    kept = MemoryFilling(net, fill, hyper.memory_size)

    def begin(params: Params) -> Memory:
        return {"slots": kept.empty(params)}

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
        noted = noting(h[:n_new]) if noting else {}
        if kept.is_by_loss:
            noted[filling.LOSS] = classification_losses((z, batch.y), (logits, again.labels))
        return NotedLoss(total, noted) if noted else total

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        """Per step: the examples to replay, and uniform numbers per new example."""
        stored, n_drawn = memory["slots"], hyper.replay_batch or batch_size
        grows = kept.growth(hyper, stored, batch_size)
        found = filling.replay_draw("slots", rng, stored, n_drawn, n_steps, grows)
        return found | kept.uniforms(rng, n_steps, batch_size)

    def stream(memory: Memory, batch: Batch, task: int) -> Memory:
        return {"slots": kept.streamed(memory["slots"], batch, task, replayed=("slots",))}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        return {"slots": kept.absorbed(memory["slots"], learnt, params, learnt.task.index)}

    phase = Phase("train", loss, draw=draw, track=stream if kept.streams else None)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)
