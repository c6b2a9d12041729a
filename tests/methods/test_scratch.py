"""Training from scratch: networks of their own, which have nothing to do with each other."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, without_prefix
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase
from clsweep.training.learnt_models import LearntSequence, SourceModel
from clsweep.training.sequences import learn_sequence, learn_source
from tests.methods.test_batch_norm import net_for
from tests.methods.test_common import same

TRAINING = TrainingConfig(optimizer="sgd", lr=0.03, batch_size=16, steps=6)


def plain_net(sequence: TaskSequence) -> Net:
    return build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)


def normed_net(sequence: TaskSequence) -> Net:
    return net_for(sequence, "batch")


both_nets = pytest.mark.parametrize("net_of", [plain_net, normed_net])


def learnt(net: Net, sequence: TaskSequence) -> tuple[LearntSequence, SourceModel]:
    source = learn_source(net, sequence, TRAINING, 0)
    method = methods.build("scratch", net, methods.METHODS["scratch"].hyper())
    return learn_sequence(method, sequence, TRAINING, 0, source, {}), source


def own(params: Params, task: int) -> Params:
    return without_prefix(params, f"scratch.{task}.")


@both_nets
def test_a_task_has_what_plain_training_makes_of_its_own_draw(
    net_of: object, short_sequences: dict[str, TaskSequence]
) -> None:
    """Bit for bit, with its batch norms' statistics; the draw is another for every task."""
    sequence = short_sequences["task"]
    net = net_of(sequence)
    found, source = learnt(net, sequence)
    assert all(torch.equal(value, found.params[name]) for name, value in source.params.items())
    rng = generator(0, "init")
    draws = [net.init(rng) for _ in sequence.tasks]
    assert not same(draws[0], draws[1])
    for task in sequence.tasks[1:]:
        setting = Setting(net, sequence.scale, TRAINING, 0)
        state = State(draws[task.index], {})
        plain = train_phase(
            plain_phase(net), state, task.train, setting, task=task.index, n_steps=6
        ).params
        params = own(found.params, task.index)
        heads = {n for n in plain if n.startswith("heads.") and n not in net.readout(task.index)}
        assert params.keys() == plain.keys() - heads
        assert all(torch.equal(value, plain[name]) for name, value in params.items())


@both_nets
def test_nothing_is_forgotten_and_each_network_answers_its_task(
    net_of: object, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["task"]
    net = net_of(sequence)
    found, source = learnt(net, sequence)
    for on_task in range(3):
        counts = {row[3] for row in found.rows if (row[1], row[2]) == (on_task, "test")}
        task = sequence.tasks[on_task]
        x = sequence.scale(task.test.raw(torch.arange(len(task.test))))
        params = own(found.params, on_task) if on_task else source.params
        logits = net.apply(params, x, on_task)
        assert counts == {int((logits.argmax(1) == task.test.labels).sum())}


def test_it_does_not_depend_on_the_tasks_before(
    short_sequences: dict[str, TaskSequence],
) -> None:
    """The second task with other images in the first: the same network."""
    sequence = short_sequences["task"]
    net = plain_net(sequence)
    _, two, three = sequence.tasks
    other = dataclasses.replace(sequence, tasks=(dataclasses.replace(three, index=0), two, three))
    found = [own(learnt(net, each)[0].params, 1) for each in (sequence, other)]
    assert found[0]
    assert same(found[0], found[1])
