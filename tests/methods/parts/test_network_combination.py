"""Combining two networks: both branches by hand, the merge, and what cannot be combined."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.errors import MethodError
from clsweep.methods.parts.network_combination import Alphas, RenewedNorms, merged
from clsweep.methods.parts.network_units import Unit, units_of
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.norms import is_statistic, without_statistics
from clsweep.nets.parameter_trees import Params
from tests.methods.branches import TwoBranches

SHAPE = (1, 8, 8)
HEADS = Heads("domain", (3, 3))


class Mixed(nn.Module):
    """Norms of every kind, behind maps and on their own, a grouped convolution and a tied map."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4, eps=1e-3)
        self.depth = nn.Conv2d(4, 4, 3, groups=4, padding=1)
        self.group = nn.GroupNorm(2, 4)
        self.alone = nn.BatchNorm2d(4)
        self.dense = nn.Linear(4 * 64, 6)
        self.vector = nn.BatchNorm1d(6)
        self.tied = nn.Linear(6, 6)
        self.layer = nn.LayerNorm(6)
        self.out = nn.Linear(6, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.first(x)), inplace=True)
        h = h + self.group(self.depth(h))
        h = F.relu(self.alone(h))
        h = F.relu(self.vector(self.dense(h.flatten(1))))
        h = self.layer(h + self.tied(F.relu(self.tied(h))))
        return self.out(h)


