"""Gradients of any layout: torch's fused optimisers read memory in order, whatever the strides."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import clsweep.training.engine as engine
from clsweep.data.heads import Heads
from clsweep.data.rng import batch_indices, generator
from clsweep.data.tasks import Examples, Scale, TaskSequence
from clsweep.methods.base import Batch, Memory, Phase
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase
from clsweep.training.optimiser_names import OPTIMISERS as OF_TORCH
from clsweep.training.optimiser_names import OWN_DEFAULT, REFUSED
from clsweep.training.schedules import rate_of
from tests.methods.cases import CASE_IDS, CASES, Case, marks_of
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


# Every method with one of three optimisers in turn, each of which sees all layouts above.
IN_TURN = ("adam", "momentum", "adagrad")


@pytest.mark.parametrize(
    ("case", "optimizer"),
    [
        pytest.param(
            case,
            optimizer,
            marks=marks_of(case) if index % len(IN_TURN) == turn else [pytest.mark.slow],
            id=f"{name}-{optimizer}",
        )
        for index, (case, name) in enumerate(zip(CASES, CASE_IDS, strict=True))
        for turn, optimizer in enumerate(IN_TURN)
    ],
)
def test_no_method_depends_on_the_strides_of_a_gradient(
    case: Case,
    optimizer: str,
    short_sequences: dict[str, TaskSequence],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = TrainingConfig(lr=0.01, batch_size=16, steps=2, **OPTIMISERS[optimizer])
    sequence = short_sequences[case.scenario if case.name != "frozen" else "task"]
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


# ------------------------------------------------------ every optimiser and every schedule

# Numbers of their own, none at its default.
MORE: dict[str, dict[str, Any]] = {
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "dampening": {"optimizer": "sgd", "momentum": 0.9, "dampening": 0.4},
    "adam": {"optimizer": "adam", "betas": (0.8, 0.95), "eps": 1e-3, "amsgrad": True},
    "adamw": {"optimizer": "adamw", "betas": (0.8, 0.95), "weight_decay": 0.1},
    "adamax": {"optimizer": "adamax", "betas": (0.8, 0.95), "weight_decay": 0.1},
    "nadam": {
        "optimizer": "nadam",
        "momentum_decay": 0.02,
        "weight_decay": 0.1,
        "decoupled_weight_decay": True,
    },
    "radam": {"optimizer": "radam", "betas": (0.5, 0.6), "weight_decay": 0.1},
    "rmsprop": {"optimizer": "rmsprop", "alpha": 0.8, "momentum": 0.5, "centered": True},
    "adagrad": {"optimizer": "adagrad", "lr_decay": 0.1, "initial_accumulator_value": 0.2},
    "adadelta": {"optimizer": "adadelta", "rho": 0.7, "eps": 1e-4},
    "adafactor": {"optimizer": "adafactor", "beta2_decay": -0.5, "d": 2.0, "weight_decay": 0.1},
    "asgd": {"optimizer": "asgd", "lambd": 0.1, "alpha": 0.6, "t0": 2.0},
    "rprop": {"optimizer": "rprop", "etas": (0.4, 1.3), "step_sizes": (1e-3, 0.05)},
}
# Torch writes these steps in a second way, which rounds otherwise, and whoever asks for the one
# gets it here as there.
FUSED = ("sgd", "adam", "adamw", "adagrad")
TO_TORCH: dict[str, Callable[[Any, int], Any]] = {
    "constant": lambda o, n: torch.optim.lr_scheduler.LambdaLR(o, lambda s: 1.0),
    "cosine": lambda o, n: torch.optim.lr_scheduler.CosineAnnealingLR(o, n),
    "step": lambda o, n: torch.optim.lr_scheduler.MultiStepLR(o, [n // 2, round(0.75 * n)]),
    "linear": lambda o, n: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=n),
    "onecycle": lambda o, n: torch.optim.lr_scheduler.OneCycleLR(
        o, 0.05, total_steps=n, cycle_momentum=False
    ),
}


def test_every_optimiser_of_torch_is_known_or_refused() -> None:
    kinds = [kind for kind in vars(torch.optim).values() if isinstance(kind, type)]
    theirs = {kind.__name__.lower() for kind in kinds if issubclass(kind, torch.optim.Optimizer)}
    assert theirs - {"optimizer"} == OF_TORCH.keys() | REFUSED.keys()
    assert {one["optimizer"] for one in MORE.values()} == OF_TORCH.keys()


@pytest.mark.parametrize("name", OF_TORCH)
def test_the_table_has_torchs_numbers_and_defaults(name: str) -> None:
    entry = OF_TORCH[name]
    parameters = inspect.signature(getattr(torch.optim, entry.kind)).parameters
    # Forms of the same arithmetic, and what would climb instead of descend.
    form = {"params", "foreach", "maximize", "differentiable", "capturable", "fused"}
    theirs = parameters.keys() - form - {"lr"}
    if name in ("adam", "adafactor"):  # adamw by another name; no number, but a pair with None
        theirs -= {"decoupled_weight_decay", "eps"} - ({"eps"} if name == "adam" else set())
    at_default = entry.options(TrainingConfig(optimizer=name).model_dump())
    own = at_default.keys() | ({"weight_decay"} if entry.takes_decay else set())
    own |= OWN_DEFAULT & {*entry.numbers}
    assert own == theirs
    for key, value in at_default.items():
        assert value == parameters[key].default


@pytest.mark.parametrize("schedule", TO_TORCH)
@pytest.mark.parametrize("name", MORE)
def test_step_for_step_as_torchs_own_loop(name: str, schedule: str) -> None:
    """Bit for bit: the same kernels on the same numbers."""
    n_steps, given = 12, {"lr": 0.05, "batch_size": 4, **MORE[name]}
    training = TrainingConfig(schedule=schedule, **given)
    setting = Setting(NET, SCALE, training, 0)
    start = NET.init(generator(0, "init"))
    found = train_phase(
        plain_phase(NET), State(start, {}), DATA, setting, task=0, n_steps=n_steps
    ).params

    options = {k: v for k, v in given.items() if k not in ("optimizer", "batch_size")}
    kind = getattr(torch.optim, OF_TORCH[training.optimizer].kind)
    if OF_TORCH[training.optimizer].takes_decay:
        options.setdefault("weight_decay", 0.0)
    if training.optimizer in FUSED and not training.dampening:
        options["fused"] = True
    leaves = {n: v.clone().requires_grad_() for n, v in start.items()}
    optimiser = kind(leaves.values(), **options)
    follow = TO_TORCH[schedule](optimiser, n_steps)
    rate = rate_of(training, n_steps)
    for step, rows in enumerate(
        rows for order in batch_indices(0, 0, 8, 4, n_steps) for rows in order.split(4)
    ):
        if rate is not None:  # torch's recursion and the closed form differ in the last bits
            assert optimiser.param_groups[0]["lr"] == pytest.approx(rate(step), rel=1e-12)
            optimiser.param_groups[0]["lr"] = rate(step)
        optimiser.zero_grad()
        logits = NET.apply(leaves, SCALE(DATA.raw(rows)), 0)
        torch.nn.functional.cross_entropy(logits, DATA.labels[rows]).backward()
        optimiser.step()
        follow.step()
    assert not same(found, start)
    for n, leaf in leaves.items():
        assert torch.equal(found[n], leaf.detach()), n
