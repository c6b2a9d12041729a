"""Trials in lanes, run in this process: their records are those of trials alone."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import clsweep
from clsweep.execution import lane_trials
from clsweep.execution.listeners.base import Listener
from clsweep.records.schema import LANES
from clsweep.storage.store import Store
from clsweep.study.study import parse_study
from clsweep.training.lane_speed import LaneSpeed
from clsweep.training.stacked_trees import NotStackable

TEXT = """
name = "lanes"
seeds = 2
benchmark = { name = "split", dataset = "digits", n_tasks = 5, scenario = "domain" }
net = { hidden = [8] }
training = { lr = 0.05, steps = 4, first_steps = 8 }

[[methods]]
name = "l2"
lam = [0.1, 1.0]

[[methods]]
name = "agem"
memory_size = 20
"""
# With a fine-tuned network, from initial weights on all tasks, and from the first task on.
OTHER_STARTS = """
[[methods]]
name = "rescl"
lam = [0.001, 0.1]

[[methods]]
name = "joint"

[[methods]]
name = "er_ace"
memory_size = 20
first_task = "own"
"""


class Heard(Listener):
    def __init__(self) -> None:
        super().__init__()
        self.sentences: list[str] = []

    def warned(self, sentence: str) -> None:
        self.sentences.append(f"warning: {sentence}")

    def noted(self, sentence: str) -> None:
        self.sentences.append(f"note: {sentence}")


def run(folder: Path, lanes: Any, more: str = "") -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The records of a run without Ray, by trial, and what it said."""
    shown = f'"{lanes}"' if isinstance(lanes, str) else lanes
    study = parse_study(f"{TEXT}\n[resources]\nlanes = {shown}\n{more}")
    heard = Heard()
    clsweep.run(study, out=folder, stages=folder.parent / "stages", inline=True, listeners=[heard])
    records = {record["trial"]["trial_id"]: dict(record) for record in Store(folder).load()}
    return records, heard.sentences


def lanes_in(records: dict[str, dict[str, Any]], method: str = "l2") -> list[float]:
    """How many lanes the trials of a method say that they had; 1 where they say nothing."""
    trials = [record["trial"] for record in records.values()]
    return sorted(t["counters"].get(LANES, 1.0) for t in trials if t["method"] == method)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return run(tmp_path_factory.mktemp("alone") / "out", 1)[0]


def assert_same(found: dict[str, dict[str, Any]], alone: dict[str, dict[str, Any]]) -> None:
    """The same trials with the same accuracies, steps and stages."""
    assert found.keys() == alone.keys()
    for key, record in found.items():
        mine, single = record["trial"], alone[key]["trial"]
        assert list(map(list, record["accuracy"])) == list(map(list, alone[key]["accuracy"]))
        for name in ("status", "n_steps", "memory_bytes", "n_params", "attempts"):
            assert mine[name] == single[name], name
        assert record["config"] == alone[key]["config"]


def test_records_are_those_of_trials_alone_and_say_how_many_lanes(
    alone: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    found, said = run(tmp_path / "out", 4, "[save]\nlosses = true\n")
    assert_same(found, alone)
    assert lanes_in(found) == [4.0] * 4
    assert lanes_in(alone) == [1.0] * 4
    assert not any("lanes" in sentence for sentence in said)
    assert lanes_in(found, "agem") == [1.0] * 2
    assert (tmp_path / "out" / "losses.parquet").is_file()


def test_other_starts_than_the_source_model_alone(tmp_path: Path) -> None:
    found, _ = run(tmp_path / "lanes", 4, OTHER_STARTS)
    single, _ = run(tmp_path / "single", 1, OTHER_STARTS)
    assert_same(found, single)
    assert lanes_in(found, "rescl") == [4.0] * 4
    assert lanes_in(found, "joint") == lanes_in(found, "er_ace") == [2.0] * 2  # of two seeds


@pytest.mark.parametrize(("error", "lanes"), [(MemoryError(), 2.0), (NotStackable("no"), 1.0)])
def test_what_does_not_fit_is_trained_in_fewer_lanes_and_it_is_said(
    error: Exception,
    lanes: float,
    alone: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learn = lane_trials.learn_lanes

    def refusing(lanes: Sequence[Any], *rest: Any) -> Any:
        if len(lanes) > 2:
            raise error
        return learn(lanes, *rest)

    monkeypatch.setattr(lane_trials, "learn_lanes", refusing)
    found, said = run(tmp_path / "out", 4)
    assert_same(found, alone)
    assert lanes_in(found) == [lanes] * 4
    assert any("do not fit" in text or "one by one" in text for text in said)


@pytest.mark.parametrize(("chosen", "expected"), [(1, [1.0] * 4), (3, [1.0, 3.0, 3.0, 3.0])])
def test_auto_takes_what_was_measured_and_says_so(
    chosen: int,
    expected: list[float],
    alone: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = LaneSpeed(chosen, {1: 2e-4, 4: 3e-4})
    monkeypatch.setattr(lane_trials, "fastest", lambda *given: measured)
    found, said = run(tmp_path / "out", "auto")
    assert_same(found, alone)
    assert lanes_in(found) == expected
    (note,) = (sentence for sentence in said if "lanes" in sentence)
    assert note.startswith("note: [resources] lanes: L2 anchor is trained ")
    assert "200 µs alone, 300 µs in 4 lanes" in note


def test_the_measurement_itself(alone: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    found, _ = run(tmp_path / "out", "auto")  # whatever it chooses here
    assert_same(found, alone)


def test_ctrl_c_keeps_what_was_committed_and_the_same_command_does_the_rest(
    alone: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, commit = [0], lane_trials.commit_trial

    def interrupted(*given: Any) -> Any:
        if committed[0] == 2:
            signal.raise_signal(signal.SIGINT)
        committed[0] += 1
        return commit(*given)

    monkeypatch.setattr(lane_trials, "commit_trial", interrupted)
    kept, _ = run(tmp_path / "out", 4)
    monkeypatch.undo()
    assert lanes_in(kept) == [4.0, 4.0]
    found, _ = run(tmp_path / "out", 4)
    assert_same(found, alone)
    assert lanes_in(found) == [2.0, 2.0, 4.0, 4.0]
