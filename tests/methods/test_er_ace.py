"""ER-ACE: the masked softmax by hand, and outputs that a batch leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.er_ace import present_label_loss
from clsweep.methods.exemplar_hypers import ErAceHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig


def batch_of(y: list[int]) -> Batch:
    images = torch.zeros(len(y), 1, 1, 1)
    return Batch(images, torch.tensor(y), images, None, {})


def test_the_softmax_runs_over_the_classes_of_the_batch() -> None:
    z = torch.tensor([[0.0, 3.0, -1.0, 2.0], [1.0, 0.5, 0.0, 9.0]], requires_grad=True)
    loss = present_label_loss(z, batch_of([2, 0]))
    by_hand = [-(-1.0 - torch.tensor([0.0, -1.0]).logsumexp(0))]
    by_hand += [-(1.0 - torch.tensor([1.0, 0.0]).logsumexp(0))]
    torch.testing.assert_close(loss, torch.stack(by_hand).mean())
    (grad,) = torch.autograd.grad(loss, [z])
    assert (grad[:, [1, 3]] == 0).all()
    assert (grad[:, [0, 2]] != 0).all()


def test_all_classes_in_the_batch_are_plain_cross_entropy() -> None:
    z = torch.randn(3, 3, generator=generator(0, "z"))
    torch.testing.assert_close(
        present_label_loss(z, batch_of([1, 0, 2])), F.cross_entropy(z, torch.tensor([1, 0, 2]))
    )


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_the_loss_by_hand(scenario: str, sequences: dict[str, TaskSequence]) -> None:
    """New examples among their own classes, stored ones among all that were seen."""
    sequence = sequences[scenario]
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    full = net.init(generator(0, "init"))
    method = methods.build("er_ace", net, ErAceHyper(memory_size=9, weight=0.7))
    learnt = LearntTask(sequence.tasks[0], sequence.scale, None, 9, generator(0, "absorb"))
    memory = method.absorb(full, method.begin(full), {}, learnt)
    data = sequence.tasks[1].train
    raw, y = data.raw(torch.arange(4)), data.labels[torch.arange(4)]
    slots = torch.tensor([2, 5, 8])
    batch = Batch(sequence.scale(raw), y, raw, sequence.scale, {"slots": slots})
    new = net.apply(full, batch.x, 1)
    present = sorted(set(y.tolist()))
    own = torch.tensor([present.index(label) for label in y.tolist()])
    wanted = F.cross_entropy(new[:, present], own)
    stored = memory["slots"]
    head = 0 if scenario == "task" else 1
    old = net.apply(full, sequence.scale(stored.raw[slots]), head)
    wanted = wanted + 0.7 * F.cross_entropy(old, stored.labels[slots])
    torch.testing.assert_close(method.phases[0].loss(full, memory, batch, 1), wanted)
