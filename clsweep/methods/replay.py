"""Experience replay: stored examples of earlier tasks are trained along.

    L_t(θ) + λ L_M(θ),   L_M the mean cross-entropy of examples drawn from the memory M
    (both divided by 1 + λ with `average`)

Ratcliff 1990; Chaudhry et al. 2019, "On tiny episodic memories in continual learning". Each
stored example is classified by the head of its own task. It is drawn without replacement.

The memory holds `memory_size` examples over all tasks: 'balanced' gives every class of every task
the same share and is filled when a task ends; 'reservoir' keeps a uniform sample of the stream
(Vitter 1985), so that it holds examples of the current task too. The first task is plain training
in both, and is absorbed when it ends.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.hypers import ReplayHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.losses import label_loss, padded_label_loss
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: ReplayHyper) -> Method:
    """Replay for `net`; its memory is a buffer."""

    def begin(params: Params) -> Memory:
        return {"slots": filling.empty_for(net, params, hyper.memory_size)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        stored: buffer.Buffer = memory["slots"]
        index = batch.draw["slots"]
        n_new = len(batch.x)
        h = net.features(full, torch.cat([batch.x, batch.scale(stored.raw[index])]))
        new = label_loss(net.head(full, h[:n_new], task), batch)
        logits = own_head_logits(net, full, h[n_new:], stored.tasks[index], task)
        old = padded_label_loss(logits, stored.labels[index], batch.smoothing)
        total = new + hyper.weight * old
        return total / (1 + hyper.weight) if hyper.average else total

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        """Per step: the examples to replay, and one uniform number per new example."""
        n_filled = memory["slots"].n_filled
        n_drawn = min(hyper.replay_batch or batch_size, n_filled)
        return {
            "slots": buffer.example_indices(rng, n_filled, n_drawn, n_steps),
            "uniform": filling.uniforms(rng, n_steps, batch_size),
        }

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        return {"slots": filling.absorbed(memory["slots"], learnt, hyper.fill)}

    track = _stream if hyper.fill == "reservoir" else None
    phase = Phase("train", loss, draw=draw, track=track)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)


def _stream(memory: Memory, batch: Batch, task: int) -> Memory:
    return {"slots": filling.streamed(memory["slots"], batch, task)}
