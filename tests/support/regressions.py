"""Tiny regressions: sequences made of arrays in memory, and synthetic records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clsweep.data import benchmarks
from clsweep.data.benchmark_specs import PolynomialsBenchmark
from clsweep.data.heads import Heads
from clsweep.data.tasks import Examples, Scale, Task, TaskSequence
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from tests.support.records import make_record, write_study

STUDY_TOML = """\
name = "sines"
seeds = [0, 1, 2]

[benchmark]
name = "polynomials"
{metric}"""


def sequence_of(parts: list[tuple[Tensor, Tensor]], scenario: str = "domain") -> TaskSequence:
    """Tasks of inputs [n, D] and targets [n, K]; the same examples train, validate and test."""
    tasks = []
    for index, (x, y) in enumerate(parts):
        examples = Examples(x, torch.arange(len(x)), y)
        tasks.append(Task(index, examples, examples, examples, y.shape[1]))
    x, y = parts[0]
    heads = Heads(scenario, (y.shape[1],) * len(parts), "r2")
    one = torch.ones(1)
    return TaskSequence(tuple(tasks), heads, Scale(one, 0 * one), tuple(x.shape[1:]))


def net_of(sequence: TaskSequence, hidden: tuple[int, ...] = ()) -> Net:
    """A perceptron with tanh; without hidden layers, a linear model."""
    config = NetConfig(hidden=hidden, activation="tanh")
    heads, shape = sequence.heads, sequence.input_shape
    return build_net(config, shape, heads, stored=sequence.stored)


def polynomials(scenario: str, metric: str = "r2") -> TaskSequence:
    """The three polynomials with 24 training examples each."""
    config = PolynomialsBenchmark(scenario=scenario, metric=metric, examples_per_task=24)
    return benchmarks.build(config, None, 0)


def sum_rows(errors: list[list[float]], metric: str = "r2") -> list[list[Any]]:
    """Rows of both splits; `errors[i][j]` is Σ (y − ŷ)² on task j after task i, Σ (y − ȳ)² = 10.

    All 50 errors of a row are of one size.
    """
    return [
        [after, on, split, error, 50, error**2 / 50, 10.0, metric]
        for split in ("test", "validation")
        for after, row in enumerate(errors)
        for on, error in enumerate(row)
    ]


def write_regression(path: Path, metric: str = "r2", n_seeds: int = 3) -> None:
    """A results folder: fine-tuning, and EWC with three values of its knob, which improves."""
    records = []
    for seed in range(n_seeds):
        more = 0.1 * seed

        def rows(source: float, target: float, more: float = more) -> list[list[Any]]:
            return sum_rows(
                [[0.2 + more], [source + more, target + more], [source, source, target]], metric
            )

        common = {"seed": seed}
        records.append(
            make_record("fine-tuning", "finetune", hyper={}, is_reference=True, **common)
            | {"accuracy": rows(60.0, 0.3), "schema": 2}
        )
        for lam, source, target in ((1.0, 30.0, 0.4), (10.0, 5.0, 0.9), (100.0, 1.0, 4.0)):
            records.append(
                make_record("EWC", "ewc", hyper={"lam": lam}, **common)
                | {"accuracy": rows(source, target), "schema": 2}
            )
    study = STUDY_TOML.format(metric=f'metric = "{metric}"\n' if metric != "r2" else "")
    write_study(path, records, study)
