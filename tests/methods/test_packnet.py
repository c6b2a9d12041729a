"""PackNet: what is kept is frozen to the last bit, what is free is what later tasks train."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.isolation_hypers import PacknetHyper
from clsweep.methods.packnet import owners_after_pruning
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.learnt_models import LearntSequence
from clsweep.training.sequences import learn_sequence, learn_source

# All that could move a weight without a gradient: decay, and moments of earlier tasks.
STUBBORN = TrainingConfig(
    optimizer="adam", lr=0.01, weight_decay=0.1, batch_size=16, steps=6, reset=False
)
TRUNK = ("layers.0.weight", "layers.1.weight")


def after_tasks(
    sequence: TaskSequence, n_tasks: int, training: TrainingConfig = STUBBORN, **numbers: float
) -> LearntSequence:
    config = NetConfig(hidden=(9, 8))
    net = build_net(config, sequence.input_shape, sequence.heads)
    method = methods.build("packnet", net, PacknetHyper(**numbers))
    source = learn_source(net, sequence, training, 0)
    short = replace(sequence, tasks=sequence.tasks[:n_tasks])
    return learn_sequence(method, short, training, 0, source, {})


def test_the_largest_free_weights_are_kept() -> None:
    weight = torch.tensor([[-5.0, 0.5], [2.0, -1.0], [9.0, 0.1]])
    owner = torch.tensor([[0, 0], [0, 0], [1, 1]], dtype=torch.int8)
    found = owners_after_pruning(weight, owner, 2, 0.5)
    assert found.tolist() == [[2, 0], [2, 0], [1, 1]]
    assert found.dtype == torch.int8
    assert owners_after_pruning(weight, found, 3, 0.0).tolist() == [[2, 3], [2, 3], [1, 1]]
    assert owners_after_pruning(weight, owner, 2, 1.0).tolist() == owner.tolist()


def test_kept_weights_and_biases_stay_the_same_to_the_last_bit(
    sequences: dict[str, TaskSequence],
) -> None:
    two, four = (after_tasks(sequences["task"], n) for n in (2, 4))
    for name in TRUNK:
        owner = two.params[f"owner.{name}"]
        assert set(owner.unique().tolist()) == {0, 1, 2}
        kept = owner > 0
        assert torch.equal(two.params[name][kept], four.params[name][kept])
        assert torch.equal(four.params[f"owner.{name}"][kept], owner[kept])
        assert not two.params[name][~kept].any()
        assert four.params[name][~kept].any()
    for name in ("layers.0.bias", "layers.1.bias", "heads.0.weight", "heads.1.bias"):
        assert torch.equal(two.params[name], four.params[name])


@pytest.mark.parametrize("training", [STUBBORN, TrainingConfig(lr=0.1, momentum=0.9, steps=6)])
def test_outputs_on_old_tasks_never_change(
    training: TrainingConfig, sequences: dict[str, TaskSequence]
) -> None:
    sequence = sequences["task"]
    two, four = (after_tasks(sequence, n, training) for n in (2, 4))
    for task in (0, 1):
        x = sequence.scale(sequence.tasks[task].test.raw(torch.arange(20)))
        before, now = (run.predict(run.params, x, task) for run in (two, four))
        assert torch.equal(before, now)


def test_a_task_uses_the_weights_of_earlier_tasks_and_of_no_later_one(
    sequences: dict[str, TaskSequence],
) -> None:
    sequence = sequences["task"]
    run = after_tasks(sequence, 3)
    x = sequence.scale(sequence.tasks[1].test.raw(torch.arange(20)))

    def outputs(params: Params) -> torch.Tensor:
        return run.predict(params, x, 1)

    for owner, matters in ((1, True), (2, True), (3, False)):
        changed = dict(run.params)
        for name in TRUNK:
            is_theirs = run.params[f"owner.{name}"] == owner
            assert is_theirs.any()
            changed[name] = torch.where(is_theirs, 7.0, run.params[name])
        assert torch.equal(outputs(changed), outputs(run.params)) is not matters


def test_capacity_left_is_what_pruning_leaves(sequences: dict[str, TaskSequence]) -> None:
    run = after_tasks(sequences["task"], 3, prune=0.5)
    assert run.counters["capacity_left"] == pytest.approx(0.5**3, abs=0.01)
    n_weights = sum(run.params[name].numel() for name in TRUNK)
    assert run.memory_bytes.models == run.memory_bytes.total == n_weights  # a byte each
    assert run.n_steps == 3 + 2 * (6 + 3)


@pytest.mark.parametrize("n_tasks", [127, 128, 300])
def test_every_task_s_number_fits_as_an_owner(n_tasks: int) -> None:
    heads = Heads("domain", (2,) * n_tasks)
    net = build_net(NetConfig(hidden=(2,)), (1, 2, 2), heads)
    params = methods.build("packnet", net, PacknetHyper()).net.init(generator(0, "init"))
    owner = params["owner.layers.0.weight"]
    assert owner.element_size() == (1 if n_tasks <= 127 else 2)
    found = owners_after_pruning(torch.ones(owner.shape), owner, n_tasks, 0.0)
    assert set(found.flatten().tolist()) == {n_tasks}
