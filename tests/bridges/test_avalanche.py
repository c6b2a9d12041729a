"""Avalanche's plugins under our judge: what is the same, and that each of them does something."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from clsweep import methods
from clsweep.bridges.avalanche import FreshStrategy, Hyper, Strategy
from clsweep.data.tasks import TaskSequence
from clsweep.errors import MethodError
from clsweep.methods import METHODS
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.training.config import TrainingConfig
from clsweep.training.learnt_models import LearntSequence
from clsweep.training.sequences import learn_sequence, learn_source, measure_source
from tests.support.learners import learnt_by

TRAINING = TrainingConfig(lr=0.1, batch_size=16, steps=8)
with_avalanche = pytest.mark.avalanche


def _net(sequence: TaskSequence) -> Net:
    return build_net(NetConfig(hidden=(12,)), sequence.input_shape, sequence.heads)


def _theirs(sequence: TaskSequence, **numbers: Any) -> LearntSequence:
    hyper, net = Hyper(**numbers), _net(sequence)
    if hyper.plugin == "SynapticIntelligencePlugin":
        return learnt_by(FreshStrategy, net, sequence, TRAINING, None, hyper)
    source = learn_source(net, sequence, TRAINING, 0)
    return learnt_by(Strategy, net, sequence, TRAINING, source, hyper)


def _ours(sequence: TaskSequence, name: str, **numbers: Any) -> LearntSequence:
    net = _net(sequence)
    method = methods.build(name, net, METHODS[name].hyper(**numbers))
    source = learn_source(net, sequence, TRAINING, 0)
    statistics = measure_source(method, sequence, source, 0)
    return learn_sequence(method, sequence, TRAINING, 0, source, statistics)


def _distance(one: LearntSequence, other: LearntSequence) -> float:
    return max(float((one.params[n] - other.params[n]).abs().max()) for n in one.params)


def test_numbers_go_to_their_plugin_under_its_names() -> None:
    assert Hyper(ewc_lambda=3).given() == {"ewc_lambda": 3, "mode": "separate"}
    online = Hyper(mode="online", decay_factor=0.9).given()
    assert online == {"ewc_lambda": 1, "mode": "online", "decay_factor": 0.9}
    assert Hyper(plugin="MASPlugin").given() == {"lambda_reg": 1.0, "alpha": 0.5}
    replay = Hyper(plugin="ReplayPlugin", mem_size=7).given()
    assert replay == {"mem_size": 7, "batch_size_mem": None}


def test_without_avalanche_the_message_says_how_to_install_it(
    short_sequences: dict[str, TaskSequence], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "avalanche", None)
    monkeypatch.delitem(sys.modules, "clsweep.bridges.avalanche_training", raising=False)
    with pytest.raises(MethodError, match="pip install clsweep\\[avalanche\\]"):
        _theirs(short_sequences["domain"])


def test_integration_along_the_first_task_is_not_skipped(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence = short_sequences["domain"]
    source = learn_source(_net(sequence), sequence, TRAINING, 0)
    hyper = Hyper(plugin="SynapticIntelligencePlugin")
    with pytest.raises(MethodError, match="FreshStrategy"):
        learnt_by(Strategy, _net(sequence), sequence, TRAINING, source, hyper)


AT_ZERO = [
    {"plugin": "EWCPlugin", "ewc_lambda": 0},
    {"plugin": "EWCPlugin", "ewc_lambda": 0, "mode": "online"},
    {"plugin": "SynapticIntelligencePlugin", "si_lambda": 0, "mended": True},
    {"plugin": "LwFPlugin", "alpha": 0},
    {"plugin": "MASPlugin", "lambda_reg": 0},
]


@with_avalanche
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("numbers", AT_ZERO, ids=lambda n: "-".join(map(str, n.values())))
def test_at_zero_it_is_our_fine_tuning(
    scenario: str, numbers: dict[str, Any], short_sequences: dict[str, TaskSequence]
) -> None:
    pytest.importorskip("avalanche")
    sequence = short_sequences[scenario]
    theirs, ours = _theirs(sequence, **numbers), _ours(sequence, "finetune")
    assert _distance(theirs, ours) < 1e-6
    assert theirs.rows == ours.rows
    own_start = numbers["plugin"] == "SynapticIntelligencePlugin"
    assert theirs.n_steps == ours.n_steps + 8 * own_start


IN_USE = [
    {"plugin": "EWCPlugin", "ewc_lambda": 1},
    {"plugin": "EWCPlugin", "ewc_lambda": 1, "mode": "online", "decay_factor": 0.9},
    {"plugin": "SynapticIntelligencePlugin", "si_lambda": 1e3, "mended": True},
    {"plugin": "LwFPlugin", "alpha": 1},
    {"plugin": "MASPlugin", "lambda_reg": 1},
    {"plugin": "GEMPlugin", "patterns_per_experience": 10},
    {"plugin": "AGEMPlugin", "patterns_per_experience": 10, "sample_size": 8},
    {"plugin": "ReplayPlugin", "mem_size": 20},
]
STORES = {"GEMPlugin": 20, "AGEMPlugin": 20, "ReplayPlugin": 20}


@with_avalanche
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("numbers", IN_USE, ids=lambda n: "-".join(map(str, n.values())))
def test_each_does_something_and_repeats(
    scenario: str, numbers: dict[str, Any], short_sequences: dict[str, TaskSequence]
) -> None:
    pytest.importorskip("avalanche")
    sequence = short_sequences[scenario]
    first, second = _theirs(sequence, **numbers), _theirs(sequence, **numbers)
    assert first.rows == second.rows
    assert _distance(first, second) == 0
    assert _distance(first, _ours(sequence, "finetune")) > 1e-5
    kept, n_stored = first.memory_bytes, STORES.get(numbers["plugin"])
    if n_stored is None:
        assert kept.data == 0
    else:  # float32 inputs of 64 values, whatever they came from
        assert kept.data >= n_stored * 64 * 4
        assert kept.data < n_stored * 2 * 64 * 4


@with_avalanche
def test_si_that_would_do_nothing_is_refused(short_sequences: dict[str, TaskSequence]) -> None:
    pytest.importorskip("avalanche")
    with pytest.raises(MethodError, match="keeps views of the weights") as caught:
        _theirs(short_sequences["domain"], plugin="SynapticIntelligencePlugin")
    assert "mended = true" in str(caught.value)


@with_avalanche
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("mode", ["separate", "online"])
def test_their_ewc_is_ours_with_the_batched_fisher_and_twice_the_weight(
    mode: str, scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    pytest.importorskip("avalanche")
    sequence = short_sequences[scenario]
    theirs = _theirs(sequence, ewc_lambda=1.0, mode=mode)
    ours = _ours(sequence, "ewc", lam=2.0, fisher="batched", fisher_batch=16, anchor=mode)
    exact = _ours(sequence, "ewc", lam=2.0, anchor=mode)
    assert _distance(theirs, ours) < 1e-6
    assert _distance(theirs, exact) > 1e-4


@with_avalanche
@pytest.mark.parametrize("scenario", ["task", "class"])
def test_their_lwf_is_ours(scenario: str, short_sequences: dict[str, TaskSequence]) -> None:
    pytest.importorskip("avalanche")
    sequence = short_sequences[scenario]
    theirs = _theirs(sequence, plugin="LwFPlugin", alpha=1.0, temperature=2.0)
    ours = _ours(sequence, "lwf", lam=1.0, temperature=2.0)
    assert _distance(theirs, ours) < 1e-6
    assert _distance(theirs, _ours(sequence, "finetune")) > 1e-4
