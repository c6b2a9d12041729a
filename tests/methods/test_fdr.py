"""FDR: the distance and its gradient by hand, and two steps that are made as one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.exemplar_hypers import FdrHyper
from clsweep.methods.fdr import probability_distance
from clsweep.methods.parts.stored_outputs import OUTPUTS
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase

INF = float("inf")


def test_distance_and_gradient_by_hand() -> None:
    """∂/∂z_c = p_c (u_c − Σ_k p_k u_k), u the unit vector from old to new probabilities."""
    now = torch.randn(2, 3, generator=generator(0, "now"), dtype=torch.float64).requires_grad_()
    then = torch.randn(2, 3, generator=generator(0, "then"), dtype=torch.float64)
    loss = probability_distance(now, then)
    p, q = now.detach().softmax(1), then.softmax(1)
    length = (p - q).square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(loss.detach(), length.mean())
    unit = (p - q) / length
    wanted = p * (unit - (p * unit).sum(1, keepdim=True)) / 2
    torch.testing.assert_close(torch.autograd.grad(loss, [now])[0], wanted)


def test_outputs_that_did_not_exist_take_no_part() -> None:
    now = torch.tensor([[1.0, 2.0, 5.0], [1.0, 0.0, -INF]], requires_grad=True)
    then = torch.tensor([[0.0, 0.0, -INF, -INF], [1.0, 0.0, -INF, -INF]])
    loss = probability_distance(now, then)
    p = torch.tensor([1.0, 2.0]).softmax(0)
    torch.testing.assert_close(loss.detach(), (p - 0.5).norm() / 2)
    (grad,) = torch.autograd.grad(loss, [now])
    assert grad[0, 2] == 0
    assert (grad[1] == 0).all()  # where both agree, and not NaN


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_alternating_makes_two_steps_of_plain_descent(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    method = methods.build(
        "fdr", net, FdrHyper(memory_size=10, step="alternating", outputs="seen")
    )
    start = net.init(generator(0, "init"))
    learnt = LearntTask(sequence.tasks[0], sequence.scale, None, 9, generator(0, "absorb"))
    memory = method.absorb(net.init(generator(1, "init")), method.begin(start), {}, learnt)
    seen: list[Batch] = []
    (phase,) = method.phases

    def distance(full: Params, batch: Batch) -> Tensor:
        stored, index = memory["slots"], batch.draw["slots"]
        x = sequence.scale(stored.raw[index])
        now = net.apply(full, x, 0 if scenario == "task" else 1)
        then = stored.noted[OUTPUTS][index][:, : len(net.apply(full, x[:1], 0)[0])]
        return (now[:, : then.shape[1]].softmax(1) - then.softmax(1)).norm(dim=1).mean()

    def followed(full: Params, given: object, batch: Batch, task: int) -> Tensor:
        seen.append(batch)
        return phase.loss(full, given, batch, task)

    watched = type(phase)(**{**vars(phase), "loss": followed})
    training = TrainingConfig(optimizer="sgd", lr=0.3, batch_size=8, steps=1)
    setting = Setting(net, sequence.scale, training, 0)
    data = sequence.tasks[1].train
    run = train_phase(watched, State(start, memory), data, setting, task=1, n_steps=1)
    (batch,) = seen
    full = dict(start)
    for value in (lambda p: phase.loss(p, memory, batch, 1), lambda p: distance(p, batch)):
        leaves = {n: v.detach().requires_grad_() for n, v in full.items()}
        grads = torch.autograd.grad(value(leaves), list(leaves.values()), allow_unused=True)
        full = {
            n: v.detach() if g is None else (v - 0.3 * g).detach()
            for (n, v), g in zip(leaves.items(), grads, strict=True)
        }
    for name, value in full.items():
        torch.testing.assert_close(run.params[name], value)
    assert not torch.equal(run.params[net.readout(0)[0]], start[net.readout(0)[0]])


def test_every_task_keeps_an_equal_share_and_its_own_logits(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence = short_sequences["class"]
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    method = methods.build("fdr", net, FdrHyper(memory_size=12, outputs="all"))
    nets = [net.init(generator(seed, "init")) for seed in range(3)]
    memory, last = method.begin(nets[0]), len(sequence.tasks) - 1
    for task in range(2):
        rng = generator(0, "absorb", task)
        learnt = LearntTask(sequence.tasks[task], sequence.scale, None, 9, rng)
        memory = method.absorb(nets[task], memory, {}, learnt)
        stored = memory["slots"]
        assert stored.tasks.bincount().tolist() == [12 // (task + 1)] * (task + 1)
    for task in range(2):
        here = stored.tasks == task
        z = net.apply(nets[task], sequence.scale(stored.raw[here]), last)
        torch.testing.assert_close(stored.noted[OUTPUTS][here], z)
