"""The plain anchor against ridge regression towards θ*, and against EWC with a Fisher of ones."""

from __future__ import annotations

import pytest
import torch

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import LearntTask, Memory
from clsweep.methods.parts.penalty import Anchor
from clsweep.methods.parts.penalty_gradient import with_penalty_gradient
from clsweep.methods.regulariser_hypers import EwcHyper, L2Hyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params, tree_map


def net_of(sequence: TaskSequence) -> Net:
    return build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)


def absorbed(sequence: TaskSequence, *visited: Params) -> Memory:
    """The memory after tasks that ended at these parameters."""
    method = methods.build("l2", net_of(sequence), L2Hyper())
    memory = method.begin(visited[0])
    for index, params in enumerate(visited):
        data = LearntTask(sequence.tasks[index], sequence.scale, None, 0, generator(0, "absorb"))
        memory = method.absorb(params, memory, {}, data)
    return memory


@pytest.mark.parametrize("form", ["gradient", "proximal"])
def test_the_optimum_is_the_ridge_solution(form: str, sequences: dict[str, TaskSequence]) -> None:
    """With the loss ½ Σ a (θ − b)² the optimum is (a b + λ θ*) / (a + λ)."""
    sequence = sequences["domain"]
    net = net_of(sequence)
    star = net.init(generator(0, "init"))
    memory = absorbed(sequence, star)
    phase = methods.build("l2", net, L2Hyper(lam=2.0, form=form)).phases[0]
    pull = phase.pull(memory) if phase.pull else None
    assert (pull is None) is (form == "proximal") is (phase.settle is not None)
    a, rate = 3.0, 0.01
    best = {name: value + 1 for name, value in star.items()}
    theta = star
    for _ in range(1500):
        grads = {name: a * (value - best[name]) for name, value in theta.items()}
        if pull:
            grads = with_penalty_gradient(grads, theta, pull)
        theta = {name: value - rate * grads[name] for name, value in theta.items()}
        theta = phase.settle(theta, memory, rate, 1) if phase.settle else theta
    for name, value in theta.items():
        # The proximal step solves for the penalty where the gradient step has led, so that its
        # fixed point is off by a factor 1 + rate λ.
        wanted = (a * best[name] + 2 * star[name]) / (a + 2)
        torch.testing.assert_close(
            value, wanted, atol=3e-2 if form == "proximal" else 1e-5, rtol=0
        )


def test_it_is_ewc_with_a_fisher_of_ones(sequences: dict[str, TaskSequence]) -> None:
    sequence = sequences["task"]
    net = net_of(sequence)
    star, params = (net.init(generator(k, "init")) for k in (0, 1))
    grads = tree_map(torch.zeros_like, params)
    ones = {"anchor": Anchor(tree_map(torch.ones_like, shared(star)), shared(star))}
    pulls = [
        methods.build(name, net, hyper).phases[0].pull(memory)
        for name, memory, hyper in (
            ("l2", absorbed(sequence, star), L2Hyper(lam=0.7)),
            ("ewc", ones, EwcHyper(lam=0.7)),
        )
    ]
    steered = [with_penalty_gradient(grads, params, pull) for pull in pulls if pull]
    assert len(steered) == 2
    for name in params:
        # One importance for all of a tensor there, one each here: other kernels, other rounding.
        torch.testing.assert_close(steered[0][name], steered[1][name], atol=1e-7, rtol=1e-6)
    assert not steered[0]["heads.0.weight"].any()


def test_the_anchor_is_the_latest_optimum_alone(sequences: dict[str, TaskSequence]) -> None:
    sequence = sequences["domain"]
    first, second = (net_of(sequence).init(generator(k, "init")) for k in (0, 1))
    anchor = absorbed(sequence, first, second)["anchor"]
    for name, value in second.items():
        assert torch.equal(anchor.star[name], value)
        assert float(anchor.omega[name]) == 1.0
