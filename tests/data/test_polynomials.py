"""Data of regressions: the published polynomials, and arrays of real-valued targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clsweep.data.benchmark_specs import (
    PolynomialsBenchmark,
    SequenceBenchmark,
    SplitBenchmark,
)
from clsweep.data.benchmarks import build
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.fingerprints import combined
from clsweep.data.polynomials import NOISE, POLYNOMIALS, examples
from clsweep.data.regression_checks import check_targets
from clsweep.data.task_sizes import benchmark_sizes
from clsweep.errors import StudyError
from clsweep.study.input_fingerprints import data_inputs

FUNCTIONS = {
    "polynomial_1": (lambda x: x + 3, -4, -2),
    "polynomial_2": (lambda x: 2 * x**2 - 1, -1, 1),
    "polynomial_3": (lambda x: (x - 3) ** 3, 2, 4),
}


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_a_polynomial_is_the_published_one(name: str) -> None:
    function, low, high = FUNCTIONS[name]
    x, y = examples(name)
    assert x.shape == y.shape == (200, 1)
    drawn, even = x[:150], x[150:]
    assert low <= drawn.min() < low + 0.1
    assert high - 0.1 < drawn.max() <= high
    assert np.allclose(even[:, 0], np.linspace(low, high, 50), atol=1e-6)
    assert np.allclose(y[150:], function(even.astype(float)), atol=1e-5)
    noise = (y[:150] - function(drawn.astype(float))).astype(float)
    # Of 150 normal numbers: four standard errors of mean and standard deviation.
    assert abs(noise.mean()) < 4 * NOISE / np.sqrt(150)
    assert abs(noise.std() / NOISE - 1) < 4 / np.sqrt(300)
    assert np.allclose(POLYNOMIALS[name](even.astype(float)), function(even.astype(float)))


def test_the_draws_never_change() -> None:
    found = {name: [float(part[7, 0]) for part in examples(name)] for name in POLYNOMIALS}
    hashes = [one.fingerprint for one in data_inputs(PolynomialsBenchmark(), None)]
    assert combined([found, hashes]) == "3d7fc74f0560537a386b14f2"


def test_tasks_of_the_polynomials() -> None:
    sequence = build(PolynomialsBenchmark(), None, 0)
    assert sequence.heads.scenario == "task"
    assert sequence.heads.sizes == (1, 1, 1)
    assert sequence.heads.is_regression
    assert sequence.input_shape == (1,)
    for task, name in zip(sequence.tasks, POLYNOMIALS, strict=True):
        x, y = map(torch.from_numpy, examples(name))
        parts = (task.train, task.validation, task.test)
        assert [len(part) for part in parts] == [100, 50, 50]
        assert torch.equal(torch.cat([p.labels for p in parts]), y)
        assert torch.equal(torch.cat([p.raw(torch.arange(len(p))) for p in parts]), x)
    sizes = benchmark_sizes(PolynomialsBenchmark(), None)
    assert [(s.n_train, s.n_validation, s.n_test) for s in sizes] == [(100, 50, 50)] * 3


def saved(path: Path, y: np.ndarray, n_features: int = 2, seed: int = 0) -> str:
    x = np.random.default_rng(seed).normal(size=(len(y), n_features)).astype(np.float32)
    np.savez(path, x=x, y=y)
    return f"arrays:{path}"


def test_arrays_of_real_numbers_are_a_regression(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one = saved(tmp_path / "one.npz", rng.normal(size=(30, 2)))
    two = saved(tmp_path / "two.npz", rng.normal(size=(20, 2)).astype(np.float32), seed=1)
    config = SequenceBenchmark(datasets=(one, two), targets="numbers", metric="nrmse")
    sequence = build(config, None, 0)
    assert sequence.heads == ("task", (2, 2), "nrmse")
    first = sequence.tasks[0]
    stored = np.load(tmp_path / "one.npz")
    rows = torch.cat([first.train.rows, first.validation.rows])
    assert len(rows) == 24  # one in five tests
    assert len(first.validation) == 3
    for part in (first.train, first.test):
        places = [
            int((stored["x"] == x.numpy()).all(1).nonzero()[0][0])
            for x in part.raw(torch.arange(len(part)))
        ]
        assert np.allclose(part.labels.numpy(), stored["y"][places])
    assert dataset_spec(one, None).n_targets == 2
    assert [size.n_train for size in benchmark_sizes(config, None)] == [21, 14]


def test_classes_and_numbers_are_not_confused(tmp_path: Path) -> None:
    numbers = saved(tmp_path / "numbers.npz", np.linspace(0, 1, 30))
    classes = saved(tmp_path / "classes.npz", np.arange(30) % 3, seed=1)
    wide = saved(tmp_path / "wide.npz", np.random.default_rng(0).normal(size=(30, 3)))

    def refused(*datasets: str, targets: str = "numbers") -> str:
        with pytest.raises(StudyError) as error:
            check_targets(SequenceBenchmark(datasets=datasets, targets=targets), None)
        return str(error.value)

    assert "write targets = 'numbers'" in refused(numbers, numbers, targets="classes")
    assert "save y.astype(np.float32)" in refused(numbers, classes)
    assert "1 and 3 targets an example" in refused(numbers, wide)
    with pytest.raises(StudyError, match="in floating point, and targets = 'classes'"):
        build(SplitBenchmark(dataset=numbers, n_tasks=2), None, 0)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([0.5] * 19 + [np.nan]), "finite numbers"),
        (np.full(20, 0.5), "have the same target"),
        (np.zeros((20, 2, 2)) + np.arange(20.0)[:, None, None], r"one target a row"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(
    y: np.ndarray, message: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=message):
        dataset_spec(saved(tmp_path / "odd.npz", y), None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "split", "targets": "numbers"}, "no classes to divide"),
        ({"name": "split", "metric": "nrmse"}, "of targets = 'numbers'"),
        ({"name": "rotated", "targets": "numbers"}, "whose images have classes"),
        ({"name": "permuted", "targets": "numbers", "scenario": "class"}, "is of classes"),
        ({"name": "polynomials", "scenario": "class"}, "scenario"),
        ({"name": "polynomials", "n_tasks": 2}, "n_tasks"),
    ],
)
def test_a_benchmark_that_is_no_regression_is_refused(values: dict, message: str) -> None:
    from clsweep.data.benchmark_specs import BENCHMARKS

    with pytest.raises(ValueError, match=message):
        BENCHMARKS[values["name"]](**values)
