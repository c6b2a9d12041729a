"""Shrink and perturb: before every task, weights are scaled down and noise is added.

    θ ← λ θ + σ ξ,   ξ ~ N(0, I), at the start of every task but the first

Ash and Adams 2020, "On warm-starting neural network training", NeurIPS. It keeps a network able to
learn, not what it has learnt: λ = 1 and σ = 0 is fine-tuning.

Deviations. The authors take the noise from a scaled initial network, whose layers differ in size;
here σ is the same everywhere. Per-task heads stay as they are. The noise is drawn when a task ends
and kept until the next begins, so it counts as memory.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.methods.parts.losses import plain_phase
from clsweep.methods.regulariser_hypers import ShrinkPerturbHyper
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params, zeros_like


def build(net: Net, hyper: ShrinkPerturbHyper) -> Method:
    """Shrink and perturb of `net`; its memory is σ ξ of the next task."""

    def open_shrunk(params: Params, memory: Memory, task: int) -> Params:
        moved = {n: hyper.shrink * params[n] + noise for n, noise in memory["noise"].items()}
        return {**params, **moved}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        noise = {}
        for name, value in shared(params).items():
            drawn = torch.randn(value.shape, generator=learnt.rng, dtype=value.dtype)
            noise[name] = hyper.noise * drawn.to(value.device)
        return {"noise": noise}

    phase = replace(plain_phase(net), open=open_shrunk)
    return Method(net, hyper, (phase,), begin=_begin, absorb=absorb)


def _begin(params: Params) -> Memory:
    return {"noise": zeros_like(shared(params))}
