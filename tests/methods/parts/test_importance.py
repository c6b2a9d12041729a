"""Importances against closed forms and against a loop of one backward pass per example."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Scale, Task
from clsweep.methods.base import LearntTask
from clsweep.methods.parts import importance
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

SHAPE = (1, 8, 8)
HEADS = Heads("class", (3, 2))
ONE = Scale(torch.full((1, 1, 1), 1 / 255), torch.zeros(1, 1, 1))


class Tied(nn.Module):
    """Norms, a convolution with stride, and one weight used twice."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.twice = nn.Linear(16, 16)
        self.positions = nn.Linear(4, 4, bias=False)
        self.out = nn.Linear(16, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.conv(x)).tanh()  # [B, 4, 4, 4]
        h = self.positions(h).mean(1).flatten(1)  # a linear layer on [B, 4, 4, 4]
        h = self.twice(self.twice(h).tanh()).tanh()
        return self.out(h)


def tied(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Tied(n_outputs)


NETS = {
    "mlp": NetConfig(name="mlp", hidden=(7, 6), activation="tanh"),
    "conv": NetConfig(name="conv", channels=(3, 4), width=5),
    "custom": NetConfig(name="custom", factory=f"{__name__}:tied"),
}


def learnt_of(n: int = 23, task: int = 1) -> LearntTask:
    rng = generator(5, "images")
    images = torch.randint(0, 256, (n, *SHAPE), generator=rng, dtype=torch.uint8)
    labels = torch.randint(0, 5, (n,), generator=rng)
    data = Examples(images, torch.arange(n), labels)
    return LearntTask(Task(task, data, data, data, 2), ONE, None, 0, generator(0, "measure", task))


def loop(
    net: Net,
    params: Params,
    learnt: LearntTask,
    value: Callable[[Tensor, Tensor], Tensor],
    reduce: Callable[[Tensor], Tensor],
) -> Params:
    """Σ over examples of `reduce` of the gradient of `value`, one example at a time."""
    total = {name: torch.zeros_like(p) for name, p in params.items()}
    data = learnt.task.train
    for i in range(len(data)):
        leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
        x = learnt.scale(data.raw(torch.tensor([i])))
        out = net.apply(leaves, x, learnt.task.index)[0]
        grads = torch.autograd.grad(value(out, data.labels[i]), list(leaves.values()))
        for name, g in zip(leaves, grads, strict=True):
            total[name] += reduce(g)
    return total


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> Net:
    return build_net(NETS[request.param], SHAPE, HEADS)


def test_exact_fisher_is_the_expectation_over_labels(net: Net) -> None:
    params, learnt = net.init(generator(1, "init")), learnt_of()
    expected = {name: torch.zeros_like(p) for name, p in params.items()}
    data = learnt.task.train
    for i in range(len(data)):
        x = learnt.scale(data.raw(torch.tensor([i])))
        p = net.apply(params, x, 1)[0].softmax(0)
        for c in range(5):
            leaves = {name: v.clone().requires_grad_() for name, v in params.items()}
            log_p = net.apply(leaves, x, 1)[0].log_softmax(0)[c]
            for name, g in zip(
                leaves, torch.autograd.grad(log_p, list(leaves.values())), strict=True
            ):
                expected[name] += p[c] * g.square() / len(data)
    found = importance.fisher_diag(net, params, learnt)
    assert found.keys() == params.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("estimator", ["empirical", "predicted", "label_weighted"])
def test_one_label_estimators_against_a_loop(net: Net, estimator: str) -> None:
    params, learnt = net.init(generator(1, "init")), learnt_of()

    def value(out: Tensor, y: Tensor) -> Tensor:
        label = out.argmax() if estimator == "predicted" else y
        p = out.detach().softmax(0)[label]
        weight = p.sqrt() if estimator == "label_weighted" else torch.ones(())
        return weight * out.log_softmax(0)[label]

    expected = loop(net, params, learnt, value, torch.square)
    found = importance.fisher_diag(net, params, learnt, estimator=estimator)
    for name in params:
        torch.testing.assert_close(found[name], expected[name] / 23, rtol=1e-4, atol=1e-9)


def test_reversed_fisher_against_a_loop(net: Net) -> None:
    params, learnt = net.init(generator(1, "init")), learnt_of()
    expected = loop(net, params, learnt, lambda out, y: (-out).log_softmax(0)[y], torch.square)
    found = importance.fisher_diag(net, params, learnt, estimator="reversed")
    for name in params:
        torch.testing.assert_close(found[name], expected[name] / 23, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("size", [1, 10, 100])
def test_batched_mas_takes_the_absolute_value_of_a_batch(net: Net, size: int) -> None:
    params, learnt = net.init(generator(1, "init")), learnt_of()
    found = importance.batched_mas_omega(net, params, learnt, batch_size=size)
    expected = {name: torch.zeros_like(value) for name, value in params.items()}
    for rows in torch.arange(23).split(size):
        leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
        outputs = net.apply(leaves, learnt.scale(learnt.task.train.raw(rows)), 1)
        grads = torch.autograd.grad(outputs.square().sum(), list(leaves.values()))
        for name, g in zip(leaves, grads, strict=True):
            expected[name] += g.abs() / 23
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-9)
    one_by_one = importance.mas_omega(net, params, learnt)
    for name, value in one_by_one.items():
        if size == 1:  # a batch of one is the paper's equation
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-8)
        assert (found[name] <= value * 1.001 + 1e-7).all()


