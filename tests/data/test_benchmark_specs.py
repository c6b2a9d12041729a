import json
import subprocess
import sys

import numpy as np
import pydantic
import pytest
from PIL import Image

from clsweep.data import benchmark_specs
from clsweep.data.benchmark_specs import (
    BENCHMARKS,
    PairBenchmark,
    PermutedBenchmark,
    RotatedBenchmark,
    SequenceBenchmark,
    SplitBenchmark,
)
from clsweep.data.data_root import data_root
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import DATASETS
from clsweep.data.hashed_draws import random_bits, random_order
from clsweep.data.heads import Heads
from clsweep.data.splits import split_sizes
from clsweep.data.task_contents import class_groups
from clsweep.data.task_sizes import benchmark_sizes
from clsweep.errors import StudyError

EVERY = [
    SplitBenchmark(n_tasks=5, class_order="shuffled"),
    PermutedBenchmark(n_tasks=3, permute_first=False, pad=2),
    RotatedBenchmark(angles=(0.0, 12.5), order="sorted"),
    PairBenchmark(dataset="mnist", target=("fashion_mnist", "kmnist"), pixels="standardized"),
    SequenceBenchmark(datasets=("digits", "mnist", "digits"), dataset="mnist"),
    SplitBenchmark(classes_per_task=(5, 3, 2), class_order=(9, 8, 7, 6, 5, 4, 3, 2, 1, 0)),
]


def write_images(folder, part, name, n, size=(4, 5), mode="L"):
    (folder / part / name).mkdir(parents=True)
    for i in range(n):
        Image.new(mode, size).save(folder / part / name / f"{i}.png")


def test_import_and_sizes_need_neither_torch_nor_numpy():
    code = (
        "import sys; from clsweep.data.benchmark_specs import SplitBenchmark;"
        "from clsweep.data.task_sizes import benchmark_sizes;"
        "benchmark_sizes(SplitBenchmark(), None);"
        "print([m for m in ('torch', 'numpy', 'ray', 'PIL') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "n_train", "n_test", "n_classes"),
    [
        ("digits", 1297, 500, 10),
        ("mnist", 60000, 10000, 10),
        ("fashion_mnist", 60000, 10000, 10),
        ("kmnist", 60000, 10000, 10),
        ("cifar10", 50000, 10000, 10),
        ("cifar100", 50000, 10000, 100),
        ("svhn", 73257, 26032, 10),
    ],
)
def test_published_sizes(name, n_train, n_test, n_classes):
    spec = DATASETS[name]
    assert (spec.n_train, spec.n_test, spec.n_classes) == (n_train, n_test, n_classes)
    assert len(spec.test_counts) == n_classes


def test_unknown_dataset_names_the_closest():
    with pytest.raises(StudyError, match="did you mean 'fashion_mnist'"):
        dataset_spec("fashon_mnist", None)


def test_folder_is_counted(tmp_path):
    for part, counts in {"train": (3, 2), "test": (1, 2)}.items():
        for name, n in zip(("cat", "ant"), counts, strict=True):
            write_images(tmp_path, part, name, n, mode="RGB")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image", encoding="utf-8")
    (tmp_path / "train" / ".hidden").mkdir()
    for spec in (
        dataset_spec(f"folder:{tmp_path}", None),
        dataset_spec(f"folder:{tmp_path.name}", tmp_path.parent),
    ):
        assert spec.shape == (3, 5, 4)
        assert (spec.train_counts, spec.test_counts) == ((2, 3), (2, 1))


def test_data_root_prefers_the_flag(monkeypatch, tmp_path):
    monkeypatch.delenv("CLSWEEP_DATA", raising=False)
    assert data_root(None) is None
    monkeypatch.setenv("CLSWEEP_DATA", str(tmp_path))
    assert data_root(None) == tmp_path
    assert data_root(str(tmp_path / "flag")) == tmp_path / "flag"


