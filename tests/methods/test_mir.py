"""MIR: what is chosen loses most by the step that is looked ahead, and its gradient by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.exemplar_hypers import MirHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_the_examples_with_the_largest_increase_are_replayed(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    numbers = MirHyper(memory_size=15, candidates=9, replay_batch=3, virtual_lr=0.5, weight=0.7)
    method = methods.build("mir", net, numbers)
    (phase,) = method.phases
    full = {n: v.requires_grad_() for n, v in net.init(generator(0, "init")).items()}
    learnt = LearntTask(sequence.tasks[0], sequence.scale, None, 9, generator(0, "absorb"))
    memory = method.absorb(full, method.begin(full), {}, learnt)
    stored = memory["slots"]
    data = sequence.tasks[1].train
    raw, y = data.raw(torch.arange(6)), data.labels[torch.arange(6)]
    candidates = torch.tensor([1, 3, 4, 6, 7, 9, 11, 12, 14])
    batch = Batch(sequence.scale(raw), y, raw, sequence.scale, {"candidates": candidates})
    head = 0 if scenario == "task" else 1

    def loss_of(params: Params, slot: int) -> torch.Tensor:
        x = sequence.scale(stored.raw[slot : slot + 1])
        return F.cross_entropy(net.apply(params, x, head), stored.labels[slot : slot + 1])

    new = F.cross_entropy(net.apply(full, batch.x, 1), y)
    found = torch.autograd.grad(new, list(full.values()), retain_graph=True, allow_unused=True)
    grads = {n: g for n, g in zip(full, found, strict=True) if g is not None}
    ahead = {n: v - 0.5 * grads[n] if n in grads else v for n, v in full.items()}
    rise = {
        slot: float((loss_of(ahead, slot) - loss_of(full, slot)).detach())
        for slot in candidates.tolist()
    }
    worst = sorted(rise, key=lambda slot: -rise[slot])[:3]
    total = new + 0.7 * torch.stack([loss_of(full, slot) for slot in worst]).mean()
    wanted = torch.autograd.grad(total, list(full.values()), allow_unused=True)
    with torch.no_grad():
        both, after = phase.project(grads, full, memory, batch, 1)
    assert after is memory
    for name, value in zip(full, wanted, strict=True):
        assert (value is None) == (name not in both)
        if value is not None:
            torch.testing.assert_close(both[name], value)
