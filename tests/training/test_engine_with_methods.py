"""Steps of methods under any optimiser and schedule, against loops that use torch alone.

The loops share nothing with the package but the network's forward pass, the order of the batches
and torch's own optimisers and schedulers.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import batch_indices, generator
from clsweep.data.tasks import Examples, Scale
from clsweep.methods.base import Batch, Memory, Phase, Pull
from clsweep.methods.hypers import GemHyper, ResclHyper
from clsweep.methods.parts.buffer import Buffer
from clsweep.methods.parts.losses import plain_phase
from clsweep.methods.parts.penalty import Anchor
from clsweep.methods.regulariser_hypers import EwcHyper, L2Hyper, SiHyper
from clsweep.methods.rescl import ALPHA_S, ALPHA_T
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase
from clsweep.training.optimiser_names import OPTIMISERS
from tests.training.test_optimisers import FUSED, MORE

N, SIZE, N_STEPS, TASK = 14, 5, 8, 1
_RNG = generator(0, "steps of methods")
DATA = Examples(
    torch.randint(0, 256, (N, 1, 3, 3), dtype=torch.uint8, generator=_RNG),
    torch.arange(N),
    torch.randint(0, 3, (N,), generator=_RNG),
)
SCALE = Scale(torch.full((1, 1, 1), 1 / 128), torch.full((1, 1, 1), -1.0))
NET = build_net(NetConfig(hidden=(5,)), (1, 3, 3), Heads("domain", (3, 3)))
START, STAR = (NET.init(generator(seed, "init")) for seed in (0, 1))
OMEGA = {n: torch.rand(v.shape, generator=_RNG) for n, v in START.items()}
WEIGHT = 3.0
ADAMW = {**MORE["adamw"], "lr": 0.02}
every_optimiser = pytest.mark.parametrize("name", MORE)

After = Callable[[dict[str, Tensor], float], None]  # (parameters, learning rate of the step)


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"lr": 0.02, "batch_size": SIZE, "schedule": "cosine", **changes})


def rows_of(task: int = TASK, n_steps: int = N_STEPS) -> list[Tensor]:
    return [r for order in batch_indices(0, task, N, SIZE, n_steps) for r in order.split(SIZE)]


def loss_on(params: Params, rows: Tensor, task: int = TASK) -> Tensor:
    return F.cross_entropy(NET.apply(params, SCALE(DATA.raw(rows)), task), DATA.labels[rows])


def optimiser_of(training: TrainingConfig, leaves: Any) -> torch.optim.Optimizer:
    entry = OPTIMISERS[training.optimizer]
    options = {"lr": training.lr, **entry.options(training.model_dump())}
    if entry.takes_decay:
        options["weight_decay"] = training.weight_decay
    if training.optimizer in FUSED and not training.dampening:
        options["fused"] = True
    kind: type[torch.optim.Optimizer] = getattr(torch.optim, entry.kind)
    return kind(list(leaves), **options)


def torch_loop(
    training: TrainingConfig,
    loss: Callable[[dict[str, Tensor], Tensor], Tensor],
    start: Params = START,
    after: After | None = None,
    turn: Callable[[dict[str, Tensor]], None] | None = None,
) -> tuple[Params, Params]:
    """Final parameters, and the path integral Σ −g Δθ of the loss's gradient."""
    leaves = {n: v.detach().clone().requires_grad_() for n, v in start.items()}
    optimiser = optimiser_of(training, leaves.values())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, N_STEPS)
    path = {n: torch.zeros_like(v) for n, v in start.items()}
    for rows in rows_of():
        optimiser.zero_grad()
        loss(leaves, rows).backward()
        asked = {n: v.grad.clone() for n, v in leaves.items() if v.grad is not None}
        before = {n: v.detach().clone() for n, v in leaves.items()}
        if turn is not None:
            turn(leaves)
        if training.clip_norm:
            torch.nn.utils.clip_grad_norm_(leaves.values(), training.clip_norm)
        optimiser.step()
        if after is not None:
            with torch.no_grad():
                after(leaves, optimiser.param_groups[0]["lr"])
        schedule.step()
        for n, grad in asked.items():
            path[n] -= grad * (leaves[n].detach() - before[n])
    return {n: v.detach() for n, v in leaves.items()}, path


