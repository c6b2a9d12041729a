"""Batch norms in networks that a hypernetwork generates: whose statistics, who touches them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods import hnet
from clsweep.methods.base import Batch
from clsweep.methods.hypernetwork_hypers import HnetHyper
from clsweep.nets.norms import is_statistic
from clsweep.nets.parameter_trees import Params, without_prefix
from clsweep.training.config import TrainingConfig
from clsweep.training.learnt_models import LearntSequence
from clsweep.training.sequences import learn_sequence
from tests.methods.cases import SMALL_HNET
from tests.methods.test_batch_norm import net_for

TRAINING = TrainingConfig(optimizer="adam", lr=0.01, batch_size=16, steps=6)
HYPER = HnetHyper(**SMALL_HNET)


class Run:
    """A convolution, a batch norm, a dense layer: after the first one, two, ... tasks."""

    def __init__(self, sequence: TaskSequence, hyper: HnetHyper, bn_mode: str = "batch") -> None:
        self.sequence, self.net = sequence, net_for(sequence, bn_mode)
        self.method = methods.build("hnet", self.net, hyper)
        self.hypernet = hnet.target_of(self.net, hyper).hypernet

    def after(self, n_tasks: int) -> LearntSequence:
        tasks = self.sequence.tasks[:n_tasks]
        short = dataclasses.replace(self.sequence, tasks=tasks)
        return learn_sequence(self.method, short, TRAINING, 0, None, {})

    def generated(self, params: Params, task: int) -> Params:
        return self.hypernet.generated(without_prefix(params, hnet.MAIN), task)

    def convolved(self, params: Params, task: int) -> Tensor:
        """What the batch norm sees of a task's training images."""
        data = self.sequence.tasks[task].train
        x = self.sequence.scale(data.raw(torch.arange(len(data))))
        return F.conv2d(x, self.generated(params, task)["convs.0.weight"], padding=1)


def statistics(params: Params, owner: object) -> Params:
    return without_prefix(params, f"statistics.{owner}.")


def test_no_later_task_touches_the_statistics_of_an_earlier_one(
    short_sequences: dict[str, TaskSequence],
) -> None:
    run = Run(short_sequences["task"], HYPER)
    stages = [run.after(n).params for n in (1, 2, 3)]
    first = {}
    for n, params in enumerate(stages, 1):
        found = {name: value for name, value in params.items() if is_statistic(name)}
        names = {f"statistics.{k}.{name}" for k in range(n) for name in run.net.statistics}
        assert found.keys() == names
        for name, value in found.items():
            assert torch.equal(first.setdefault(name, value), value)  # bit for bit
    a, b = (statistics(stages[-1], k)["norms.0.running_mean"] for k in (0, 1))
    assert not torch.allclose(a, b)


def test_statistics_are_moments_of_what_the_norm_sees_of_the_task(
    short_sequences: dict[str, TaskSequence],
) -> None:
    run = Run(short_sequences["task"], HYPER)
    params = run.after(2).params
    seen, own = run.convolved(params, 1), statistics(params, 1)
    var, mean = torch.var_mean(seen, (0, 2, 3), correction=0)
    torch.testing.assert_close(own["norms.0.running_mean"], mean)
    torch.testing.assert_close(own["norms.0.running_var"], var)


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_a_task_is_evaluated_with_its_own(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    """Logits by hand; with the other task's statistics they are others."""
    run = Run(short_sequences[scenario], HYPER)
    params = run.after(2).params
    x = run.sequence.scale(run.sequence.tasks[0].test.raw(torch.arange(7)))
    for k in range(2):
        found = run.method.net.apply(params, x, k)
        offset = run.net.heads.label_offset(k)
        logits = [
            run.net.apply({**run.generated(params, k), **statistics(params, j)}, x, k)[:, offset:]
            for j in (k, 1 - k)
        ]
        torch.testing.assert_close(found[:, offset:], logits[0])
        assert not torch.allclose(found[:, offset:], logits[1])


def test_shared_statistics_are_those_of_the_last_task(
    short_sequences: dict[str, TaskSequence],
) -> None:
    """They serve the first task too; while the second is trained the batch's are used."""
    run = Run(short_sequences["task"], HYPER.model_copy(update={"statistics": "shared"}))
    params = run.after(2).params
    own = statistics(params, "shared")
    assert own.keys() == run.net.statistics
    assert own.keys() == {n.removeprefix("statistics.shared.") for n in params if is_statistic(n)}
    torch.testing.assert_close(
        own["norms.0.running_mean"], run.convolved(params, 1).mean((0, 2, 3))
    )
    x = run.sequence.scale(run.sequence.tasks[0].train.raw(torch.arange(9)))
    by_hand = run.net.apply({**run.generated(params, 0), **own}, x, 0)
    torch.testing.assert_close(run.method.net.apply(params, x, 0), by_hand)
    torch.testing.assert_close(
        _loss(run, params, x, 1), _entropy(run.net.apply(run.generated(params, 1), x, 1))
    )


def test_frozen_statistics_are_those_of_the_first_task_and_later_ones_are_trained_with_them(
    short_sequences: dict[str, TaskSequence],
) -> None:
    run = Run(short_sequences["task"], HYPER, "frozen")
    one, two = (run.after(n).params for n in (1, 2))
    own = statistics(two, "shared")
    assert own.keys() == run.net.statistics
    assert all(torch.equal(value, own[name]) for name, value in statistics(one, "shared").items())
    x = run.sequence.scale(run.sequence.tasks[1].train.raw(torch.arange(9)))
    held = run.net.apply({**run.generated(two, 1), **own}, x, 1)
    torch.testing.assert_close(_loss(run, two, x, 1), _entropy(held))


def test_the_drawn_network_is_evaluated_with_statistics_of_the_first_task(
    short_sequences: dict[str, TaskSequence],
) -> None:
    """Not with those of the test images: nothing depends on how they are split up."""
    run = Run(short_sequences["domain"], HYPER)
    drawn = run.method.net.init(generator(0, "init"))
    var, mean = torch.var_mean(run.convolved(drawn, 0), (0, 2, 3), correction=0)
    moments = {"norms.0.running_mean": mean, "norms.0.running_var": var}
    rows = {row[1]: row[3] for row in run.after(1).rows if (row[0], row[2]) == (-1, "test")}
    test = run.sequence.tasks[0].test
    x = run.sequence.scale(test.raw(torch.arange(len(test))))
    logits = run.net.apply({**run.generated(drawn, 0), **moments}, x, 0)
    assert rows[0] == int((logits.argmax(1) == test.labels).sum())


def _entropy(logits: Tensor) -> Tensor:
    """Mean cross-entropy where all labels are 0."""
    return -logits.log_softmax(1)[:, 0].mean()


def _loss(run: Run, params: Params, x: Tensor, task: int) -> Tensor:
    """Loss of a batch whose labels are all 0; nothing has moved since the last task."""
    weights = run.hypernet.flat(without_prefix(params, hnet.MAIN), range(3))
    batch = Batch(x, torch.zeros(len(x), dtype=torch.int64), x, run.sequence.scale, {})
    return run.method.phases[0].loss(params, {"weights": weights}, batch, task)
