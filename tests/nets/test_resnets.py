"""Residual nets and LeNet: the same in torch's own modules is the oracle, and known sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Scale
from clsweep.errors import StudyError
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, n_elements
from clsweep.study.study import parse_study
from clsweep.training.batch_norm_statistics import with_population

SCALE = Scale(torch.full((1, 1, 1), 1 / 255), torch.full((1, 1, 1), -0.5))


def norm_of(kind: str, maps: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    return nn.BatchNorm2d(maps) if kind == "batch" else nn.GroupNorm(4, maps)


class Preactivation(nn.Module):
    def __init__(self, n_in: int, n_out: int, kind: str) -> None:
        super().__init__()
        stride, bias = (1 if n_in == n_out else 2), kind == "none"
        self.norm1, self.norm2 = norm_of(kind, n_in), norm_of(kind, n_out)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=bias)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        kept = torch.zeros_like(h)
        stride = x.shape[2] // h.shape[2] if x.shape[1] == h.shape[1] else 2
        kept[:, : x.shape[1]] = x[:, :, ::stride, ::stride]
        return kept + h


class ResNet32(nn.Module):
    def __init__(self, n_in: int, maps: int, n: int, kind: str, n_outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, maps, 3, 1, 1, bias=kind == "none")
        widths = [maps, maps, 2 * maps, 4 * maps]
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(Preactivation(widths[s + (i > 0)], widths[s + 1], kind) for i in range(n))
            )
            for s in range(3)
        )
        self.norm = norm_of(kind, 4 * maps)
        self.head = nn.Linear(4 * maps, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(F.adaptive_avg_pool2d(F.relu(self.norm(x)), 1).flatten(1))


class Basic(nn.Module):
    def __init__(self, n_in: int, n_out: int, kind: str) -> None:
        super().__init__()
        stride, bias = (1 if n_in == n_out else 2), kind == "none"
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=bias)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=bias)
        self.norm1, self.norm2 = norm_of(kind, n_out), norm_of(kind, n_out)
        self.shortcut: nn.Module = nn.Identity()
        self.norm3: nn.Module = nn.Identity()
        if n_in != n_out:
            self.shortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=bias)
            self.norm3 = norm_of(kind, n_out)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.norm3(self.shortcut(x)) + h)


class ResNet18(nn.Module):
    def __init__(self, n_in: int, maps: int, kind: str, n_outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, maps, 3, 1, 1, bias=kind == "none")
        self.norm = norm_of(kind, maps)
        widths = [maps, maps, 2 * maps, 4 * maps, 8 * maps]
        self.stages = nn.ModuleList(
            nn.Sequential(
                Basic(widths[s], widths[s + 1], kind), Basic(widths[s + 1], widths[s + 1], kind)
            )
            for s in range(4)
        )
        self.head = nn.Linear(8 * maps, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        for stage in self.stages:
            x = stage(x)
        return self.head(F.avg_pool2d(x, x.shape[2]).flatten(1))


def lenet(n_in: int, dense: int, n_outputs: int) -> dict[str, nn.Module]:
    return {
        "convs.0": nn.Conv2d(n_in, 6, 5, padding=2),
        "convs.1": nn.Conv2d(6, 16, 5),
        "dense.0": nn.Linear(dense, 120),
        "dense.1": nn.Linear(120, 84),
        "head": nn.Linear(84, n_outputs),
    }


def data(shape: tuple[int, int, int], n: int = 9) -> Examples:
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator(0, "x"))
    return Examples(images, torch.arange(n), torch.zeros(n, dtype=torch.int64))


def made(config: NetConfig, shape: tuple[int, int, int], n: int = 3) -> tuple[Net, Params]:
    net = build_net(config, shape, Heads("domain", (n,)))
    rng = generator(0, "init")
    params = net.init(rng)
    return net, {k: v + 0.1 * torch.rand(v.shape, generator=rng) for k, v in params.items()}


def check(net: Net, params: Params, module: nn.Module, shape: tuple[int, int, int]) -> None:
    """Outputs, gradients and, with batch norm, evaluation mode are the module's."""
    missing, unexpected = module.load_state_dict(params, strict=False)
    assert not unexpected
    assert {name.rpartition(".")[2] for name in missing} <= {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    x, y = SCALE(data(shape).images), torch.arange(9) % 3
    F.cross_entropy(module.train()(x), y).backward()
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    F.cross_entropy(net.apply(leaves, x, 0), y).backward()
    for name, value in module.named_parameters():
        torch.testing.assert_close(leaves[name].grad, value.grad, atol=1e-5, rtol=1e-3)
    full = with_population(net, params, data(shape), SCALE)
    module.load_state_dict(full, strict=False)
    with torch.no_grad():
        torch.testing.assert_close(net.apply(full, x, 0), module.eval()(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 9, 13)])
