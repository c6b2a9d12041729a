"""Torch's optimisers as they are used here step by the same bits, and import no compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from clsweep.data.rng import generator
from clsweep.training.eager_optimisers import eager
from clsweep.training.optimiser_names import OPTIMISERS

OPTIONS = {"sgd": {"momentum": 0.9, "weight_decay": 0.01}, "adam": {"fused": True}}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_are_those_of_torch(name: str) -> None:
    kind = getattr(torch.optim, OPTIMISERS[name].kind)
    ended = []
    for made_of in (kind, eager(kind)):
        draws = generator(0, name)
        leaf = torch.randn(3, 4, generator=draws).requires_grad_()
        optimiser = made_of([leaf], lr=0.1, **OPTIONS.get(name, {}))
        for _ in range(3):
            leaf.grad = torch.randn(3, 4, generator=draws)
            optimiser.step()
        ended.append(leaf.detach())
    assert torch.equal(*ended)


def test_neither_making_one_nor_its_steps_import_the_compiler() -> None:
    made = """
import sys, torch
from clsweep.training.config import TrainingConfig
from clsweep.training.optimiser_names import OPTIMISERS
from clsweep.training.optimisers import check_optimiser
for name in OPTIMISERS:
    check_optimiser(TrainingConfig(optimizer=name))
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", made], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
