"""VCL: divergences against torch's, moments of drawn outputs, and priors over tasks."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.errors import MethodError
from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.parts.random_weights import SampledOutputs, divergence, sampled_networks
from clsweep.methods.regulariser_hypers import VclHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net


def net_of(sequence: TaskSequence, *hidden: int) -> Net:
    return build_net(NetConfig(hidden=hidden), sequence.input_shape, sequence.heads)


def test_the_divergence_is_that_of_gaussians() -> None:
    rng = generator(0, "x")
    mean, prior_mean = (torch.randn(7, 3, generator=rng) for _ in range(2))
    variance, prior = (torch.rand(7, 3, generator=rng) + 0.1 for _ in range(2))
    expected = kl_divergence(Normal(mean, variance.sqrt()), Normal(prior_mean, prior.sqrt())).sum()
    torch.testing.assert_close(divergence(mean, variance, prior_mean, prior), expected)
    assert float(divergence(mean, variance, mean, variance)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_outputs_have_the_moments_of_drawn_weights(kind: str) -> None:
    """One layer, whose outputs are Gaussian: 4,000 draws of outputs against the closed form."""
    heads, n = Heads("domain", (3, 3)), 4000
    if kind == "mlp":
        net = build_net(NetConfig(hidden=()), (1, 2, 2), heads)
        means = net.init(generator(0, "init"))
        x = torch.rand(1, 1, 2, 2, generator=generator(1, "x"))

        def applied() -> torch.Tensor:
            return net.apply(means, x.expand(n, -1, -1, -1), 0)

        flat = x.flatten(1)
        weight, bias = "head.weight", "head.bias"
    else:
        means = {
            "w": torch.randn(3, 1, 2, 2, generator=generator(0, "w")),
            "b": torch.randn(3, generator=generator(0, "b")),
        }
        x = torch.rand(1, 1, 2, 2, generator=generator(1, "x"))

        def applied() -> torch.Tensor:
            wide = x.expand(n, -1, -1, -1)
            return torch.nn.functional.conv2d(wide, means["w"], means["b"]).flatten(1)

        flat, weight, bias = x.flatten(1), "w", "b"
    rng = generator(2, "v")
    variances = {k: torch.rand(v.shape, generator=rng) for k, v in means.items()}
    noise = torch.randn(n, 3, generator=generator(3, "e"))
    with SampledOutputs(means, variances, noise):
        found = applied()
    mean = (flat @ means[weight].flatten(1).T + means[bias])[0]
    variance = (flat.square() @ variances[weight].flatten(1).T + variances[bias])[0]
    torch.testing.assert_close(found, mean + variance.sqrt() * noise, rtol=1e-5, atol=1e-5)
    drawn = sampled_networks(means, variances, n, generator(4, "n"))
    outputs = torch.stack([flat[0] @ d[weight].flatten(1).T + d[bias] for d in drawn])
    error = 5 * (variance / n).sqrt()
    assert ((outputs.mean(0) - mean).abs() < error).all()
    assert ((outputs.var(0) / variance - 1).abs() < 5 * (2 / n) ** 0.5).all()


def test_the_loss_is_the_expected_loss_and_the_divergence_per_example(
    sequences: dict[str, TaskSequence],
) -> None:
    """At next to no variance the drawn network is the mean network."""
    sequence = sequences["task"]
    net = net_of(sequence, 5)
    hyper = VclHyper(beta=3.0, initial_variance=1e-12, prior_variance=0.5)
    method = methods.build("vcl", net, hyper)
    params = method.net.init(generator(0, "init"))
    raw = sequence.tasks[1].train.raw(torch.arange(6))
    x, y = sequence.scale(raw), sequence.tasks[1].train.labels[:6]
    phase, memory = method.phases[0], method.begin(params)
    noise = phase.draw(generator(0, "d"), memory, 2, 8)["noise"]
    assert noise.shape == (2, 8, 5 + 2)
    batch = Batch(x, y, raw, sequence.scale, {"noise": noise[0]}, n_examples=60)
    found = phase.loss(params, memory, batch, 1)
    means = net.init(generator(0, "init"))
    kl = torch.zeros(())
    for name, mean in means.items():
        if name.startswith("heads.") and not name.startswith("heads.1."):
            continue
        q = Normal(mean, torch.full_like(mean, 1e-6))
        prior = Normal(torch.zeros_like(mean), torch.full_like(mean, 0.5**0.5))
        kl = kl + kl_divergence(q, prior).sum()
    own = torch.nn.functional.cross_entropy(net.apply(means, x, 1), y)
    torch.testing.assert_close(found, own + 3.0 / 60 * kl, rtol=1e-4, atol=1e-4)


def test_the_posterior_is_the_next_prior_and_a_new_head_has_the_first(
    sequences: dict[str, TaskSequence],
) -> None:
    sequence = sequences["task"]
    method = methods.build("vcl", net_of(sequence, 5), VclHyper(prior_variance=0.3))
    params = method.net.init(generator(0, "init"))
    memory = method.begin(params)
    data = LearntTask(sequence.tasks[0], sequence.scale, None, 0, generator(0, ""))
    prior = method.absorb(params, memory, {}, data)["prior"]
    for name in ("layers.0.weight", "heads.0.bias"):
        assert torch.equal(prior.mean[name], params[name])
        torch.testing.assert_close(prior.variance[name], torch.full_like(params[name], 0.0025))
    assert not prior.mean["heads.1.weight"].any()
    assert (prior.variance["heads.1.weight"] == 0.3).all()


def test_predictions_average_probabilities_of_networks_that_do_not_depend_on_the_batch(
    sequences: dict[str, TaskSequence],
) -> None:
    sequence = sequences["domain"]
    net = net_of(sequence, 5)
    method = methods.build("vcl", net, VclHyper(n_networks=4, initial_variance=0.3))
    params = method.net.init(generator(0, "init"))
    x = sequence.scale(sequence.tasks[0].test.raw(torch.arange(9)))
    found = method.predict(params, x, 0)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(9))
    alone = torch.cat([method.predict(params, one[None], 0) for one in x])
    torch.testing.assert_close(found, alone)
    mean = methods.build("vcl", net, VclHyper(n_networks=0)).predict(params, x, 0)
    assert not torch.allclose(found, mean.log_softmax(1), atol=1e-2)


def test_what_does_not_fit_is_refused() -> None:
    heads = Heads("domain", (2, 2))
    normed = build_net(NetConfig(name="conv", norm="group"), (1, 8, 8), heads)
    with pytest.raises(MethodError, match=r"cannot draw the parameter 'norms\.0\.bias'"):
        methods.build("vcl", normed, VclHyper())
    method = methods.build("vcl", build_net(NetConfig(hidden=(9,)), (1, 2, 2), heads), VclHyper())
    with pytest.raises(MethodError, match="random numbers, 11 per example"):
        method.phases[0].draw(generator(0, "d"), {}, 10**6, 128)
