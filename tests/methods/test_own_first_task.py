"""The first task learnt with a memory from the first step on, against a loop written out here."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Batch, Memory, NotedLoss
from clsweep.methods.er_ace import present_label_loss
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.losses import label_loss
from clsweep.methods.parts.stored_outputs import OUTPUTS
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.learnt_models import LearntSequence
from clsweep.training.sequences import learn_sequence

TRAINING = TrainingConfig(optimizer="sgd", lr=0.2, batch_size=4, steps=6)


class Step(NamedTuple):
    """What a step of the first task has said of itself, and what it should have said.

    Attributes:
        loss: of the method.
        new: what the loss of the new batch should be.
        raw: the batch as stored.
        outputs: of the batch, before the step.
        slots: which stored examples it was to replay.
        stored: the buffer before the step.
        full: the parameters before the step.
        weights: of those examples.
    """

    loss: Tensor
    new: Tensor
    raw: Tensor
    outputs: Tensor
    slots: Tensor
    stored: buffer.Buffer
    full: Params
    weights: Tensor | None


def net_of(sequence: TaskSequence) -> Net:
    return build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)


def followed(
    name: str, sequence: TaskSequence, **numbers: Any
) -> tuple[list[Step], LearntSequence]:
    """Every step of the first task."""
    net = net_of(sequence)
    method = methods.build(name, net, methods.METHODS[name].hyper(first_task="own", **numbers))
    (phase,) = method.phases
    new_loss = present_label_loss if name == "er_ace" else label_loss
    steps: list[Step] = []

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Any:
        found = phase.loss(full, memory, batch, task)
        if task == 0:
            with torch.no_grad():
                z = net.apply(full, batch.x, 0)
            value = found.loss if isinstance(found, NotedLoss) else found
            steps.append(
                Step(
                    value.detach(),
                    new_loss(z, batch),
                    batch.raw,
                    z,
                    batch.draw["slots"],
                    memory["slots"],
                    {name: value.detach().clone() for name, value in full.items()},
                    batch.draw.get("slots_weights"),
                )
            )
        return found

    watched = dataclasses.replace(method, phases=(dataclasses.replace(phase, loss=loss),))
    return steps, learn_sequence(watched, sequence, TRAINING, 0, None, {})


def test_der_replays_along_the_first_task_what_it_has_seen_of_it(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence = short_sequences["domain"]
    steps, learnt = followed("der", sequence, memory_size=9, replay_batch=6, weight=0.7)
    net = net_of(sequence)
    assert learnt.n_steps == 3 * TRAINING.steps  # the first task is counted
    assert [step.stored.n_filled for step in steps] == [0, 4, 8, 9, 9, 9]
    torch.testing.assert_close(steps[0].loss, steps[0].new)
    for number, step in enumerate(steps):
        n_there = min(6, step.stored.n_filled)
        assert step.weights is not None
        chosen = step.slots[step.weights > 0].tolist()
        assert len(set(chosen)) == len(chosen) == n_there
        assert all(slot < step.stored.n_filled for slot in chosen)
        wanted = step.new.clone()
        for slot in chosen:
            raw, then = step.stored.raw[slot], step.stored.noted[OUTPUTS][slot]
            entered = [
                float((z - then).abs().max())
                for earlier in steps[:number]
                for row, z in zip(earlier.raw, earlier.outputs, strict=True)
                if torch.equal(row, raw)
            ]
            assert min(entered) < 1e-5  # what the network said when it entered
            now = net.apply(step.full, sequence.scale(raw[None]), 0)[0]
            wanted += 0.7 / n_there * (now - then).square().mean()
        torch.testing.assert_close(step.loss, wanted)


@pytest.mark.parametrize("name", ["replay", "er_ace"])
def test_stored_labels_are_trained_along_the_first_task(
    name: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["domain"]
    numbers = {"memory_size": 9, "replay_batch": 6, "weight": 0.5, "fill": "reservoir"}
    steps, _ = followed(name, sequence, **numbers)
    net = net_of(sequence)
    for step in steps:
        assert step.weights is not None
        wanted, chosen = step.new, step.slots[step.weights > 0]
        assert len(chosen) == min(6, step.stored.n_filled)
        if len(chosen):
            z = net.apply(step.full, sequence.scale(step.stored.raw[chosen]), 0)
            wanted = wanted + 0.5 * F.cross_entropy(z, step.stored.labels[chosen])
        torch.testing.assert_close(step.loss, wanted)


def test_a_memory_that_is_filled_after_the_task_leaves_the_first_one_plain(
    short_sequences: dict[str, TaskSequence],
) -> None:
    steps, _ = followed("er_ace", short_sequences["domain"], memory_size=9, fill="balanced")
    assert all(step.stored.n_filled == 0 for step in steps)
    for step in steps:
        torch.testing.assert_close(step.loss, step.new)


def test_every_output_is_trained_from_the_first_task_on(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence = short_sequences["class"]
    net = net_of(sequence)
    names = [name for name in net.readout(0) if name.endswith("bias")]
    rest = slice(sequence.heads.columns(0)[1], None)
    moved = {}
    for outputs in ("all", "seen"):
        steps, _ = followed("der", sequence, memory_size=9, outputs=outputs)
        before, after = (step.full[names[0]][rest] for step in (steps[0], steps[-1]))
        moved[outputs] = float((after - before).abs().sum())
    assert moved["all"] > 0 == moved["seen"]


def test_draws_of_a_growing_buffer() -> None:
    stored = buffer.empty(10, (1,), torch.device("cpu"))._replace(n_filled=2, n_seen=2)
    found = filling.replay_draw("s", generator(0, "draw"), stored, 4, 5, filling.Growth(3, 10))
    n_there = [2, 5, 8, 10, 10]
    for row, weights, n in zip(found["s"], found["s_weights"], n_there, strict=True):
        chosen = row[weights > 0].tolist()
        assert len(set(chosen)) == len(chosen) == min(4, n)
        assert max(chosen) < n
        assert float(weights.mean()) == pytest.approx(1)
    full = stored._replace(n_filled=10, n_seen=10)
    assert filling.replay_draw(
        "s", generator(0, "draw"), full, 4, 5, filling.Growth(3, 10)
    ).keys() == {"s"}
    before = buffer.example_indices(generator(0, "draw"), 2, 2, 5)
    shared = filling.replay_draw("s", generator(0, "draw"), stored, 4, 5)
    assert torch.equal(shared["s"], before)


def test_two_first_tasks_are_two_configurations() -> None:
    hyper = methods.METHODS["der"].hyper
    assert not hyper().learns_first_task
    assert hyper(first_task="own").learns_first_task
    assert methods.METHODS["der"].begins_at_source(hyper())
    assert not methods.METHODS["der"].begins_at_source(hyper(first_task="own"))
    assert not methods.METHODS["hnet"].begins_at_source(methods.METHODS["hnet"].hyper())