@pytest.mark.parametrize(
    ("scenario", "n_outputs", "columns", "offsets"),
    [
        ("task", 9, [(0, 2), (2, 6), (6, 9)], [0, 0, 0]),
        ("domain", 4, [(0, 2), (0, 4), (0, 3)], [0, 0, 0]),
        ("class", 9, [(0, 2), (0, 6), (0, 9)], [0, 2, 6]),
    ],
)
def test_heads_of_three_tasks(scenario, n_outputs, columns, offsets):
    heads = Heads(scenario, (2, 4, 3))
    assert heads.n_outputs == n_outputs
    assert [heads.columns(t) for t in range(3)] == columns
    assert [heads.label_offset(t) for t in range(3)] == offsets


@pytest.mark.parametrize("config", EVERY, ids=[f"{c.name}{i}" for i, c in enumerate(EVERY)])
def test_config_survives_json(config):
    values = json.loads(config.model_dump_json())
    kind = BENCHMARKS[values["name"]]
    assert kind.model_validate(values) == config
    assert pydantic.TypeAdapter(benchmark_specs.AnyBenchmark).validate_python(values) == config
    assert all(field.description for name, field in kind.model_fields.items() if name != "name")


def test_schema_of_the_union_names_every_benchmark():
    schema = pydantic.TypeAdapter(benchmark_specs.AnyBenchmark).json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(BENCHMARKS)


def test_n_tasks_follows_from_angles_and_targets():
    assert RotatedBenchmark.model_validate({"angles": [0, 30.5, 60]}).n_tasks == 3
    one = PairBenchmark.model_validate({"dataset": "mnist", "target": "kmnist"})
    assert one.target == ("kmnist",)
    assert one.n_tasks == 2
    several = PairBenchmark.model_validate({"target": ["mnist", "kmnist"], "n_tasks": 3})
    assert several.n_tasks == 3


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("split", {"n_task": 5}, "n_task"),
        ("split", {"n_tasks": 1}, "greater than or equal to 2"),
        ("split", {"n_tasks": "5"}, "valid integer"),
        ("split", {"n_tasks": True}, "valid integer"),
        ("split", {"validation_fraction": 0.6}, "less than or equal to 0.5"),
        ("split", {"validation_fraction": 0.0}, "greater than 0"),
        ("split", {"scenario": "tasks"}, "'task', 'domain' or 'class'"),
        ("rotated", {"max_degrees": float("nan")}, "finite number"),
        ("rotated", {"angles": [0, 1], "n_tasks": 3}, "n_tasks is 3, but angles makes it 2"),
        ("rotated", {"angles": [5]}, "greater than or equal to 2"),
        ("rotated", {"angles": ["5", 6]}, "valid number"),
        ("pair", {}, "Field required"),
        ("pair", {"target": []}, "at least 1 item"),
        ("pair", {"target": "mnist", "n_tasks": 3}, "n_tasks is 3, but target makes it 2"),
        ("pair", {"dataset": "mnist", "target": "mnist"}, "must differ"),
        ("sequence", {}, "Field required"),
        ("sequence", {"datasets": ["mnist"]}, "at least 2 items"),
        ("sequence", {"datasets": ["mnist", "digits"], "n_tasks": 3}, "datasets makes it 2"),
        (
            "sequence",
            {"datasets": ["mnist", "kmnist"], "dataset": "digits"},
            "dataset = 'digits' gives the images their shape, and is none of datasets",
        ),
        (
            "sequence",
            {"datasets": ["mnist", "kmnist", "mnist"], "scenario": "class"},
            "'mnist' comes more than once",
        ),
        ("sequence", {"datasets": ["mnist", "kmnist"], "crop": 8}, "resize and crop are for"),
        ("split", {"class_order": [0, 1, 1]}, "lists class 1 more than once"),
        ("split", {"class_order": []}, "'sorted', 'shuffled', or a list of all labels"),
        ("split", {"class_order": [0, -1]}, "'sorted', 'shuffled', or a list of all labels"),
        ("split", {"class_order": [0, True]}, "'sorted', 'shuffled', or a list of all labels"),
        ("split", {"class_order": "random"}, "'sorted', 'shuffled', or a list of all labels"),
        ("split", {"classes_per_task": [10]}, "greater than or equal to 2"),
        ("split", {"classes_per_task": [9, 0]}, "greater than or equal to 1"),
        ("split", {"classes_per_task": [5, 5], "n_tasks": 3}, "classes_per_task makes it 2"),
    ],
)
def test_wrong_values_are_refused(kind, values, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        BENCHMARKS[kind].model_validate(values)


def test_sizes_by_hand():
    split = benchmark_sizes(SplitBenchmark(n_tasks=5), None)
    assert split[0] == (233, 26, 101, 2)  # digits 0 and 1: 128 + 131 images, ⌈25.9⌉ held out
    assert sum(size.n_test for size in split) == 500
    permuted = PermutedBenchmark(dataset="mnist", n_tasks=3, examples_per_task=1000)
    assert benchmark_sizes(permuted, None) == [(1000, 6000, 10000, 10)] * 3
    pair = PairBenchmark(dataset="cifar10", target=("cifar100", "svhn"))
    assert benchmark_sizes(pair, None) == [
        (45000, 5000, 10000, 10),
        (45000, 5000, 10000, 100),
        (65931, 7326, 26032, 10),
    ]


def test_sizes_are_of_mean_size_when_the_order_differs_between_seeds():
    config = SplitBenchmark(dataset="mnist", class_order="shuffled", draws="per_seed", n_tasks=5)
    assert benchmark_sizes(config, None) == [(10800, 1200, 2000, 2)] * 5


@pytest.mark.parametrize(("fraction", "n_validation"), [(0.07, 91), (0.1, 130), (0.5, 649)])
def test_validation_is_the_ceiling_of_the_written_fraction(fraction, n_validation):
    config = PermutedBenchmark(validation_fraction=fraction)
    assert benchmark_sizes(config, None)[0].n_validation == n_validation
    # 0.07 * 100 is more than 7 in binary.
    assert split_sizes(SplitBenchmark(validation_fraction=0.07), [100], 0) == (93, 7)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SplitBenchmark(n_tasks=3), r"expected: n_tasks one of \[2, 5\]"),
        (SplitBenchmark(n_tasks=10), r"expected: n_tasks one of \[2, 5\]"),
        (SplitBenchmark(n_tasks=4, scenario="class"), r"one of \[2, 5, 10\]"),
        (SplitBenchmark(examples_per_task=234, n_tasks=5), "at least 234"),
        (PermutedBenchmark(examples_per_task=1168), "at least 1168"),
        (PermutedBenchmark(dataset="digit"), "did you mean 'digits'"),
        (PairBenchmark(target=("minst",)), "did you mean 'mnist'"),
    ],
)
def test_impossible_benchmarks(config, message):
    with pytest.raises(StudyError, match=message):
        benchmark_sizes(config, None)


