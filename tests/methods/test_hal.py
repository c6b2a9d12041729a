"""HAL: an anchor's gradient by hand on a linear net, the mean of features, the temporary step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.errors import MethodError
from clsweep.methods.base import Batch, LearntTask, Memory, Method
from clsweep.methods.exemplar_hypers import HalHyper
from clsweep.methods.hal import ascent_gradient
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import learn_sequence, learn_source

SCENARIOS = ("task", "domain", "class")


def net_of(sequence: TaskSequence, hidden: tuple[int, ...] = (6,)) -> Net:
    return build_net(NetConfig(hidden=hidden), sequence.input_shape, sequence.heads)


def built(net: Net, **numbers: Any) -> Method:
    small = {"memory_size": 12, "ascent_steps": 2, "copy_batch": 5, "anchor_weight": 3.0}
    return methods.build("hal", net, HalHyper(**{**small, **numbers}))


def learnt(sequence: TaskSequence, task: int) -> LearntTask:
    rng = generator(0, "absorb", task)
    return LearntTask(sequence.tasks[task], sequence.scale, None, 9, rng)


def weight_and_bias(net: Net, params: Params, task: int) -> tuple[Tensor, Tensor]:
    names = net.readout(task)
    (weight,) = [params[n] for n in names if n.endswith("weight")]
    (bias,) = [params[n] for n in names if n.endswith("bias")]
    return weight, bias


def test_an_anchors_gradient_by_hand(short_sequences: dict[str, TaskSequence]) -> None:
    """Of a linear net, ∇ℓ = Wᵀ(p − 1[y]); the features are the inputs themselves."""
    sequence = short_sequences["domain"]
    net = net_of(sequence, hidden=())
    now, copy = (net.init(generator(seed, "init")) for seed in range(2))
    n_inputs = sequence.input_shape[-1] * sequence.input_shape[-2]
    e = torch.rand(3, *sequence.input_shape, generator=generator(0, "draw"))
    labels, mean = torch.tensor([0, 1, 1]), torch.linspace(0, 1, n_inputs)
    wanted = torch.zeros(3, n_inputs)
    for row in range(3):
        flat = e[row].flatten()
        for params, sign in ((copy, 1), (now, -1)):
            weight, bias = weight_and_bias(net, params, 1)
            p = (weight @ flat + bias).softmax(0)
            wanted[row] += sign * weight.T @ (p - F.one_hot(labels[row], len(p)))
        wanted[row] -= 0.3 * 2 * (flat - mean)
    found = ascent_gradient(net, (now, copy), e, labels, mean, 1, 0.3)
    torch.testing.assert_close(found.flatten(1), wanted)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_anchors_of_every_class_climb_from_where_they_start(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    """Against the module's equations with a copy that is moved by hand."""
    sequence = short_sequences[scenario]
    net = net_of(sequence)
    params = net.init(generator(0, "init"))
    rate = 0.2
    numbers = {"inner_lr": rate, "embedding_weight": 0.05, "copy_batch": 4}
    method = built(net, **numbers)
    memory = method.absorb(params, method.begin(params), {}, learnt(sequence, 0))
    stored, anchors = memory["slots"], memory["anchors"]
    data = sequence.tasks[0].train
    assert anchors.labels[: anchors.n_filled].tolist() == data.labels.unique().tolist()
    assert (anchors.tasks[: anchors.n_filled] == 0).all()
    assert (anchors.tasks[anchors.n_filled :] == -1).all()
    mean = net.features(params, sequence.scale(data.raw(torch.arange(len(data))))).mean(0)
    rng = generator(0, "absorb", 0)
    torch.randperm(len(data), generator=rng)  # which examples the memory took
    copy = params
    for index in torch.randperm(stored.n_filled, generator=rng).split(4):
        leaves = {n: v.detach().requires_grad_() for n, v in copy.items()}
        z = net.apply(leaves, sequence.scale(stored.raw[index]), 0)
        loss = F.cross_entropy(z, stored.labels[index])
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        copy = {
            n: v if g is None else v.detach() - rate * g
            for (n, v), g in zip(leaves.items(), found, strict=True)
        }
    copy = {n: v.detach() for n, v in copy.items()}
    e = torch.rand(anchors.n_filled, *sequence.input_shape, generator=rng)
    labels = anchors.labels[: anchors.n_filled]
    for _ in range(2):
        e = e.detach().requires_grad_()
        gain = F.cross_entropy(net.apply(copy, e, 0), labels, reduction="sum")
        gain = gain - F.cross_entropy(net.apply(params, e, 0), labels, reduction="sum")
        gain = gain - 0.05 * (net.features(params, e) - mean).square().sum()
        e = e + rate * torch.autograd.grad(gain, [e])[0]
    torch.testing.assert_close(anchors.raw[: anchors.n_filled], e.detach())


