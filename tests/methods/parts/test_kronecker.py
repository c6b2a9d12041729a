"""Kronecker factors against the full Fisher where they are exact; gradient of the penalty."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Scale, Task
from clsweep.errors import MethodError
from clsweep.methods.base import LearntTask
from clsweep.methods.parts import kronecker
from clsweep.methods.parts.importance import fisher_diag
from clsweep.methods.regulariser_hypers import EwcHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

SHAPE, HEADS = (1, 3, 3), Heads("domain", (3, 3, 3))
ONE = Scale(torch.full((1, 1, 1), 1 / 255), torch.zeros(1, 1, 1))


def net_of(*hidden: int) -> Net:
    return build_net(NetConfig(hidden=hidden), SHAPE, HEADS)


def learnt_of(n: int, task: int = 0) -> LearntTask:
    rng = generator(5 + task, "images")
    images = torch.randint(0, 256, (n, *SHAPE), generator=rng, dtype=torch.uint8)
    data = Examples(images, torch.arange(n), torch.randint(0, 3, (n,), generator=rng))
    return LearntTask(Task(task, data, data, data, 3), ONE, None, 0, generator(0, "m"))


def full_fisher(net: Net, params: Params, learnt: LearntTask, moved: Params) -> float:
    """vec(Δ)ᵀ F vec(Δ), F the whole Fisher: the mean over x and y ~ p of (∂ log p · Δ)²."""
    total, data = 0.0, learnt.task.train
    for i in range(len(data)):
        x = learnt.scale(data.raw(torch.tensor([i])))
        p = net.apply(params, x, 0)[0].softmax(0)
        for c in range(3):
            leaves = {n: v.clone().requires_grad_() for n, v in params.items()}
            log_p = net.apply(leaves, x, 0)[0].log_softmax(0)[c]
            grads = torch.autograd.grad(log_p, list(leaves.values()))
            slope = sum((g * moved[n]).sum() for n, g in zip(leaves, grads, strict=True))
            total += float(p[c] * slope**2) / len(data)
    return total


def form(curvature: kronecker.Curvature, net: Net, params: Params) -> float:
    """Σ_k ⟨ΔW̃, G ΔW̃ A⟩ over the layers, by its definition."""
    total = 0.0
    for weight, bias in kronecker.layers_of(net).items():
        a, g = (curvature.omega[f"{kind}.{weight}"] for kind in ("inputs", "outputs"))
        for k in range(len(a)):
            star = curvature.star[weight][min(k, len(curvature.star[weight]) - 1)]
            moved = kronecker.with_bias(params, weight, bias) - star
            total += float((moved * (g[k] @ moved @ a[k])).sum())
    return total


def after_one(net: Net, params: Params, learnt: LearntTask) -> kronecker.Curvature:
    layers = kronecker.layers_of(net)
    empty = kronecker.no_curvature(layers, params, 1, 1)
    found = kronecker.factors(net, params, learnt)
    return kronecker.extended(empty, found, layers, params, 0, 1.0)


@pytest.mark.parametrize("case", ["even", "one example"])
def test_one_layer_is_exact_where_its_outputs_curve_alike_for_all_inputs(case: str) -> None:
    """As with a Gaussian likelihood: at W = 0, where p is even, and for a single example."""
    net = net_of()
    params = {n: v * (case != "even") for n, v in net.init(generator(0, "init")).items()}
    learnt = learnt_of(7 if case == "even" else 1)
    curvature = after_one(net, params, learnt)
    moved = {n: torch.randn(v.shape, generator=generator(1, n)) for n, v in params.items()}
    found = form(curvature, net, {n: params[n] + moved[n] for n in params})
    assert found == pytest.approx(full_fisher(net, params, learnt, moved), rel=1e-4)


def test_the_diagonal_for_one_example_is_that_of_the_exact_fisher() -> None:
    net = net_of(5, 4)
    params, learnt = net.init(generator(0, "init")), learnt_of(1)
    found, exact = kronecker.factors(net, params, learnt), fisher_diag(net, params, learnt)
    for weight, bias in kronecker.layers_of(net).items():
        a, g = (found[f"{kind}.{weight}"].diagonal() for kind in ("inputs", "outputs"))
        torch.testing.assert_close(g[:, None] * a[None, :-1], exact[weight], rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(g * a[-1], exact[bias], rtol=1e-4, atol=1e-9)


def test_factors_of_a_convolution_sum_inputs_and_average_outputs_over_positions() -> None:
    config = NetConfig(name="conv", channels=(2,), width=3, norm="none")
    net = build_net(config, (1, 2, 2), HEADS)
    learnt = learnt_of(4)
    images = learnt.task.train.images[:, :, :2, :2]
    small = Examples(images, torch.arange(4), learnt.task.train.labels)
    learnt = learnt._replace(task=Task(0, small, small, small, 3))
    params = net.init(generator(0, "init"))
    found = kronecker.factors(net, params, learnt)
    x = learnt.scale(small.raw(torch.arange(4)))
    patches = F.unfold(x, 3, padding=1).transpose(1, 2).reshape(-1, 9)
    wide = torch.cat([patches, torch.ones(16, 1)], 1)
    torch.testing.assert_close(found["inputs.convs.0.weight"], wide.T @ wide / 4)
    z = F.conv2d(x, params["convs.0.weight"], params["convs.0.bias"], padding=1).requires_grad_()
    h = F.max_pool2d(z.relu(), 2).flatten(1)
    h = F.linear(h, params["dense.weight"], params["dense.bias"]).relu()
    log_p = F.linear(h, params["head.weight"], params["head.bias"]).log_softmax(1)
    expected = torch.zeros(2, 2)
    for c in range(3):
        (delta,) = torch.autograd.grad(log_p[:, c].sum(), z, retain_graph=True)
        for n in range(4):
            rows = delta[n].flatten(1)  # [channels, positions]
            expected += log_p[n, c].exp().detach() * rows @ rows.T / 4 / 4
    torch.testing.assert_close(found["outputs.convs.0.weight"], expected)


@pytest.mark.parametrize("anchor", ["separate", "online"])
def test_the_gradient_is_that_of_the_penalty_of_all_tasks(anchor: str) -> None:
    net, gamma = net_of(4), 0.6
    hyper = EwcHyper(lam=2.5, fisher="kfac", anchor=anchor, gamma=gamma)
    method = methods.build("ewc", net, hyper)
    stars = [net.init(generator(k, "star")) for k in range(2)]
    memory = method.begin(stars[0])
    parts = []
    for k, star in enumerate(stars):
        learnt = learnt_of(6, k)
        statistics = method.measure(star, learnt)
        parts.append(statistics)
        memory = method.absorb(star, memory, statistics, learnt)
    theta = {n: v.requires_grad_() for n, v in net.init(generator(9, "theta")).items()}
    penalty = torch.zeros(())
    for k, star in enumerate(stars):
        share = 1.0 if anchor == "separate" else gamma ** (2 - k)
        pulled_to = star if anchor == "separate" else stars[-1]
        for w, b in kronecker.layers_of(net).items():
            moved = torch.cat([theta[w] - pulled_to[w], (theta[b] - pulled_to[b])[:, None]], 1)
            a, g = (parts[k][f"{kind}.{w}"] for kind in ("inputs", "outputs"))
            penalty = penalty + 0.5 * 2.5 * share * (moved * (g @ moved @ a)).sum()
    expected = torch.autograd.grad(penalty, list(theta.values()))
    zero = {n: torch.zeros_like(v) for n, v in theta.items()}
    found = method.phases[0].steer(zero, theta, memory, None, 2)
    for name, value in zip(theta, expected, strict=True):
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_a_network_with_gains_is_refused_with_what_to_do() -> None:
    config = NetConfig(name="conv", channels=(2,), width=3, norm="group")
    net = build_net(config, (1, 4, 4), HEADS)
    with pytest.raises(MethodError, match=r"norms\.0\.bias"):
        methods.build("ewc", net, EwcHyper(fisher="kfac"))
