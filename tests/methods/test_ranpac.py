"""RanPAC against a ridge regression on the union of tasks, and its choice of λ, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.errors import MethodError
from clsweep.methods.ranpac import PENALTIES, chosen_penalty
from tests.support.vectors import fitted, method_for, union_of


def projected(x: Tensor, projection: Tensor) -> np.ndarray:
    """h in the precision that the method computes it in."""
    return np.asarray((x.float() @ projection).relu().double())


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_one_pass_over_tasks_is_a_ridge_regression_on_the_union(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    tasks = short_sequences[scenario]
    method = method_for("ranpac", tasks, projection_size=15, penalty_choice="given", penalty=1e4)
    params, _ = fitted(method, tasks)
    x, classes = union_of(tasks)
    h = projected(x, params["projection"])
    ridge = Ridge(alpha=1e4, fit_intercept=False).fit(h, np.eye(int(classes.max()) + 1)[classes])
    np.testing.assert_allclose(params["classifier.weight"], ridge.coef_, rtol=1e-6, atol=1e-12)
    assert not params["classifier.bias"].any()


def test_the_projection_is_standard_normal_and_of_the_seed(
    short_sequences: dict[str, TaskSequence],
) -> None:
    net = method_for("ranpac", short_sequences["class"], projection_size=2000).net
    first, again, other = (net.init(generator(s, "init"))["projection"] for s in (0, 0, 1))
    assert first.shape == (64, 2000)
    assert first.equal(again)
    assert not first.equal(other)
    assert abs(float(first.mean())) < 0.01
    assert abs(float(first.std()) - 1) < 0.01


def test_the_penalty_has_the_least_error_on_the_held_out_fifth_of_the_task(
    short_sequences: dict[str, TaskSequence],
) -> None:
    tasks = short_sequences["class"]
    params, memory = fitted(method_for("ranpac", tasks, projection_size=90), tasks)
    last = tasks.tasks[-1].train
    order = torch.randperm(len(last), generator=generator(0, "fit", 2))
    x = last.raw(order).flatten(1)
    h, labels = projected(x, params["projection"]), np.eye(6)[last.labels[order]]
    n = len(last) // 5
    errors = []
    for penalty in PENALTIES:  # the 48 others do not determine 90 weights
        gram = h[n:].T @ h[n:] + penalty * np.eye(90)
        weights = np.linalg.solve(gram, h[n:].T @ labels[n:])
        definite = np.linalg.eigvalsh(gram)[0] > 1e-16 * np.linalg.eigvalsh(gram)[-1]
        errors.append(np.square(h[:n] @ weights - labels[:n]).mean() if definite else np.inf)
    assert float(memory["penalty"]) == PENALTIES[int(np.argmin(errors))]
    assert PENALTIES[0] < float(memory["penalty"]) < PENALTIES[-1]


def test_the_choice_leaves_every_example_in_the_solution(
    short_sequences: dict[str, TaskSequence],
) -> None:
    tasks = short_sequences["class"]
    _, memory = fitted(method_for("ranpac", tasks, projection_size=15), tasks)
    given = method_for("ranpac", tasks, projection_size=15, penalty_choice="given")
    _, other = fitted(given, tasks)
    torch.testing.assert_close(memory["gram"], other["gram"])
    torch.testing.assert_close(memory["prototypes"], other["prototypes"])
    assert memory["counts"].equal(other["counts"])


def test_noise_asks_for_a_larger_penalty_than_a_line() -> None:
    rng = generator(0, "noise")
    h = torch.randn(80, 40, generator=rng, dtype=torch.float64)
    noise = torch.randint(0, 2, (80,), generator=rng)
    line = (h[:, 0] > 0).long()
    found = []
    for classes in (noise, line):
        others = torch.nn.functional.one_hot(classes[:60], 2).double().T @ h[:60]
        found.append(chosen_penalty(h[:60].T @ h[:60], others, h[60:], classes[60:]))
    assert found[0] > found[1]


def test_inputs_too_large_for_every_penalty_say_what_to_do() -> None:
    h = torch.full((4, 3), 1e20, dtype=torch.float64)
    with pytest.raises(MethodError, match="so large that no λ"):
        chosen_penalty(h.T @ h, h[:2, :], h, torch.tensor([0, 1, 0, 1]))
