"""DER and DER++: what is stored is what the network said at its step, and the loss by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Batch, LearntTask, Memory, Method
from clsweep.methods.parts import buffer
from clsweep.methods.parts.stored_outputs import OUTPUTS, mean_squared_error
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.memory_bytes import memory_bytes
from clsweep.training.sequences import learn_sequence, learn_source

SCENARIOS = ("task", "domain", "class")


def net_of(sequence: TaskSequence) -> Net:
    return build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)


def built(name: str, net: Net, **numbers: Any) -> Method:
    return methods.build(name, net, methods.METHODS[name].hyper(**numbers))


def n_outputs(sequence: TaskSequence, task: int, outputs: str) -> int:
    """How many outputs an example of `task` is stored with."""
    heads = sequence.heads
    if heads.scenario == "class":
        return heads.n_outputs if outputs == "all" else heads.columns(task)[1]
    return heads.sizes[task]


def followed(
    method: Method, sequence: TaskSequence, steps: int
) -> tuple[Memory, list[tuple[Tensor, Tensor, int]]]:
    """The memory after the second task, and every batch of it: raw, outputs before its step."""
    seen: list[tuple[Tensor, Tensor, int]] = []
    (phase,) = method.phases
    last = len(sequence.tasks) - 1
    everything = method.hyper.outputs == "all" and sequence.heads.scenario == "class"

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Any:
        with torch.no_grad():
            head = last if everything else task
            seen.append((batch.raw, method.net.apply(full, batch.x, head), task))
        return phase.loss(full, memory, batch, task)

    kept: list[Memory] = []

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        found = method.absorb(params, memory, statistics, learnt)
        kept.append(found)
        return found

    watched = dataclasses.replace(
        method, phases=(dataclasses.replace(phase, loss=loss),), absorb=absorb
    )
    training = TrainingConfig(optimizer="sgd", lr=0.2, batch_size=8, steps=steps)
    source = learn_source(method.net, sequence, training, 0)
    learn_sequence(watched, sequence, training, 0, source, {})
    return kept[1], seen


@pytest.mark.parametrize("outputs", ["all", "seen"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_stored_logit_is_the_networks_at_its_step(
    scenario: str, outputs: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    method = built("der", net_of(sequence), memory_size=30, outputs=outputs)
    memory, seen = followed(method, sequence, steps=12)
    stored: buffer.Buffer = memory["slots"]
    of_second = (stored.tasks == 1).nonzero().flatten().tolist()
    assert len(of_second) > 5
    steps = set()
    for slot in of_second:
        found = [
            (step, row, z)
            for step, (raw, z, task) in enumerate(seen)
            for row in range(len(raw))
            if task == 1 and torch.equal(raw[row], stored.raw[slot])
        ]
        width = n_outputs(sequence, 1, outputs)
        kept = stored.noted[OUTPUTS][slot]
        assert torch.isneginf(kept[width:]).all()
        assert kept[:width].isfinite().all()
        # The same image may pass twice; one of its steps is the one at which it entered.
        far = [float((z[row] - kept[:width]).abs().max()) for _, row, z in found]
        assert min(far) < 1e-5
        steps.add(found[far.index(min(far))][0])
    assert len(steps) > 3  # along the trajectory, not at one moment


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("numbers", [{"recorded": "task_end"}, {"fill": "balanced"}])
def test_after_the_task_all_its_logits_are_those_of_its_network(
    scenario: str, numbers: dict[str, str], short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    net = net_of(sequence)
    method = built("der", net, memory_size=20, outputs="seen", **numbers)
    params = [net.init(generator(seed, "init")) for seed in range(2)]
    memory = method.begin(params[0])
    for task in range(2):
        rng = generator(0, "absorb", task)
        learnt = LearntTask(sequence.tasks[task], sequence.scale, None, 99, rng)
        if task and "recorded" in numbers:  # some of its examples are there with other logits
            data = sequence.tasks[task].train
            index = torch.arange(20)
            wrong = {OUTPUTS: torch.zeros_like(memory["slots"].noted[OUTPUTS])}
            uniform = torch.linspace(0, 0.2, 20, dtype=torch.float64)
            raw, labels = data.raw(index), data.labels[index]
            old = memory["slots"]
            memory = {"slots": buffer.streamed(old, raw, labels, task, uniform, wrong)}
        memory = method.absorb(params[task], memory, {}, learnt)
    stored: buffer.Buffer = memory["slots"]
    assert {0, 1} == set(stored.tasks.tolist())
    for task in range(2):
        here = stored.tasks == task
        z = net.apply(params[task], sequence.scale(stored.raw[here]), task)
        torch.testing.assert_close(stored.noted[OUTPUTS][here][:, : z.shape[1]], z)


@pytest.mark.parametrize("name", ["der", "derpp"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_loss_by_hand(name: str, scenario: str, sequences: dict[str, TaskSequence]) -> None:
    sequence = sequences[scenario]
    net = net_of(sequence)
    full = net.init(generator(0, "init"))
    numbers = {"weight": 0.7, "memory_size": 9, "outputs": "seen"}
    numbers |= {"label_weight": 1.3} if name == "derpp" else {}
    method = built(name, net, **numbers)
    memory = method.begin(full)
    early = net.init(generator(1, "init"))
    for task in range(2):
        rng = generator(0, "absorb", task)
        learnt = LearntTask(sequence.tasks[task], sequence.scale, None, 9, rng)
        memory = method.absorb(early, memory, {}, learnt)
    data = sequence.tasks[1].train
    index = torch.arange(5)
    raw, y = data.raw(index), data.labels[index]
    noted = {OUTPUTS: torch.full((5, memory["slots"].noted[OUTPUTS].shape[1]), float("-inf"))}
    noted[OUTPUTS][:, : n_outputs(sequence, 1, "seen")] = 0.3
    stored = buffer.streamed(memory["slots"], raw, y, 1, torch.zeros(5).double(), noted)
    draw = {"slots": torch.tensor([0, 3, 7]), "labelled": torch.tensor([5, 0])}
    batch = Batch(sequence.scale(raw), y, raw, sequence.scale, draw)
    newest = 2

    def logits(slot: int) -> Tensor:
        head = int(stored.tasks[slot]) if scenario == "task" else newest
        return net.apply(full, sequence.scale(stored.raw[slot : slot + 1]), head)[0]

    wanted = F.cross_entropy(net.apply(full, batch.x, newest), y)
    for slot in (0, 3, 7):
        width = n_outputs(sequence, int(stored.tasks[slot]), "seen")
        then = stored.noted[OUTPUTS][slot][:width]
        wanted += 0.7 / 3 * (logits(slot)[:width] - then).square().mean()
    if name == "derpp":
        for slot in (5, 0):
            wanted += 1.3 / 2 * F.cross_entropy(logits(slot)[None], stored.labels[slot][None])
    found = method.phases[0].loss(full, {"slots": stored}, batch, newest)
    torch.testing.assert_close(found.loss, wanted)
    torch.testing.assert_close(found.noted[OUTPUTS], net.apply(full, batch.x, newest))


def test_two_batches_are_drawn_apart(short_sequences: dict[str, TaskSequence]) -> None:
    sequence = short_sequences["domain"]
    net = net_of(sequence)
    memory = built("derpp", net, memory_size=20).begin(net.init(generator(0, "init")))
    memory = {"slots": memory["slots"]._replace(n_filled=20)}
    for name, kinds in (
        ("der", {"slots", "uniform"}),
        ("derpp", {"slots", "uniform", "labelled"}),
    ):
        method = built(name, net, memory_size=20, replay_batch=6)
        drawn = method.phases[0].draw(generator(0, "draw"), memory, 4, 8)
        assert drawn.keys() == kinds
        assert all(len(set(row.tolist())) == 6 for row in drawn["slots"])
    assert not torch.equal(drawn["slots"], drawn["labelled"])


def test_all_outputs_hold_what_is_said_of_classes_to_come(
    short_sequences: dict[str, TaskSequence],
) -> None:
    """The gradient on outputs of new classes, which a growing head leaves alone."""
    sequence = short_sequences["class"]
    net = net_of(sequence)
    reached = {}
    for outputs in ("all", "seen"):
        method = built("der", net, memory_size=20, outputs=outputs, weight=1.0)
        full = {n: v.requires_grad_() for n, v in net.init(generator(0, "init")).items()}
        learnt = LearntTask(sequence.tasks[0], sequence.scale, None, 9, generator(0, "absorb"))
        memory = method.absorb(net.init(generator(1, "init")), method.begin(full), {}, learnt)
        then = memory["slots"].noted[OUTPUTS][:3]
        z = net.apply(full, sequence.scale(memory["slots"].raw[:3]), len(sequence.tasks) - 1)
        bias = [name for name in net.readout(0) if name.endswith("bias")]
        (grad,) = torch.autograd.grad(mean_squared_error(z, then), [full[bias[0]]])
        reached[outputs] = grad[sequence.heads.columns(0)[1] :].abs().sum()
    assert reached["all"] > 0
    assert reached["seen"] == 0


def test_stored_logits_count_as_bytes_of_data(short_sequences: dict[str, TaskSequence]) -> None:
    net = net_of(short_sequences["class"])
    params = net.init(generator(0, "init"))
    plain, dark = (
        memory_bytes(built(name, net, memory_size=20).begin(params)) for name in ("replay", "der")
    )
    assert dark.data - plain.data == 20 * net.heads.n_outputs * 4
    assert dark.models == dark.importances == 0


def test_a_head_that_lacks_outputs_leaves_no_trace() -> None:
    now = torch.tensor([[1.0, 2.0, float("-inf")], [0.0, 0.0, 0.0]], requires_grad=True)
    then = torch.tensor([[0.0, 4.0, float("-inf"), 0.0], [3.0, 0.0, 3.0, 0.0]])
    loss = mean_squared_error(now, then)
    assert float(loss.detach()) == pytest.approx(((1 + 4) / 2 + (9 + 9) / 3) / 2)
    (grad,) = torch.autograd.grad(loss, [now])
    torch.testing.assert_close(grad, torch.tensor([[0.5, -1.0, 0.0], [-1.0, 0.0, -1.0]]))
