"""What is put through the checks: a method or a learner, and small real tasks to train it on."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from clsweep import methods
from clsweep.data import benchmarks
from clsweep.data.benchmark_specs import SplitBenchmark
from clsweep.data.tasks import TaskSequence
from clsweep.errors import StudyError
from clsweep.methods.base import Method
from clsweep.methods.entry import Kind, MethodEntry
from clsweep.methods.hyper_fields import Hyper
from clsweep.methods.known_methods import entry_of
from clsweep.methods.own_build import built
from clsweep.methods.own_methods import FORMS, imported
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.training.config import TrainingConfig
from clsweep.training.imperative import learn_imperatively
from clsweep.training.learnt_models import LearntSequence, SourceModel
from clsweep.training.sequences import learn_joint, learn_sequence, learn_source, measure_source
from clsweep.user_code import is_import_path

TRAINING = TrainingConfig(optimizer="sgd", lr=0.1, batch_size=16, steps=8)
SEED = 0
_EITHER = f"{FORMS['method']}; or {FORMS['learner']}"


@dataclass(frozen=True)
class Subject:
    """A method with numbers.

    Attributes:
        name: what messages call it.
        entry: what is known about it.
        hyper: its numbers.
        make: (net, hyper) -> its hooks, or its class as `Method.learner`.
    """

    name: str
    entry: MethodEntry
    hyper: Hyper
    make: Callable[[Net, Hyper], Method]

    def method(self, net: Net) -> Method:
        """Its hooks for a network."""
        return self.make(net, self.hyper)

    def at(self, numbers: Mapping[str, Any]) -> Subject:
        """The same with other numbers.

        Args:
            numbers: those that differ.

        Raises:
            StudyError: there is no such number, or it has no such value.
        """
        try:
            hyper = self.entry.hyper(**{**self.hyper.model_dump(), **numbers})
        except ValidationError as error:
            one = error.errors(include_url=False)[0]
            raise StudyError(
                f"'{self.name}' has no number {'.'.join(map(str, one['loc']))} = {one['input']!r}",
                expected=one["msg"],
            ) from error
        return dataclasses.replace(self, hyper=hyper)

    def learnt(
        self,
        sequence: TaskSequence,
        training: TrainingConfig = TRAINING,
        source: SourceModel | None = None,
        net: Net | None = None,
    ) -> LearntSequence:
        """What it makes of a sequence.

        Args:
            sequence: the tasks.
            training: optimiser, batches, length.
            source: the model to start from; None to train it, once for all subjects.
            net: the network; None for a small one.
        """
        net = net or small_net(sequence)
        method = self.method(net)
        if method.joint:
            return learn_joint(method, sequence, training, SEED)
        learn = learn_imperatively if method.learner else learn_sequence
        if not self.entry.begins_at_source(self.hyper):
            return learn(method, sequence, training, SEED, None, {})
        source = source or source_of(sequence, training)
        statistics = measure_source(method, sequence, source, SEED)
        return learn(method, sequence, training, SEED, source, statistics)


def named(path: str) -> Subject:
    """A method by name or import path, with its default numbers.

    Args:
        path: of `METHODS`, of an installed entry point, or 'package.module:attribute'.

    Raises:
        StudyError: there is no such method.
    """
    kind: Kind = "method"
    if is_import_path(path) and isinstance(imported(path, path, _EITHER).found, type):
        kind = "learner"
    entry = entry_of(path, kind)
    if entry.path:
        return Subject(path, entry, entry.hyper(), lambda net, hyper: built(entry, net, hyper))
    return Subject(path, entry, entry.hyper(), lambda net, hyper: methods.build(path, net, hyper))


@lru_cache(maxsize=3)
def small_sequence(scenario: str) -> TaskSequence:
    """Three tasks of two digits each, 60 training images a task.

    Args:
        scenario: 'task', 'domain' or 'class'.
    """
    config = SplitBenchmark.model_validate(
        {"dataset": "digits", "n_tasks": 5, "scenario": scenario, "examples_per_task": 60}
    )
    sequence = benchmarks.build(config, None, 0)
    heads = sequence.heads._replace(sizes=sequence.heads.sizes[:3])
    return dataclasses.replace(sequence, tasks=sequence.tasks[:3], heads=heads)


def small_net(sequence: TaskSequence) -> Net:
    """A network of one hidden layer.

    Args:
        sequence: whose images and heads it has.
    """
    return build_net(NetConfig(name="mlp", hidden=(12,)), sequence.input_shape, sequence.heads)


_SOURCES: dict[tuple[int, str], tuple[TaskSequence, SourceModel]] = {}


def source_of(sequence: TaskSequence, training: TrainingConfig = TRAINING) -> SourceModel:
    """The source model of the small network, trained once; a copy, which may be spoilt.

    Args:
        sequence: the tasks.
        training: optimiser, batches, length.
    """
    key = (id(sequence), training.model_dump_json())
    if key not in _SOURCES:  # with the sequence, whose id is then no other's
        _SOURCES[key] = sequence, learn_source(small_net(sequence), sequence, training, SEED)
    return copy.deepcopy(_SOURCES[key][1])
