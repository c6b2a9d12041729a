"""Interpolation against its ends, its formula, and fine-tuning."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.tasks import TaskSequence
from clsweep.methods.hypers import InterpolateHyper
from clsweep.methods.parts.heads import new_outputs, with_own_heads
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import finetune_source, learn_sequence, learn_source

TRAINING = TrainingConfig(lr=0.1, batch_size=16, steps=8)


def net_of(sequence: TaskSequence) -> Net:
    return build_net(NetConfig(hidden=(12,)), sequence.input_shape, sequence.heads)


def two_tasks(sequence: TaskSequence) -> TaskSequence:
    return replace(sequence, tasks=sequence.tasks[:2])


def interpolated(
    sequence: TaskSequence, beta: float, training: TrainingConfig = TRAINING, share: bool = True
) -> tuple[Params, Params, Params, int]:
    """(θ_s, θ_ft, θ(β), steps made)."""
    net = net_of(sequence)
    source = learn_source(net, sequence, training, 0)
    tuned = finetune_source(net, sequence, training, 0, source)
    method = methods.build("interpolate", net, InterpolateHyper(beta=beta))
    shared = tuned if share else None
    run = learn_sequence(method, sequence, training, 0, source, {}, shared)
    return source.params, tuned.params, run.params, run.n_steps


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_every_shared_parameter_lies_between_by_beta(
    scenario: str, sequences: dict[str, TaskSequence]
) -> None:
    old, new, found, n_steps = interpolated(two_tasks(sequences[scenario]), 0.25)
    assert n_steps == 0
    for name, value in found.items():
        if not name.startswith("heads."):
            torch.testing.assert_close(value, 0.75 * old[name] + 0.25 * new[name])


@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_ends_are_the_two_networks_bit_for_bit(
    scenario: str, sequences: dict[str, TaskSequence]
) -> None:
    for beta in (0.0, 1.0):
        old, new, found, _ = interpolated(two_tasks(sequences[scenario]), beta)
        for name, value in (new if beta else old).items():
            assert torch.equal(found[name], value)


def test_heads_come_from_the_network_that_trained_them(
    sequences: dict[str, TaskSequence],
) -> None:
    old, new, found, _ = interpolated(two_tasks(sequences["task"]), 0.0)
    assert torch.equal(found["heads.0.weight"], old["heads.0.weight"])
    assert torch.equal(found["heads.1.weight"], new["heads.1.weight"])
    assert not torch.equal(old["heads.1.weight"], new["heads.1.weight"])
    assert torch.equal(found["layers.0.weight"], old["layers.0.weight"])


def test_rows_of_one_readout_layer_belong_to_tasks() -> None:
    """A module of the user's has one last layer; its rows are the heads."""
    heads = Heads("task", (2, 3, 2))
    plain = build_net(NetConfig(hidden=(4,)), (1, 2, 2), heads)
    net = plain._replace(readout=lambda task: ("last.weight", "last.bias"))
    old, new = (
        {"last.weight": torch.full((7, 4), v), "last.bias": torch.full((7,), v)}
        for v in (1.0, 2.0)
    )
    found = with_own_heads(net, old, old, new, 1)
    assert found["last.bias"].tolist() == [1, 1, 2, 2, 2, 2, 2]
    assert found["last.weight"][:, 0].tolist() == [1, 1, 2, 2, 2, 2, 2]
    assert new_outputs(net, 2, torch.device("cpu")).sum() == 2


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("reset", [True, False])
def test_the_shared_stage_is_what_fine_tuning_trains(
    optimizer: str, reset: bool, sequences: dict[str, TaskSequence]
) -> None:
    sequence = two_tasks(sequences["domain"])
    training = TrainingConfig(optimizer=optimizer, lr=0.02, batch_size=16, steps=6, reset=reset)
    net = net_of(sequence)
    source = learn_source(net, sequence, training, 0)
    tuned = finetune_source(net, sequence, training, 0, source)
    finetune = methods.build("finetune", net, methods.METHODS["finetune"].hyper())
    plain_run = learn_sequence(finetune, sequence, training, 0, source, {})
    assert all(torch.equal(tuned.params[name], v) for name, v in plain_run.params.items())
    assert tuned.n_steps == plain_run.n_steps == 6
    assert bool(tuned.optimiser) is (optimizer == "adam" and not reset)


@pytest.mark.parametrize("reset", [True, False])
def test_sharing_changes_no_bit_over_five_tasks(
    reset: bool, sequences: dict[str, TaskSequence]
) -> None:
    training = TrainingConfig(optimizer="adam", lr=0.02, batch_size=16, steps=6, reset=reset)
    sequence = sequences["task"]
    *_, shared, n_shared = interpolated(sequence, 0.5, training)
    *_, alone, n_alone = interpolated(sequence, 0.5, training, share=False)
    assert all(torch.equal(shared[name], value) for name, value in alone.items())
    assert (n_shared, n_alone) == (3 * 6, 4 * 6)


def test_mean_imm_over_three_tasks(sequences: dict[str, TaskSequence]) -> None:
    """From the third task on, fine-tuning starts at the network that β made."""
    sequence = replace(sequences["domain"], tasks=sequences["domain"].tasks[:3])
    net = net_of(sequence)
    source = learn_source(net, sequence, TRAINING, 0)
    run = learn_sequence(
        methods.build("interpolate", net, InterpolateHyper()), sequence, TRAINING, 0, source, {}
    )
    _, _, half, _ = interpolated(two_tasks(sequence), 0.5)
    # The middle network fine-tuned on the third task, by hand: as the second task of another run.
    third = replace(sequence, tasks=(sequence.tasks[0], sequence.tasks[2]))
    tuned = finetune_source(net, third, TRAINING, 0, source._replace(params=half))
    for name, value in run.params.items():
        torch.testing.assert_close(value, (half[name] + tuned.params[name]) / 2)