def trained(training: TrainingConfig, phase: Phase, memory: Memory, **options: Any) -> State:
    state = State(options.pop("start", START), memory)
    setting = Setting(NET, SCALE, training, 0)
    return train_phase(phase, state, DATA, setting, task=TASK, n_steps=N_STEPS, **options)


def assert_close(found: Params, expected: Params, atol: float = 2e-6) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=atol, rtol=1e-4)


def same(a: Params, b: Params) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@every_optimiser
def test_the_pull_is_the_penalty_in_the_loss(name: str) -> None:
    def penalised(leaves: dict[str, Tensor], rows: Tensor) -> Tensor:
        terms = [(o * (leaves[n] - STAR[n]).square()).sum() for n, o in OMEGA.items()]
        return loss_on(leaves, rows) + WEIGHT / 2 * torch.stack(terms).sum()

    training = config(**MORE[name])
    ewc = methods.build("ewc", NET, EwcHyper(lam=WEIGHT)).phases[0]
    found = trained(training, ewc, {"anchor": Anchor(OMEGA, STAR)}).params
    # Rprop reads signs alone: of a gradient near zero, rounding decides.
    assert_close(found, torch_loop(training, penalised)[0], atol=1e-5 if name != "rprop" else 0.1)
    assert not same(found, trained(training, plain_phase(NET), {}).params)


# ASGD keeps its own rate, and Rprop has none: tests/training/test_step_rates.py.
@pytest.mark.parametrize("name", sorted(MORE.keys() - {"asgd", "rprop"}))
def test_the_proximal_step_is_of_the_steps_own_learning_rate(name: str) -> None:
    training = config(**MORE[name])
    made = itertools.count()

    def settle(leaves: dict[str, Tensor], lr: float) -> None:
        lr /= 1 + next(made) * training.lr_decay
        for n, leaf in leaves.items():
            leaf.copy_((leaf + lr * WEIGHT * STAR[n]) / (1 + lr * WEIGHT))

    l2 = methods.build("l2", NET, L2Hyper(lam=WEIGHT, form="proximal")).phases[0]
    ones = {n: torch.ones(()) for n in START}
    found = trained(training, l2, {"anchor": Anchor(ones, STAR)}).params
    expected = torch_loop(training, loss_on, after=settle)[0]
    assert_close(found, expected, atol=1e-5)


def test_a_schedule_changes_what_plain_sgd_is_pulled_by() -> None:
    """Its short form of pull and step takes one learning rate for all steps."""

    def penalised(leaves: dict[str, Tensor], rows: Tensor) -> Tensor:
        terms = [(o * (leaves[n] - STAR[n]).square()).sum() for n, o in OMEGA.items()]
        return loss_on(leaves, rows) + WEIGHT / 2 * torch.stack(terms).sum()

    phase = Phase("train", plain_phase(NET).loss, pull=lambda m: Pull(OMEGA, STAR, WEIGHT))
    training = config(lr=0.2)
    found = trained(training, phase, {}).params
    assert_close(found, torch_loop(training, penalised)[0])
    constant = trained(config(lr=0.2, schedule="constant"), phase, {}).params
    assert not same(found, constant)


@pytest.mark.parametrize("name", ["adamw", "nesterov", "nadam"])
def test_the_path_of_si_is_of_the_steps_that_were_made(name: str) -> None:
    training = config(**MORE[name], clip_norm=0.1)
    si = methods.build("si", NET, SiHyper(c=0.0)).phases[0]
    memory = {"anchor": Anchor(OMEGA, STAR)}
    run = trained(training, si, memory, trace="task")
    params, path = torch_loop(training, loss_on)
    assert run.trace is not None
    assert_close(run.params, params)
    assert_close(run.trace.path, path)


