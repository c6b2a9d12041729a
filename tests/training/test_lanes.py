"""Lanes against single trials: the same parameters, steps, memory and accuracies."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import pytest
import torch
from pydantic.fields import FieldInfo

from clsweep import methods
from clsweep.conformance.subjects import small_net, small_sequence
from clsweep.data.tasks import TaskSequence
from clsweep.methods import METHODS
from clsweep.methods.base import Method
from clsweep.methods.hyper_fields import Hyper
from clsweep.training.config import TrainingConfig
from clsweep.training.divergence import Diverged
from clsweep.training.lanes import Lane, learn_lanes
from clsweep.training.learnt_models import LearntSequence, SourceModel
from clsweep.training.loss_curves import LossCurves, recorded
from clsweep.training.sequences import (
    finetune_source,
    learn_joint,
    learn_sequence,
    learn_source,
    measure_source,
)
from clsweep.training.stacked_phase import hindrance
from clsweep.training.stacked_trees import NotStackable
from tests.methods.cases import CASES, Case
from tests.support.regressions import net_of, polynomials

SGD = TrainingConfig(lr=0.1, batch_size=16, steps=5)
CLAIMED = [
    case
    for case in CASES
    if METHODS[case.name].lanes is not None
    and all(
        getattr(case.numbers(), key) in values for key, values in METHODS[case.name].lanes_where
    )
]
# What takes half a second and more, compared with the slow tests.
HEAVY = ("hnet", "hnet_tir", "hnet_replay", "dgr", "vcl")
# Of each method one case; forms of a penalty are stacked in two ways.
NAMES = sorted({case.name for case in CLAIMED})
PULLED = [Case("ewc", {"lam": 3.0}), Case("ewc", {"lam": 3e3, "form": "proximal"})]


@lru_cache
def source_of(scenario: str, training: TrainingConfig, seed: int) -> SourceModel:
    sequence = small_sequence(scenario)
    return learn_source(small_net(sequence), sequence, training, seed)


def numbers_of(case: Case, factor: float) -> Hyper:
    """The case's numbers, with another value of every one that may differ."""
    hyper, entry = case.numbers(), METHODS[case.name]
    values = {key: getattr(hyper, key) for key in entry.lanes or ()}
    fields = entry.hyper.model_fields
    most = {key: bound(fields[key]) for key in values}
    return case.numbers(
        {
            key: min(value * factor, most[key])
            for key, value in values.items()
            if isinstance(value, float)
        }
    )


def bound(field: FieldInfo) -> float:
    """The largest value of a number, infinite for none."""
    least = [getattr(one, name, None) for one in field.metadata for name in ("le", "lt")]
    return min((0.999 * value for value in least if value is not None), default=float("inf"))


def lanes_of(
    case: Case, sequence: TaskSequence, wanted: list[tuple[float, TrainingConfig, int]]
) -> list[Lane]:
    found = []
    for factor, training, seed in wanted:
        method = methods.build(case.name, small_net(sequence), numbers_of(case, factor))
        if not case.begins_at_source:
            found.append(Lane(method, training, seed, None, {}))
            continue
        source = source_of(sequence.heads.scenario, training, seed)
        statistics = measure_source(method, sequence, source, seed)
        lane = Lane(method, training, seed, source, statistics)
        if METHODS[case.name].starts_from_finetuned:
            tuned = finetune_source(method.net, sequence, training, seed, source)
            lane = lane._replace(finetuned=tuned)
        found.append(lane)
    return found


def built(case: Case, sequence: TaskSequence, hyper: Hyper) -> Method:
    return methods.build(case.name, small_net(sequence), hyper)


def in_lanes(case: Case, sequence: TaskSequence, lanes: list[Lane]) -> list[Any]:
    return learn_lanes(lanes, sequence, partial(built, case, sequence))


def alone(sequence: TaskSequence, lane: Lane) -> LearntSequence:
    if lane.method.joint:
        return learn_joint(lane.method, sequence, lane.training, lane.seed)
    return learn_sequence(lane.method, sequence, *lane[1:5], lane.finetuned)


def assert_same(sequence: TaskSequence, lane: Lane, found: Any) -> None:
    single = alone(sequence, lane)
    assert isinstance(found, LearntSequence), found
    assert found.params.keys() == single.params.keys()
    for name, value in single.params.items():
        torch.testing.assert_close(found.params[name], value, atol=1e-5, rtol=1e-5, msg=name)
    # Of 5 or more examples a tie may fall the other way; none does here.
    assert found.rows == single.rows
    assert (found.n_steps, found.memory_bytes) == (single.n_steps, single.memory_bytes)
    assert found.counters == pytest.approx(single.counters, abs=1e-5)


