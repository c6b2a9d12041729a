"""SI's path integral against the decrease of the loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import LearntTask, Trace
from clsweep.methods.parts.losses import plain_phase
from clsweep.methods.regulariser_hypers import SiHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase


def path_error(sequence: TaskSequence, net: Net, rate: float, n_steps: int) -> float:
    """How far Σ ω is from the decrease of the full-batch loss."""
    data = sequence.tasks[0].train
    start = net.init(generator(0, "init"))
    training = TrainingConfig(optimizer="sgd", lr=rate, batch_size=len(data), steps=n_steps)
    run = train_phase(
        plain_phase(net),
        State(start, {}),
        data,
        Setting(net, sequence.scale, training, 0),
        task=0,
        n_steps=n_steps,
        trace="task",
    )

    def loss(params: Params) -> float:
        x = sequence.scale(data.raw(torch.arange(len(data))))
        return float(F.cross_entropy(net.apply(params, x, 0), data.labels))

    assert run.trace is not None
    total = float(sum(value.sum() for value in run.trace.path.values()))
    return abs(total - (loss(start) - loss(run.params)))


def test_path_integral_converges_to_the_decrease_of_the_loss_at_first_order(
    sequences: dict[str, TaskSequence],
) -> None:
    sequence = sequences["task"]
    config = NetConfig(hidden=(10,), activation="tanh")
    net = build_net(config, sequence.input_shape, sequence.heads)
    errors = [path_error(sequence, net, 0.2 / 2**k, 10 * 2**k) for k in range(4)]
    ratios = [a / b for a, b in zip(errors, errors[1:], strict=False)]
    assert all(1.7 < ratio < 2.4 for ratio in ratios), (errors, ratios)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_path_is_gradient_times_actual_change(
    optimizer: str, sequences: dict[str, TaskSequence]
) -> None:
    """One step: ω = −g Δθ, with the change the optimiser made."""
    sequence = sequences["task"]
    net = build_net(NetConfig(hidden=(4,)), sequence.input_shape, sequence.heads)
    start, data = net.init(generator(0, "init")), sequence.tasks[0].train
    training = TrainingConfig(optimizer=optimizer, lr=0.01, batch_size=len(data), steps=1)
    run = train_phase(
        plain_phase(net),
        State(start, {}),
        data,
        Setting(net, sequence.scale, training, 0),
        task=0,
        n_steps=1,
        trace="task",
    )
    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    x = sequence.scale(data.raw(torch.arange(len(data))))
    loss = F.cross_entropy(net.apply(leaves, x, 0), data.labels)
    names = [name for name in leaves if not name.startswith("heads.") or "heads.0." in name]
    grads = torch.autograd.grad(loss, [leaves[name] for name in names])
    assert run.trace is not None
    for name, g in zip(names, grads, strict=True):
        expected = -g * (run.params[name] - start[name])
        torch.testing.assert_close(run.trace.path[name], expected, rtol=1e-4, atol=1e-9)


def test_omega_is_damped_accumulated_and_never_negative() -> None:
    before, after = {"w": torch.tensor([0.0, 0.0, 0.0])}, {"w": torch.tensor([1.0, 2.0, 0.0])}
    path = {"w": torch.tensor([3.0, -9.0, 0.25])}
    data = LearntTask(None, None, Trace(before, path), 0, generator(0, ""))  # type: ignore[arg-type]
    net = build_net(NetConfig(hidden=()), (1, 1, 1), Heads("domain", (2, 2)))
    method = methods.build("si", net, SiHyper(xi=0.5))
    memory = method.absorb(after, method.begin(before), {}, data)
    assert memory["anchor"].omega["w"].tolist() == pytest.approx([3 / 1.5, 0.0, 0.5])
    again = method.absorb(after, memory, {}, data)
    assert again["anchor"].omega["w"].tolist() == pytest.approx([4.0, 0.0, 1.0])
    assert torch.equal(again["anchor"].star["w"], after["w"])
