"""MER: the algorithm written out, the optimiser's step that it asks for, and its memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Batch, LearntTask, Method
from clsweep.methods.exemplar_hypers import MerHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

SCENARIOS = ("task", "domain", "class")


class World:
    """A network that has learnt a task, and a batch of the next."""

    def __init__(self, sequence: TaskSequence, n_new: int = 2, **numbers: Any) -> None:
        self.sequence = sequence
        self.net: Net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
        self.hyper = MerHyper(memory_size=15, **numbers)
        self.method: Method = methods.build("mer", self.net, self.hyper)
        drawn = self.net.init(generator(0, "init"))
        self.full: Params = {n: v.requires_grad_() for n, v in drawn.items()}
        learnt = LearntTask(sequence.tasks[0], sequence.scale, None, 9, generator(0, "absorb"))
        self.memory = self.method.absorb(self.full, self.method.begin(self.full), {}, learnt)
        data = sequence.tasks[1].train
        raw, y = data.raw(torch.arange(n_new)), data.labels[torch.arange(n_new)]
        rows = torch.arange(3 * self.hyper.n_batches).reshape(-1, 3)
        draw = {f"batch_{i}": row for i, row in enumerate(rows)}
        self.batch = Batch(sequence.scale(raw), y, raw, sequence.scale, draw)

    def asked_for(self) -> Params:
        """The gradient that the optimiser is given."""
        loss = self.method.phases[0].loss(self.full, self.memory, self.batch, 1)
        found = torch.autograd.grad(loss, list(self.full.values()), allow_unused=True)
        grads = {n: g for n, g in zip(self.full, found, strict=True) if g is not None}
        with torch.no_grad():
            asked, after = self.method.phases[0].project(
                grads, self.full, self.memory, self.batch, 1
            )
        assert after is self.memory
        return asked

    def one(self, params: Params, batch: int, place: int) -> torch.Tensor:
        """The loss of one example of a batch: the new ones come first."""
        n_new = len(self.batch.y)
        if place < n_new:
            z = self.net.apply(params, self.batch.x[place : place + 1], 1)
            return F.cross_entropy(z, self.batch.y[place : place + 1])
        slot = int(self.batch.draw[f"batch_{batch}"][place - n_new])
        stored = self.memory["slots"]
        head = 0 if self.sequence.heads.scenario == "task" else 1
        z = self.net.apply(params, self.sequence.scale(stored.raw[slot : slot + 1]), head)
        return F.cross_entropy(z, stored.labels[slot : slot + 1])


def stepped(params: Params, loss: torch.Tensor, rate: float) -> Params:
    found = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    return {
        n: (v if g is None else v - rate * g).detach().requires_grad_()
        for (n, v), g in zip(params.items(), found, strict=True)
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_algorithm_by_hand(scenario: str, short_sequences: dict[str, TaskSequence]) -> None:
    numbers = {"gamma": 0.7, "beta": 0.4, "n_batches": 2, "replay_batch": 3, "inner_lr": 0.3}
    world = World(short_sequences[scenario], **numbers)
    theta = world.full
    for batch in range(2):
        ahead = theta
        for place in range(5):
            ahead = stepped(ahead, world.one(ahead, batch, place), 0.3)
        theta = {n: theta[n] + 0.4 * (ahead[n] - theta[n]) for n in theta}
    asked = world.asked_for()
    for name, start in world.full.items():
        wanted = start + 0.7 * (theta[name] - start)
        found = start - 0.3 * asked[name] if name in asked else start  # plain SGD at the rate α
        torch.testing.assert_close(found, wanted)
        assert (name in asked) == bool((wanted != start).any())


def test_one_whole_batch_is_replay(short_sequences: dict[str, TaskSequence]) -> None:
    numbers = {"gamma": 1.0, "beta": 1.0, "n_batches": 1, "replay_batch": 3, "inner": "batch"}
    world = World(short_sequences["domain"], **numbers)
    mixed = torch.stack([world.one(world.full, 0, place) for place in range(5)]).mean()
    wanted = torch.autograd.grad(mixed, list(world.full.values()))
    asked = world.asked_for()
    for name, value in zip(world.full, wanted, strict=True):
        torch.testing.assert_close(asked[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("numbers", [{"gamma": 0.0}, {"beta": 0.0}])
def test_no_share_of_the_way_is_no_step(
    numbers: dict[str, float], short_sequences: dict[str, TaskSequence]
) -> None:
    asked = World(short_sequences["domain"], n_batches=2, replay_batch=3, **numbers).asked_for()
    assert all((value == 0).all() for value in asked.values())


def test_of_a_memory_that_is_not_full_only_what_is_there_is_trained(
    short_sequences: dict[str, TaskSequence],
) -> None:
    numbers = {"n_batches": 1, "replay_batch": 3, "beta": 1.0, "first_task": "own"}
    world = World(short_sequences["domain"], n_new=1, inner="batch", **numbers)
    draw = {**world.batch.draw, "batch_0_weights": torch.tensor([0.0, 1.5, 1.5])}
    world.batch = world.batch._replace(draw=draw)
    losses = [world.one(world.full, 0, place) for place in (0, 2, 3)]
    wanted = torch.autograd.grad(torch.stack(losses).mean(), list(world.full.values()))
    asked = world.asked_for()
    for name, value in zip(world.full, wanted, strict=True):
        torch.testing.assert_close(asked[name], value, atol=1e-5, rtol=1e-4)
