"""Replay with stored outputs as targets: what DER and DER++ have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, NotedLoss, Phase
from clsweep.methods.exemplar_hypers import DerHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.losses import label_loss, padded_label_loss
from clsweep.methods.parts.stored_outputs import (
    OUTPUTS,
    mean_squared_error,
    n_kept,
    newest_head,
    noting,
    renewed,
    widened,
)
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.parameter_trees import Params


def dark_replay(net: Net, hyper: DerHyper, label_weight: float | None = None) -> Method:
    """DER, or DER++ where the labels of stored examples count; its memory is a buffer.

    Args:
        net: the network.
        hyper: its numbers.
        label_weight: β of DER++; None for DER, which draws no second batch.
    """
    head_of = newest_head(net, hyper.outputs)
    draws = ("slots",) if label_weight is None else ("slots", "labelled")

    def begin(params: Params) -> Memory:
        noted = {OUTPUTS: (n_kept(net),)}
        return {"slots": filling.empty_for(net, params, hyper.memory_size, noted)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> NotedLoss:
        stored: buffer.Buffer = memory["slots"]
        n_new, n_drawn = len(batch.x), len(batch.draw["slots"])
        again = filling.replayed(stored, batch, task, *draws)
        h = net.features(full, torch.cat([batch.x, batch.scale(again.raw)]))
        new = net.head(full, h[:n_new], head_of(task))
        old = own_head_logits(net, full, h[n_new:], again.tasks, head_of(task))
        then = stored.noted[OUTPUTS][again.slots[:n_drawn]]
        weights = (None, None) if again.weights is None else again.weights.split(n_drawn)
        error = mean_squared_error(old[:n_drawn], then, weights[0])
        total = label_loss(new, batch) + hyper.weight * error
        if label_weight is not None:
            labels = again.labels[n_drawn:]
            hard = padded_label_loss(old[n_drawn:], labels, batch.smoothing, weights[1])
            total = total + label_weight * hard
        return NotedLoss(total, {OUTPUTS: new})

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        n_drawn = hyper.replay_batch or batch_size
        stored = memory["slots"]
        grows = filling.growth(hyper, hyper.fill, stored, batch_size)
        drawing = (rng, stored, n_drawn, n_steps, grows)
        found = filling.replay_draw("slots", *drawing)
        found["uniform"] = filling.uniforms(rng, n_steps, batch_size)
        for name in draws[1:]:
            found |= filling.replay_draw(name, *drawing)
        return found

    def stream(memory: Memory, batch: Batch, task: int) -> Memory:
        noted = {OUTPUTS: widened(batch.noted[OUTPUTS], net)}
        return {"slots": filling.streamed(memory["slots"], batch, task, noted)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        outputs = noting(net, params, learnt.scale, head_of(learnt.task.index))
        return {"slots": _absorbed(memory["slots"], learnt, hyper, outputs)}

    track = stream if hyper.fill == "reservoir" else None
    phase = Phase("train", loss, draw=draw, track=track)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)


def _absorbed(
    stored: buffer.Buffer,
    learnt: LearntTask,
    hyper: DerHyper,
    outputs: Callable[[Tensor], Tensor],
) -> buffer.Buffer:
    stored = filling.absorbed(stored, learnt, hyper.fill, lambda raw: {OUTPUTS: outputs(raw)})
    if hyper.fill == "reservoir" and hyper.recorded == "task_end":
        stored = renewed(stored, learnt.task.index, outputs)
    return stored
