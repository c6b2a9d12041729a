"""Samplers of the user's own: told validation accuracies, asked for points of the space."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsweep.errors import StudyError
from clsweep.search.observations import Observation
from clsweep.search.own_samplers import own_suggestion
from clsweep.search.search import Search
from clsweep.study.search_axes import Axis
from clsweep.study.study import parse_study

_SAMPLERS = '''\
import random


class Halving:
    """The middle between the best value and the nearest end."""

    def __init__(self, axes, seed):
        self.axes, self.rng, self.told = axes, random.Random(seed), []

    def tell(self, observation):
        self.told.append(observation)

    def ask(self, pending):
        point = {}
        for axis in self.axes:
            if axis.choices:
                point[axis.key] = self.rng.choice(axis.choices)
            else:
                known = [o.point[axis.key] for o in self.told] + [p[axis.key] for p in pending]
                point[axis.key] = axis.value_at(
                    (axis.position(max([axis.low, *known])) + axis.position(axis.high)) / 2
                )
        return point


class Base(Halving):
    answer = None

    def ask(self, pending):
        return self.answer


class NoDict(Base):
    answer = [1]


class NoAxis(Base):
    answer = {"lamda": 1.0}


class Beyond(Base):
    answer = {"lam": 1e9}


class NoNumber(Base):
    answer = {"lam": float("nan")}


class Fickle(Halving):
    def ask(self, pending):
        return {"lam": random.uniform(1, 1000)}


class Deaf:
    def __init__(self, axes, seed):
        pass

    def ask(self, pending):
        return {"lam": 1.0}


class Raises(Halving):
    def tell(self, observation):
        raise KeyError("oops")
'''
_STUDY = """
name = "s"
seeds = 1
[benchmark]
name = "split"
[search]
kind = "optuna"
sampler = "{sampler}"
trials = 4
[[methods]]
name = "ewc"
lam = {{ low = 1, high = 1000 }}
"""
_AXES = (Axis("lam", low=1.0, high=1000.0, log=True, floor=1.0, ceiling=1000.0),)


@pytest.fixture(autouse=True)
def samplers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "my_samplers.py"
    path.write_text(_SAMPLERS)
    yield path
    sys.modules.pop("my_samplers", None)


def test_a_sampler_is_told_and_asked() -> None:
    told = [Observation({"lam": 100.0}, (0.5, 0.6))]
    found = own_suggestion("my_samplers:Halving", _AXES, 0, told, [{"lam": 10.0}])
    assert found == {"lam": 316.0}  # √(100 · 1000), three digits


@pytest.mark.parametrize(
    ("name", "said", "line"),
    [
        ("NoDict", "'my_samplers:NoDict.ask' returned a list", 29),
        ("NoAxis", "returned values for lamda; the axes are lam", 29),
        ("Beyond", "returned lam = 1000000000.0, which is no number from 1 to 1000", 29),
        ("NoNumber", "returned lam = nan, which is no number from 1 to 1000", 29),
        ("Fickle", "suggests different points for the same seed and the same results", 49),
        ("Deaf", "has no method 'tell'", 54),
        ("Raises", "'my_samplers:Raises.tell' raised KeyError: 'oops'", 64),
    ],
)
def test_a_broken_contract_names_file_and_line(
    samplers: Path, name: str, said: str, line: int
) -> None:
    told = [Observation({"lam": 100.0}, None)] if name == "Raises" else []
    with pytest.raises(StudyError, match=said) as caught:
        own_suggestion(f"my_samplers:{name}", _AXES, 0, told, [])
    assert f"where: [search] sampler: {samplers}, line {line}" in str(caught.value)


def test_values_of_a_list_are_held_to_it() -> None:
    axes = (Axis("lam", choices=(1.0, 10.0)),)
    with pytest.raises(StudyError, match="lam = 1000000000.0, which is none of 1.0, 10.0"):
        own_suggestion("my_samplers:Beyond", axes, 0, [], [])


def test_a_search_asks_the_sampler_of_the_user() -> None:
    study = parse_study(_STUDY.format(sampler="my_samplers:Halving"))
    (first,) = Search(study, [], set()).more()
    assert first.knobs == {"lam": 31.6}


def test_a_study_is_read_without_the_code_and_a_wrong_name_is_a_mistake() -> None:
    assert parse_study(_STUDY.format(sampler="not_here:Sampler")).search.sampler
    with pytest.raises(StudyError, match="'tpee' is no import path") as caught:
        parse_study(_STUDY.format(sampler="tpee"))
    assert "did you mean 'tpe'?" in str(caught.value)
    assert "the study: search.sampler" in str(caught.value)
