"""HAT's gates and their gradients by hand, what they guard, and the slope of an epoch."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, TaskSequence
from clsweep.methods.base import Batch, LearntTask, Method
from clsweep.methods.hat import guarded, sparsity
from clsweep.methods.isolation_hypers import HatHyper
from clsweep.methods.parts.layer_chain import chain_of
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.training.config import TrainingConfig
from clsweep.training.learnt_models import LearntSequence
from clsweep.training.sequences import learn_sequence

NET = build_net(NetConfig(hidden=(3, 2), activation="tanh"), (1, 2, 2), Heads("task", (2, 2)))
HYPER = HatHyper(c=0.5, s_max=20.0)
FIRST, SECOND = "layers.0.weight", "layers.1.weight"


def batch_of(method: Method, s: float) -> Batch:
    rng = generator(3, "x")
    x = torch.rand(5, 1, 2, 2, generator=rng)
    one = Scale(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
    return Batch(x, torch.tensor([0, 1, 1, 0, 1]), x, one, {"s": torch.tensor(s)})


def test_the_loss_is_that_of_the_gated_units_and_its_gradients_are_compensated() -> None:
    """Forward pass and penalty written down; gradients by autograd of that."""
    method = methods.build("hat", NET, HYPER)
    params = method.net.init(generator(0, "init"))
    memory = method.begin(params)
    used = {FIRST: torch.tensor([1.0, 0.25, 0.0]), SECOND: torch.tensor([0.5, 0.0])}
    memory = {**memory, "used": used}
    s = 3.0
    batch = batch_of(method, s)
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    a1, a2 = ((s * leaves[f"gates.1.{name}"]).sigmoid() for name in (FIRST, SECOND))
    h = (batch.x.flatten(1) @ leaves[FIRST].T + leaves["layers.0.bias"]).tanh() * a1
    h = (h @ leaves[SECOND].T + leaves["layers.1.bias"]).tanh() * a2
    logits = h @ leaves["heads.1.weight"].T + leaves["heads.1.bias"]
    taken = (a1 * (1 - used[FIRST])).sum() + (a2 * (1 - used[SECOND])).sum()
    free = (1 - used[FIRST]).sum() + (1 - used[SECOND]).sum()
    expected = torch.nn.functional.cross_entropy(logits, batch.y) + 0.5 * taken / free
    phase = method.phases[0]
    found = phase.loss(leaves, memory, batch, 1)
    torch.testing.assert_close(found, expected)
    names = [n for n in leaves if not n.startswith(("heads.0", "gates.0"))]
    grads = dict(
        zip(names, torch.autograd.grad(expected, [leaves[n] for n in names]), strict=True)
    )
    steered = phase.steer(grads, params, memory, batch, 1)
    for name in (FIRST, SECOND):
        e = params[f"gates.1.{name}"]
        factor = 20.0 / s * ((s * e).cosh() + 1) / (e.cosh() + 1)
        # dσ(s e)/de × factor = s_max σ(e) (1 − σ(e)): as steep as the gates without their slope.
        sigma = (s * e).sigmoid()
        plain = 20.0 * e.sigmoid() * (1 - e.sigmoid())
        torch.testing.assert_close(s * sigma * (1 - sigma) * factor, plain)
        torch.testing.assert_close(steered[f"gates.1.{name}"], grads[f"gates.1.{name}"] * factor)
    for i in range(2):
        for j in range(3):
            share = min(float(used[SECOND][i]), float(used[FIRST][j]))
            wanted = grads[SECOND][i, j] * (1 - share)
            torch.testing.assert_close(steered[SECOND][i, j], wanted)
        torch.testing.assert_close(
            steered["layers.1.bias"][i], grads["layers.1.bias"][i] * (1 - used[SECOND][i])
        )
    assert not steered[FIRST][0].any()  # a unit in full use
    torch.testing.assert_close(steered["heads.1.weight"], grads["heads.1.weight"])


def test_the_slope_rises_over_an_epoch_and_embeddings_are_bounded() -> None:
    method = methods.build("hat", NET, HYPER)
    phase, params = method.phases[0], method.net.init(generator(0, "init"))
    s = phase.draw(generator(0, "draw"), {}, 5, 8)["s"]
    assert s[0] == pytest.approx(1 / 20)
    assert s[-1] == 20
    torch.testing.assert_close(s.diff(), torch.full((4,), (20 - 1 / 20) / 4))
    far = {name: value * 100 for name, value in params.items()}
    settled = phase.settle(far, {}, 0.1, 1)
    assert float(settled[f"gates.1.{FIRST}"].abs().max()) == 6
    assert torch.equal(settled[f"gates.0.{FIRST}"], far[f"gates.0.{FIRST}"])


def learnt(sequence: TaskSequence, n_tasks: int) -> LearntSequence:
    net = build_net(NetConfig(hidden=(12, 10)), sequence.input_shape, sequence.heads)
    method = methods.build("hat", net, HatHyper(c=0.1))
    training = TrainingConfig(lr=0.05, momentum=0.9, weight_decay=0.1, batch_size=16, steps=12)
    short = replace(sequence, tasks=sequence.tasks[:n_tasks])
    return learn_sequence(method, short, training, 0, None, {})


def test_parameters_of_units_in_full_use_never_change(
    sequences: dict[str, TaskSequence],
) -> None:
    """And so the outputs of old tasks do not, as far as their gates are hard."""
    sequence = sequences["task"]
    two, four = learnt(sequence, 2), learnt(sequence, 4)
    net = build_net(NetConfig(hidden=(12, 10)), sequence.input_shape, sequence.heads)
    chain = chain_of(net, "hat")
    used = {
        layer.weight: torch.stack(
            [(400 * two.params[f"gates.{t}.{layer.weight}"]).sigmoid() for t in (0, 1)]
        ).amax(0)
        for layer in chain.hidden
    }
    ones = {name: torch.ones_like(two.params[name]) for name in net.init(generator(0, "i"))}
    n_guarded = n_moved = 0
    for name, share in guarded(chain, ones, used).items():
        full = share == 0
        assert torch.equal(two.params[name][full], four.params[name][full])
        n_guarded += int(full.sum())
        n_moved += int((two.params[name] != four.params[name]).sum())
    assert n_guarded > 100
    assert n_moved > 100
    for task in (0, 1):
        x = sequence.scale(sequence.tasks[task].test.raw(torch.arange(20)))
        before, now = (run.predict(run.params, x, task) for run in (two, four))
        torch.testing.assert_close(before, now, atol=1e-3, rtol=1e-3)
    assert 0 < four.counters["capacity_left"] < two.counters["capacity_left"] < 1


def test_cumulative_mask_is_the_maximum_over_tasks(sequences: dict[str, TaskSequence]) -> None:
    sequence = sequences["task"]
    net = build_net(NetConfig(hidden=(3,)), sequence.input_shape, sequence.heads)
    method = methods.build("hat", net, HatHyper(s_max=10.0))
    params = method.net.init(generator(0, "init"))
    params[f"gates.0.{FIRST}"] = torch.tensor([6.0, -6.0, -6.0])
    params[f"gates.1.{FIRST}"] = torch.tensor([-6.0, 0.0, 0.1])
    memory = method.begin(params)
    for task in sequence.tasks[:2]:
        data = LearntTask(task, sequence.scale, None, 0, generator(0, ""))
        memory = method.absorb(params, memory, {}, data)
    expected = torch.tensor([1.0, 0.5, 1 / (1 + math.exp(-1))])
    torch.testing.assert_close(memory["used"][FIRST], expected)
    assert sparsity({}, {}) == 0
    assert float(sparsity({"a": torch.ones(2)}, {"a": torch.ones(2)})) == 0