def compared(case: Case, scenario: str, wanted: list[tuple[float, TrainingConfig, int]]) -> None:
    sequence = small_sequence(scenario)
    lanes = lanes_of(case, sequence, wanted)
    for lane, found in zip(lanes, in_lanes(case, sequence, lanes), strict=True):
        assert_same(sequence, lane, found)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case), marks=[pytest.mark.slow] * (case.name in HEAVY))
        for case in CLAIMED
    ],
)
def test_every_method_that_claims_lanes_learns_in_them_what_it_learns_alone(case: Case) -> None:
    compared(case, case.scenario, [(1.0, SGD, 0), (0.1, SGD, 0), (2.0, SGD, 1)])


@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1)], ids=str)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_targets_that_are_numbers_are_no_axis_of_lanes(
    seeds: tuple[int, ...], batch_size: int
) -> None:
    """As many lanes as examples in a batch, and batches of one: [B, K] targets look like lanes."""
    sequence = polynomials("domain")
    net = net_of(sequence, (4,))
    training = TrainingConfig(lr=0.01, batch_size=batch_size, steps=4)
    kind = METHODS["l2"].hyper
    lanes = [
        Lane(
            methods.build("l2", net, kind(lam=10.0**-k)),
            training,
            seed,
            learn_source(net, sequence, training, seed),
            {},
        )
        for k, seed in enumerate(seeds)
    ]
    for lane, found in zip(
        lanes, learn_lanes(lanes, sequence, partial(methods.build, "l2", net)), strict=True
    ):
        assert isinstance(found, LearntSequence), found
        for name, value in alone(sequence, lane).params.items():
            torch.testing.assert_close(found.params[name], value, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["task", "class"])
@pytest.mark.parametrize("name", NAMES)
def test_other_scenarios(name: str, scenario: str) -> None:
    case = next(case for case in CLAIMED if case.name == name)
    if scenario not in METHODS[name].scenarios:
        pytest.skip("the method is not defined for it")
    compared(case, scenario, [(1.0, SGD, 0), (0.1, SGD, 0)])


@pytest.mark.parametrize("case", PULLED, ids=str)
@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.9, "weight_decay": 1e-3, "schedule": "cosine"},
        {"optimizer": "adam", "reset": False, "clip_value": 0.5},
        {"optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.3},
        {"optimizer": "rmsprop", "momentum": 0.5},
        {"clip_norm": 0.1, "schedule": "linear", "label_smoothing": 0.1},
        {"class_balance": "weights", "augment": "flip"},
    ],
    ids=str,
)
def test_other_training_with_learning_rates_of_their_own(
    case: Case, changes: dict[str, Any]
) -> None:
    adaptive = changes.get("optimizer", "sgd") != "sgd"
    first, second = (
        TrainingConfig(batch_size=16, steps=5, **{**changes, "lr": lr * (0.1 if adaptive else 1)})
        for lr in (0.1, 0.03)
    )
    compared(case, "domain", [(1.0, first, 0), (0.3, second, 0), (1.0, second, 1)])


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        (Case("rescl", {"lam": 10.0, "form": "proximal"}), {"momentum": 0.9}),
        (Case("derpp", {"memory_size": 20, "first_task": "own"}), {"schedule": "cosine"}),
        (Case("replay", {"memory_size": 20, "fill": "ring"}), {"optimizer": "adam"}),
        (Case("joint", {}), {"augment": "flip", "class_balance": "weights"}),
    ],
    ids=str,
)
def test_hooks_of_a_step_with_learning_rates_of_their_own(
    case: Case, changes: dict[str, Any]
) -> None:
    first, second = (
        TrainingConfig(batch_size=16, steps=5, **{**changes, "lr": lr}) for lr in (0.02, 0.01)
    )
    compared(case, "domain", [(1.0, first, 0), (0.5, second, 0), (1.0, second, 1)])


def test_a_diverged_lane_leaves_the_memory_of_the_others_alone() -> None:
    sequence = small_sequence("domain")
    case = Case("replay", {"memory_size": 20, "fill": "loss_aware"})
    lanes = lanes_of(case, sequence, [(1.0, SGD, 0), (1.0, SGD, 0), (0.5, SGD, 1)])
    lanes[1] = lanes[1]._replace(training=SGD.model_copy(update={"lr": 1e30}))
    first, second, third = in_lanes(case, sequence, lanes)
    assert isinstance(second, Diverged)
    assert_same(sequence, lanes[0], first)
    assert_same(sequence, lanes[2], third)


