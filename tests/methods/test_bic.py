"""BiC: the correction against brute force, what is held out, and the loss by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Batch, LearntTask, Method
from clsweep.methods.bic import correction
from clsweep.methods.exemplar_hypers import BicHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import learn_sequence, learn_source


def built(sequence: TaskSequence, size: int, **numbers: float) -> tuple[Net, Method]:
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    return net, methods.build("bic", net, BicHyper(memory_size=size, **numbers))


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_the_correction_is_the_best_of_a_fine_grid(ridge: float) -> None:
    rng = generator(0, "z")
    labels = torch.arange(40) % 4
    z = torch.randn(40, 4, generator=rng, dtype=torch.float64)
    z[torch.arange(40), labels] += 1.0
    z[:, 2:] = 2 * z[:, 2:] + 1.5  # what a preference for new classes looks like

    def objective(alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        new = alpha[:, None, None] * z[:, 2:] + beta[:, None, None]
        logits = torch.cat([z[:, :2].expand(len(alpha), -1, -1), new], 2)
        loss = F.cross_entropy(logits.mT, labels.expand(len(alpha), -1), reduction="none").mean(1)
        return loss + 0.5 * ridge * ((alpha - 1).square() + beta.square())

    found = correction(z, labels, 2, ridge)
    at_found = objective(*found[:, None])
    alpha, beta = torch.cartesian_prod(
        torch.linspace(0, 2, 81).double(), torch.linspace(-3, 3, 121).double()
    ).unbind(1)
    values = objective(alpha, beta)
    assert float(at_found) <= float(values.min())
    best = values.argmin()
    assert abs(float(alpha[best] - found[0])) < 0.03
    assert abs(float(beta[best] - found[1])) < 0.06
    assert 0.2 < float(found[0]) < 0.8  # it was doubled
    assert float(found[1]) < 0


def test_a_correction_without_an_error_left_stays_finite() -> None:
    labels = torch.arange(8) % 4
    z = 10 * F.one_hot(labels, 4).double()
    assert correction(z, labels, 2, 1e-3).isfinite().all()


def test_nobody_is_trained_on_held_out_examples_of_new_classes(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence = short_sequences["class"]
    net, method = built(sequence, 60)
    (phase,) = method.phases
    seen: list[Batch] = []
    held: list[Any] = []

    def loss(full: Any, memory: Any, batch: Batch, task: int) -> Any:
        seen.append(batch)
        held.append(memory["held"])
        return phase.loss(full, memory, batch, task)

    def fit(params: Any, memory: Any, learnt: LearntTask) -> Any:
        found, again = method.fit(params, memory, learnt)
        if learnt.task.index == 1:
            assert torch.equal(params["correction.1"], torch.tensor([1.0, 0.0]))
            corrections.append(found["correction.1"])
        return found, again

    corrections: list[torch.Tensor] = []
    watched = type(method)(
        **{**vars(method), "phases": (type(phase)(**{**vars(phase), "loss": loss}),), "fit": fit}
    )
    training = TrainingConfig(optimizer="sgd", lr=0.1, batch_size=8, steps=12)
    source = learn_source(net, sequence, training, 0)
    learnt = learn_sequence(watched, sequence, training, 0, source, {})
    for batch, part in zip(seen, held, strict=True):
        new = part.tasks == part.tasks.max()
        kept = {image.numpy().tobytes() for image in part.raw[new]}
        assert not kept & {image.numpy().tobytes() for image in batch.raw}
        groups = torch.stack([part.tasks, part.labels]).T[: part.n_filled].unique(dim=0)
        assert len(groups) == 2 * int(part.tasks.max() + 1)
    assert held[0].n_filled == held[-1].n_filled == 6  # a tenth
    # The second task's correction is not touched by the third.
    assert torch.equal(learnt.params["correction.1"], corrections[0])
    assert not torch.equal(corrections[0], torch.tensor([1.0, 0.0]))


def test_the_loss_by_hand(short_sequences: dict[str, TaskSequence]) -> None:
    """λ = n_old / n, on corrected outputs of both networks."""
    sequence = short_sequences["class"]
    net, method = built(sequence, 20, temperature=2.0)
    full, teacher = (method.net.init(generator(seed, "init")) for seed in range(2))
    full["correction.1"] = teacher["correction.1"] = torch.tensor([0.5, -0.2])
    (phase,) = method.phases
    memory = {**method.begin(full), "teacher": teacher}
    data = sequence.tasks[2].train
    raw, y = data.raw(torch.arange(4)), data.labels[torch.arange(4)]
    x = sequence.scale(raw)

    def corrected(params: Any, task: int) -> torch.Tensor:
        z = net.apply(params, x, task).clone()
        z[:, 2:4] = 0.5 * z[:, 2:4] - 0.2
        return z

    noted = phase.note(full, memory, 2)(x)
    torch.testing.assert_close(noted["old"], corrected(teacher, 1))
    z = corrected(full, 2)
    q = (corrected(teacher, 1) / 2).softmax(1)
    kept = -(q * (z[:, :4] / 2).log_softmax(1)).sum(1).mean()
    wanted = 4 / 6 * kept + 2 / 6 * F.cross_entropy(z, y)
    batch = Batch(x, y, raw, sequence.scale, {}, None, noted)
    torch.testing.assert_close(phase.loss(full, memory, batch, 2), wanted)
    torch.testing.assert_close(method.net.apply(full, x, 2), z)
