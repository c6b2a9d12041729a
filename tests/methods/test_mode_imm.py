"""Mode-IMM against the product of Gaussians, and its place in a sequence."""

from __future__ import annotations

from dataclasses import replace

import torch

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import LearntTask
from clsweep.methods.hypers import ModeImmHyper
from clsweep.methods.mode_imm import Posterior, merged
from clsweep.methods.parts.importance import fisher_diag
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import (
    finetune_source,
    learn_sequence,
    learn_source,
    measure_source,
)


def test_the_mode_is_that_of_the_product_of_diagonal_gaussians() -> None:
    rng = generator(0, "x")
    old, new = (
        Posterior({"w": torch.randn(20, generator=rng)}, {"w": torch.rand(20, generator=rng)})
        for _ in range(2)
    )
    beta = 0.3
    found = merged(old, new, beta)
    # Up to a constant, the logarithm of p_old^(1−β) p_new^β; its gradient at the mode is zero.
    theta = found.star["w"].clone().requires_grad_()
    log_p = sum(
        -0.5 * share * (one.omega["w"] * (theta - one.star["w"]).square()).sum()
        for share, one in ((1 - beta, old), (beta, new))
    )
    (slope,) = torch.autograd.grad(log_p, theta)
    torch.testing.assert_close(slope, torch.zeros(20), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.omega["w"], 0.7 * old.omega["w"] + 0.3 * new.omega["w"])


def test_equal_or_absent_fishers_give_the_mean() -> None:
    for omega in (2.0, 0.0):
        old, new = (
            Posterior({"w": torch.tensor([value])}, {"w": torch.tensor([omega])})
            for value in (1.0, 5.0)
        )
        assert float(merged(old, new, 0.25).star["w"]) == 2.0


def test_fishers_are_taken_at_the_fine_tuned_networks(
    sequences: dict[str, TaskSequence],
) -> None:
    """Two tasks by hand; the network of a third starts from the mode of the first two."""
    training = TrainingConfig(lr=0.1, batch_size=16, steps=8)
    sequence = replace(sequences["domain"], tasks=sequences["domain"].tasks[:2])
    net = build_net(NetConfig(hidden=(12,)), sequence.input_shape, sequence.heads)
    source = learn_source(net, sequence, training, 0)
    tuned = finetune_source(net, sequence, training, 0, source)
    method = methods.build("mode_imm", net, ModeImmHyper(beta=0.4))
    statistics = measure_source(method, sequence, source, 0)
    run = learn_sequence(method, sequence, training, 0, source, statistics, tuned)
    assert run.n_steps == 0
    fishers = [
        fisher_diag(net, params, LearntTask(task, sequence.scale, None, 0, generator(0, "")))
        for params, task in zip((source.params, tuned.params), sequence.tasks, strict=True)
    ]
    for name, value in run.params.items():
        a, b = 0.6 * fishers[0][name], 0.4 * fishers[1][name]
        mean = 0.6 * source.params[name] + 0.4 * tuned.params[name]
        weighted = (a * source.params[name] + b * tuned.params[name]) / (a + b)
        expected = torch.where(a + b > 0, weighted, mean)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_per_task_heads_stay_those_that_their_task_trained(
    sequences: dict[str, TaskSequence],
) -> None:
    training = TrainingConfig(lr=0.1, batch_size=16, steps=8)
    sequence = replace(sequences["task"], tasks=sequences["task"].tasks[:2])
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    source = learn_source(net, sequence, training, 0)
    tuned = finetune_source(net, sequence, training, 0, source)
    method = methods.build("mode_imm", net, ModeImmHyper(beta=0.0))
    statistics = measure_source(method, sequence, source, 0)
    run = learn_sequence(method, sequence, training, 0, source, statistics, tuned)
    assert torch.equal(run.params["heads.0.weight"], source.params["heads.0.weight"])
    assert torch.equal(run.params["heads.1.weight"], tuned.params["heads.1.weight"])
    assert torch.equal(run.params["layers.0.weight"], source.params["layers.0.weight"])
