"""Gradients of any layout: torch's fused optimisers read memory in order, whatever the strides."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

import clsweep.training.engine as engine
from clsweep.data.benchmark_specs import Heads
from clsweep.data.rng import batch_indices, generator
from clsweep.data.tasks import Examples, Scale, TaskSequence
from clsweep.methods.base import Batch, Memory, Phase
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase
from tests.methods.cases import CASE_IDS, CASES, Case
from tests.methods.test_common import learnt, same

OPTIMISERS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
    "momentum with decay": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    "adam": {"optimizer": "adam"},
    "adam with decay": {"optimizer": "adam", "weight_decay": 0.01},
    "adagrad": {"optimizer": "adagrad"},
}
every_optimiser = pytest.mark.parametrize("name", OPTIMISERS)
ROWS, COLUMNS = 3, 5
_RNG = generator(0, "gradients")
START: Params = {"w": torch.randn(ROWS, COLUMNS, generator=_RNG)}
TARGET = torch.randn(ROWS, COLUMNS, generator=_RNG)
DATA = Examples(
    torch.randint(0, 256, (8, 1, 2, 2), dtype=torch.uint8, generator=_RNG),
    torch.arange(8),
    torch.randint(0, 2, (8,), generator=_RNG),
)
SCALE = Scale(torch.full((1, 1, 1), 1 / 255), torch.zeros(1, 1, 1))
NET = build_net(NetConfig(hidden=(6,)), (1, 2, 2), Heads("domain", (2, 2)))


def transposed(grad: Tensor) -> Tensor:
    return grad.t().contiguous().t()


def sliced(grad: Tensor) -> Tensor:
    """What `torch.cat` hands back to each of its parts: a view into a larger gradient."""
    wide = torch.full((ROWS, COLUMNS + 4), float("nan"))
    wide[:, 2:-2] = grad
    return wide[:, 2:-2]


def offset(grad: Tensor) -> Tensor:
    """Rows in order, though not from the start of their storage."""
    return torch.cat([torch.full((2, COLUMNS), float("nan")), grad])[2:]


def every_second(grad: Tensor) -> Tensor:
    return torch.stack([grad, torch.full_like(grad, float("nan"))], -1)[..., 0]


LAYOUTS = {f.__name__: f for f in (transposed, sliced, offset, every_second)}


class _Laid(torch.autograd.Function):
    """The identity, whose gradient arrives in another layout."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, layout: str) -> Tensor:
        ctx.layout = layout
        return w.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return LAYOUTS[ctx.layout](grads[0]), None


def stepped(name: str, phase: Phase, start: Params = START, **changes: Any) -> Params:
    training = TrainingConfig(**{"lr": 0.1, "batch_size": 4, **OPTIMISERS[name], **changes})
    setting = Setting(NET, SCALE, training, 0)
    return train_phase(phase, State(start, {}), DATA, setting, task=0, n_steps=4).params


def phase_of(loss: Any) -> Phase:
    def of_full(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        return loss(full)

    return Phase("train", of_full)


@pytest.mark.parametrize("layout", LAYOUTS)
@every_optimiser
def test_a_step_does_not_depend_on_the_layout_of_the_gradient(name: str, layout: str) -> None:
    plain = stepped(name, phase_of(lambda p: ((p["w"] - TARGET) ** 4).sum()))
    laid = stepped(name, phase_of(lambda p: ((_Laid.apply(p["w"], layout) - TARGET) ** 4).sum()))
    assert torch.equal(plain["w"], laid["w"])


@pytest.mark.parametrize("value", [1.0, 0.0])
@every_optimiser
def test_a_gradient_of_one_number_for_all(name: str, value: float) -> None:
    """The gradient of a sum is a single number with strides of zero."""
    summed = stepped(name, phase_of(lambda p: value * p["w"].sum()))
    ones = torch.ones(ROWS, COLUMNS)
    written_out = stepped(name, phase_of(lambda p: value * (p["w"] * ones).sum()))
    assert torch.equal(summed["w"], written_out["w"])


@every_optimiser
def test_a_parameter_that_is_itself_transposed(name: str) -> None:
    turned = {"w": START["w"].t().contiguous().t()}
    assert turned["w"].stride() != START["w"].stride()
    phase = phase_of(lambda p: ((p["w"] - TARGET) ** 4).sum())
    found, plain = stepped(name, phase, turned)["w"], stepped(name, phase)["w"]
    # Numbers at another place of a vector register may be rounded otherwise.
    torch.testing.assert_close(found, plain, atol=1e-6, rtol=1e-6)


@every_optimiser
def test_the_step_is_that_of_torchs_plain_loop(name: str) -> None:
    """The unfused optimiser, after `backward`, on a network whose products are transposed."""
    x = torch.randn(6, COLUMNS, generator=generator(1, "x"))

    def loss(params: Params) -> Tensor:
        return torch.einsum("oc,bc->bo", params["w"], x).square().sum()

    options = {k: v for k, v in OPTIMISERS[name].items() if k != "optimizer"}
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}
    leaf = START["w"].clone().requires_grad_()
    optimiser = kinds[OPTIMISERS[name]["optimizer"]]([leaf], lr=0.01, fused=False, **options)
    for _ in range(4):
        optimiser.zero_grad()
        loss({"w": leaf}).backward()
        optimiser.step()
    found = stepped(name, phase_of(loss), lr=0.01)["w"]
    torch.testing.assert_close(found, leaf.detach(), atol=1e-6, rtol=1e-6)


