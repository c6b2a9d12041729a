"""Conditions of the methods' numbers against what training does: none is wrong, none is missing.

A declared condition says that a number changes nothing; then two values of it give the same bits.
Where no condition is declared, two values have to differ in something that a trial is judged by.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple, get_args, get_origin

import pytest
import torch

from clsweep import methods
from clsweep.data import benchmarks
from clsweep.data.benchmark_specs import PermutedBenchmark
from clsweep.data.tasks import TaskSequence
from clsweep.methods import METHODS
from clsweep.methods.hyper_fields import names_of
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import n_elements
from clsweep.number_conditions import condition_text, switched_off, with_rest
from clsweep.training.config import TrainingConfig
from clsweep.training.divergence import Diverged
from clsweep.training.learnt_models import LearntSequence, SourceModel
from clsweep.training.sequences import learn_joint, learn_sequence, learn_source, measure_source
from tests.methods.cases import SMALL_GENERATOR, SMALL_HNET, SMALL_VAE


class World(NamedTuple):
    """A study around a method.

    Attributes:
        scenario: of the benchmark.
        n_tasks: of the benchmark.
        net: 'mlp', which has no norm, or 'conv' with batch norms.
        bn_mode: of the net.
    """

    scenario: str = "task"
    n_tasks: int = 3
    net: str = "mlp"
    bn_mode: str = "batch"

    @property
    def config(self) -> NetConfig:
        if self.net == "mlp":
            return NetConfig(name="mlp", hidden=(6,))
        shape = {"channels": (3,), "width": 6, "norm": "batch", "bn_mode": self.bn_mode}
        return NetConfig(name="conv", **shape)

    @property
    def context(self) -> dict[str, Any]:
        return {
            "benchmark.scenario": self.scenario,
            "benchmark.n_tasks": self.n_tasks,
            "net.norm": self.config.norm_used,
            "net.bn_mode": self.bn_mode,
            **{f"training.{key}": value for key, value in TRAINING.model_dump().items()},
        }


# Small, and where every number does something visible in a few steps.
BASES: dict[str, dict[str, Any]] = {
    "slda": {},
    "ranpac": {"projection_size": 12},
    "l2": {"lam": 0.5},
    "ewc": {"lam": 5.0},
    "mas": {"lam": 0.5},
    "si": {"c": 5.0},
    "rwalk": {"lam": 0.5, "interval": 2},
    "mode_imm": {},
    "l2init": {"lam": 0.05},
    "shrink_perturb": {},
    "vcl": {"beta": 0.05, "initial_variance": 0.3, "n_networks": 1},
    "cbp": {"rate": 0.2, "maturity": 1},
    "packnet": {},
    "gpm": {"threshold": 0.8, "growth": 0.1},
    "hat": {"s_max": 20},
    "lwf": {},
    "rescl": {"lam": 0.1},
    "interpolate": {},
    "replay": {"memory_size": 20},
    "er_ace": {"memory_size": 20},
    "fdr": {"memory_size": 20},
    "gdumb": {"memory_size": 20},
    "icarl": {"memory_size": 20},
    "bic": {"memory_size": 30},
    "gss": {"memory_size": 20, "compared": 5},
    "mir": {"memory_size": 20, "candidates": 12, "replay_batch": 4},
    "mer": {"memory_size": 20, "n_batches": 2, "replay_batch": 2, "beta": 0.5},
    "hal": {"memory_size": 20, "ascent_steps": 2, "anchor_weight": 1.0, "copy_batch": 5},
    "der": {"memory_size": 20},
    "derpp": {"memory_size": 20},
    "agem": {"memory_size": 12, "reference_batch": 4},
    "gem": {"memory_size": 12, "margin": 0.0},
    "dgr": SMALL_VAE,
    "hnet": SMALL_HNET,
    "hnet_tir": {**SMALL_HNET, **SMALL_GENERATOR},
    "hnet_replay": SMALL_GENERATOR,
}
# Values beside those of the base; the first ones are what might switch something off.
OTHERS: dict[str, tuple[Any, ...]] = {
    "shrinkage": (1.0, 0.3),
    "projection_size": (1, 7),
    "penalty": (1e-8, 50.0),
    "lam": (0.0, 2.0),
    "c": (0.0, 50.0),
    "beta": (0.0, 0.05),
    "weight": (0.0, 1.0, 0.7),
    "label_weight": (0.0, 1.0),
    "generator_beta": (0.0, 0.5),
    "margin": (0.0, 1.0),
    "ridge": (0.0, 0.5),
    "correction_ridge": (1e-5, 0.1),
    "candidates": (5, 30),
    "compared": (1, 20),
    "n_batches": (1, 3),
    "inner_lr": (0.5, 0.01),
    "virtual_lr": (0.01, 30.0),
    "decay": (0.0, 0.3),
    "anchor_weight": (0.0, 3.0),
    "embedding_weight": (0.0, 0.5),
    "ascent_steps": (1, 4),
    "copy_steps": (1, 3),
    "copy_batch": (1, 20),
    "gamma": (1.0, 0.4),
    "xi": (5.0,),
    "fisher_decay": (1.0, 0.3),
    "interval": (1, 3),
    "damping": (5.0,),
    "omega_batch": (3,),
    "shrink": (1.0, 0.2),
    "noise": (0.0, 0.3),
    "initial_variance": (0.01,),
    "prior_variance": (0.05,),
    "n_networks": (0, 3),
    "rate": (0.0, 0.5),
    "maturity": (0, 3),
    "prune": (0.1, 0.9),
    "threshold": (0.0, 1.0),
    "growth": (0.0, 0.05),
    "examples": (3, 20),
    "s_max": (1, 400),
    "retrain": (0.0, 1.0),
    "temperature": (1.0, 3.0),
    "fisher_examples": (9, 0),
    "fisher_batch": (3,),
    "omega_examples": (9, 0),
    "omega": ("tests.support.own_estimators:fisher",),
    "memory_size": (1, 30),
    "reference_batch": (1, 3),
    "replay_batch": (3, 0),
    "task_embedding": (1, 4),
    "chunk_embedding": (1, 4),
    "chunk_size": (7, 5000),
    "generator_task_embedding": (1, 4),
    "generator_chunk_embedding": (1, 4),
    "generator_chunk_size": (7, 5000),
    "latent": (1, 2),
    "penalty_tasks": (0, 1),
    "task_embedding_std": (0.0, 0.3),
    "chunk_embedding_std": (0.0, 0.3),
    "generator_task_embedding_std": (0.0, 0.3),
    "generator_chunk_embedding_std": (0.0, 0.3),
    "hidden": ("none", "3"),
    "encoder": ("5",),
    "decoder": ("5",),
    "generator_hidden": ("3",),
}
OF_ONE: dict[str, dict[str, tuple[Any, ...]]] = {
    "hal": {"memory_size": (3, 13)},  # a slot for each task at least
    "hnet_tir": {"generator_hidden": ("none", "3")},
    "hnet_replay": {"generator_hidden": ("none", "3")},
}
TRAINING = TrainingConfig(optimizer="sgd", lr=0.1, batch_size=10, steps=4)
NUMBERS = [
    pytest.param(name, key, id=f"{name}-{key}")
    for name, entry in METHODS.items()
    for key in entry.hyper.model_fields
]


def values_of(name: str, key: str) -> list[Any]:
    """Values of a number, that of the base first."""
    field = METHODS[name].hyper.model_fields[key]
    usual = BASES[name].get(key, field.default)
    if field.annotation is bool:
        others: tuple[Any, ...] = (False, True)
    elif names_of(field):
        others = (*names_of(field), *OTHERS.get(key, ()))
    elif get_origin(field.annotation) is Literal:
        others = get_args(field.annotation)
    else:
        others = OF_ONE.get(name, {}).get(key) or OTHERS[key]
    fits = [v for v in others if not any(v > getattr(m, "le", v) for m in field.metadata)]
    return list(dict.fromkeys([usual, *fits]))


@lru_cache(maxsize=16)
def sequence_of(world: World) -> TaskSequence:
    config = PermutedBenchmark(
        n_tasks=world.n_tasks, scenario=world.scenario, examples_per_task=60
    )
    return benchmarks.build(config, None, 0)


def net_of(world: World) -> Net:
    sequence = sequence_of(world)
    return build_net(world.config, sequence.input_shape, sequence.heads)


@lru_cache(maxsize=16)
def source_of(world: World) -> SourceModel:
    return learn_source(net_of(world), sequence_of(world), TRAINING, 0)


@cache
def _outcome(name: str, hyper: Any, world: World) -> tuple[LearntSequence, int] | str:
    """What came of a trial, and its parameters' number; how it diverged, if it did."""
    sequence, method = sequence_of(world), methods.build(name, net_of(world), hyper)
    try:
        if method.joint:
            learnt = learn_joint(method, sequence, TRAINING, 0)
        elif not METHODS[name].begins_at_source(hyper):
            learnt = learn_sequence(method, sequence, TRAINING, 0, None, {})
        else:
            source = source_of(world)
            statistics = measure_source(method, sequence, source, 0)
            learnt = learn_sequence(method, sequence, TRAINING, 0, source, statistics)
    except Diverged as error:
        return str(error)
    return learnt, n_elements(learnt.params)


