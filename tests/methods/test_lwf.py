"""LwF's distillation against its limits."""

from __future__ import annotations

import pytest
import torch

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Scale
from clsweep.methods.base import Batch
from clsweep.methods.hypers import LwfHyper
from clsweep.methods.parts.losses import distillation
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

ONE = Scale(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))


def logits(seed: int) -> torch.Tensor:
    return torch.randn(6, 4, generator=generator(seed, "logits"), dtype=torch.float64)


def gradient(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    leaf = student.clone().requires_grad_()
    return torch.autograd.grad(distillation(leaf, teacher, temperature), leaf)[0]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_no_gradient_at_the_teacher(temperature: float) -> None:
    assert gradient(logits(0), logits(0), temperature).abs().max() < 1e-12
    assert gradient(logits(0), logits(1), temperature).abs().max() > 1e-3


def test_high_temperature_is_squared_error_of_centred_logits() -> None:
    """T² times the gradient tends to (z − z̄ − (v − v̄)) / K per example, averaged."""
    z, v = logits(0), logits(1)
    centred = (z - z.mean(1, keepdim=True)) - (v - v.mean(1, keepdim=True))
    found = 1e4**2 * gradient(z, v, 1e4)
    torch.testing.assert_close(found, centred / 4 / 6, rtol=1e-3, atol=1e-6)


def parts_of(scenario: str) -> tuple[Net, Params, Params, torch.Tensor]:
    """A net of three tasks, its parameters, its teacher's, and inputs."""
    sizes = (2, 2, 2) if scenario == "domain" else (2, 3, 2)
    net = build_net(NetConfig(hidden=(5,)), (1, 2, 2), Heads(scenario, sizes))
    params, teacher = (net.init(generator(k, "init")) for k in (0, 1))
    return net, params, teacher, torch.rand(4, 1, 2, 2, generator=generator(0, "x"))


def loss_of(scenario: str, task: int, hyper: LwfHyper) -> tuple[float, float, list[float]]:
    """LwF's loss, the task's own loss, and the distillation of every old head."""
    net, params, teacher, x = parts_of(scenario)
    y = torch.tensor([0, 1, 0, 1])
    batch = Batch(x, y, x, ONE, {})
    phase = methods.build("lwf", net, hyper).phases[0]
    full = float(phase.loss(params, {"teacher": teacher}, batch, task))
    own = float(torch.nn.functional.cross_entropy(net.apply(params, x, task), y))
    heads = [
        float(distillation(net.apply(params, x, k), net.apply(teacher, x, k), hyper.temperature))
        for k in range(task)
    ]
    return full, own, heads


def test_one_term_per_old_head() -> None:
    full, own, heads = loss_of("task", 2, LwfHyper(lam=3.0))
    assert full == pytest.approx(own + 3 * sum(heads), rel=1e-5)


def test_shared_head_counts_once_per_old_task() -> None:
    full, own, heads = loss_of("domain", 2, LwfHyper(lam=3.0))
    assert heads[0] == heads[1]
    assert full == pytest.approx(own + 3 * 2 * heads[0], rel=1e-5)


def test_class_incremental_distils_all_old_classes_together() -> None:
    full, own, heads = loss_of("class", 2, LwfHyper(lam=3.0))
    assert full == pytest.approx(own + 3 * heads[1], rel=1e-5)


@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_average_weighs_tasks_alike(scenario: str) -> None:
    """(1/t) L_t + (1 − 1/t) of the mean over old heads at λ = 1; λ multiplies the odds."""
    full, own, heads = loss_of(scenario, 2, LwfHyper(lam=1.0, weighting="average"))
    assert full == pytest.approx(own / 3 + 2 / 3 * sum(heads) / 2, rel=1e-5)
    full, own, heads = loss_of(scenario, 2, LwfHyper(lam=5.0, weighting="average"))
    assert full == pytest.approx((own + 5 * sum(heads)) / (1 + 5 * 2), rel=1e-5)
    full, own, _ = loss_of(scenario, 2, LwfHyper(lam=0.0, weighting="average"))
    assert full == own


def test_average_counts_old_tasks_of_one_class_incremental_softmax() -> None:
    full, own, heads = loss_of("class", 2, LwfHyper(lam=1.0, weighting="average"))
    assert full == pytest.approx(own / 3 + 2 / 3 * heads[1], rel=1e-5)


def test_padded_softmax_runs_over_all_classes_seen() -> None:
    """Against −Σ_c q_c log p_c with q written out: zero for the new task's two classes."""
    net, params, teacher, x = parts_of("class")
    full, own, _ = loss_of("class", 2, LwfHyper(lam=3.0, padded=True))
    q = torch.zeros(4, 7)
    q[:, :5] = (net.apply(teacher, x, 1) / 2).softmax(1)
    log_p = (net.apply(params, x, 2) / 2).log_softmax(1)
    assert full == pytest.approx(own + 3 * float(-(q * log_p).sum(1).mean()), rel=1e-5)


@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_nothing_to_pad_where_old_heads_are_as_wide(scenario: str) -> None:
    padded = loss_of(scenario, 2, LwfHyper(padded=True))
    assert padded == loss_of(scenario, 2, LwfHyper())


def test_t_squared() -> None:
    plain = loss_of("task", 1, LwfHyper(lam=1.0, temperature=3.0))
    scaled = loss_of("task", 1, LwfHyper(lam=1.0, temperature=3.0, t_squared=True))
    assert scaled[0] - scaled[1] == pytest.approx(9 * (plain[0] - plain[1]), rel=1e-4)


def test_per_output_takes_the_mean_over_the_outputs_of_each_head() -> None:
    full, own, heads = loss_of("task", 2, LwfHyper(lam=1.0, per_output=True))
    assert full == pytest.approx(own + heads[0] / 2 + heads[1] / 3, rel=1e-5)


def test_per_output_counts_all_classes_seen_where_the_softmax_does() -> None:
    padded, own, _ = loss_of("class", 2, LwfHyper(lam=1.0, padded=True))
    divided, _, _ = loss_of("class", 2, LwfHyper(lam=1.0, padded=True, per_output=True))
    assert divided - own == pytest.approx((padded - own) / 7, rel=1e-5)
