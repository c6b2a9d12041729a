"""RWalk's score and Fisher by hand, its scaling, and its place along training."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import LearntTask
from clsweep.methods.regulariser_hypers import RwalkHyper
from clsweep.methods.rwalk import Walk, interval_ended, stepped, unit_scaled
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase
from clsweep.training.sequences import learn_sequence, learn_source


def one(value: float) -> Params:
    return {"w": torch.tensor([value])}


def test_score_of_two_steps_by_hand() -> None:
    """Steps 0 → 1 → 3 with the gradients −2 and −4: ΔL = 2 + 8, F = (4 + 16) / 2, Δθ = 3."""
    hyper = RwalkHyper(interval=2, damping=0.5)
    zero = one(0.0)
    walk = Walk(zero, zero, zero, zero, zero, zero, zero)
    walk = stepped(walk, one(0.0), one(-2.0), hyper)
    walk = stepped(walk, one(1.0), one(-4.0), hyper)
    walk = stepped(walk, one(3.0), one(1.0), hyper)  # ends the interval, begins the next
    assert float(walk.fisher["w"]) == pytest.approx(10)
    assert float(walk.score["w"]) == pytest.approx(10 / (0.5 * 10 * 9 + 0.5))
    # The next interval has one step, 3 → 2 with the gradient 1, until the task ends.
    walk = interval_ended(walk, one(2.0), hyper)
    fisher = 0.9 * 1 + 0.1 * 10
    assert float(walk.fisher["w"]) == pytest.approx(fisher)
    second = 1 / (0.5 * fisher * 1 + 0.5)
    assert float(walk.score["w"]) == pytest.approx(10 / 45.5 + second)
    # A step up the loss counts nothing.
    walk = interval_ended(stepped(walk, one(0.0), one(1.0), hyper), one(5.0), hyper)
    assert float(walk.score["w"]) == pytest.approx(10 / 45.5 + second)


def test_both_parts_are_scaled_over_the_whole_network() -> None:
    scaled = unit_scaled({"a": torch.tensor([2.0, 4.0]), "b": torch.tensor([10.0])})
    assert scaled["a"].tolist() == [0.0, 0.25]
    assert scaled["b"].tolist() == [1.0]
    assert unit_scaled({"a": torch.full((2,), 3.0)})["a"].tolist() == [0.0, 0.0]


def test_scores_of_later_tasks_are_averaged() -> None:
    net = build_net(NetConfig(hidden=()), (1, 1, 1), Heads("domain", (2, 2)))
    method = methods.build("rwalk", net, RwalkHyper())
    memory = method.begin({"w": torch.zeros(3)})
    data = LearntTask(None, None, None, 0, generator(0, ""))  # type: ignore[arg-type]
    for score in ([8.0, 0.0, 4.0], [0.0, 4.0, 4.0]):
        walk = memory["path"]["walk"]._replace(
            score={"w": torch.tensor(score)}, fisher={"w": torch.tensor([1.0, 3.0, 1.0])}
        )
        memory = {**memory, "path": {**memory["path"], "walk": walk}}
        assert method.phases[0].close is not None
        _, memory = method.phases[0].close({}, memory, 0)
        memory = method.absorb({"w": torch.ones(3)}, memory, {}, data)
    assert memory["path"]["score"]["w"].tolist() == [4.0, 2.0, 4.0]
    assert memory["anchor"].omega["w"].tolist() == [1.0, 1.0, 1.0]  # [0, 1, 0] + [1, 0, 1]
    assert memory["anchor"].star["w"].tolist() == [1.0, 1.0, 1.0]
    assert memory["path"]["walk"].score == {}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_path_is_that_of_the_task_s_loss_under_a_penalty(
    optimizer: str, sequences: dict[str, TaskSequence]
) -> None:
    """The gradient of the loss alone, and the change that the optimiser made with the penalty."""
    sequence = sequences["domain"]
    net = build_net(NetConfig(hidden=(4,)), sequence.input_shape, sequence.heads)
    start, data = net.init(generator(0, "init")), sequence.tasks[1].train
    method = methods.build("rwalk", net, RwalkHyper(lam=0.5))
    memory = method.begin(start)
    omega = {n: torch.ones_like(v) for n, v in start.items()}
    star = {n: v + 1 for n, v in start.items()}
    memory = {**memory, "anchor": memory["anchor"]._replace(omega=omega, star=star)}
    training = TrainingConfig(optimizer=optimizer, lr=0.01, batch_size=len(data), steps=1)
    setting = Setting(net, sequence.scale, training, 0)
    run = train_phase(method.phases[0], State(start, memory), data, setting, task=1, n_steps=1)
    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    x = sequence.scale(data.raw(torch.arange(len(data))))
    loss = F.cross_entropy(net.apply(leaves, x, 1), data.labels)
    grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    path = run.memory["path"]
    for name, g in grads.items():
        moved = run.params[name] - start[name]
        if optimizer == "sgd":  # down loss and λ Σ (θ − θ*)², whose gradient is 2 λ (θ − θ*)
            expected = -0.01 * (g + 2 * 0.5 * (start[name] - star[name]))
            torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-7)
        gained = (-g * moved).clamp(min=0) / (0.5 * g.square() * moved.square() + 1e-3)
        torch.testing.assert_close(path["walk"].fisher[name], g.square(), rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(path["score"][name], gained, rtol=1e-3, atol=1e-7)


def test_its_first_task_is_the_shared_source_bit_for_bit(
    sequences: dict[str, TaskSequence],
) -> None:
    sequence = sequences["domain"]
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    training = TrainingConfig(optimizer="adam", lr=0.01, batch_size=16, steps=5)
    source = learn_source(net, sequence, training, 0)
    method = methods.build("rwalk", net, RwalkHyper(lam=3.0))
    run = learn_sequence(method, sequence, training, 0, None, {})
    n = len(source.rows)
    assert run.rows[:n] == source.rows


def test_between_tasks_it_keeps_four_numbers_per_parameter(
    sequences: dict[str, TaskSequence],
) -> None:
    """ω, θ*, F and s; what the steps of a task need is gone with them."""
    sequence = sequences["domain"]
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    training = TrainingConfig(lr=0.01, batch_size=16, steps=5)
    source = learn_source(net, sequence, training, 0)
    method = methods.build("rwalk", net, RwalkHyper(lam=3.0))
    kept = learn_sequence(method, sequence, training, 0, None, {}).memory_bytes
    one_copy = sum(value.numel() * value.element_size() for value in source.params.values())
    assert (kept.importances, kept.models) == (3 * one_copy, one_copy)