def same(name: str, one: dict[str, Any], other: dict[str, Any], world: World) -> bool:
    """Whether two trials agree in all that they are judged by, bit for bit.

    A generator that is replayed no more is no part of it.
    """
    hyper = METHODS[name].hyper
    a, b = (_outcome(name, hyper(**numbers), world) for numbers in (one, other))
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    facts = [
        (learnt.rows, learnt.n_steps, learnt.memory_bytes, learnt.counters, n)
        for learnt, n in (a, b)
    ]
    params, others = a[0].params, b[0].params
    names = [n for n in params if not n.startswith("generator.")]
    return facts[0] == facts[1] and all(torch.equal(params[n], others[n]) for n in names)


def worlds_of(name: str) -> list[World]:
    """Studies that differ in what a condition may ask for; the first is the usual one."""
    scenarios = METHODS[name].scenarios
    worlds = [World(scenario) for scenario in scenarios] + [World(scenarios[0], 2)]
    if name in ("rescl", "hnet"):
        worlds += [World(net="conv"), World(net="conv", bn_mode="frozen")]
    return worlds


def situations(name: str, key: str, *, everywhere: bool) -> Iterator[tuple[World, dict[str, Any]]]:
    """Studies and numbers with which `key` is declared to be off.

    One number is changed at a time: one that the declaration names, or any; then in each study,
    else the first of them in each and every other in one.
    """
    entry = METHODS[name]
    base = {**entry.hyper().model_dump(), **BASES.get(name, {})}
    extra = dict(entry.hyper.model_fields[key].json_schema_extra or {})
    named = {k for asked in (extra.get("where", {}), *extra.get("unless", [])) for k in asked}
    others = [k for k in entry.hyper.model_fields if k != key and (everywhere or k in named)]
    changes: list[dict[str, Any]] = [{}]
    changes += [{k: v} for k in others for v in values_of(name, k)[1:]]
    # Both betas of HNET+TIR have to be zero.
    changes += [{"beta": 0.0, "generator_beta": 0.0}] if name == "hnet_tir" else []
    off = [
        (world, numbers)
        for change, world in itertools.product(changes, worlds_of(name))
        if key in switched_off(entry.hyper, numbers := {**base, **change}, world.context)
    ]
    if everywhere:
        yield from off
        return
    # Every study and every change; not each with each, which is what takes long.
    seen: set[World] = set()
    for n, (numbers, group) in enumerate(itertools.groupby(off, key=lambda one: one[1])):
        worlds = [world for world, _ in group]
        for world in [w for w in worlds if w not in seen] or [worlds[n % len(worlds)]]:
            seen.add(world)
            yield world, numbers


