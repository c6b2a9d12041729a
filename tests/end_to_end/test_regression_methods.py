"""Regressions: the Gaussian likelihood's closed forms, and what every method has to satisfy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clsweep import methods
from clsweep.conformance.checks import same_params
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods import METHODS
from clsweep.methods.base import Batch, LearntTask, Method
from clsweep.methods.parts import buffer, importance
from clsweep.methods.parts.losses import half_squared_error, regression_distillation
from clsweep.methods.parts.penalty_gradient import with_penalty_gradient
from clsweep.methods.parts.task_gradients import TaskExamples, task_gradients
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.evaluation import check_learnt, evaluate
from clsweep.training.learnt_models import LearntSequence
from clsweep.training.sequences import learn_joint, learn_sequence, learn_source, measure_source
from tests.methods.cases import SMALL_HNET
from tests.support.regressions import net_of, polynomials, sequence_of

TRAINING = TrainingConfig(optimizer="sgd", lr=0.05, batch_size=8, steps=5)
CASES = {
    "finetune": {},
    "frozen": {},
    "joint": {},
    "ewc": {"lam": 2.0},
    "ewc online": {"lam": 2.0, "anchor": "online", "gamma": 0.9, "fisher": "sampled"},
    "ewc empirical": {"lam": 2.0, "fisher": "empirical"},
    "ewc batched": {"lam": 2.0, "fisher": "batched", "fisher_batch": 8},
    "mas": {"lam": 0.5},
    "si": {"c": 0.5},
    "l2": {"lam": 0.5},
    "lwf": {"lam": 2.0},
    "rescl": {"lam": 1e-3},
    "replay": {"memory_size": 10},
    "replay reservoir": {"memory_size": 10, "fill": "reservoir"},
    "replay own": {"memory_size": 10, "fill": "reservoir", "first_task": "own"},
    "gem": {"memory_size": 10, "margin": 0.0},
    "agem": {"memory_size": 10, "reference_batch": 4},
    "hnet": SMALL_HNET,
}
PAIRS = [
    pytest.param(case, scenario, id=f"{case}-{scenario}")
    for case in CASES
    for scenario in METHODS[case.partition(" ")[0]].regression
]


def built(case: str, sequence: TaskSequence, hidden: tuple[int, ...] = (6,)) -> Method:
    name = case.partition(" ")[0]
    return methods.build(name, net_of(sequence, hidden), METHODS[name].hyper(**CASES[case]))


def learnt(case: str, sequence: TaskSequence) -> LearntSequence:
    method = built(case, sequence)
    if method.joint:
        return learn_joint(method, sequence, TRAINING, 0)
    if not METHODS[case.partition(" ")[0]].begins_at_source(method.hyper):
        return learn_sequence(method, sequence, TRAINING, 0, None, {})
    source = learn_source(net_of(sequence, (6,)), sequence, TRAINING, 0)
    statistics = measure_source(method, sequence, source, 0)
    return learn_sequence(method, sequence, TRAINING, 0, source, statistics)


def test_every_method_that_says_so_has_a_case() -> None:
    able = {name for name, entry in METHODS.items() if entry.regression}
    assert able == {case.partition(" ")[0] for case in CASES}


@pytest.mark.parametrize(("case", "scenario"), PAIRS)
def test_learns_three_polynomials_the_same_twice(case: str, scenario: str) -> None:
    sequence = polynomials(scenario)
    first, second = learnt(case, sequence), learnt(case, sequence)
    assert same_params(first.params, second.params)
    assert first.rows == second.rows
    final = [row for row in first.rows if row[0] == 2 and row[2] == "test"]
    assert [row[1] for row in final] == [0, 1, 2]
    assert all(len(row) == 8 and row[4] == 50 and row[7] == "r2" for row in final)
    assert all(math.isfinite(row[3]) and row[3] > 0 for row in final)


@pytest.mark.parametrize(
    ("case", "zero"),
    [("ewc", "lam"), ("mas", "lam"), ("si", "c"), ("l2", "lam"), ("lwf", "lam")],
)
def test_a_knob_of_zero_is_fine_tuning(
    case: str, zero: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = polynomials("domain")
    tuned = learnt("finetune", sequence)
    changed = learnt(case, sequence)
    monkeypatch.setitem(CASES, case, {zero: 0.0})
    assert same_params(learnt(case, sequence).params, tuned.params)
    assert not same_params(changed.params, tuned.params)


# ------------------------------------------------------------------------------- closed forms


def orthogonal(n: int, seed: int) -> torch.Tensor:
    """Inputs [n, 2] whose columns are orthogonal to each other and to the ones of the bias."""
    drawn = np.random.default_rng(seed).normal(size=(n, 3))
    drawn[:, 0] = 1.0
    q, _ = np.linalg.qr(drawn)
    return torch.from_numpy(q[:, 1:] * np.sqrt(n) * [1.0, 0.3]).float()


def regressions(n_tasks: int = 3, n: int = 12) -> TaskSequence:
    rng = np.random.default_rng(1)
    parts = []
    for task in range(n_tasks):
        x = orthogonal(n, task)
        y = x.numpy() @ rng.normal(size=(2, 2)) + rng.normal(size=2) + rng.normal(size=(n, 2))
        parts.append((x, torch.from_numpy(y).float()))
    return sequence_of(parts)


def pooled(sequence: TaskSequence, n_tasks: int) -> Params:
    """Least squares over the first tasks together: the posterior mean from a flat prior."""
    x = torch.cat([task.train.images for task in sequence.tasks[:n_tasks]]).double().numpy()
    y = torch.cat([task.train.labels for task in sequence.tasks[:n_tasks]]).double().numpy()
    found, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)
    weight, bias = (torch.from_numpy(part).float() for part in (found[:2].T, found[2]))
    return {"head.weight": weight, "head.bias": bias}


def as_batch(sequence: TaskSequence, task: int) -> Batch:
    data = sequence.tasks[task].train
    raw = data.raw(torch.arange(len(data)))
    return Batch(sequence.scale(raw), data.labels, raw, sequence.scale, {}, None, {})


def own_optimum(sequence: TaskSequence, task: int) -> Params:
    one = sequence_of([(sequence.tasks[task].train.images, sequence.tasks[task].train.labels)])
    return pooled(one, 1)


def test_ewc_with_a_weight_of_1_is_the_exact_posterior_of_a_linear_gaussian_model() -> None:
    """With diagonal XᵀX, Laplace's approximation on the diagonal is no approximation.

    Every task's mean loss has the curvature F_k, and all have equally many examples: then
    L_t + Σ_{k<t} ½ F_k (θ − θ*_k)² is the mean loss of all tasks, but for a constant, where θ*_k
    is the minimum of what was minimised before. The online form is the same with γ = 1 and one
    anchor at the latest minimum.
    """
    sequence = regressions()
    net = net_of(sequence)
    hyper = METHODS["ewc"].hyper(lam=1.0, anchor="online")
    method = methods.build("ewc", net, hyper)
    (phase,) = method.phases
    memory = method.begin(own_optimum(sequence, 0))
    for task in (0, 1):
        optimum = pooled(sequence, task + 1)
        data = LearntTask(sequence.tasks[task], sequence.scale, None, 0, generator(0, "x"))
        statistics = method.measure(optimum, data)
        memory = method.absorb(optimum, memory, statistics, data)
        theta = {n: v.clone().requires_grad_() for n, v in pooled(sequence, task + 2).items()}
        loss = phase.loss(theta, memory, as_batch(sequence, task + 1), task + 1)
        grads = dict(zip(theta, torch.autograd.grad(loss, list(theta.values())), strict=True))
        assert max(float(g.abs().max()) for g in grads.values()) > 0.05
        total = with_penalty_gradient(grads, theta, phase.pull(memory))
        for name, gradient in total.items():
            assert torch.allclose(gradient, torch.zeros_like(gradient), atol=2e-5), name


def test_the_exact_fisher_is_the_mean_of_squared_inputs() -> None:
    sequence = regressions()
    net, params = net_of(sequence), pooled(sequence, 1)
    data = LearntTask(sequence.tasks[0], sequence.scale, None, 0, generator(0, "x"))
    found = importance.fisher_diag(net, params, data)
    x, y = sequence.tasks[0].train.images, sequence.tasks[0].train.labels
    assert torch.allclose(found["head.weight"], x.square().mean(0).expand(2, 2))
    assert torch.allclose(found["head.bias"], torch.ones(2))
    residuals = x @ params["head.weight"].T + params["head.bias"] - y
    empirical = importance.fisher_diag(net, params, data, estimator="empirical")
    by_hand = (residuals.square().T @ x.square()) / len(x)
    assert torch.allclose(empirical["head.weight"], by_hand, rtol=1e-5)
    batched = importance.fisher_diag(net, params, data, estimator="batched", batch_size=4)
    each = (residuals[:, :, None] * x[:, None]).reshape(-1, 4, 2, 2).mean(1).square().mean(0)
    assert torch.allclose(batched["head.weight"], each, rtol=1e-5)
    drawn = importance.fisher_diag(net, params, data, estimator="sampled")
    assert not torch.allclose(drawn["head.weight"], found["head.weight"])


def test_the_sampled_fisher_is_the_exact_one_on_average() -> None:
    x = torch.ones(4000, 1) * 0.5
    sequence = sequence_of([(x, x)])
    net = net_of(sequence)
    params = {"head.weight": torch.tensor([[2.0]]), "head.bias": torch.zeros(1)}
    data = LearntTask(sequence.tasks[0], sequence.scale, None, 0, generator(0, "x"))
    found = importance.fisher_diag(net, params, data, estimator="sampled")
    # The mean of 4000 squares of normal numbers has a standard deviation of √(2/4000) = 0.022.
    assert float(found["head.weight"]) == pytest.approx(0.25, rel=0.1)


def test_mas_of_a_linear_model() -> None:
    """∂ (w x)² / ∂w = 2 w x²."""
    x = torch.tensor([[0.5], [-1.0], [2.0]])
    sequence = sequence_of([(x, x)])
    params = {"head.weight": torch.tensor([[3.0]]), "head.bias": torch.zeros(1)}
    data = LearntTask(sequence.tasks[0], sequence.scale, None, 0, generator(0, "x"))
    found = importance.mas_omega(net_of(sequence), params, data)
    assert float(found["head.weight"]) == pytest.approx(6 * float(x.square().mean()))


def test_the_loss_is_half_the_squared_error() -> None:
    predicted = torch.tensor([[1.0, 2.0], [0.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[0.0, 4.0], [0.0, 1.0]])
    each = half_squared_error(predicted, targets)
    assert each.tolist() == [2.5, 0.5]
    (gradient,) = torch.autograd.grad(each.sum(), predicted)
    assert torch.equal(gradient, (predicted - targets).detach())
    log_p = torch.distributions.Normal(predicted, 1.0).log_prob(targets).sum(1)
    assert torch.allclose(-log_p - math.log(2 * math.pi), each)
    assert float(regression_distillation(predicted.detach(), targets, 7.0)) == 1.5


def test_lwf_adds_the_squared_distance_to_what_the_old_network_predicts() -> None:
    sequence = regressions(2)
    method = methods.build("lwf", net_of(sequence), METHODS["lwf"].hyper(lam=3.0))
    (phase,) = method.phases
    teacher, now = pooled(sequence, 1), pooled(sequence, 2)
    batch = as_batch(sequence, 1)
    found = phase.loss(now, {"teacher": teacher}, batch, 1)

    def predicted(params: Params) -> torch.Tensor:
        return batch.x @ params["head.weight"].T + params["head.bias"]

    new = 0.5 * (predicted(now) - batch.y).square().sum(1).mean()
    old = 0.5 * (predicted(now) - predicted(teacher)).square().sum(1).mean()
    assert float(found) == pytest.approx(float(new + 3 * old), rel=1e-5)


def test_gem_sees_the_gradient_of_every_task() -> None:
    sequence = regressions(3)
    net, params = net_of(sequence, (3,)), net_of(sequence, (3,)).init(generator(0, "init"))
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    parts = [as_batch(sequence, task) for task in (0, 1)]
    stored = TaskExamples(
        torch.cat([p.x for p in parts]),
        torch.cat([p.y for p in parts]),
        tuple((task, len(p.x)) for task, p in enumerate(parts)),
    )
    rows = task_gradients(net, leaves, stored, 2)
    for row, part in zip(rows, parts, strict=True):
        loss = half_squared_error(net.apply(leaves, part.x, 2), part.y).mean()
        grads = torch.autograd.grad(loss, list(leaves.values()))
        assert torch.allclose(row, torch.cat([g.flatten() for g in grads]), atol=1e-6)


@pytest.mark.parametrize("fill", [buffer.balanced, buffer.uniform])
def test_buffers_keep_targets_with_their_inputs(fill: object) -> None:
    sequence = regressions(3)
    stored = buffer.empty(8, (2,), torch.device("cpu"), torch.float32, n_targets=2)
    for task in sequence.tasks[:2]:
        stored = fill(stored, task, generator(0, "fill", task.index))  # type: ignore[operator]
    assert stored.tasks.tolist().count(0) == stored.tasks.tolist().count(1) == 4
    for row in range(8):
        data = sequence.tasks[int(stored.tasks[row])].train
        place = int((data.images == stored.raw[row]).all(1).nonzero()[0])
        assert torch.equal(stored.labels[row], data.labels[place])


def test_a_reservoir_keeps_targets_with_their_inputs() -> None:
    x = torch.arange(20.0)[:, None]
    stored = buffer.empty(5, (1,), torch.device("cpu"), torch.float32, n_targets=1)
    for part in x.split(4):
        uniform = torch.rand(len(part), dtype=torch.float64, generator=generator(0, "u"))
        stored = buffer.streamed(stored, part, 2 * part, 0, uniform)
    assert stored.n_seen == 20
    assert torch.equal(stored.labels, 2 * stored.raw)


# --------------------------------------------------------------------------------- evaluation


def test_rows_hold_the_sums_of_the_errors() -> None:
    sequence = regressions(2)
    net, params = net_of(sequence), pooled(sequence, 1)
    rows = evaluate(net.apply, params, sequence, 0, ("test",))
    assert [row[:3] for row in rows] == [(0, 0, "test"), (0, 1, "test")]
    for row in rows:
        data = sequence.tasks[row[1]].test
        x, y = data.images.double().numpy(), data.labels.double().numpy()
        weight, bias = (params[n].double().numpy() for n in ("head.weight", "head.bias"))
        squares = ((x @ weight.T + bias - y) ** 2).sum(1)
        spread = ((y - y.mean(0)) ** 2).sum()
        assert row[3:7] == pytest.approx((squares.sum(), 12, (squares**2).sum(), spread), rel=1e-5)
        assert row[7] == "r2"


def test_a_regression_that_oscillates_is_told_from_one_that_learnt_little() -> None:
    from clsweep.training.divergence import Diverged

    sequence = regressions(2)
    net, good = net_of(sequence), pooled(sequence, 1)
    nothing = {name: torch.zeros_like(value) for name, value in good.items()}
    check_learnt(net, good, nothing, sequence, 0)
    wild = {name: value + 100 for name, value in good.items()}
    with pytest.raises(Diverged, match="chance costs"):
        check_learnt(net, good, wild, sequence, 0)
