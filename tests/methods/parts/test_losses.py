"""The loss on labels: smoothed as by torch, over the classes of a head, in every method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import batch_indices, generator
from clsweep.data.tasks import Examples, Scale, TaskSequence
from clsweep.methods.base import Batch
from clsweep.methods.parts.losses import label_loss, padded_label_loss
from clsweep.methods.parts.task_gradients import TaskExamples, task_gradients
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import learn_joint, learn_source
from tests.conftest import first_three
from tests.methods.cases import CASES, Case
from tests.methods.test_common import learnt, net_for, same

SCALE = Scale(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
LOGITS = torch.randn(5, 4, generator=generator(0, "logits"))
LABELS = torch.tensor([0, 2, 1, 0, 2])
TRAINING = TrainingConfig(lr=0.1, batch_size=16, steps=4)
SMOOTH = TRAINING.model_copy(update={"label_smoothing": 0.3})
ALL_METHODS = list({case.name: case for case in CASES if case.trains}.values())


def batch(smoothing: float) -> Batch:
    raw = torch.zeros(5, 1, 1, 1, dtype=torch.uint8)
    return Batch(SCALE(raw), LABELS, raw, SCALE, {}, smoothing=smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_labels_are_smoothed_as_by_torch(smoothing: float) -> None:
    expected = F.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    assert torch.equal(label_loss(LOGITS, batch(smoothing)), expected)
    padded = padded_label_loss(LOGITS, LABELS, smoothing)
    torch.testing.assert_close(padded, expected)


def test_classes_that_a_head_lacks_get_no_share() -> None:
    """Rows of heads with 3, 3, 2, 4 and 3 classes are each smoothed over their own."""
    widths, logits = [3, 3, 2, 4, 3], LOGITS.clone().requires_grad_()
    is_there = torch.arange(4) < torch.tensor(widths)[:, None]
    found = padded_label_loss(logits.masked_fill(~is_there, float("-inf")), LABELS, 0.3)
    alone = [
        F.cross_entropy(logits[i, :n][None], LABELS[i : i + 1], label_smoothing=0.3)
        for i, n in enumerate(widths)
    ]
    expected = torch.stack(alone).mean()
    torch.testing.assert_close(found, expected)
    (ours,), (theirs,) = (torch.autograd.grad(v, [logits]) for v in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_the_source_is_trained_on_smoothed_labels(short_sequences: dict[str, Any]) -> None:
    sequence = short_sequences["task"]
    net, data = net_for(sequence), sequence.tasks[0].train
    leaves = {n: v.requires_grad_() for n, v in net.init(generator(0, "init")).items()}
    optimiser = torch.optim.SGD(leaves.values(), lr=0.1)
    for order in batch_indices(0, 0, len(data), 16, 4):
        for rows in order.split(16):
            optimiser.zero_grad()
            logits = net.apply(leaves, sequence.scale(data.raw(rows)), 0)
            F.cross_entropy(logits, data.labels[rows], label_smoothing=0.3).backward()
            optimiser.step()
    found = learn_source(net, sequence, SMOOTH, 0).params
    for name, value in found.items():
        torch.testing.assert_close(value, leaves[name].detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", ALL_METHODS, ids=[case.name for case in ALL_METHODS])
@pytest.mark.parametrize("scenario", ["task", "class"])
def test_every_method_trains_on_smoothed_labels(
    case: Case, scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    if scenario not in methods.METHODS[case.name].scenarios:
        pytest.skip("not defined there")
    sequence = short_sequences[scenario]
    smooth = learnt(case, sequence, training=SMOOTH)
    assert all(bool(torch.isfinite(v).all()) for v in smooth.params.values())
    assert not same(smooth.params, learnt(case, sequence, training=TRAINING).params)


def test_joint_training_smooths_over_each_examples_own_head(
    sequences: dict[str, TaskSequence],
) -> None:
    """Of two heads of equal width, it is torch's loss on the rows of both."""
    sequence = first_three(sequences["task"])
    case = next(c for c in CASES if c.name == "joint")
    method = methods.build("joint", net_for(sequence), case.numbers())
    losses: list[tuple[Tensor, Tensor]] = []
    plain = method.phases[0].loss

    def watched(full: Any, memory: Any, batch: Batch, task: int) -> Tensor:
        found = plain(full, memory, batch, task)
        assert batch.tasks is not None
        rows = [
            method.net.apply(full, batch.x[i : i + 1], int(k)) for i, k in enumerate(batch.tasks)
        ]
        expected = F.cross_entropy(torch.cat(rows), batch.y, label_smoothing=0.3)
        losses.append((found.detach(), expected.detach()))
        return found

    object.__setattr__(method.phases[0], "loss", watched)
    learn_joint(method, sequence, SMOOTH, 0)
    assert losses
    for found, expected in losses:
        torch.testing.assert_close(found, expected)


def test_gradients_of_stored_examples_are_of_smoothed_labels(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence = short_sequences["task"]
    net = net_for(sequence)
    params = {n: v.requires_grad_() for n, v in net.init(generator(0, "init")).items()}
    parts: list[Examples] = [task.train for task in sequence.tasks[:2]]
    x = torch.cat([sequence.scale(part.raw(torch.arange(6))) for part in parts])
    y = torch.cat([part.labels[:6] for part in parts])
    found = task_gradients(net, params, TaskExamples(x, y, ((0, 6), (1, 6))), 2, 0.3)
    for task in (0, 1):
        rows = slice(6 * task, 6 * task + 6)
        loss = F.cross_entropy(net.apply(params, x[rows], task), y[rows], label_smoothing=0.3)
        grads = torch.autograd.grad(
            loss, list(params.values()), allow_unused=True, materialize_grads=True
        )
        flat = torch.cat([g.flatten() for g in grads])
        torch.testing.assert_close(found[task], flat, atol=1e-6, rtol=1e-5)