def _check_idle(name: str, key: str, *, everywhere: bool) -> None:
    values = values_of(name, key)
    for world, numbers in situations(name, key, everywhere=everywhere):
        for value in values[1:]:
            one, other = {**numbers, key: values[0]}, {**numbers, key: value}
            assert same(name, one, other, world), (world, numbers, value)
            at_rest = with_rest(METHODS[name].hyper, one, world.context)
            assert same(name, one, at_rest, world), (world, one, at_rest)


CONDITIONAL = [
    pytest.param(name, key, id=f"{name}-{key}")
    for name, entry in METHODS.items()
    for key, field in entry.hyper.model_fields.items()
    if condition_text(field)
]


@pytest.mark.parametrize(("name", "key"), CONDITIONAL)
def test_a_number_that_is_switched_off_changes_no_bit(name: str, key: str) -> None:
    _check_idle(name, key, everywhere=False)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "key"), CONDITIONAL)
def test_a_number_that_is_switched_off_changes_no_bit_whatever_the_others_are(
    name: str, key: str
) -> None:
    _check_idle(name, key, everywhere=True)


# What may change nothing, and why no condition says so.
SATURATED = {
    ("hnet", "inference"): "has one value so far",
}


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_a_number_without_a_condition_changes_something(name: str, key: str) -> None:
    hyper = METHODS[name].hyper
    base, values = {**hyper().model_dump(), **BASES.get(name, {})}, values_of(name, key)
    # What is learnt of the last task for the next serves nothing where there are two.
    for world in (world for world in worlds_of(name) if world.n_tasks > 2):
        at = base
        if key in switched_off(hyper, at, world.context):
            at = next(iter(_switched_on(name, key, base, world)), None)
        if at is None or (name, key) in SATURATED:
            continue
        pairs = ({**at, key: values[0]}, *({**at, key: value} for value in values[1:]))
        assert not all(same(name, pairs[0], other, world) for other in pairs[1:]), (world, at)


