"""Shrink and perturb: moments of what a task starts from, and when it happens."""

from __future__ import annotations

import torch

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.methods.base import LearntTask
from clsweep.methods.regulariser_hypers import ShrinkPerturbHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig


def test_moments_of_the_weights_that_a_task_starts_from() -> None:
    """Mean λ θ and standard deviation σ, by 40,000 weights of each of two values."""
    net = build_net(NetConfig(hidden=(200,)), (1, 20, 20), Heads("task", (2, 2, 2)))
    method = methods.build("shrink_perturb", net, ShrinkPerturbHyper(shrink=0.4, noise=0.05))
    params = {name: torch.full_like(v, 2.0) for name, v in net.init(generator(0, "i")).items()}
    params["layers.0.weight"][:100] = -1.0
    data = LearntTask(None, None, None, 0, generator(0, "absorb"))  # type: ignore[arg-type]
    memory = method.absorb(params, method.begin(params), {}, data)
    started = method.phases[0].open(params, memory, 1)
    for rows, mean in (
        (started["layers.0.weight"][:100], -0.4),
        (started["layers.0.weight"][100:], 0.8),
    ):
        assert abs(float(rows.mean()) - mean) < 4 * 0.05 / 200
        assert abs(float(rows.std()) - 0.05) < 4 * 0.05 / (2 * 40_000) ** 0.5
    assert torch.equal(started["heads.0.weight"], params["heads.0.weight"])
    assert started.keys() == params.keys()
    again = method.absorb(params, memory, {}, data)  # another task, other noise
    assert not torch.equal(again["noise"]["layers.0.bias"], memory["noise"]["layers.0.bias"])
