"""EWC and the quadratic penalty against problems whose solution is known."""

from __future__ import annotations

import math

import pytest
import torch

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.methods.base import LearntTask, Pull
from clsweep.methods.ewc import normalised
from clsweep.methods.parts.penalty import Anchor, merged_anchor, proximal
from clsweep.methods.parts.penalty_gradient import with_penalty_gradient
from clsweep.methods.regulariser_hypers import EwcHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params

PRECISION_A, PRECISION_B = 3.0, 5.0
BEST_A, BEST_B = -1.0, 2.0
JOINT = (PRECISION_A * BEST_A + PRECISION_B * BEST_B) / (PRECISION_A + PRECISION_B)


def one(value: float) -> Params:
    return {"w": torch.tensor([value])}


def penalty(params: Params, anchor: Anchor, weight: float) -> torch.Tensor:
    """½ w Σ ω (θ − θ*)² over the anchor's names, shape ()."""
    terms = [
        (omega * (params[name] - anchor.star[name]).square()).sum()
        for name, omega in anchor.omega.items()
    ]
    return 0.5 * weight * torch.stack(terms).sum()


@pytest.mark.parametrize("form", ["gradient", "proximal"])
def test_bayes_lambda_gives_the_joint_solution(form: str) -> None:
    """Two linear-Gaussian tasks: with the true Fisher and λ = 1 the optimum is the joint one."""
    anchor, theta, rate = Anchor(one(PRECISION_A), one(BEST_A)), one(0.0), 0.01
    for _ in range(3000):
        grads = {"w": PRECISION_B * (theta["w"] - BEST_B)}
        if form == "gradient":
            grads = with_penalty_gradient(grads, theta, Pull(*anchor, 1.0))
        theta = {"w": theta["w"] - rate * grads["w"]}
        if form == "proximal":
            theta = proximal(theta, anchor, 1.0, rate)
    assert float(theta["w"]) == pytest.approx(JOINT, abs=2e-2 if form == "proximal" else 1e-5)


def test_written_gradient_is_the_gradient_of_the_penalty() -> None:
    rng = generator(0, "x")
    params = {n: torch.randn(4, 3, generator=rng).requires_grad_() for n in "ab"}
    anchor = Anchor(
        {n: torch.rand(4, 3, generator=rng) for n in "ab"},
        {n: torch.randn(4, 3, generator=rng) for n in "ab"},
    )
    expected = torch.autograd.grad(penalty(params, anchor, 7.0), list(params.values()))
    found = with_penalty_gradient({n: torch.zeros(4, 3) for n in "ab"}, params, Pull(*anchor, 7.0))
    for name, value in zip("ab", expected, strict=True):
        torch.testing.assert_close(found[name], value)


def test_proximal_solves_its_problem_and_is_stable() -> None:
    anchor, theta = Anchor(one(2.0), one(0.5)), one(-3.0)
    z = proximal(theta, anchor, 4.0, 0.1)["w"].requires_grad_()
    objective = 0.5 * (z - theta["w"]).square().sum() + 0.1 * penalty({"w": z}, anchor, 4.0)
    assert abs(float(torch.autograd.grad(objective, z)[0])) < 1e-6
    stiff = proximal(theta, anchor, 1e12, 0.1)
    assert float(stiff["w"]) == pytest.approx(0.5, abs=1e-5)
    assert torch.equal(proximal(theta, anchor, 0.0, 0.1)["w"], theta["w"])


def test_merged_anchor_has_the_gradient_of_separate_anchors() -> None:
    rng = generator(1, "x")
    forms = [
        Anchor({"w": torch.rand(50, generator=rng)}, {"w": torch.randn(50, generator=rng)})
        for _ in range(4)
    ]
    forms[1].omega["w"][:10] = 0
    merged = forms[0]
    for form in forms[1:]:
        merged = merged_anchor(merged, form.omega, form.star)
    theta = {"w": torch.randn(50, generator=rng)}
    nothing = {"w": torch.zeros(50)}
    expected = sum(with_penalty_gradient(nothing, theta, Pull(*f, 2.0))["w"] for f in forms)
    found = with_penalty_gradient(nothing, theta, Pull(*merged, 2.0))["w"]
    torch.testing.assert_close(found, expected)


def test_merged_anchor_without_importance_is_the_newest() -> None:
    zero = {"w": torch.zeros(2)}
    merged = merged_anchor(Anchor(zero, {"w": torch.ones(2)}), zero, {"w": torch.full((2,), 5.0)})
    assert merged.star["w"].tolist() == [5.0, 5.0]
    assert merged.omega["w"].tolist() == [0.0, 0.0]


def absorbed(n_tasks: int, **numbers: object) -> tuple[Anchor, list[Params], list[Params]]:
    """The anchor after some tasks with drawn optima and Fishers."""
    net = build_net(NetConfig(hidden=(3,)), (1, 2, 2), Heads("domain", (2,) * 5))
    method = methods.build("ewc", net, EwcHyper(**numbers))
    stars = [net.init(generator(k, "star")) for k in range(n_tasks)]
    fishers = [
        {n: torch.rand(v.shape, generator=generator(k, n)) for n, v in stars[k].items()}
        for k in range(n_tasks)
    ]
    memory = method.begin(stars[0])
    data = LearntTask(None, None, None, 0, generator(0, ""))  # type: ignore[arg-type]
    for star, fisher in zip(stars, fishers, strict=True):
        memory = method.absorb(star, memory, fisher, data)
    return memory["anchor"], stars, fishers


def test_online_equals_separate_for_one_old_task_only() -> None:
    for n_tasks, equal in ((1, True), (2, False)):
        separate = absorbed(n_tasks, anchor="separate")[0]
        online = absorbed(n_tasks, anchor="online")[0]
        for name in separate.omega:
            torch.testing.assert_close(separate.omega[name], online.omega[name])
            assert torch.equal(separate.star[name], online.star[name]) is equal


def test_online_has_the_latest_anchor_and_decaying_importance() -> None:
    online, stars, fishers = absorbed(3, anchor="online", gamma=0.5)
    for name in online.omega:
        expected = 0.25 * fishers[0][name] + 0.5 * fishers[1][name] + fishers[2][name]
        torch.testing.assert_close(online.omega[name], expected)
        assert torch.equal(online.star[name], stars[2][name])


@pytest.mark.parametrize("by", ["norm", "max"])
def test_normalised_tasks_count_alike_whatever_the_scale_of_their_loss(by: str) -> None:
    online, _, fishers = absorbed(3, anchor="online", gamma=0.5, normalise=by)
    sizes = []
    for fisher in fishers:
        entries = [float(v) for f in fisher.values() for v in f.flatten()]
        sizes.append(math.sqrt(sum(v * v for v in entries)) if by == "norm" else max(entries))
    for name, omega in online.omega.items():
        parts = [f[name] / size for f, size in zip(fishers, sizes, strict=True)]
        torch.testing.assert_close(omega, 0.25 * parts[0] + 0.5 * parts[1] + parts[2])


def test_a_task_without_a_fisher_stays_without_one() -> None:
    zero = {"w": torch.zeros(3)}
    for by in ("norm", "max", "none"):
        assert normalised(zero, by)["w"].tolist() == [0.0, 0.0, 0.0]
