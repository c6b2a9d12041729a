"""Inputs at the edge of what is defined: refused in one message, or running as stated."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.command_line import CommandLine

STUDY = """\
name = "edge"
seeds = 1
[benchmark]
{benchmark}
[net]
{net}
[training]
steps = 3
batch_size = 8
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
    return CommandLine(capsys)


def study(
    benchmark: str = 'name = "split"',
    *,
    method: str = "finetune",
    numbers: str = "",
    net: str = "hidden = [4]",
) -> Path:
    """A study file of one method in the current folder."""
    path = Path("study.toml")
    text = STUDY.format(benchmark=benchmark, net=net, method=method, numbers=numbers)
    path.write_text(text, encoding="utf-8")
    return path


def folders(**classes: str) -> None:
    """Data sets `folder:NAME` of 8×8 images, ten for training and five for testing per class."""
    for name, letters in classes.items():
        for part, n_images in (("train", 10), ("test", 5)):
            for level, letter in enumerate(letters):
                folder = Path(name, part, letter)
                folder.mkdir(parents=True)
                for i in range(n_images):
                    Image.new("L", (8, 8), 40 * level + i).save(folder / f"{i}.png")


def pair(source: str, target: str, scenario: str) -> str:
    return (
        f'name = "pair"\ndataset = "folder:{source}"\ntarget = "folder:{target}"\n'
        f'scenario = "{scenario}"'
    )


def is_refused(cli: CommandLine, path: Path, *words: str) -> None:
    """Both commands end in the same message, and nothing was computed."""
    for command in (["plan"], ["run", "--inline"]):
        cli(*command, path).is_mistake(*words)
    assert not Path("results").exists()


# ----- classes


@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_a_task_in_which_every_answer_is_right(cli: CommandLine, scenario: str) -> None:
    folders(two="ab", one="a")
    words = ("has one class: every answer is right", "scenario = 'class'", "study.toml: benchmark")
    is_refused(cli, study(pair("two", "one", scenario)), "the task of index 1", *words)
    is_refused(cli, study(pair("one", "two", scenario)), "the task of index 0", *words)
    for name in ("permuted", "rotated"):
        alone = f'name = "{name}"\ndataset = "folder:one"\nscenario = "{scenario}"'
        is_refused(cli, study(alone), "the task of index 0", *words)


def test_a_source_of_one_class(cli: CommandLine) -> None:
    """Its softmax is constant: no training, no importance, nothing to distil."""
    folders(two="ab", one="a")
    is_refused(
        cli,
        study(pair("one", "two", "class"), method="lwf"),
        "the tasks before the last hold one class",
        "two classes or more before the last task",
        "study.toml: benchmark",
    )
    assert cli("run", study(pair("two", "one", "class"), method="lwf"), "--inline").code == 0


def test_one_head_for_tasks_of_different_width(cli: CommandLine) -> None:
    folders(two="ab", three="abc")
    is_refused(
        cli,
        study(pair("three", "two", "domain")),
        "tasks of 3, 2 classes are to share one head",
        "scenario 'task' or 'class'",
        "study.toml: benchmark",
    )


def test_equal_names_in_two_data_sets_are_different_classes(cli: CommandLine) -> None:
    """Class-incremental, a pair of {a, b} and {b, c} has four classes."""
    folders(first="ab", second="bc")
    for scenario, n_outputs in (("class", 4), ("domain", 2)):
        out = Path(scenario)
        path = study(pair("first", "second", scenario), net="hidden = [3]")
        assert cli("run", path, "--inline", "--out", out).code == 0
        (row,) = pq.read_table(out / "trials.parquet").to_pylist()
        assert row["n_params"] == 65 * 3 + 4 * n_outputs


def test_classes_cannot_be_listed_for_two_tasks(cli: CommandLine) -> None:
    listed = 'name = "split"\nclasses = [[0, 1], [1, 2]]'
    is_refused(cli, study(listed), "unknown key 'classes'", "study.toml: benchmark.classes")


# ----- memories

SMALL = 'name = "split"\nn_tasks = 5\nexamples_per_task = 20'
MEMORIES = [
    ("replay", ""),
    ("replay", 'fill = "reservoir"'),
    ("agem", ""),
    ("gem", ""),
    ("gem", "per_task = true"),
]


