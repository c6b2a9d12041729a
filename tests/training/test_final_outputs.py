"""Counts per class of a final network: by hand, and the same as the counts of accuracies."""

from __future__ import annotations

import pytest
import torch

from clsweep.data.benchmark_specs import BenchmarkConfig, PermutedBenchmark, SplitBenchmark
from clsweep.data.benchmarks import build
from clsweep.data.output_names import output_names
from clsweep.training.evaluation import evaluate
from clsweep.training.final_outputs import FinalOutputs


def _predict(heads):
    """A network that takes every image for the class of its brightest row, whatever the head."""

    def predict(params, x, task):
        first, end = heads.columns(task)
        rows = x.mean((1, 3))
        return rows.repeat(1, 3)[:, : end - first]

    return predict


@pytest.mark.parametrize(
    "config",
    [
        SplitBenchmark(n_tasks=5),
        SplitBenchmark.model_validate({"classes_per_task": [7, 3], "scenario": "class"}),
        PermutedBenchmark(n_tasks=2),
    ],
    ids=["task", "class", "domain"],
)
def test_they_add_up_to_the_accuracies(config: BenchmarkConfig) -> None:
    sequence = build(config, None, seed=0)
    predict, last = _predict(sequence.heads), len(sequence.tasks) - 1
    names = output_names(config, None, 0)
    outputs = FinalOutputs(predict, {}, sequence)
    for split in ("validation", "test"):
        counts = outputs.class_counts(names, split)
        for _, task, _, n_correct, n_total in evaluate(predict, {}, sequence, last, (split,)):
            own = [c for c in counts if c.on_task == task]
            assert sum(c.n for c in own if c.label == c.predicted) == n_correct
            assert sum(c.n for c in own) == n_total
        assert any(c.label != c.predicted for c in counts)


def test_counts_by_hand() -> None:
    sequence = build(SplitBenchmark(n_tasks=5), None, seed=0)
    names = output_names(SplitBenchmark(n_tasks=5), None, 0)

    def always_first(params, x, task):
        return torch.eye(2)[torch.zeros(len(x), dtype=torch.int64)]

    counts = FinalOutputs(always_first, {}, sequence).class_counts(names, "test")
    # Test images of the digits 0 to 3: 50, 51, 49, 51.
    assert [tuple(c) for c in counts[:4]] == [
        (0, "test", 0, 0, "0", "0", 50),
        (0, "test", 1, 0, "1", "0", 51),
        (1, "test", 0, 0, "2", "2", 49),
        (1, "test", 1, 0, "3", "2", 51),
    ]