def test_a_term_that_is_off_in_some_lanes_alone_is_refused() -> None:
    sequence = small_sequence("domain")
    one, off = Case("ewc", {"fisher": "kfac", "lam": 1.0}), Case("ewc", {"lam": 0.0})
    lanes = [lanes_of(case, sequence, [(1.0, SGD, 0)])[0] for case in (one, off)]
    with pytest.raises(NotStackable, match="'fisher' differs"):
        in_lanes(one, sequence, lanes)


def test_an_sgd_of_several_rates() -> None:
    slow = SGD.model_copy(update={"lr": 0.02})
    for case in PULLED:
        compared(case, "domain", [(1.0, SGD, 0), (1.0, slow, 0), (0.1, slow, 0)])


def test_a_penalty_beyond_what_float32_holds() -> None:
    case = Case("l2", {"lam": 1e38, "form": "proximal"})
    compared(case, "domain", [(1.0, SGD, 0), (1e-30, SGD, 0)])


def test_a_lane_that_diverges_says_so_as_it_does_alone_and_leaves_the_others_alone() -> None:
    sequence, case = small_sequence("domain"), Case("finetune", {})
    wild = SGD.model_copy(update={"lr": 1e30})
    lanes = lanes_of(case, sequence, [(1.0, SGD, 0), (1.0, SGD, 0), (1.0, SGD, 1)])
    lanes[1] = lanes[1]._replace(training=wild)
    first, second, third = in_lanes(case, sequence, lanes)
    assert_same(sequence, lanes[0], first)
    assert_same(sequence, lanes[2], third)
    with pytest.raises(Diverged) as single:
        alone(sequence, lanes[1])
    assert (str(second), second.n_steps) == (str(single.value), single.value.n_steps)


def test_all_lanes_may_diverge() -> None:
    sequence, case = small_sequence("domain"), Case("finetune", {})
    wild = SGD.model_copy(update={"lr": 1e30})
    lanes = [
        lane._replace(training=wild) for lane in lanes_of(case, sequence, [(1.0, SGD, 0)] * 2)
    ]
    assert all(isinstance(one, Diverged) for one in in_lanes(case, sequence, lanes))


def test_losses_are_noted_for_each_lane() -> None:
    sequence, case = small_sequence("domain"), Case("l2", {"lam": 1.0})
    lanes = lanes_of(case, sequence, [(1.0, SGD, 0), (0.1, SGD, 1)])
    lanes = [lane._replace(curves=LossCurves()) for lane in lanes]
    in_lanes(case, sequence, lanes)
    for lane in lanes:
        with recorded() as curves:
            alone(sequence, lane)
        assert lane.curves is not None
        for found, single in zip(lane.curves.rows(), curves.rows(), strict=True):
            assert found[:4] == single[:4]
            assert found.loss == pytest.approx(single.loss, abs=1e-5)


@pytest.mark.parametrize("case", CLAIMED, ids=str)
def test_nothing_hinders_a_method_that_claims_lanes(case: Case) -> None:
    sequence = small_sequence(case.scenario)
    assert not hindrance(methods.build(case.name, small_net(sequence), case.numbers()))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_claims_lanes_or_says_why_not(name: str) -> None:
    entry = METHODS[name]
    assert (entry.lanes is None) == bool(entry.alone)
    assert entry.lanes is None or any(case.name == name for case in CLAIMED)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 8}, "more than the learning rate"),
        ({"optimizer": "adagrad"}, "'adagrad'"),
    ],
)
def test_what_cannot_be_stacked_is_refused(changes: dict[str, Any], says: str) -> None:
    sequence, case = small_sequence("domain"), Case("finetune", {})
    lanes = lanes_of(case, sequence, [(1.0, SGD, 0), (1.0, SGD, 1)])
    other = TrainingConfig(**{**SGD.model_dump(exclude_defaults=True), **changes})
    lanes[-1] = lanes[-1]._replace(training=other)
    if "optimizer" in changes:
        lanes[0] = lanes[0]._replace(training=other)
    with pytest.raises(NotStackable, match=says):
        in_lanes(case, sequence, lanes)


def test_memories_of_other_sizes_are_refused() -> None:
    sequence = small_sequence("domain")
    small, large = Case("replay", {"memory_size": 20}), Case("replay", {"memory_size": 40})
    lanes = [lanes_of(case, sequence, [(1.0, SGD, 0)])[0] for case in (small, large)]
    with pytest.raises(NotStackable, match="'memory_size' differs"):
        in_lanes(small, sequence, lanes)
