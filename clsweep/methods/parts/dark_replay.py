"""Replay with stored outputs as targets: what DER and DER++ have in common."""

from __future__ import annotations

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

    def begin(params: Params) -> Memory:
        noted = {OUTPUTS: (n_kept(net),)}
        return {"slots": filling.empty_for(net, params, hyper.memory_size, noted)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> NotedLoss:
        stored: buffer.Buffer = memory["slots"]
        index, n_new, n_drawn = batch.draw["slots"], len(batch.x), len(batch.draw["slots"])
        if label_weight is not None:
            index = torch.cat([index, batch.draw["labelled"]])
        h = net.features(full, torch.cat([batch.x, batch.scale(stored.raw[index])]))
        new = net.head(full, h[:n_new], head_of(task))
        old = own_head_logits(net, full, h[n_new:], stored.tasks[index], head_of(task))
        then = stored.noted[OUTPUTS][index[:n_drawn]]
        total = label_loss(new, batch) + hyper.weight * mean_squared_error(old[:n_drawn], then)
        if label_weight is not None:
            labels = stored.labels[index[n_drawn:]]
            again = padded_label_loss(old[n_drawn:], labels, batch.smoothing)
            total = total + label_weight * again
        return NotedLoss(total, {OUTPUTS: new})

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        n_filled = memory["slots"].n_filled
        n_drawn = min(hyper.replay_batch or batch_size, n_filled)
        found = {
            "slots": buffer.example_indices(rng, n_filled, n_drawn, n_steps),
            "uniform": filling.uniforms(rng, n_steps, batch_size),
        }
        if label_weight is not None:
            found["labelled"] = buffer.example_indices(rng, n_filled, n_drawn, n_steps)
        return found

    def stream(memory: Memory, batch: Batch, task: int) -> Memory:
        noted = {OUTPUTS: widened(batch.noted[OUTPUTS], net)}
        return {"slots": filling.streamed(memory["slots"], batch, task, noted)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        task = learnt.task.index
        outputs = noting(net, params, learnt.scale, head_of(task))
        stored = filling.absorbed(
            memory["slots"], learnt, hyper.fill, lambda raw: {OUTPUTS: outputs(raw)}
        )
        if hyper.fill == "reservoir" and hyper.recorded == "task_end":
            stored = renewed(stored, task, outputs)
        return {"slots": stored}

    track = stream if hyper.fill == "reservoir" else None
    phase = Phase("train", loss, draw=draw, track=track)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)
