"""The examples of one task, as its networks see them before they are scaled."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from clsweep.data.benchmark_specs import BenchmarkConfig
from clsweep.data.benchmarks import build
from clsweep.data.tasks import Examples
from clsweep.errors import StudyError


def examples_of(
    config: BenchmarkConfig, root: Path | None, seed: int, task: int, split: str
) -> tuple[Tensor, Tensor]:
    """Stored inputs of a task, after what it does to them, and labels in its head's numbering.

    Args:
        config: the benchmark.
        root: the data root, see `datasets.load`.
        seed: the trial's seed.
        task: the task's index.
        split: 'train', 'validation' or 'test'.

    Raises:
        StudyError: the data are absent, or there is no such task or split.
    """
    tasks = build(config, root, 0 if config.draws == "fixed" else seed).tasks
    parts = ("train", "validation", "test")
    if not 0 <= task < len(tasks) or split not in parts:
        raise StudyError(
            f"there are no examples '{split}' of task {task}",
            expected=f"a task from 0 to {len(tasks) - 1}, and one of {', '.join(parts)}",
        )
    examples: Examples = getattr(tasks[task], split)
    return examples.raw(torch.arange(len(examples))), examples.labels
