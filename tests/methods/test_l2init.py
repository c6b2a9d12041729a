"""L2 Init: the gradient of its penalty, and the point that it pulls towards."""

from __future__ import annotations

import torch

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Pull
from clsweep.methods.parts.penalty_gradient import with_penalty_gradient
from clsweep.methods.regulariser_hypers import L2initHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import shared
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import learn_sequence, learn_source


def test_the_gradient_is_that_of_the_squared_distance_to_the_start(
    sequences: dict[str, TaskSequence],
) -> None:
    sequence = sequences["task"]
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    start, theta = (net.init(generator(k, "init")) for k in (0, 1))
    method = methods.build("l2init", net, L2initHyper(lam=0.3))
    assert method.absorb is None  # the start stays the start
    pull = method.phases[0].pull(method.begin(start))
    assert isinstance(pull, Pull)
    leaves = {name: value.clone().requires_grad_() for name, value in shared(theta).items()}
    penalty = 0.3 * sum((leaves[n] - start[n]).square().sum() for n in leaves)
    expected = dict(zip(leaves, torch.autograd.grad(penalty, list(leaves.values())), strict=True))
    zero = {name: torch.zeros_like(value) for name, value in theta.items()}
    found = with_penalty_gradient(zero, theta, pull)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert not found["heads.0.weight"].any()


def test_a_large_weight_brings_the_trunk_back_to_its_initial_weights(
    sequences: dict[str, TaskSequence],
) -> None:
    sequence = sequences["domain"]
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    training = TrainingConfig(lr=0.1, batch_size=16, steps=20)
    source = learn_source(net, sequence, training, 0)
    method = methods.build("l2init", net, L2initHyper(lam=1e6, form="proximal"))
    run = learn_sequence(method, sequence, training, 0, source, {})
    for name, value in source.trace.start.items():
        assert not torch.equal(source.params[name], value)
        torch.testing.assert_close(run.params[name], value, rtol=0, atol=1e-4)