def test_gem_projects_before_the_optimiser_and_its_clipping() -> None:
    """With one past task, no ridge and no margin, the projection has a closed form."""
    stored = torch.arange(6)
    labels = (DATA.labels[stored] + 1) % 3  # a past task that conflicts
    n_projected = 0

    def turn(leaves: dict[str, Tensor]) -> None:
        nonlocal n_projected
        loss = F.cross_entropy(NET.apply(leaves, SCALE(DATA.raw(stored)), TASK), labels)
        reference = torch.autograd.grad(loss, list(leaves.values()))
        g = torch.cat([v.grad.flatten() for v in leaves.values() if v.grad is not None])
        r = torch.cat([v.flatten() for v in reference])
        if g @ r < 0:
            n_projected += 1
            for leaf, part in zip(leaves.values(), reference, strict=True):
                assert leaf.grad is not None
                leaf.grad -= (g @ r) / (r @ r) * part

    hyper = GemHyper(margin=0.0, ridge=0.0, memory_size=6)
    gem = methods.build("gem", NET, hyper).phases[0]
    tasks = torch.zeros(6, dtype=torch.int64)
    slots = Buffer(DATA.raw(stored), labels, tasks, 6, 6)
    memory = {"slots": slots, "projected_steps": 0, "solver_failures": 0}
    training = config(**ADAMW, clip_norm=0.5)
    run = trained(training, gem, memory)
    expected, _ = torch_loop(training, loss_on, turn=turn)
    assert run.memory["projected_steps"] == n_projected > 0
    assert_close(run.params, expected, atol=1e-5)


def test_rescl_combines_under_any_optimiser() -> None:
    """The second phase, written down for a network of two linear layers."""
    source, fine_tuned = STAR, START
    hyper = ResclHyper(lam=0.5, form="proximal", decay=0.03, temperature=2.0)
    combine = methods.build("rescl", NET, hyper).phases[1]
    names = [n.removesuffix(".weight") for n in START if n.endswith(".weight")]
    widths = [START[f"{n}.weight"].shape[0] for n in names]
    assert len(names) == 2

    def combined(leaves: dict[str, Tensor], x: Tensor) -> Tensor:
        h = x.flatten(1)
        alphas = zip(leaves[ALPHA_S].split(widths), leaves[ALPHA_T].split(widths), strict=True)
        for place, (name, (a_s, a_t)) in enumerate(zip(names, alphas, strict=True)):
            kept = F.linear(h, source[f"{name}.weight"], source[f"{name}.bias"])
            w, b = leaves[f"target.{name}.weight"], leaves[f"target.{name}.bias"]
            h = (1 + a_s) * kept + a_t * F.linear(h, w, b)
            h = h.relu() if place == 0 else h
        return h

    def loss(leaves: dict[str, Tensor], rows: Tensor) -> Tensor:
        x, t = SCALE(DATA.raw(rows)), 2.0
        log_p = (combined(leaves, x) / t).log_softmax(1)
        teachers = [NET.apply(p, x, TASK).detach() for p in (source, fine_tuned)]
        kd = [-((z / t).softmax(1) * log_p).sum(1).mean() for z in teachers]
        decay = [v.square().sum() for n, v in leaves.items() if n.startswith("target.")]
        return t * t * (kd[0] + kd[1]) + 0.03 / 2 * torch.stack(decay).sum()

    def settle(leaves: dict[str, Tensor], lr: float) -> None:
        for name in (ALPHA_S, ALPHA_T):
            value = leaves[name]
            value.copy_(value.sign() * (value.abs() - lr * 0.5).clamp(min=0))

    half = torch.full((sum(widths),), 0.5)
    start = {f"target.{n}": v for n, v in fine_tuned.items()} | {ALPHA_S: -half, ALPHA_T: half}
    training = config(**{**ADAMW, "weight_decay": 0.0})
    seen: dict[str, Params] = {}

    def watched(full: Params, memory: Memory, task: int) -> tuple[Params, Memory]:
        seen["full"] = {n: full[n] for n in start}
        assert combine.close is not None
        return combine.close(full, memory, task)

    memory = {"source": source, "zero_share": torch.zeros(())}
    phase = copy.copy(combine)
    object.__setattr__(phase, "close", watched)
    # The study's weight decay does not act in this phase, whatever the optimiser.
    run = trained(training.model_copy(update={"weight_decay": 0.1}), phase, memory)
    expected, _ = torch_loop(training, loss, start=start, after=settle)
    assert_close(seen["full"], expected, atol=1e-5)
    x = SCALE(DATA.raw(torch.arange(N)))
    torch.testing.assert_close(
        NET.apply(run.params, x, TASK), combined(expected, x), atol=1e-4, rtol=1e-3
    )


