"""Replay with stored outputs as targets: what DER and DER++ have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, NotedLoss, Phase
from clsweep.methods.exemplar_hypers import DerHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.losses import label_loss, padded_label_loss
from clsweep.methods.parts.memory_filling import MemoryFilling, classification_losses
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
    kept = MemoryFilling(net, hyper.fill, hyper.memory_size)

    def begin(params: Params) -> Memory:
        return {"slots": kept.empty(params, {OUTPUTS: (n_kept(net),)})}

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
        noted = {OUTPUTS: new}
        if kept.is_by_loss:
            noted[filling.LOSS] = classification_losses((new, batch.y), (old, again.labels))
        return NotedLoss(total, noted)

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        n_drawn = hyper.replay_batch or batch_size
        stored = memory["slots"]
        grows = kept.growth(hyper, stored, batch_size)
        drawing = (rng, stored, n_drawn, n_steps, grows)
        found = filling.replay_draw("slots", *drawing)
        found |= kept.uniforms(rng, n_steps, batch_size)
        for name in draws[1:]:
            found |= filling.replay_draw(name, *drawing)
        return found

    def stream(memory: Memory, batch: Batch, task: int) -> Memory:
        noted = {OUTPUTS: widened(batch.noted[OUTPUTS], net)}
        return {"slots": kept.streamed(memory["slots"], batch, task, noted, draws)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        head = head_of(learnt.task.index)
        outputs = noting(net, params, learnt.scale, head)

        def note(raw: Tensor) -> dict[str, Tensor]:
            return {OUTPUTS: outputs(raw)}

        stored = kept.absorbed(memory["slots"], learnt, params, head, note)
        if kept.streams and hyper.recorded == "task_end":
            stored = renewed(stored, learnt.task.index, outputs)
        return {"slots": stored}

    phase = Phase("train", loss, draw=draw, track=stream if kept.streams else None)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)