@pytest.mark.parametrize("kind", ["standard", "group", "none"])
def test_resnet32_is_the_module(kind: str, shape: tuple[int, int, int]) -> None:
    config = NetConfig(name="resnet32", depth=14, base_maps=4, norm=kind)
    net, params = made(config, shape)
    module = ResNet32(shape[0], 4, 2, "batch" if kind == "standard" else kind, 3)
    check(net, params, module, shape)
    assert bool(net.statistics) == (kind == "standard")


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 32, 32)])
@pytest.mark.parametrize("kind", ["batch", "group", "none"])
def test_resnet18_is_the_module(kind: str, shape: tuple[int, int, int]) -> None:
    net, params = made(NetConfig(name="resnet18", base_maps=4, norm=kind), shape)
    check(net, params, ResNet18(shape[0], 4, kind, 3), shape)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 12, 14)])
def test_lenet_is_the_module(shape: tuple[int, int, int]) -> None:
    net, params = made(NetConfig(name="lenet", activation="tanh"), shape)
    layers = lenet(shape[0], params["dense.0.weight"].shape[1], 3)
    for name, layer in layers.items():
        layer.load_state_dict({key: params[f"{name}.{key}"] for key in ("weight", "bias")})
    h = SCALE(data(shape).images)
    for name in ("convs.0", "convs.1"):
        h = F.max_pool2d(torch.tanh(layers[name](h)), 2)
    h = h.flatten(1)
    for name in ("dense.0", "dense.1"):
        h = torch.tanh(layers[name](h))
    x = SCALE(data(shape).images)
    torch.testing.assert_close(net.apply(params, x, 0), layers["head"](h))


@pytest.mark.parametrize(
    ("config", "shape", "n_classes", "n_params"),
    [
        (NetConfig(name="resnet32"), (3, 32, 32), 10, 464_154),  # He et al. 2016a: 0.46 M
        (NetConfig(name="resnet18"), (3, 32, 32), 100, 1_109_240),  # GEM: 1.109 M
        (NetConfig(name="lenet"), (1, 28, 28), 10, 61_706),
        (NetConfig(name="resnet32", depth=8, base_maps=8), (1, 8, 8), 10, 19_074),
    ],
)
def test_numbers_of_parameters(
    config: NetConfig, shape: tuple[int, int, int], n_classes: int, n_params: int
) -> None:
    assert n_elements(made(config, shape, n_classes)[1]) == n_params


def test_initial_weights_of_he_are_uniform_and_norms_start_as_the_identity() -> None:
    net = build_net(
        NetConfig(name="resnet32", depth=8, base_maps=32, initialization="he"),
        (3, 32, 32),
        Heads("domain", (10,)),
    )
    params = net.init(generator(0, "init"))
    weight = params["stages.2.0.conv2.weight"]
    like = nn.Conv2d(128, 128, 3)
    nn.init.kaiming_uniform_(like.weight)
    torch.testing.assert_close(weight.std(), like.weight.std(), rtol=0.01, atol=0)
    torch.testing.assert_close(weight.abs().max(), like.weight.abs().max(), rtol=0.01, atol=0)
    assert not params["head.bias"].any()
    for name in (n for n in params if "norm" in n):
        assert bool((params[name] == float(name.endswith("weight"))).all())


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ({"name": "lenet"}, "8x8 pixels are too small for the net 'lenet'.*at least 12x12"),
        ({"name": "resnet18"}, "8x8 pixels are too small for the net 'resnet18'.*at least 9x9"),
        ({"name": "conv", "channels": (1, 1, 1, 1)}, "leave nothing of 8x8 pixels"),
    ],
)
def test_images_that_are_too_small_are_one_message_when_the_file_is_read(
    net: dict, words: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=f"(?s){words}"):
        build_net(NetConfig(**net), (1, 8, 8), Heads("domain", (3,)))
    lines = [f"{key} = {list(v) if isinstance(v, tuple) else repr(v)}" for key, v in net.items()]
    text = "\n".join(
        [
            'name = "small"',
            "[benchmark]",
            'name = "split"',
            'dataset = "digits"',
            "n_tasks = 2",
            "[net]",
            *lines,
            "[[methods]]",
            'name = "finetune"',
        ]
    )
    with pytest.raises(StudyError, match=rf"(?s){words}.*where: the study: \[net\]"):
        parse_study(text)
    parse_study(text.replace("n_tasks", "pad = 4\nn_tasks"))


def test_keys_of_the_study_file() -> None:
    with pytest.raises(ValueError, match="depth = 10 makes no three stages of equal blocks"):
        NetConfig(name="resnet32", depth=10)
    with pytest.raises(ValueError, match="'depth' means nothing for the net 'resnet18'"):
        NetConfig(name="resnet18", depth=14)
    with pytest.raises(ValueError, match="'norm' means nothing for the net 'lenet'"):
        NetConfig(name="lenet", norm="batch")
    assert "bn_mode" in NetConfig(name="resnet18").used_keys
    assert "bn_mode" not in NetConfig(name="resnet18", norm="group").used_keys
