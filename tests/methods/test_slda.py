"""Streaming LDA against its recursion, scikit-learn's LDA and the union of tasks, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.parts import input_classifiers
from clsweep.methods.slda import discriminant
from tests.support.vectors import AS_STORED, fitted, method_for, sequence_of, union_of

VECTORS = [
    [[3, 200], [10, 90], [250, 7], [90, 91], [4, 5]],
    [[33, 20], [100, 0], [25, 70], [9, 191], [40, 50]],
]
LABELS = [[0, 1, 0, 1, 1], [1, 1, 0, 0, 0]]


def sequence(scenario: str = "class") -> TaskSequence:
    return sequence_of(scenario, VECTORS, LABELS, n_classes=2)


@pytest.mark.parametrize("chunk", [1, 3, 4096])
@pytest.mark.parametrize("scenario", ["class", "domain"])
def test_it_is_the_published_recursion(
    scenario: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Example by example, as the equations say; however many are computed at once."""
    monkeypatch.setattr(input_classifiers, "_CHUNK", chunk)
    tasks = sequence(scenario)
    params, memory = fitted(method_for("slda", tasks), tasks)
    n_classes = tasks.heads.n_outputs
    mu, c, sigma, t = np.zeros((n_classes, 2)), np.zeros(n_classes), np.zeros((2, 2)), 0
    for task in tasks.tasks:
        for i in torch.randperm(5, generator=generator(0, "fit", task.index)).tolist():
            z = np.array(VECTORS[task.index][i], dtype=float)
            y = int(task.train.labels[i])
            delta = t / (t + 1) * np.outer(z - mu[y], z - mu[y]) if c[y] else 0.0
            sigma = (t * sigma + delta) / (t + 1)
            mu[y] = (c[y] * mu[y] + z) / (c[y] + 1)
            c[y] += 1
            t += 1
    np.testing.assert_allclose(memory["means"], mu, rtol=1e-12)
    np.testing.assert_allclose(memory["scatter"], t * sigma, rtol=1e-12)
    inverse = np.linalg.inv((1 - 1e-4) * sigma + 1e-4 * np.eye(2))
    np.testing.assert_allclose(params["classifier.weight"], mu @ inverse, rtol=1e-9)
    bias = [-0.5 * m @ inverse @ m for m in mu]
    np.testing.assert_allclose(params["classifier.bias"], bias, rtol=1e-9)


@pytest.mark.parametrize("shrinkage", [1e-4, 0.3, 1.0])
def test_it_is_scikit_learns_lda_where_the_trace_is_the_dimension(shrinkage: float) -> None:
    """Scikit-learn shrinks towards trace(Σ)/d I, and its last class is no reference."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) + 2 * y[:, None]
    means = np.array([x[y == k].mean(0) for k in range(3)])
    within = (x - means[y]).T @ (x - means[y]) / 60
    x = x * (4 / np.trace(within)) ** 0.5
    means = np.array([x[y == k].mean(0) for k in range(3)])
    within = (x - means[y]).T @ (x - means[y]) / 60
    weight, bias = discriminant(torch.tensor(means), torch.tensor(within), shrinkage)
    lda = LinearDiscriminantAnalysis("lsqr", shrinkage=shrinkage, priors=[1 / 3] * 3).fit(x, y)
    np.testing.assert_allclose(weight, lda.coef_, rtol=1e-6)
    np.testing.assert_allclose(bias + np.log(1 / 3), lda.intercept_, rtol=1e-6)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_exact_is_the_covariance_within_the_classes_of_the_union_in_any_order(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    tasks = short_sequences[scenario]
    method = method_for("slda", tasks, covariance="exact")
    _, memory = fitted(method, tasks)
    x, classes = union_of(tasks)
    means = torch.stack([x[classes == k].mean(0) for k in range(int(classes.max()) + 1)])
    centred = x - means[classes]
    torch.testing.assert_close(memory["means"], means)
    torch.testing.assert_close(memory["scatter"], centred.T @ centred)
    _, other = fitted(method, tasks, seed=1)
    torch.testing.assert_close(other["scatter"], memory["scatter"])


def test_the_published_covariance_depends_on_the_order_and_comes_close() -> None:
    """Both weights tend to one, so that the two agree but for the first examples."""
    tasks = sequence()
    first, second = (fitted(method_for("slda", tasks), tasks, seed=s)[1] for s in (0, 1))
    assert not torch.allclose(first["scatter"], second["scatter"])
    rng = generator(0, "vectors")
    many = torch.randint(0, 256, (2, 3000, 2), generator=rng).tolist()
    tasks = sequence_of("domain", many, [[0] * 3000] * 2)
    streaming, exact = (
        fitted(method_for("slda", tasks, covariance=kind), tasks)[1]["scatter"]
        for kind in ("streaming", "exact")
    )
    torch.testing.assert_close(streaming, exact, rtol=5e-3, atol=0.0)


def test_shrinkage_of_one_is_the_nearest_class_mean(
    short_sequences: dict[str, TaskSequence],
) -> None:
    tasks = short_sequences["class"]
    x = AS_STORED(tasks.tasks[0].test.raw(torch.arange(20)))
    slda, ncm = method_for("slda", tasks, shrinkage=1.0), method_for("ncm", tasks)
    logits = slda.net.apply(fitted(slda, tasks)[0], x, 2)
    torch.testing.assert_close(2 * logits, ncm.net.apply(fitted(ncm, tasks)[0], x, 2))
