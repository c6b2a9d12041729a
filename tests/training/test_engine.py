"""The engine: a plain torch loop on the same batches is its oracle; probes watch its hooks."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.data.rng import batch_indices, generator
from clsweep.data.tasks import Examples, Scale
from clsweep.errors import MethodError
from clsweep.methods.base import Batch, Memory, Phase, Pull
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.divergence import Diverged
from clsweep.training.engine import Setting, State, after_steps, train_phase

N, SIZE, PER_EPOCH = 23, 5, 5  # the last batch of an epoch has three examples
_RNG = generator(0, "test data")
IMAGES = torch.randint(0, 256, (N, 1, 4, 4), dtype=torch.uint8, generator=_RNG)
DATA = Examples(IMAGES, torch.arange(N), torch.randint(0, 3, (N,), generator=_RNG))
SCALE = Scale(torch.full((1, 1, 1), 1 / 255), torch.full((1, 1, 1), -0.5))
NET = build_net(NetConfig(hidden=(6,)), (1, 4, 4), Heads("domain", (3, 3, 3)))
START = NET.init(generator(0, "init"))
OPTIMISERS = {
    "sgd": {"optimizer": "sgd", "lr": 0.1},
    "sgd with decay": {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.01},
    "momentum": {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    "adam": {"optimizer": "adam", "lr": 0.01},
    "adagrad": {"optimizer": "adagrad", "lr": 0.05},
}


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"lr": 0.1, "batch_size": SIZE, **changes})


def trained(
    training: TrainingConfig | None = None,
    phase: Phase | None = None,
    memory: Memory | None = None,
    seed: int = 3,
    **options: Any,
) -> State:
    return train_phase(
        phase or plain_phase(NET),
        State(START, {} if memory is None else memory),
        DATA,
        Setting(NET, SCALE, training or config(), seed),
        **{"task": 1, "n_steps": 2 * PER_EPOCH, **options},
    )


def batches(n_steps: int = 2 * PER_EPOCH) -> list[Tensor]:
    """Rows of every batch of seed 3, task 1."""
    return [rows for order in batch_indices(3, 1, N, SIZE, n_steps) for rows in order.split(SIZE)]


def loss_on(params: Params, rows: Tensor) -> Tensor:
    return F.cross_entropy(NET.apply(params, SCALE(DATA.raw(rows)), 1), DATA.labels[rows])


def plain_loop(
    training: TrainingConfig, clip: float = 0.0, n_steps: int = 2 * PER_EPOCH
) -> tuple[Params, Params]:
    """Parameters and the path integral Σ −g Δθ, as one would write them by hand."""
    params = {name: value.clone().requires_grad_() for name, value in START.items()}
    options = {"lr": training.lr, "weight_decay": training.weight_decay}
    opt: torch.optim.Optimizer
    if training.optimizer == "sgd":
        opt = torch.optim.SGD(params.values(), momentum=training.momentum, **options)
    else:
        made = torch.optim.Adam if training.optimizer == "adam" else torch.optim.Adagrad
        opt = made(params.values(), **options)
    path = {name: torch.zeros_like(value) for name, value in START.items()}
    for rows in batches(n_steps):
        opt.zero_grad()
        loss_on(params, rows).backward()
        asked = {name: value.grad.clone() for name, value in params.items()}
        before = {name: value.detach().clone() for name, value in params.items()}
        if clip:
            torch.nn.utils.clip_grad_value_(params.values(), clip)
        opt.step()
        for name, value in params.items():
            path[name] -= asked[name] * (value.detach() - before[name])
    return {name: value.detach() for name, value in params.items()}, path


def same(a: Params, b: Params) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_close(found: Params, expected: Params) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_engine_is_a_plain_torch_loop(name: str) -> None:
    training = config(**OPTIMISERS[name])
    assert [len(rows) for rows in batches()] == [5, 5, 5, 5, 3] * 2
    run = trained(training, trace="task")
    params, path = plain_loop(training)
    assert not same(params, START)
    assert_close(run.params, params)
    assert run.trace is not None
    assert_close(run.trace.path, path)
    assert same(run.trace.start, START)
    assert run.n_steps == 2 * PER_EPOCH


def test_plain_sgd_has_the_bits_of_torch() -> None:
    assert same(trained().params, plain_loop(config())[0])


def test_gradient_elements_are_clipped() -> None:
    params, _ = plain_loop(config(), clip=0.01)
    assert_close(trained(config(clip_value=0.01)).params, params)
    assert not same(params, plain_loop(config())[0])


def test_the_epoch_is_cut_at_the_number_of_steps() -> None:
    assert config(epochs=2).n_steps(N) == 2 * PER_EPOCH
    assert config(steps=7).n_steps(N) == 7
    assert same(trained(n_steps=7).params, plain_loop(config(), n_steps=7)[0])


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_two_runs_without_reset_are_one(name: str) -> None:
    """The same epoch order is used for both halves, hence one batch of everything."""
    training = config(**OPTIMISERS[name], reset=False, batch_size=N)
    first = trained(training, n_steps=1)
    setting = Setting(NET, SCALE, training, 3)
    second = train_phase(plain_phase(NET), first, DATA, setting, task=1, n_steps=1)
    assert second.n_steps == 2
    assert_close(second.params, trained(training, n_steps=2).params)


def test_reset_hands_no_state_on() -> None:
    adam = OPTIMISERS["adam"]
    assert trained(config(**adam)).optimiser == {}
    assert trained(config(**adam, reset=False)).optimiser.keys() >= {
        f"{name}/exp_avg" for name in START
    }


def test_a_seed_fixes_every_bit() -> None:
    assert same(trained().params, trained().params)
    assert not same(trained().params, trained(seed=4).params)
    assert not same(trained().params, trained(task=2).params)


def test_arguments_stay_as_they_are() -> None:
    before = {name: value.clone() for name, value in START.items()}
    run = trained()
    assert same(before, START)
    assert not any(value.requires_grad for value in run.params.values())


def test_held_parameters_keep_every_bit() -> None:
    def opened(params: Params, memory: Memory, task: int) -> Params:
        return {name: value for name, value in params.items() if name.startswith("head")}

    run = trained(phase=Phase("head", plain_phase(NET).loss, open=opened))
    for name, value in START.items():
        assert torch.equal(run.params[name], value) != name.startswith("head"), name


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_steer_leaves_out_is_not_stepped(name: str) -> None:
    """Not even by weight decay or momentum."""

    def steer(grads: Params, full: Params, memory: Memory, batch: Batch, task: int) -> Params:
        return {n: g for n, g in grads.items() if n.startswith("head")}

    phase = Phase("part", plain_phase(NET).loss, steer=steer)
    run = trained(config(**OPTIMISERS[name]), phase)
    for n, value in START.items():
        assert torch.equal(run.params[n], value) != n.startswith("head"), n


def test_the_total_path_uses_the_steered_gradient() -> None:
    def steer(grads: Params, full: Params, memory: Memory, batch: Batch, task: int) -> Params:
        return {n: -2 * g for n, g in grads.items()}

    phase = Phase("back", plain_phase(NET).loss, steer=steer)
    task, total = (trained(phase=phase, trace=kind).trace for kind in ("task", "total"))
    assert task is not None
    assert total is not None
    for name, value in total.path.items():
        torch.testing.assert_close(value, -2 * task.path[name])
        assert bool((value >= 0).all())


PULL = Pull(
    {n: torch.rand(v.shape, generator=_RNG) for n, v in START.items()},
    {n: torch.randn(v.shape, generator=_RNG) for n, v in START.items()},
    0.7,
)


@pytest.mark.parametrize("options", [*OPTIMISERS.values(), {"clip_value": 0.05}], ids=str)
@pytest.mark.parametrize("trace", ["", "task", "total"])
def test_a_pull_is_the_penalty_differentiated(options: dict[str, Any], trace: str) -> None:
    def with_penalty(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        terms = [
            (omega * (full[n] - PULL.star[n]).square()).sum() for n, omega in PULL.omega.items()
        ]
        loss = plain_phase(NET).loss(full, memory, batch, task)
        return loss + 0.5 * PULL.weight * torch.stack(terms).sum()

    pulled = Phase("train", plain_phase(NET).loss, pull=lambda memory: PULL)
    found = trained(config(**options), pulled, trace=trace)
    expected = trained(config(**options), Phase("train", with_penalty), trace=trace)
    assert_close(found.params, expected.params)
    assert not same(found.params, trained(config(**options)).params)
    if trace == "total":
        assert found.trace is not None
        assert expected.trace is not None
        assert_close(found.trace.path, expected.trace.path)


def test_a_pull_leaves_what_the_loss_does_not_reach() -> None:
    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        return full["head.bias"].square().sum()

    run = trained(phase=Phase("one", loss, pull=lambda memory: PULL))
    held = {n: v for n, v in run.params.items() if n != "head.bias"}
    assert same(held, {n: START[n] for n in held})
    assert not torch.equal(run.params["head.bias"], START["head.bias"])


@pytest.mark.parametrize(("augment", "n_asked"), [("none", N), ("crop_flip", 2 * N)])
def test_notes_are_of_the_batchs_own_inputs_and_asked_for_once(augment: str, n_asked: int) -> None:
    asked: list[int] = []

    def note(params: Params, memory: Memory, task: int) -> Any:
        assert task == 1
        assert all(torch.equal(params[name], START[name]) for name in START)

        def sums(x: Tensor) -> dict[str, Tensor]:
            assert not torch.is_grad_enabled()
            asked.append(len(x))
            return {"sum": x.sum((1, 2, 3)), "first": x[:, 0, 0]}

        return sums

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        torch.testing.assert_close(batch.noted["sum"], batch.x.sum((1, 2, 3)))
        assert torch.equal(batch.noted["first"], batch.x[:, 0, 0])
        return plain_phase(NET).loss(full, memory, batch, task)

    phase = replace(plain_phase(NET), loss=loss, note=note)
    run = trained(config(augment=augment), phase=phase)
    assert sum(asked) == n_asked
    plain = trained(config(augment=augment))
    assert all(torch.equal(run.params[name], value) for name, value in plain.params.items())


def test_what_a_phase_opens_for_itself_has_to_be_closed() -> None:
    def opened(params: Params, memory: Memory, task: int) -> Params:
        return {**params, "own": torch.ones(3)}

    def close(full: Params, memory: Memory, task: int) -> tuple[Params, Memory]:
        return {name: v for name, v in full.items() if name != "own"}, memory

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        return plain_phase(NET).loss(full, memory, batch, task) + full["own"].sum()

    training = config(optimizer="adam", reset=False)
    tidy = replace(plain_phase(NET), loss=loss, open=opened, close=close)
    run = trained(training, phase=tidy, n_steps=3)
    assert run.params.keys() == START.keys()
    assert {key.rpartition("/")[0] for key in run.optimiser} == START.keys()
    with pytest.raises(MethodError, match=r"added or lost the parameters \['own'\]"):
        trained(training, phase=replace(plain_phase(NET), open=opened), n_steps=3)


def test_a_phase_with_a_decay_of_its_own_is_spared_the_studys() -> None:
    heavy = config(weight_decay=0.1)
    spared = trained(heavy, phase=replace(plain_phase(NET), decays=False), n_steps=3)
    plain = trained(config(), n_steps=3)
    assert all(torch.equal(spared.params[n], value) for n, value in plain.params.items())
    pulled = trained(heavy, n_steps=3)
    assert not torch.equal(pulled.params["head.weight"], plain.params["head.weight"])


def test_hooks_are_called_as_documented() -> None:
    calls: list[tuple[Any, ...]] = []
    plain = plain_phase(NET).loss
    drawn_in: list[Tensor] = []

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        rows = batches()[int(memory["step"])]
        assert torch.equal(batch.raw, DATA.raw(rows))
        assert torch.equal(batch.x, SCALE(batch.raw))
        assert torch.equal(batch.y, DATA.labels[rows])
        drawn_in.append(batch.draw["noise"])
        calls.append(("loss", int(memory["step"]), task))
        return plain(full, memory, batch, task)

    def steer(grads: Params, full: Params, memory: Memory, batch: Batch, task: int) -> Params:
        assert grads.keys() == full.keys() == START.keys()
        calls.append(("steer", int(memory["step"]), task))
        return grads

    def settle(trained: Params, memory: Memory, lr: float, task: int) -> Params:
        calls.append(("settle", int(memory["step"]), lr, task))
        return {n: torch.full_like(v, 0.25) if "bias" in n else v for n, v in trained.items()}

    def track(memory: Memory, batch: Batch, task: int) -> Memory:
        calls.append(("track", int(memory["step"]), task))
        return {"step": memory["step"] + 1}

    def draw(rng: torch.Generator, memory: Memory, n_steps: int, size: int) -> dict[str, Tensor]:
        calls.append(("draw", int(memory["step"]), n_steps, size))
        return {"noise": torch.rand(n_steps, 2, generator=rng)}

    def survey(memory: Memory, task: int) -> Net:
        calls.append(("survey", int(memory["step"]), task))
        return NET

    def close(full: Params, memory: Memory, task: int) -> tuple[Params, Memory]:
        assert not any(value.requires_grad for value in full.values())
        calls.append(("close", int(memory["step"]), task))
        return {name: value + 1 for name, value in full.items()}, {"step": memory["step"] + 10}

    hooks = {"steer": steer, "settle": settle, "draw": draw, "track": track}
    phase = Phase("probe", loss, **hooks, survey=survey, close=close)
    # Every batch of an epoch is prepared before its first step, hence one draw per epoch.
    run = trained(phase=phase, memory={"step": torch.tensor(0)}, n_steps=7)
    expected: list[tuple[Any, ...]] = []
    for step in range(7):
        if step in (0, PER_EPOCH):
            expected.append(("draw", step, min(PER_EPOCH, 7 - step), SIZE))
        expected += [
            ("loss", step, 1),
            ("steer", step, 1),
            ("settle", step, 0.1, 1),
            ("track", step, 1),
        ]
    assert calls == [*expected, ("survey", 7, 1), ("close", 7, 1)]
    assert int(run.memory["step"]) == 17
    assert all(bool((v == 1.25).all()) for n, v in run.params.items() if "bias" in n)
    # Row s of each epoch's draw, from the generator of that epoch.
    for epoch, steps in enumerate((slice(0, 5), slice(5, 7))):
        rng = generator(3, "draw", "probe", 1, epoch)
        rows = drawn_in[steps]
        assert torch.equal(torch.stack(rows), torch.rand(len(rows), 2, generator=rng))


def test_divergence_names_task_phase_and_step() -> None:
    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        value = plain_phase(NET).loss(full, memory, batch, task)
        return value / (memory["left"] > 0)  # infinite from the fourth step on

    def track(memory: Memory, batch: Batch, task: int) -> Memory:
        return {"left": memory["left"] - 1}

    phase = Phase("probe", loss, track=track)
    with pytest.raises(
        Diverged, match=r"loss became inf in task 2, phase 'probe', step 4"
    ) as raised:
        trained(phase=phase, memory={"left": torch.tensor(3)})
    assert raised.value.n_steps == 4
    later = State(START, {"left": torch.tensor(3)}, n_steps=100)
    with pytest.raises(Diverged) as raised:
        train_phase(phase, later, DATA, Setting(NET, SCALE, config(), 3), task=1, n_steps=5)
    assert raised.value.n_steps == 104


def test_what_diverges_knows_the_steps_of_all_phases_before_also_in_another_process() -> None:
    with pytest.raises(Diverged) as raised, after_steps(100), after_steps(20):
        raise Diverged("NaN", 3)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.n_steps, raised.value.n_steps) == ("NaN", 123, 123)


def test_parameters_that_are_not_finite_at_the_end_diverged() -> None:
    def steer(grads: Params, full: Params, memory: Memory, batch: Batch, task: int) -> Params:
        return {n: g * float("inf") for n, g in grads.items()}

    with pytest.raises(
        Diverged, match="no longer finite at the end of task 2, phase 'probe'"
    ) as raised:
        trained(phase=Phase("probe", plain_phase(NET).loss, steer=steer), n_steps=1)
    assert raised.value.n_steps == 1


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_trial_step_changes_nothing_and_sees_the_real_one(name: str) -> None:
    """`foresee` gets what the step then does, bit for bit, and leaves no trace."""
    seen: list[Params] = []

    def foresee(grads: Params, ahead: Params, memory: Memory, batch: Batch, task: int) -> Params:
        seen.append(ahead)
        return grads

    phase = Phase("probe", plain_phase(NET).loss, foresee=foresee)
    training = config(**OPTIMISERS[name])
    run = trained(training, phase)
    assert same(run.params, trained(training).params)
    assert len(seen) == 2 * PER_EPOCH
    assert same(run.params, seen[-1])