@pytest.mark.parametrize(("method", "more"), MEMORIES)
def test_memories_of_no_and_of_too_many_examples(cli: CommandLine, method: str, more: str) -> None:
    where = "study.toml: methods[0].memory_size"
    none = study(SMALL, method=method, numbers=f"{more}\nmemory_size = 0")
    is_refused(cli, none, "memory_size = 0", "at least 1", where)
    most = 20 if "per_task" in more else 100
    of = "the largest task" if "per_task" in more else "all tasks together"
    much = study(SMALL, method=method, numbers=f"{more}\nmemory_size = [{most}, {most + 1}]")
    is_refused(cli, much, f"memory_size = {most + 1} is more", f"at most {most}", of, where)


@pytest.mark.parametrize(("method", "more"), MEMORIES)
@pytest.mark.parametrize("size", ["least", "most"])
def test_the_smallest_and_the_largest_memory_run(
    cli: CommandLine, method: str, more: str, size: str
) -> None:
    most = 20 if "per_task" in more else 100
    numbers = f"{more}\nmemory_size = {1 if size == 'least' else most}"
    ran = cli("run", study(SMALL, method=method, numbers=numbers), "--inline")
    assert ran.code == 0, ran.out + ran.err


# ----- networks

NETS = """\
import torch
from torch import nn


def filtered(input_shape, n_outputs):
    last = nn.Conv2d(3, n_outputs, 8)
    return nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), last, nn.Flatten())


class Scaled(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.scale, self.out = nn.Parameter(torch.ones(64)), nn.Linear(64, n_outputs)

    def forward(self, x):
        return self.out(self.scale * x.flatten(1))


def scaled(input_shape, n_outputs):
    return Scaled(n_outputs)


def normed(input_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, n_outputs))
"""


@pytest.fixture
def own_net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Lines of `[net]` for a factory of the module `edge_nets`."""
    (tmp_path / "edge_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "edge_nets", raising=False)
    return 'name = "custom"\nfactory = "edge_nets:{}"'


@pytest.mark.parametrize("method", ["frozen", "interpolate", "rescl"])
def test_a_head_that_cannot_be_told_from_the_rest(
    cli: CommandLine, own_net: str, method: str
) -> None:
    net = own_net.format("filtered")
    cli("run", study(method=method, net=net), "--inline").is_mistake(
        f"'{method}'",
        "its last parameter is '2.bias' of shape (10,)",
        "a network that ends in nn.Linear(..., 10)",
        "where: [net]",
        f"remove '{method}' from the study",
    )
    shared = study('name = "split"\nscenario = "domain"', method=method, net=net)
    assert cli("run", shared, "--inline").code == (2 if method == "frozen" else 0)


def test_a_layer_that_cannot_be_combined_is_named(cli: CommandLine, own_net: str) -> None:
    ran = cli("run", study(method="rescl", net=own_net.format("scaled")), "--inline")
    ran.is_mistake(
        "'rescl' cannot combine the layer of parameter 'scale'", "linear layers", "[net]"
    )


@pytest.mark.parametrize("method", ["lwf", "dgr"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_distillation_needs_no_linear_head(
    cli: CommandLine, own_net: str, method: str, scenario: str
) -> None:
    numbers = 'generator_hidden = "5"\nlatent = 2' if method == "dgr" else ""
    benchmark = f'name = "split"\nn_tasks = 5\nscenario = "{scenario}"'
    path = study(benchmark, method=method, numbers=numbers, net=own_net.format("filtered"))
    ran = cli("run", path, "--inline")
    assert ran.code == 0, ran.out + ran.err


@pytest.mark.parametrize("net", ["filtered", "normed", 'name = "conv"\nnorm = "batch"'])
def test_hypernetworks_generate_modules_and_batch_norms(
    cli: CommandLine, own_net: str, net: str
) -> None:
    small = 'hidden = "4"\ntask_embedding = 2\nchunk_embedding = 2\nchunk_size = 1000'
    lines = net if "=" in net else own_net.format(net)
    path = study(method="hnet", numbers=small, net=lines)
    ran = cli("run", path, "--inline")
    assert ran.code == 0, ran.out + ran.err