def mixed(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Mixed(n_outputs)


CONFIGS = {
    "mlp": NetConfig(hidden=(9, 7)),
    "lenet": NetConfig(name="lenet"),
    "conv": NetConfig(name="conv", channels=(4, 5), width=6),
    "conv, batch": NetConfig(name="conv", channels=(4, 5), width=6, norm="batch"),
    "conv, group": NetConfig(name="conv", channels=(4, 8), width=6, norm="group"),
    "resnet32": NetConfig(name="resnet32", depth=14, base_maps=2),
    "resnet32, group": NetConfig(name="resnet32", depth=8, base_maps=4, norm="group"),
    "resnet32, none": NetConfig(name="resnet32", depth=8, base_maps=2, norm="none"),
    "resnet18": NetConfig(name="resnet18", base_maps=2),
    "custom": NetConfig(name="custom", factory=f"{__name__}:mixed"),
}
every_net = pytest.mark.parametrize("kind", CONFIGS)


def net_of(kind: str) -> Net:
    shape = (1, 16, 16) if kind in ("lenet", "resnet18") else SHAPE
    return build_net(CONFIGS[kind], shape, HEADS)


def random_params(net: Net, seed: int) -> Params:
    """Parameters far from where they start, and random statistics."""
    rng = torch.Generator().manual_seed(seed)
    params = net.init(rng)
    for name in sorted(net.statistics):
        like = params[name.rpartition(".")[0] + ".weight"]
        drawn = torch.rand(like.shape, generator=rng)
        params[name] = drawn * 2 + 0.1 if name.endswith("var") else drawn - 0.5
    return {
        name: value
        if name in net.statistics
        else value + 0.3 * torch.randn(value.shape, generator=rng)
        for name, value in params.items()
    }


def random_alphas(units: list[Unit], seed: int = 5) -> Alphas:
    rng = torch.Generator().manual_seed(seed)
    return {
        u.name: (torch.randn(u.shape, generator=rng), torch.randn(u.shape, generator=rng))
        for u in units
    }


def constant_alphas(units: list[Unit], source: float, target: float) -> Alphas:
    return {u.name: (torch.full(u.shape, source), torch.full(u.shape, target)) for u in units}


def combined(
    net: Net, units: list[Unit], alphas: Alphas, source: Params, target: Params, x: Tensor
) -> Tensor:
    with TwoBranches(units, alphas, source, target):
        return net.apply(source, x, 1)


def setting(kind: str) -> tuple[Net, list[Unit], Params, Params, Tensor]:
    net = net_of(kind)
    x = torch.rand(5, *net.input_shape, generator=torch.Generator().manual_seed(3))
    return net, units_of(net), random_params(net, 1), random_params(net, 2), x


@every_net
def test_merged_computes_what_the_combination_computes(kind: str) -> None:
    net, units, source, target, x = setting(kind)
    alphas = random_alphas(units)
    one = merged(units, alphas, source, target)
    expected = combined(net, units, alphas, source, target, x)
    assert one.keys() == source.keys()
    assert all(one[name].shape == source[name].shape for name in source)
    scale = float(expected.abs().max())
    torch.testing.assert_close(net.apply(one, x, 1), expected, atol=1e-5 * scale, rtol=0)
    for branch in (source, target):
        assert not torch.allclose(expected, net.apply(branch, x, 1), atol=0.01 * scale)


@every_net
def test_ends_are_the_two_networks(kind: str) -> None:
    net, units, source, target, x = setting(kind)
    at_source, at_target = constant_alphas(units, 0.0, 0.0), constant_alphas(units, -1.0, 1.0)
    one = merged(units, at_source, source, target)
    assert all(torch.equal(one[name], source[name]) for name in source)
    expected = net.apply(source, x, 1)
    assert torch.equal(combined(net, units, at_source, source, target, x), expected)
    expected = net.apply(target, x, 1)
    assert torch.equal(combined(net, units, at_target, source, target, x), expected)
    scale = float(expected.abs().max())
    found = net.apply(merged(units, at_target, source, target), x, 1)
    torch.testing.assert_close(found, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize("renewed", ["target", "both", "none"])
@pytest.mark.parametrize("kind", ["conv, batch", "resnet32", "resnet18", "custom"])
def test_coefficients_in_the_norms_change_nothing(kind: str, renewed: str) -> None:
    net, units, source, target, x = setting(kind)
    alphas = random_alphas(units)
    if renewed != "none":
        target = without_statistics(target)
    if renewed == "both":
        source = without_statistics(source)
    leaves = {u: tuple(a.clone().requires_grad_() for a in pair) for u, pair in alphas.items()}
    theta = {n: v.clone().requires_grad_(not is_statistic(n)) for n, v in target.items()}
    given = [a for pair in leaves.values() for a in pair]
    given += [value for value in theta.values() if value.requires_grad]
    expected = combined(net, units, leaves, source, theta, x)
    with RenewedNorms(units, leaves, source, theta) as both:
        found = net.apply(both.params, x, 1)
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, atol=1e-5 * scale, rtol=0)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    pairs = zip(
        *(
            torch.autograd.grad((out * weights).sum(), given, allow_unused=True)
            for out in (found, expected)
        ),
        strict=True,
    )
    for g, h in pairs:
        assert (g is None) == (h is None)
        if g is not None and h is not None:
            torch.testing.assert_close(g, h, atol=1e-4 * max(1.0, float(h.abs().max())), rtol=0)


@pytest.mark.parametrize("kind", ["conv, batch", "resnet32"])
def test_a_norm_without_slope_divides_nothing(kind: str) -> None:
    net, units, source, target, x = setting(kind)
    alphas = random_alphas(units)
    for unit in units:
        if unit.norm:
            source[f"{unit.norm}.weight"][:2] = torch.tensor([0.0, 1e-12])
            target[f"{unit.norm}.weight"][0] = 0
    one = merged(units, alphas, source, target)
    expected = combined(net, units, alphas, source, target, x)
    torch.testing.assert_close(net.apply(one, x, 1), expected, atol=1e-5, rtol=1e-5)


def test_where_combinations_sit() -> None:
    kinds = {unit.name: (unit.kind, unit.norm) for unit in units_of(net_of("resnet32"))}
    block = "stages.1.0"
    assert kinds["conv.weight"] == ("map", "")  # read by the norm and by the shortcut
    assert kinds[f"{block}.norm1.weight"] == ("norm", f"{block}.norm1")
    assert kinds[f"{block}.conv1.weight"] == ("map", f"{block}.norm2")
    assert kinds[f"{block}.conv2.weight"] == ("map", "")
    assert kinds["norm.weight"] == ("norm", "norm")
    assert kinds["head.weight"] == ("map", "")
    assert f"{block}.norm2.weight" not in kinds
    kinds = {unit.name: (unit.kind, unit.norm) for unit in units_of(net_of("custom"))}
    assert kinds == {
        "first.weight": ("map", "norm"),
        "depth.weight": ("map", ""),
        "group.weight": ("scale", ""),
        "alone.weight": ("norm", "alone"),
        "dense.weight": ("map", "vector"),
        "tied.weight": ("map", ""),
        "layer.weight": ("scale", ""),
        "out.weight": ("map", ""),
    }


def test_a_preactivation_unit_by_hand() -> None:
    """The paper's figure: both branches see the combined input and keep their own norms."""
    net, units, source, target, x = setting("resnet32")
    alphas = random_alphas(units)

    def mix(name: str, fn) -> Tensor:
        keep, add = alphas[f"{name}.weight"]
        s, t = fn(source), fn(target)
        shape = (-1, *(1 for _ in s.shape[2:]))
        return (1 + keep).view(shape) * s + add.view(shape) * t

    def norm(p: Params, name: str, h: Tensor) -> Tensor:
        stats = (p[f"{name}.running_mean"], p[f"{name}.running_var"])
        mean, var, gain, bias = (
            v.view(-1, 1, 1) for v in (*stats, p[f"{name}.weight"], p[f"{name}.bias"])
        )
        return gain * (h - mean) / (var + 1e-5).sqrt() + bias

    h = mix("conv", lambda p: F.conv2d(x, p["conv.weight"], padding=1))
    for stage in range(3):
        for block in range(2):
            name = f"stages.{stage}.{block}"
            stride = 2 if stage and not block else 1
            a = F.relu(mix(f"{name}.norm1", lambda p, n=name, h=h: norm(p, f"{n}.norm1", h)))
            b = F.relu(
                mix(
                    f"{name}.conv1",
                    lambda p, n=name, a=a, s=stride: norm(
                        p, f"{n}.norm2", F.conv2d(a, p[f"{n}.conv1.weight"], None, s, 1)
                    ),
                )
            )
            c = mix(
                f"{name}.conv2",
                lambda p, n=name, b=b: F.conv2d(b, p[f"{n}.conv2.weight"], padding=1),
            )
            if stride == 2:
                h = torch.cat([h[:, :, ::2, ::2], torch.zeros_like(h[:, :, ::2, ::2])], 1)
            h = h + c
    h = F.relu(mix("norm", lambda p: norm(p, "norm", h))).mean((2, 3))
    expected = mix("head", lambda p: F.linear(h, p["head.weight"], p["head.bias"]))
    found = combined(net, units, alphas, source, target, x)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


class Gained(nn.Module):
    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(64))
        self.out = nn.Linear(64, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.gain * x.flatten(1))


class Bare(nn.Module):
    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(64, 6)
        self.norm = nn.BatchNorm1d(6, affine=False)
        self.out = nn.Linear(6, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.dense(x.flatten(1))))


class Attentive(nn.Module):
    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(64, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, 0]
        return self.out(self.attention(rows, rows, rows)[0].flatten(1))


class TwoWays(nn.Module):
    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.out = nn.Linear(64, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x.flatten(1)) + self.out.weight.sum()


def gained(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Gained(n_outputs)


def bare(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Bare(n_outputs)


def attentive(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Attentive(n_outputs)


def two_ways(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return TwoWays(n_outputs)


@pytest.mark.parametrize(
    ("factory", "layer"),
    [
        ("gained", "gain"),
        ("bare", "norm.weight"),
        ("attentive", "attention"),
        ("two_ways", "out.weight"),
    ],
)
def test_what_cannot_be_combined_is_named(factory: str, layer: str) -> None:
    config = NetConfig(name="custom", factory=f"{__name__}:{factory}")
    net = build_net(config, SHAPE, HEADS)
    with pytest.raises(MethodError, match=rf"cannot combine the layer of parameter '{layer}"):
        units_of(net)
