"""Networks by import path: one that fits runs, every other one is one message."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clsweep.errors import StudyError
from clsweep.nets.code_files import factory_complaint
from clsweep.study.study import parse_study
from tests.support.command_line import CommandLine, Ran, tiny_study


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLSWEEP_DATA", raising=False)
    return CommandLine(capsys)


NETS = """\
from torch import nn

constant = 3


def good(input_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_outputs))


def normed(input_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, n_outputs))


def raising(input_shape, n_outputs):
    raise KeyError("boom")


def wide(input_shape, n_outputs):
    return good(input_shape, n_outputs + 1)


def narrow(input_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(63, n_outputs))


def number(input_shape, n_outputs):
    return 3


def bare():
    return good((1, 8, 8), 10)


def random(input_shape, n_outputs):
    return nn.Sequential(good(input_shape, n_outputs), nn.Dropout())


class Raising(nn.Linear):
    def forward(self, x):
        raise KeyError("inner")


def raising_later(input_shape, n_outputs):
    return Raising(64, n_outputs)


class Mapping(nn.Linear):
    def forward(self, x):
        return {"logits": super().forward(x.flatten(1))}


def mapping(input_shape, n_outputs):
    return Mapping(64, n_outputs)


class Empty(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.n_outputs = n_outputs

    def forward(self, x):
        return x.flatten(1)[:, : self.n_outputs]


def empty(input_shape, n_outputs):
    return Empty(n_outputs)
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `user_nets`, and two that cannot be imported."""
    (tmp_path / "user_nets.py").write_text(NETS)
    (tmp_path / "user_raises.py").write_text('raise ValueError("at import")\n')
    (tmp_path / "user_syntax.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("user_nets", "user_raises", "user_syntax"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def _run_net(cli: CommandLine, tmp_path: Path, factory: str) -> Ran:
    return cli(
        "run", tiny_study(tmp_path, net=f'name = "custom"\nfactory = "{factory}"'), "--inline"
    )


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("user_missing:f", ["cannot be imported: No module named 'user_missing'", "PYTHONPATH"]),
        ("user_nets:missing", ["has no attribute 'missing'"]),
        ("user_nets:constant", ["is a int, not callable", "factory(input_shape, n_outputs)"]),
        ("user_nets:raising", ["raised KeyError: 'boom'", "factory((1, 8, 8), 10)"]),
        ("user_nets:bare", ["raised TypeError", "factory((1, 8, 8), 10)"]),
        ("user_nets:number", ["returned a int", "torch.nn.Module"]),
        ("user_nets:wide", ["returns shape (2, 11) for 2 images", "(2, 10)"]),
        ("user_nets:narrow", ["fails on inputs (2, 1, 8, 8)"]),
        ("user_nets:random", ["is random", "no dropout"]),
        ("user_nets:raising_later", ["fails on inputs", "inner"]),
        ("user_nets:mapping", ["dict"]),
        ("user_nets:empty", ["no parameters"]),
        ("user_raises:f", ["cannot be imported", "at import"]),
        ("user_syntax:f", ["cannot be imported", "invalid syntax"]),
    ],
)
def test_a_net_that_does_not_fit_is_one_message(
    cli: CommandLine, tmp_path: Path, factory: str, words: list[str]
) -> None:
    _run_net(cli, tmp_path, factory).is_mistake(f"'{factory}'", "[net] factory", *words)


@pytest.mark.usefixtures("nets")
def test_a_net_by_import_path_runs(cli: CommandLine, tmp_path: Path) -> None:
    ran = _run_net(cli, tmp_path, "user_nets:good")
    assert ran.code == 0, ran.err
    rows = pq.read_table("results/tiny/trials.parquet").to_pylist()
    assert {row["n_params"] for row in rows} == {65 * 10}


@pytest.mark.usefixtures("nets")
def test_running_statistics_are_no_parameters_of_the_record(
    cli: CommandLine, tmp_path: Path
) -> None:
    net = 'name = "custom"\nfactory = "user_nets:normed"\nbn_mode = "frozen"'
    ran = cli("run", tiny_study(tmp_path, net=net), "--inline")
    assert ran.code == 0, ran.err
    rows = pq.read_table("results/tiny/trials.parquet").to_pylist()
    assert {(row["n_params"], row["status"]) for row in rows} == {(2 * 64 + 65 * 10, "ok")}


@pytest.mark.usefixtures("nets")
def test_batches_that_a_batch_norm_cannot_use_are_refused_before_any_training(
    cli: CommandLine, tmp_path: Path
) -> None:
    net = 'name = "custom"\nfactory = "user_nets:normed"'
    more = '[[methods]]\nname = "lwf"\ntraining = { batch_size = 1 }\n'
    ran = cli("run", tiny_study(tmp_path, net=net, more=more), "--inline")
    ran.is_mistake("batch_size = 1", "single value per channel", "[training] batch_size")


@pytest.mark.usefixtures("nets")
def test_a_batch_norm_that_a_method_cannot_take_is_refused_before_any_training(
    cli: CommandLine, tmp_path: Path
) -> None:
    net = 'name = "custom"\nfactory = "user_nets:normed"'
    study = tiny_study(tmp_path, net=net, more='[[methods]]\nname = "hnet_tir"\n')
    text = study.read_text(encoding="utf-8").replace("[net]", 'scenario = "class"\n[net]')
    study.write_text(text, encoding="utf-8")
    assert cli("plan", study).code == 0  # the module is not imported
    ran = cli("run", study, "--inline")
    ran.is_mistake("'hnet_tir' takes no batch norms", "'1' is one", "[net]", "group norm")
    assert not list(Path("results/tiny/records").glob("*.json"))


@pytest.mark.usefixtures("nets")
def test_a_mended_net_may_use_the_folder_of_the_failed_start(
    cli: CommandLine, tmp_path: Path
) -> None:
    assert _run_net(cli, tmp_path, "user_nets:godo").code == 2
    assert _run_net(cli, tmp_path, "user_nets:good").code == 0


# ----------------------------------------------------------------- seen without importing anything

MODULE = """\
import torch
from torch import nn

1 / 0  # an import would fail


def factory(input_shape, n_outputs):
    return nn.Linear(1, n_outputs)


try:
    import numpy as fast
except ImportError:
    fast = None
other, *more = factory, 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `seen_nets` with a module `deep`, which must not be imported."""
    file = tmp_path / "seen_nets" / "deep.py"
    file.parent.mkdir()
    (file.parent / "__init__.py").write_text("from .deep import factory as short\n")
    file.write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return file


@pytest.mark.parametrize(
    ("factory", "complaint"),
    [
        ("seen_nets.deep:factory", ""),
        ("seen_nets.deep:other", ""),
        ("seen_nets.deep:more", ""),
        ("seen_nets.deep:fast", ""),
        ("seen_nets:short", ""),
        ("torch.nn:Linear", ""),
        ("seen_nets.deep:factry", "module 'seen_nets.deep' has no attribute 'factry'"),
        ("seen_nets.deep:input_shape", "has no attribute 'input_shape'"),
        ("seen_nets.shallow:factory", "No module named 'seen_nets.shallow'"),
        ("never_seen.deep:factory", "No module named 'never_seen'"),
    ],
)
def test_a_factory_is_looked_for_without_importing_it(
    module: Path, factory: str, complaint: str
) -> None:
    found = factory_complaint(factory)
    assert found.endswith(complaint)
    assert bool(found) == bool(complaint)


@pytest.mark.parametrize(
    ("more", "is_known"),
    [
        ("def broken(:", False),
        ("from torch.nn import *", True),
        ("globals()['late'] = factory", True),
        ("def __getattr__(name): return factory", True),
        ("late = factory", True),
        ("early = factory", False),
    ],
)
def test_what_does_not_show_is_not_refused(module: Path, more: str, is_known: bool) -> None:
    module.write_text(f"{MODULE}\n{more}\n")
    assert (factory_complaint("seen_nets.deep:late") == "") == is_known


def test_plan_refuses_a_factory_that_is_not_there(module: Path) -> None:
    text = 'name = "x"\n[benchmark]\nname = "split"\n[net]\nname = "custom"\nfactory = "{}"\n'
    text += '[[methods]]\nname = "finetune"\n'
    assert parse_study(text.format("seen_nets.deep:factory")).net.name == "custom"
    words = r"(?s)'seen_nets.deep:net' cannot be imported: .*no attribute 'net'.*\[net\] factory"
    with pytest.raises(StudyError, match=words):
        parse_study(text.format("seen_nets.deep:net"))


def test_a_module_in_the_current_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    (tmp_path / "only_here.py").write_text("factory = None\n")
    assert "it lies in the current folder" in factory_complaint("only_here:factory")
    monkeypatch.syspath_prepend(tmp_path)
    assert factory_complaint("only_here:factory") == ""
