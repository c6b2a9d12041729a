"""MAS over tasks: what is accumulated, and where it pulls."""

from __future__ import annotations

import pytest
import torch

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.methods.base import LearntTask
from clsweep.methods.regulariser_hypers import MasHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig


@pytest.mark.parametrize(("accumulation", "expected"), [("sum", 6.0), ("latest", 3.0)])
def test_omega_of_past_tasks_is_their_sum_or_the_latest(
    accumulation: str, expected: float
) -> None:
    net = build_net(NetConfig(hidden=()), (1, 1, 1), Heads("domain", (2,) * 4))
    method = methods.build("mas", net, MasHyper(accumulation=accumulation, lam=2.0))
    data = LearntTask(None, None, None, 0, generator(0, ""))  # type: ignore[arg-type]
    memory = method.begin({"w": torch.zeros(2)})
    for value in (1.0, 2.0, 3.0):
        memory = method.absorb(
            {"w": torch.full((2,), 10 * value)}, memory, {"w": torch.full((2,), value)}, data
        )
    pull = method.phases[0].pull(memory)
    assert pull.omega["w"].tolist() == [expected] * 2
    assert pull.star["w"].tolist() == [30.0, 30.0]
    assert pull.weight == 4.0  # λ Σ Ω (θ − θ*)² without ½