# Values of one number at which another has nothing left to say, without being switched off: the
# larger of two sizes decides no more, or a bound is reached in every step of so small a run.
NO_SWITCH = {
    ("replay", "replay_batch", "memory_size"): "more than are stored cannot be drawn",
    ("agem", "reference_batch", "memory_size"): "more than are stored cannot be drawn",
    ("agem", "fill", "memory_size"): "one slot is filled alike",
    ("gem", "fill", "memory_size"): "one slot is filled alike",
    ("mir", "replay_batch", "memory_size"): "more than are stored cannot be drawn",
    ("mir", "candidates", "memory_size"): "more than are stored cannot be drawn",
    ("mer", "replay_batch", "memory_size"): "more than are stored cannot be drawn",
    ("mir", "virtual_lr", "memory_size"): "one example is chosen whatever it loses",
    # The generator learns, and may diverge, though nothing of it is used.
    ("hnet_replay", "generator_beta", "weight"): "its trial may diverge",
    ("hnet_replay", "generator_activation", "weight"): "its trial may diverge",
    ("hnet_replay", "look_ahead", "weight"): "its trial may diverge",
    ("hnet_tir", "penalty_tasks", "beta"): "no decoders of the last task are replayed",
    ("gem", "ridge", "margin"): "every weight is at its bound",
    ("gem", "ridge_unit", "margin"): "every weight is at its bound",
    # Stored examples pass through the same batch norms, and fix the shape of what is multiplied.
    ("replay", "replay_batch", "weight"): "rounding and batch norms depend on it",
    ("replay", "fill", "weight"): "batch norms depend on it",
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_no_value_of_another_number_switches_a_number_off_without_saying_so(
    name: str, key: str
) -> None:
    hyper = METHODS[name].hyper
    base, values = {**hyper().model_dump(), **BASES.get(name, {})}, values_of(name, key)
    for other in (k for k in hyper.model_fields if k != key):
        for value in values_of(name, other):
            starts = [
                (world, at)
                for world in worlds_of(name)
                for at in _switched_on(name, key, {**base, other: value}, world, but=other)
            ]
            matters = (
                not same(name, {**at, key: values[0]}, {**at, key: v}, world)
                for world, at in starts
                for v in values[1:]
            )
            excused = (name, key) in SATURATED or (name, key, other) in NO_SWITCH
            assert not starts or excused or any(matters), f"{key} with {other} = {value}"


def _switched_on(
    name: str, key: str, numbers: dict[str, Any], world: World, but: str = ""
) -> Iterator[dict[str, Any]]:
    """The numbers, or where `key` is off, those with one other changed such that it acts."""
    hyper = METHODS[name].hyper
    if key not in switched_off(hyper, numbers, world.context):
        yield numbers
        return
    for other in hyper.model_fields:
        for value in values_of(name, other)[1:] if other not in (key, but) else ():
            changed = {**numbers, other: value}
            if key not in switched_off(hyper, changed, world.context):
                yield changed
                return