@every_optimiser
def test_a_trial_step_is_the_next_step_and_leaves_no_trace(name: str) -> None:
    training = config(**MORE[name])
    aheads: list[Params] = []

    def foresee(grads: Params, ahead: Params, memory: Memory, batch: Batch, task: int) -> Params:
        aheads.append({n: v.clone() for n, v in ahead.items()})
        return grads

    seen: list[Params] = []

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        seen.append({n: v.detach().clone() for n, v in full.items()})
        return plain_phase(NET).loss(full, memory, batch, task)

    phase = Phase("train", loss, foresee=foresee)
    found = trained(training, phase, {}).params
    assert same(found, trained(training, plain_phase(NET), {}).params)
    made = [*seen[1:], found]
    assert len(aheads) == len(made) == N_STEPS
    assert all(same(ahead, after) for ahead, after in zip(aheads, made, strict=True))


@every_optimiser
def test_carried_state_continues_and_the_schedule_starts_again(name: str) -> None:
    training = config(**MORE[name], reset=False, clip_norm=0.5)
    setting, state = Setting(NET, SCALE, training, 0), State(START, {})
    leaves = {n: v.detach().clone().requires_grad_() for n, v in START.items()}
    optimiser = optimiser_of(training, leaves.values())
    for task in (0, 1):
        state = train_phase(plain_phase(NET), state, DATA, setting, task=task, n_steps=N_STEPS)
        optimiser.param_groups[0]["lr"] = training.lr
        optimiser.param_groups[0].pop("initial_lr", None)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, N_STEPS)
        for rows in rows_of(task):
            optimiser.zero_grad()
            loss_on(leaves, rows, task).backward()
            torch.nn.utils.clip_grad_norm_(leaves.values(), 0.5)
            optimiser.step()
            schedule.step()
    assert state.optimiser
    assert_close(state.params, leaves, atol=1e-5 if name != "rprop" else 0.1)


@pytest.mark.parametrize("bound", [0.05, 100.0])
def test_a_gradient_is_clipped_to_its_norm_as_by_torch(bound: float) -> None:
    training = config(lr=0.1, schedule="constant", clip_norm=bound)
    leaves = {n: v.detach().clone().requires_grad_() for n, v in START.items()}
    optimiser = torch.optim.SGD(leaves.values(), lr=0.1)
    for rows in rows_of():
        optimiser.zero_grad()
        loss_on(leaves, rows).backward()
        torch.nn.utils.clip_grad_norm_(leaves.values(), bound)
        optimiser.step()
    found = trained(training, plain_phase(NET), {}).params
    assert same(found, {n: v.detach() for n, v in leaves.items()})


def test_elements_are_clipped_after_the_norm() -> None:
    training = config(lr=0.1, schedule="constant", clip_norm=0.5, clip_value=0.1)
    leaves = {n: v.detach().clone().requires_grad_() for n, v in START.items()}
    optimiser = torch.optim.SGD(leaves.values(), lr=0.1)
    for rows in rows_of():
        optimiser.zero_grad()
        loss_on(leaves, rows).backward()
        torch.nn.utils.clip_grad_norm_(leaves.values(), 0.5)
        torch.nn.utils.clip_grad_value_(leaves.values(), 0.1)
        optimiser.step()
    assert_close(trained(training, plain_phase(NET), {}).params, leaves)
