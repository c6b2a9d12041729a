"""Replay of stored examples with their labels: what plain replay and ER-ACE have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
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

    def begin(params: Params) -> Memory:
        return {"slots": filling.empty_for(net, params, hyper.memory_size)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        stored: buffer.Buffer = memory["slots"]
        again = filling.replayed(stored, batch, task, "slots")
        n_new = len(batch.x)
        h = net.features(full, torch.cat([batch.x, batch.scale(again.raw)]))
        new = new_loss(net.head(full, h[:n_new], task), batch)
        logits = own_head_logits(net, full, h[n_new:], again.tasks, task)
        old = padded_label_loss(logits, again.labels, batch.smoothing, again.weights)
        total = new + hyper.weight * old
        return total / (1 + hyper.weight) if average else total

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        """Per step: the examples to replay, and one uniform number per new example."""
        n_drawn = hyper.replay_batch or batch_size
        n_entering = filling.n_entering(hyper, fill, batch_size)
        found = filling.drawn("slots", rng, memory["slots"], n_drawn, n_steps, n_entering)
        return {**found, "uniform": filling.uniforms(rng, n_steps, batch_size)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        return {"slots": filling.absorbed(memory["slots"], learnt, fill)}

    track = _stream if fill == "reservoir" else None
    phase = Phase("train", loss, draw=draw, track=track)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)


def _stream(memory: Memory, batch: Batch, task: int) -> Memory:
    return {"slots": filling.streamed(memory["slots"], batch, task)}
