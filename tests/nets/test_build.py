"""Networks as pure functions: what they draw, which outputs a task has, and their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.errors import StudyError
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net, own_head_logits, shared
from clsweep.nets.parameter_trees import Params

SHAPE = (1, 8, 8)
HEADS = {
    "task": Heads("task", (2, 3)),
    "domain": Heads("domain", (3, 3)),
    "class": Heads("class", (2, 3)),
}
CONFIGS = {
    "mlp": NetConfig(hidden=(7, 5)),
    "conv": NetConfig(name="conv", channels=(3, 4), width=5),
}


class Gated(nn.Module):
    """A weight used in an unusual way, beside ordinary layers and a buffer."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.body = nn.Linear(64, 6)
        self.gain = nn.Parameter(torch.ones(6))
        self.register_buffer("shift", torch.full((6,), 0.1))
        self.out = nn.Linear(6, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.body(x.flatten(1)) * self.gain + self.shift))


def gated(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Gated(n_outputs)


def made(kind: str, scenario: str) -> tuple[Net, Params]:
    net = build_net(CONFIGS[kind], SHAPE, HEADS[scenario])
    return net, net.init(generator(0, "init"))


def images(n: int) -> torch.Tensor:
    return torch.rand(n, *SHAPE, generator=generator(0, "images"))


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(
    ("scenario", "widths"), [("task", (2, 3)), ("domain", (3, 3)), ("class", (2, 5))]
)
def test_every_task_has_its_outputs(kind: str, scenario: str, widths: tuple[int, ...]) -> None:
    net, params = made(kind, scenario)
    for task, width in enumerate(widths):
        assert net.apply(params, images(4), task).shape == (4, width)
        assert set(net.readout(task)) <= params.keys()
        assert len(net.readout(task)) == 2
    own = {name for name in params if name.startswith("heads.")}
    assert bool(own) == (scenario == "task")
    assert shared(params).keys() == params.keys() - own


@pytest.mark.parametrize(
    "config", [*CONFIGS.values(), NetConfig(name="custom", factory=f"{__name__}:gated")]
)
def test_the_same_network_with_other_heads(config: NetConfig) -> None:
    net = build_net(config, SHAPE, HEADS["task"]).with_heads(Heads("class", (1, 1, 1)))
    other = build_net(config, SHAPE, Heads("class", (1, 1, 1)))
    params, expected = (n.init(generator(0, "init")) for n in (net, other))
    assert params.keys() == expected.keys()
    for task in range(3):
        logits = net.apply(params, images(4), task)
        assert logits.shape == (4, task + 1)
        assert torch.equal(logits, other.apply(expected, images(4), task))


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_task_head_moves_only_its_own_task(kind: str) -> None:
    net, params = made(kind, "task")
    moved = {n: v + 1 if n in net.readout(1) else v for n, v in params.items()}
    first, second = (
        net.apply(moved, images(4), t) - net.apply(params, images(4), t) for t in (0, 1)
    )
    assert not first.any()
    assert second.any()


def test_parameter_shapes() -> None:
    shapes = {name: tuple(value.shape) for name, value in made("conv", "class")[1].items()}
    assert {n: s for n, s in shapes.items() if n.endswith("weight")} == {
        "convs.0.weight": (3, 1, 3, 3),
        "convs.1.weight": (4, 3, 3, 3),
        "dense.weight": (5, 4 * 2 * 2),
        "head.weight": (5, 5),
    }
    assert all(
        shapes[n.replace("weight", "bias")] == (s[0],) for n, s in shapes.items() if len(s) > 1
    )


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("initialization", ["torch", "xavier"])
def test_initial_weights_are_uniform_within_their_bound(kind: str, initialization: str) -> None:
    config = (
        NetConfig(hidden=(200,), initialization=initialization)
        if kind == "mlp"
        else NetConfig(name="conv", channels=(64, 64), initialization=initialization)
    )
    net = build_net(config, SHAPE, HEADS["domain"])
    params = net.init(generator(0, "init"))
    name = "layers.0" if kind == "mlp" else "convs.1"
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    like = nn.Linear(64, 200) if kind == "mlp" else nn.Conv2d(64, 64, 3)
    if initialization == "xavier":
        nn.init.xavier_uniform_(like.weight)
        assert not bias.any()
    else:
        assert float(bias.abs().max()) <= weight[0].numel() ** -0.5
        torch.testing.assert_close(bias.std(), like.bias.std(), rtol=0.3, atol=0)
    torch.testing.assert_close(weight.std(), like.weight.std(), rtol=0.05, atol=0)
    torch.testing.assert_close(weight.abs().max(), like.weight.abs().max(), rtol=0.01, atol=0)
    assert abs(float(weight.mean())) < 5 * float(weight.std()) * weight.numel() ** -0.5


def test_init_depends_on_its_generator_alone() -> None:
    net, params = made("mlp", "domain")
    torch.manual_seed(1)
    again, other = net.init(generator(0, "init")), net.init(generator(1, "init"))
    assert all(torch.equal(again[name], value) for name, value in params.items())
    assert not any(torch.equal(other[name], value) for name, value in params.items())


def test_own_head_logits() -> None:
    net, params = made("mlp", "task")
    x, tasks = images(4), torch.tensor([1, 0, 0, 1])
    h = net.features(params, x)
    found = own_head_logits(net, params, h, tasks, 1)
    assert found.shape == (4, 3)
    for row, task in zip(range(4), tasks.tolist(), strict=True):
        width = (2, 3)[task]
        assert torch.equal(found[row, :width], net.head(params, h, task)[row])
        assert bool((found[row, width:] == -float("inf")).all())
    net, params = made("mlp", "class")
    h = net.features(params, x)
    assert torch.equal(own_head_logits(net, params, h, tasks, 1), net.head(params, h, 1))


def test_a_module_has_the_gradient_of_plain_autograd() -> None:
    config = NetConfig(name="custom", factory=f"{__name__}:gated")
    net = build_net(config, SHAPE, HEADS["domain"])
    params = net.init(generator(0, "init"))
    assert net.readout(0) == ("out.weight", "out.bias")
    module = Gated(3)
    module.load_state_dict(params, strict=False)
    x, y = images(4), torch.tensor([0, 1, 2, 1])
    F.cross_entropy(module(x), y).backward()
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    F.cross_entropy(net.apply(leaves, x, 0), y).backward()
    for name, value in module.named_parameters():
        torch.testing.assert_close(leaves[name].grad, value.grad)
        assert value.grad is not None
        assert value.grad.any()


def test_images_too_small_for_the_convolutions_are_a_mistake() -> None:
    config = NetConfig(name="conv", channels=(2, 2, 2, 2))
    with pytest.raises(StudyError, match="leave nothing of 8x8 pixels"):
        build_net(config, SHAPE, HEADS["domain"])
