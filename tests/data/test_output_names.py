"""Names of outputs: classes of the task, or of all tasks under one head."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from clsweep.data.benchmark_specs import (
    BenchmarkConfig,
    PermutedBenchmark,
    SequenceBenchmark,
    SplitBenchmark,
)
from clsweep.data.benchmarks import build
from clsweep.data.output_names import output_names


def test_classes_of_a_split_stand_where_the_study_puts_them() -> None:
    config = SplitBenchmark.model_validate(
        {"classes_per_task": [6, 4], "class_order": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]}
    )
    assert output_names(config, None, 0) == [tuple("987654"), tuple("3210")]
    one_head = config.model_copy(update={"scenario": "class"})
    assert output_names(one_head, None, 0) == [tuple("9876543210")] * 2


@pytest.mark.parametrize(
    "config",
    [
        SplitBenchmark(n_tasks=5, class_order="shuffled", draws="per_seed"),
        SplitBenchmark(n_tasks=5, scenario="class"),
        PermutedBenchmark(n_tasks=3),
        PermutedBenchmark(n_tasks=2, scenario="class"),
        SequenceBenchmark(datasets=("digits", "digits")),
    ],
)
def test_there_is_a_name_for_every_output(config: BenchmarkConfig) -> None:
    heads = build(config, None, seed=1).heads
    for task, names in enumerate(output_names(config, None, 1)):
        first, end = heads.columns(len(heads.sizes) - 1 if config.scenario == "class" else task)
        assert len(names) == end - first
        assert len(set(names)) == len(names)


def test_what_comes_again_says_where_and_data_sets_are_told_apart(tmp_path: Path) -> None:
    twice = PermutedBenchmark(n_tasks=2, scenario="class")
    assert output_names(twice, None, 0)[0][::10] == ("0 (task 1)", "0 (task 2)")
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for i in range(3):
                Image.new("L", (8, 8), 9 * i).save(tmp_path / "pets" / part / name / f"{i}.png")
    several = SequenceBenchmark(datasets=("folder:pets", "digits"), scenario="class")
    names = output_names(several, tmp_path, 0)
    assert names[0][:3] == names[1][:3] == ("pets cat", "pets dog", "digits 0")