def test_anchors_of_later_tasks_stand_behind(short_sequences: dict[str, TaskSequence]) -> None:
    sequence = short_sequences["class"]
    net = net_of(sequence)
    params = net.init(generator(0, "init"))
    method = built(net)
    first = method.absorb(params, method.begin(params), {}, learnt(sequence, 0))
    second = method.absorb(params, first, {}, learnt(sequence, 1))["anchors"]
    n = first["anchors"].n_filled
    assert torch.equal(second.raw[:n], first["anchors"].raw[:n])
    assert second.labels[: second.n_filled].tolist() == [0, 1, 2, 3]
    assert second.tasks[: second.n_filled].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_mean_of_features_is_an_exponential_average(
    weight: float, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["domain"]
    net = net_of(sequence)
    full = {n: v.requires_grad_() for n, v in net.init(generator(0, "init")).items()}
    method = built(net, decay=0.7, weight=weight)
    (phase,) = method.phases
    memory: Memory = method.absorb(full, method.begin(full), {}, learnt(sequence, 0))
    assert not memory["mean"].any()  # every task begins at 0
    draws = phase.draw(generator(1, "draw"), memory, 3, 4)
    data = sequence.tasks[1].train
    batches = []
    for step in range(3):
        index = torch.arange(4 * step, 4 * step + 4)
        raw, y = data.raw(index), data.labels[index]
        draw = {name: rows[step] for name, rows in draws.items()}
        batch = Batch(sequence.scale(raw), y, raw, sequence.scale, draw)
        noted = {n: v.detach() for n, v in phase.loss(full, memory, batch, 1).noted.items()}
        memory = phase.track(memory, batch._replace(noted=noted), 1)
        batches.append(net.features(full, batch.x).mean(0))
    wanted = sum(0.3 * 0.7 ** (2 - k) * h for k, h in enumerate(batches))
    torch.testing.assert_close(memory["mean"], wanted.detach())


def seen_steps(method: Method, sequence: TaskSequence) -> list[tuple[Any, ...]]:
    """Of every step: parameters at its beginning, gradients asked for, and what is descended."""
    (phase,) = method.phases
    steps: list[tuple[Any, ...]] = []

    def project(
        grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        before = {n: v.detach().clone() for n, v in full.items()}
        found, after = phase.project(grads, full, memory, batch, task)
        assert all(torch.equal(before[n], v) for n, v in full.items())  # undone bit for bit
        steps.append((before, dict(grads), found, memory, task))
        return found, after

    watched = replace(method, phases=(replace(phase, project=project),))
    training = TrainingConfig(optimizer="sgd", lr=0.3, batch_size=8, steps=3)
    source = learn_source(method.net, sequence, training, 0)
    learn_sequence(watched, sequence, training, 0, source, {})
    return steps


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_temporary_step_is_undone_and_its_change_at_the_anchors_descended(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    net = net_of(sequence)
    steps = seen_steps(built(net, inner_lr=0.3), sequence)
    assert {task for *_, task in steps} == {1, 2}
    for before, grads, found, memory, task in steps:
        anchors = memory["anchors"]
        ahead = {n: v - 0.3 * grads[n] if n in grads else v for n, v in before.items()}
        leaves = {n: v.detach().requires_grad_() for n, v in before.items()}
        total = torch.zeros(())
        for place in range(anchors.n_filled):
            head = int(anchors.tasks[place]) if scenario == "task" else task
            e = anchors.raw[place : place + 1]
            moved = net.apply(leaves, e, head) - net.apply(ahead, e, head).detach()
            total = total + moved.square().mean() / anchors.n_filled
        wanted = torch.autograd.grad(3.0 * total, list(leaves.values()), allow_unused=True)
        for name, value in zip(leaves, wanted, strict=True):
            if value is not None:
                both = value + grads[name] if name in grads else value
                torch.testing.assert_close(found[name], both)


def test_without_anchors_it_is_replay_bit_for_bit(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence = short_sequences["class"]
    net = net_of(sequence)
    training = TrainingConfig(optimizer="sgd", lr=0.3, batch_size=8, steps=4)
    source = learn_source(net, sequence, training, 0)
    numbers = {"memory_size": 12, "fill": "ring", "average": True}
    replay = methods.build("replay", net, methods.METHODS["replay"].hyper(**numbers))
    found, wanted = (
        learn_sequence(method, sequence, training, 0, source, {}).params
        for method in (built(net, anchor_weight=0.0), replay)
    )
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_without_a_weight_a_memory_smaller_than_its_tasks_is_no_mistake() -> None:
    net = build_net(NetConfig(hidden=(5,)), (1, 2, 2), Heads("domain", (2,) * 5))
    methods.build("hal", net, HalHyper(weight=0, anchor_weight=0, memory_size=3))
    with pytest.raises(MethodError, match="rings of 5 tasks"):
        methods.build("hal", net, HalHyper(memory_size=3, fill="ring"))
