"""Classes that a split, or too few examples, leave without any: named before any training."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsweep.data import benchmarks, class_counts
from clsweep.data.benchmark_specs import (
    BenchmarkConfig,
    PairBenchmark,
    PermutedBenchmark,
    SplitBenchmark,
)
from clsweep.data.class_counts import class_notes, class_words
from clsweep.data.datasets import load
from clsweep.errors import StudyError
from clsweep.study.data_warnings import data_notes
from clsweep.study.study import load_study
from tests.support.command_line import CommandLine

STUDY = """\
name = "classes"
seeds = 1
[benchmark]
{benchmark}
[net]
hidden = [4]
[training]
steps = 2
batch_size = 4
[resources]
device = "cpu"
[[methods]]
name = "{method}"
{numbers}
"""


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLSWEEP_DATA", raising=False)
    load.cache_clear()
    return CommandLine(capsys)


def study(benchmark: str, method: str = "finetune", numbers: str = "") -> Path:
    path = Path("study.toml")
    path.write_text(STUDY.format(benchmark=benchmark, method=method, numbers=numbers))
    return path


def folder(root: Path, **n_train: int) -> str:
    """A data set of different images, `n_train` for training per class and two for testing."""
    rng = np.random.default_rng(0)
    for label, n in n_train.items():
        for part, count in (("train", n), ("test", 2)):
            place = root / part / label
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8)).astype(np.uint8)).save(
                    place / f"{i}.png"
                )
    return f"folder:{root}"


def refusal(work: Callable[[], object]) -> str:
    """The message with which something is refused, or ''."""
    try:
        work()
    except StudyError as error:
        return str(error)
    return ""


def by_building(config: BenchmarkConfig) -> list[list[list[int]]]:
    """Per task and part, examples of each class, counted in the built tasks."""
    sequence = benchmarks.build(config, None, 0)
    return [
        [
            [int((part.labels - sequence.heads.label_offset(i) == c).sum()) for c in range(n)]
            for part in (task.train, task.validation)
        ]
        for i, (task, n) in enumerate(zip(sequence.tasks, sequence.heads.sizes, strict=True))
    ]


ONE_EACH = 'name = "split"\ndataset = "folder:pets"\nscenario = "class"\nn_tasks = 2'


def test_a_class_without_a_training_example_is_named_by_plan_and_run(cli: CommandLine) -> None:
    folder(Path("pets"), ant=1, bee=1, cat=1, dog=1)
    for command in (["plan"], ["run", "--inline"]):
        words = ("task 1 has no training example of class '", "split = 'stratified'", "study.toml")
        cli(*command, study(ONE_EACH)).is_mistake(*words)
    assert not Path("results").exists()


def test_a_task_without_any_validation_example_is_refused(cli: CommandLine) -> None:
    folder(Path("pets"), ant=1, bee=1, cat=1, dog=1)
    path = study(ONE_EACH + '\nsplit = "stratified"')
    for command in (["plan"], ["run", "--inline"]):
        cli(*command, path).is_mistake("task 1 has one image of each class", "can be chosen")


def test_building_refuses_it_too(tmp_path: Path) -> None:
    name = folder(tmp_path / "pets", ant=1, bee=1, cat=1, dog=1)
    with pytest.raises(StudyError, match=r"task 1 has no training example of class '(ant|bee)'"):
        benchmarks.build(SplitBenchmark(dataset=name, scenario="class"), None, 0)


def test_stratified_keeps_the_only_example_for_training_and_warns(cli: CommandLine) -> None:
    folder(Path("pets"), ant=1, bee=9, cat=9, dog=1)
    path = study(ONE_EACH + '\nsplit = "stratified"')
    planned = cli("plan", path)
    assert "task 1 has no validation example of class 'ant'" in planned.out
    assert "task 2 has no validation example of class 'dog'" in planned.out
    ran = cli("run", path, "--inline")
    assert ran.code == 0, ran.err
    assert "warning: task 1 has no validation example of class 'ant'" in ran.err


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "values",
    [
        {"examples_per_task": 8},
        {"validation_fraction": 0.02},
        {"n_tasks": 5, "examples_per_task": 4, "validation_fraction": 0.01},
    ],
)
def test_what_is_told_of_digits_is_what_is_built(values: dict[str, object], seed: int) -> None:
    config = SplitBenchmark(data_seed=seed, **values)
    refused = refusal(lambda: benchmarks.build(config, None, 0))
    assert refusal(lambda: class_notes(config, None, (0,))) == refused
    if refused:
        return
    notes = class_notes(config, None, (0,))
    size = 10 // config.n_tasks
    expected = []
    for task, (train, validation) in enumerate(by_building(config)):
        assert all(train)
        absent = [str(task * size + c) for c, n in enumerate(validation) if not n]
        if absent:
            expected.append(f"task {task + 1} has no validation example of {class_words(absent)}")
    assert [note.partition(":")[0] for note in notes] == expected


def test_a_pair_names_the_classes_of_its_own_data_sets(tmp_path: Path) -> None:
    names = [folder(tmp_path / "a", ant=20, bee=20), folder(tmp_path / "b", cat=20, dog=1)]
    config = PairBenchmark(dataset=names[0], target=(names[1],), split="stratified")
    assert class_notes(config, None, (0,)) == [
        "task 2 has no validation example of class 'dog': configurations are chosen without it "
        "(raise the images)"
    ]


def test_labels_of_packed_files_are_read(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    labels = np.arange(60000) % 10
    head = bytes((0, 0, 8, 1)) + (60000).to_bytes(4, "big")
    with gzip.open(raw / "train-labels-idx1-ubyte.gz", "wb", compresslevel=1) as file:
        file.write(head + labels.astype(np.uint8).tobytes())
    config = SplitBenchmark(dataset="mnist", n_tasks=2, examples_per_task=5)
    with pytest.raises(StudyError, match=r"task \d has no training example of class"):
        class_notes(config, tmp_path, (0,))


def test_where_labels_are_not_there_the_chance_is_told(tmp_path: Path) -> None:
    few = PermutedBenchmark(dataset="cifar10", examples_per_task=20)
    first, second = class_notes(few, tmp_path, (0,))
    # 10 · (0.9)^20 = 1.216, without replacement a little less.
    assert first.startswith("task 1: about 1.2 of its 10 classes will have no training example")
    assert second.startswith("task 2: about 1.2")
    with pytest.raises(StudyError, match="some of its 10 classes: it has 9 in all"):
        class_notes(PermutedBenchmark(dataset="cifar10", examples_per_task=9), tmp_path, (0,))
    assert class_notes(PermutedBenchmark(dataset="cifar10"), tmp_path, (0,)) == []


@pytest.mark.parametrize(
    ("method", "numbers", "expected"),
    [
        (
            "replay",
            "memory_size = [3, 4, 5]",
            "memory_size = 3, 4 holds fewer examples than the 5",
        ),
        ("gem", "memory_size = [4, 8]\nper_task = true", "memory_size = 4 holds fewer"),
        ("agem", "memory_size = [5, 50]", ""),
        ("finetune", "", ""),
    ],
)
def test_a_memory_smaller_than_the_classes(
    cli: CommandLine, method: str, numbers: str, expected: str
) -> None:
    path = study('name = "split"\nn_tasks = 2\nscenario = "task"', method, numbers)
    notes = data_notes(load_study(path), None)
    assert len(notes) == bool(expected)
    assert expected in "".join(notes)
    assert expected in cli("plan", path).out


def test_a_test_image_that_trains_too_is_said_by_plan_and_run(cli: CommandLine) -> None:
    folder(Path("pets"), ant=9, bee=9)
    image = Path("pets/test/ant/0.png")
    image.write_bytes(Path("pets/train/ant/3.png").read_bytes())
    path = study('name = "permuted"\ndataset = "folder:pets"\nsplit = "stratified"')
    sentence = "1 of 4 test images of pets stand in train/ too"
    assert sentence in cli("plan", path).out
    ran = cli("run", path, "--inline")
    assert ran.code == 0, ran.err
    assert f"warning: {sentence}" in ran.err


def test_digits_labels_are_those_of_scikit_learn() -> None:
    expected = load("digits", None).train_labels
    assert class_counts._labels("digits", None).tolist() == expected.tolist()