def strided(grad: Tensor | None) -> Tensor | None:
    """The same numbers with the order of the dimensions, and the distance of numbers, changed."""
    if grad is None:
        return None
    turned = grad.permute(*reversed(range(grad.ndim)))
    return torch.stack([turned, torch.full_like(turned, float("nan"))], -1)[..., 0].permute(
        *reversed(range(grad.ndim))
    )


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "adagrad"])
@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_no_method_depends_on_the_strides_of_a_gradient(
    case: Case,
    optimizer: str,
    sequences: dict[str, TaskSequence],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = TrainingConfig(lr=0.01, batch_size=16, steps=3, **OPTIMISERS[optimizer])
    sequence = sequences["domain" if case.name != "frozen" else "task"]
    plain = learnt(case, sequence, training=training)
    given = torch.autograd.grad

    def turned(*args: Any, **options: Any) -> tuple[Tensor | None, ...]:
        grads = given(*args, **options)
        # What a method sums up itself (a Fisher, a product with a reference) it may sum up in
        # another order, and round otherwise; here are the gradients of which a step is made.
        steps = sys._getframe(1).f_globals["__name__"] in (
            "clsweep.training.engine",
            "clsweep.methods.parts.hypernets",
        )
        return tuple(map(strided, grads)) if steps else grads

    monkeypatch.setattr(engine.torch.autograd, "grad", turned)
    assert same(learnt(case, sequence, training=training).params, plain.params)


@every_optimiser
def test_a_head_that_comes_later_joins_the_state_of_the_others(name: str) -> None:
    """Without reset, the second task's new head has no state where the trunk has."""
    net = build_net(NetConfig(hidden=(6,)), (1, 2, 2), Heads("task", (2, 2)))
    training = TrainingConfig(lr=0.1, batch_size=4, reset=False, **OPTIMISERS[name])
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}
    options = {k: v for k, v in OPTIMISERS[name].items() if k != "optimizer"}
    state = State(net.init(generator(0, "init")), {})
    leaves = {n: v.clone().requires_grad_() for n, v in state.params.items()}
    kind = kinds[OPTIMISERS[name]["optimizer"]]
    optimiser = kind(leaves.values(), lr=0.1, foreach=False, **options)
    for task in (0, 1):
        setting = Setting(net, SCALE, training, 0)
        state = train_phase(plain_phase(net), state, DATA, setting, task=task, n_steps=2)
        for rows in batches_of(task):
            optimiser.zero_grad()
            logits = net.apply(leaves, SCALE(DATA.raw(rows)), task)
            torch.nn.functional.cross_entropy(logits, DATA.labels[rows]).backward()
            optimiser.step()
    for n, leaf in leaves.items():
        torch.testing.assert_close(state.params[n], leaf.detach(), atol=1e-6, rtol=1e-5)


def batches_of(task: int) -> list[Tensor]:
    return [rows for order in batch_indices(0, task, 8, 4, 2) for rows in order.split(4)]


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_parameter_that_gets_its_first_gradient_late(name: str) -> None:
    """Not every batch of joint training holds every task, so that heads start at other steps."""
    start = {"a": torch.ones(2), "b": torch.ones(2)}
    steps = iter(range(4))

    def loss(params: Params) -> Tensor:
        total = params["a"].square().sum()
        return total + params["b"].square().sum() if next(steps) >= 2 else total

    found = stepped(name, phase_of(loss), start)
    alone = stepped_alone(name)
    assert torch.equal(found["b"], alone)


def stepped_alone(name: str) -> Tensor:
    """Two steps down the square of a vector of ones."""
    leaf = torch.ones(2, requires_grad=True)
    options = {k: v for k, v in OPTIMISERS[name].items() if k != "optimizer"}
    kind = torch.optim.SGD if "momentum" in options else torch.optim.Adam
    optimiser = kind([leaf], lr=0.1, fused=True, **options)
    for _ in range(2):
        optimiser.zero_grad()
        leaf.square().sum().backward()
        optimiser.step()
    return leaf.detach()