def test_mas_against_a_loop(net: Net) -> None:
    params, learnt = net.init(generator(1, "init")), learnt_of()
    expected = loop(net, params, learnt, lambda out, y: out.square().sum(), torch.abs)
    found = importance.mas_omega(net, params, learnt)
    for name in params:
        torch.testing.assert_close(found[name], expected[name] / 23, rtol=1e-4, atol=1e-8)


def linear() -> tuple[Net, Params]:
    net = build_net(NetConfig(name="mlp", hidden=()), SHAPE, Heads("domain", (2, 2)))
    return net, net.init(generator(2, "init"))


def test_fisher_of_logistic_regression() -> None:
    """For softmax regression, F of the weight of class c is E[p_c (1 − p_c) x²]."""
    net, params = linear()
    learnt = learnt_of()
    x = learnt.scale(learnt.task.train.raw(torch.arange(23))).flatten(1)
    p = net.apply(params, x, 1).softmax(1)
    expected = (p * (1 - p)).T @ x.square() / 23
    found = importance.fisher_diag(net, params, learnt)
    torch.testing.assert_close(found["head.weight"], expected, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(found["head.bias"], (p * (1 - p)).mean(0), rtol=1e-5, atol=1e-9)


def test_reversed_fisher_of_a_linear_softmax_model() -> None:
    """F of the weight of class c is E[(q_c − [c = y])² x²] with q = softmax(−z)."""
    net, params = linear()
    learnt = learnt_of()
    learnt.task.train.labels.clamp_(max=1)
    x = learnt.scale(learnt.task.train.raw(torch.arange(23))).flatten(1)
    y = learnt.task.train.labels
    q = (-(x @ params["head.weight"].T + params["head.bias"])).softmax(1)
    wrong = (q - F.one_hot(y, 2)).square()
    found = importance.fisher_diag(net, params, learnt, estimator="reversed")
    torch.testing.assert_close(
        found["head.weight"], wrong.T @ x.square() / 23, rtol=1e-5, atol=1e-9
    )
    torch.testing.assert_close(found["head.bias"], wrong.mean(0), rtol=1e-5, atol=1e-9)
    # Of a network that is sure and right, the usual Fisher vanishes and this one does not.
    sure = {name: value * 0 for name, value in params.items()}
    sure["head.bias"] = torch.tensor([40.0, 0.0])
    y.zero_()
    usual = importance.fisher_diag(net, sure, learnt, estimator="empirical")
    assert float(usual["head.bias"].max()) < 1e-30
    found = importance.fisher_diag(net, sure, learnt, estimator="reversed")
    assert float(found["head.bias"].min()) == pytest.approx(1)


def test_sampled_fisher_approaches_the_exact_one() -> None:
    net, params = linear()
    exact = importance.fisher_diag(net, params, learnt_of())["head.bias"]
    draws = torch.stack(
        [
            importance.fisher_diag(
                net, params, learnt_of()._replace(rng=generator(s, "measure")), estimator="sampled"
            )["head.bias"]
            for s in range(200)
        ]
    )
    error = draws.std(0) / 200**0.5
    assert ((draws.mean(0) - exact).abs() < 4 * error + 1e-7).all()


def test_batched_is_the_square_of_means_and_differs() -> None:
    """Two examples whose gradients nearly cancel: mean of squares is not square of mean."""
    net, params = linear()
    learnt = learnt_of(2)
    x = learnt.scale(learnt.task.train.raw(torch.arange(2))).flatten(1)
    data = Examples(learnt.task.train.images, torch.arange(2), torch.tensor([0, 1]))
    learnt = learnt._replace(task=Task(1, data, data, data, 2))
    p = net.apply(params, x, 1).softmax(1)
    residual = p - F.one_hot(torch.tensor([0, 1]), 2)
    batched = importance.fisher_diag(net, params, learnt, estimator="batched", batch_size=2)
    empirical = importance.fisher_diag(net, params, learnt, estimator="empirical")
    torch.testing.assert_close(batched["head.weight"], (residual.T @ x / 2).square())
    torch.testing.assert_close(empirical["head.weight"], residual.square().T @ x.square() / 2)
    assert (empirical["head.bias"] > 5 * batched["head.bias"]).all()


@pytest.mark.parametrize("estimator", ["exact", "empirical", "predicted", "label_weighted"])
def test_chunks_do_not_matter(estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = build_net(NETS["mlp"], SHAPE, HEADS)
    params = net.init(generator(1, "init"))
    whole = importance.fisher_diag(net, params, learnt_of(), estimator=estimator)
    omega = importance.mas_omega(net, params, learnt_of())
    monkeypatch.setattr(importance, "_CHUNK", 3)
    parts = importance.fisher_diag(net, params, learnt_of(), estimator=estimator)
    omega_parts = importance.mas_omega(net, params, learnt_of())
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-5, atol=1e-10)
        torch.testing.assert_close(omega_parts[name], omega[name], rtol=1e-5, atol=1e-10)


def test_every_example_twice_changes_nothing() -> None:
    net = build_net(NETS["mlp"], SHAPE, HEADS)
    params, learnt = net.init(generator(1, "init")), learnt_of()
    data = learnt.task.train
    doubled = Examples(data.images, data.rows.repeat(2), data.labels.repeat(2))
    twice = learnt._replace(task=Task(1, doubled, doubled, doubled, 2))
    once, again = (importance.fisher_diag(net, params, d) for d in (learnt, twice))
    for name in once:
        torch.testing.assert_close(again[name], once[name], rtol=1e-5, atol=1e-10)


def test_mas_of_a_linear_map() -> None:
    """Ω_ij = E|2 (Wx)_i x_j|; labels and the sign of the logits do not enter."""
    net, params = linear()
    params["head.bias"].zero_()
    learnt = learnt_of()
    x = learnt.scale(learnt.task.train.raw(torch.arange(23))).flatten(1)
    expected = (2 * (x @ params["head.weight"].T)).abs().T @ x.abs() / 23
    found = importance.mas_omega(net, params, learnt)
    torch.testing.assert_close(found["head.weight"], expected)
    data = learnt.task.train
    other = Examples(data.images, data.rows, 1 - data.labels)
    relabelled = learnt._replace(task=Task(1, other, other, other, 2))
    flipped = {name: -value for name, value in params.items()}
    for again in (
        importance.mas_omega(net, params, relabelled),
        importance.mas_omega(net, flipped, learnt),
    ):
        torch.testing.assert_close(again["head.weight"], expected)


def test_mas_per_example_exceeds_the_batch_form() -> None:
    net, params = linear()
    learnt = learnt_of()
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    x = learnt.scale(learnt.task.train.raw(torch.arange(23)))
    total = net.apply(leaves, x, 1).square().sum()
    batch_form = torch.autograd.grad(total, leaves["head.weight"])[0].abs() / 23
    found = importance.mas_omega(net, params, learnt)["head.weight"]
    assert (found >= batch_form - 1e-6).all()
    assert (found > batch_form + 1e-4).any()


def test_per_task_heads_get_no_importance() -> None:
    net = build_net(NETS["mlp"], SHAPE, Heads("task", (3, 2)))
    params = net.init(generator(1, "init"))
    data = learnt_of().task.train
    examples = Examples(data.images, data.rows, data.labels % 2)
    learnt = learnt_of()._replace(task=Task(1, examples, examples, examples, 2))
    found = importance.fisher_diag(net, params, learnt)
    assert set(found) == {"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"}


def test_a_part_of_the_examples() -> None:
    net, params = linear()
    learnt = learnt_of()
    found = importance.fisher_diag(net, params, learnt, n_examples=5)
    chosen = torch.randperm(23, generator=generator(0, "measure", 1))[:5]
    x = learnt.scale(learnt.task.train.raw(chosen)).flatten(1)
    p = net.apply(params, x, 1).softmax(1)
    torch.testing.assert_close(found["head.bias"], (p * (1 - p)).mean(0))
