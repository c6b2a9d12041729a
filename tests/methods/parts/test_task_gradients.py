"""The gradients of all past tasks at once against one backward pass per task."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.methods.parts import task_gradients as module
from clsweep.methods.parts.task_gradients import TaskExamples, task_gradients
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

NEWEST = 3
COUNTS = {"unequal": (5, 7, 1), "equal": (4, 4, 4), "two equal": (3, 3, 8)}
SIZES = {"task": (2, 3, 2, 2), "domain": (3, 3, 3, 3), "class": (2, 3, 2, 2)}


class Strided(nn.Module):
    """Strided and dilated convolutions without bias, and a layer used twice."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False)
        self.wide = nn.Conv2d(4, 3, 2, dilation=2)
        self.twice = nn.Linear(12, 12)
        self.out = nn.Linear(12, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.wide(self.conv(x).tanh()).flatten(1)
        return self.out(self.twice(self.twice(h).tanh()).tanh())


class Folded(nn.Module):
    """Rows of the image stand on the batch axis of a linear layer."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.row, self.out = nn.Linear(8, 2), nn.Linear(16, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.row(x.reshape(-1, 8)).tanh()
        return self.out(h.reshape(len(x), -1))


class Tokens(nn.Module):
    """A linear layer over a third axis, then a gain of its own."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.row, self.out = nn.Linear(8, 2), nn.Linear(16, n_outputs)
        self.gain = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.row(x[:, 0]).tanh().flatten(1) * self.gain)


def strided(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Strided(n_outputs)


def folded(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Folded(n_outputs)


def tokens(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Tokens(n_outputs)


CONFIGS = {
    "mlp": NetConfig(hidden=(7, 5)),
    "conv": NetConfig(name="conv", channels=(3, 4), width=6),
    "batch norm": NetConfig(name="conv", channels=(3, 4), width=6, norm="batch"),
    **{
        name: NetConfig(name="custom", factory=f"{__name__}:{name}")
        for name in ("strided", "folded", "tokens")
    },
}
AT_ONCE = ("mlp", "conv", "strided")


def stored_of(scenario: str, counts: tuple[int, ...] = COUNTS["unequal"]) -> TaskExamples:
    x = torch.rand(sum(counts), 1, 8, 8, generator=generator(0, "x"))
    offsets = [Heads(scenario, SIZES[scenario]).label_offset(k) for k in range(len(counts))]
    y = torch.cat([o + torch.arange(n) % 2 for o, n in zip(offsets, counts, strict=True)])
    return TaskExamples(x, y, tuple(enumerate(counts)))


def built(kind: str, scenario: str) -> tuple[Net, Params]:
    net = build_net(CONFIGS[kind], (1, 8, 8), Heads(scenario, SIZES[scenario]))
    return net, {n: v.requires_grad_() for n, v in net.init(generator(0, "init")).items()}


def by_loop(net: Net, params: Params, stored: TaskExamples) -> Tensor:
    rows = []
    for (task, _), (a, b) in zip(stored.counts, stored.spans(), strict=True):
        head = task if net.heads.scenario == "task" else NEWEST
        loss = F.cross_entropy(net.apply(params, stored.x[a:b], head), stored.y[a:b])
        found = torch.autograd.grad(
            loss, list(params.values()), allow_unused=True, materialize_grads=True
        )
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_rows_are_the_gradients_of_the_tasks(
    kind: str, scenario: str, counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, params = built(kind, scenario)
    stored = stored_of(scenario, counts)
    expected = by_loop(net, params, stored)
    assert expected.abs().sum(1).min() > 1e-3
    if kind in AT_ONCE:
        monkeypatch.delattr(module, "_one_by_one")
    torch.testing.assert_close(
        task_gradients(net, params, stored, NEWEST), expected, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kind", sorted(CONFIGS.keys() - set(AT_ONCE)))
def test_networks_that_need_a_pass_per_task_get_one(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, params = built(kind, "domain")
    monkeypatch.setattr(module, "_one_by_one", lambda *_: "one by one")
    assert task_gradients(net, params, stored_of("domain"), NEWEST) == "one by one"


def test_held_parameters_have_no_columns() -> None:
    net, params = built("mlp", "domain")
    held = {n: v.detach() if n.startswith("layers.0") else v for n, v in params.items()}
    stored = stored_of("domain")
    n_held = sum(v.numel() for n, v in params.items() if n.startswith("layers.0"))
    torch.testing.assert_close(
        task_gradients(net, held, stored, NEWEST),
        by_loop(net, params, stored)[:, n_held:],
        rtol=1e-4,
        atol=1e-6,
    )