def test_one_class_per_task_needs_a_common_head():
    assert len(benchmark_sizes(SplitBenchmark(n_tasks=10, scenario="class"), None)) == 10


def test_shuffled_groups_partition_the_classes():
    fixed = SplitBenchmark(n_tasks=5, class_order="shuffled")
    groups = class_groups(fixed, 10, seed=3)
    assert sorted(c for group in groups for c in group) == list(range(10))
    assert groups == class_groups(fixed, 10, seed=4)
    per_seed = SplitBenchmark(n_tasks=5, class_order="shuffled", draws="per_seed")
    assert class_groups(per_seed, 10, seed=3) != class_groups(per_seed, 10, seed=4)
    assert class_groups(SplitBenchmark(n_tasks=2), 4, seed=0) == [(0, 1), (2, 3)]


def test_draws_are_pinned():
    # Every stored result depends on these numbers: a change here is a change of all benchmarks.
    assert random_bits(2, 0, "validation").tolist() == [
        8735223606837507843,
        3915743979738137763,
    ]
    assert random_order(6, 1, "permutation", 2).tolist() == [3, 0, 1, 5, 2, 4]


def test_draws_depend_on_every_part_of_their_purpose():
    draws = {
        tuple(random_bits(2, *purpose))
        for purpose in ((0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, 0, "a", 1))
    }
    assert len(draws) == 5
    assert (np.sort(random_order(1000, 5)) == np.arange(1000)).all()


def test_orders_are_uniform():
    # 6,000 orders of three: each of the six is binomial with mean 1000 and deviation 29.
    orders, counts = np.unique(
        [random_order(3, seed) for seed in range(6000)], axis=0, return_counts=True
    )
    assert len(orders) == 6
    assert abs(counts - 1000).max() < 150
