"""Points of a regularisation path against trainings that are the same by construction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Scale, TaskSequence
from clsweep.methods import METHODS
from clsweep.methods.base import Method
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training.batches import Order, batches
from clsweep.training.config import TrainingConfig
from clsweep.training.divergence import Diverged
from clsweep.training.learnt_models import PathPoint
from clsweep.training.paths import PathStart, evaluated_point, learn_point
from clsweep.training.sequences import learn_sequence, learn_source, measure_source

SGD = {"lr": 0.1, "batch_size": 10}
MOMENTUM = {**SGD, "momentum": 0.9}
FOLLOWED = [name for name, entry in METHODS.items() if entry.follows_path]


@pytest.fixture(scope="module")
def two(sequences: dict[str, TaskSequence]) -> TaskSequence:
    whole = sequences["domain"]
    heads = whole.heads._replace(sizes=whole.heads.sizes[:2])
    return replace(whole, tasks=whole.tasks[:2], heads=heads)


def net_of(two: TaskSequence, *hidden: int) -> Net:
    return build_net(NetConfig(hidden=hidden), two.input_shape, two.heads)


def method_of(net: Net, name: str, value: float, form: str = "proximal") -> Method:
    entry = METHODS[name]
    knob = "c" if name == "si" else "lam"
    return methods.build(name, net, entry.hyper(**{knob: value, "form": form}))


def start_of(method: Method, two: TaskSequence, **training: Any) -> PathStart:
    how = TrainingConfig(**training)
    source = learn_source(method.net, two, how, 0)
    statistics = measure_source(method, two, source, 0)
    return PathStart(method, two, how, 0, source, statistics)


def same(one: Params, other: Params) -> bool:
    return one.keys() == other.keys() and all(one[n].equal(other[n]) for n in one)


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_first_point_is_an_independent_trial_bit_for_bit(name: str, two: TaskSequence) -> None:
    start = start_of(method_of(net_of(two, 6), name, 3.0), two, **SGD, steps=7)
    point = learn_point(start, 7, None)
    alone = learn_sequence(start.method, two, start.training, 0, start.source, start.statistics)
    found = evaluated_point(start, point)
    assert same(found.params, alone.params)
    assert found.rows == alone.rows
    assert (found.n_steps, found.memory_bytes) == (alone.n_steps, alone.memory_bytes)


@pytest.mark.parametrize(
    ("training", "is_same"),
    [
        (SGD, True),
        ({**MOMENTUM, "reset": False}, True),
        ({**MOMENTUM, "reset": True}, False),
    ],
)
def test_two_points_of_one_value_are_one_training(
    training: dict[str, Any], is_same: bool, two: TaskSequence
) -> None:
    # 60 images are six batches: the second point begins within an epoch, and ends in the next.
    start = start_of(method_of(net_of(two, 6), "l2", 0.5), two, **training, steps=9)
    above = learn_point(start, 9, None)
    below = learn_point(start, 5, above)
    assert (below.n_steps, below.n_before) == (5, 14)
    assert same(below.params, learn_point(start, 14, None).params) == is_same


def test_where_the_problem_is_convex_a_path_is_the_curve_of_minimisers(two: TaskSequence) -> None:
    """Of logistic regression with an L2 anchor: ∇L(θ) + λ (θ − θ*) = 0."""
    net, above = net_of(two), None
    data = two.tasks[1].train
    for value in (10.0, 1.0, 0.1):
        form = method_of(net, "l2", value, "gradient")
        start = start_of(form, two, lr=0.1, momentum=0.5, batch_size=60, steps=20)
        above = learn_point(start, 400, above)
        alone = learn_point(start, 400, None)
        leaves = {n: v.detach().clone().requires_grad_() for n, v in above.params.items()}
        loss = F.cross_entropy(
            net.apply(leaves, two.scale(data.raw(torch.arange(len(data)))), 1), data.labels
        )
        slopes = torch.autograd.grad(loss, list(leaves.values()))
        for (name, leaf), slope in zip(leaves.items(), slopes, strict=True):
            pull = value * (leaf.detach() - start.source.params[name])
            assert (slope + pull).abs().max() < 1e-4
            assert (above.params[name] - alone.params[name]).abs().max() < 1e-3


class TestDivergence:
    def start(self, two: TaskSequence, value: float) -> PathStart:
        return start_of(method_of(net_of(two, 6), "l2", value, "gradient"), two, **SGD, steps=12)

    def test_the_next_point_starts_from_the_source_where_none_above_was_sound(self, two) -> None:
        lost = learn_point(self.start(two, 1e4), 12, None)
        assert lost.diverged
        assert lost.n_before == 0
        assert 0 < lost.n_steps <= 12
        start = self.start(two, 1.0)
        assert same(learn_point(start, 12, lost).params, learn_point(start, 12, None).params)

    def test_or_from_the_last_that_was(self, two: TaskSequence) -> None:
        above = learn_point(self.start(two, 1.0), 12, None)
        lost = learn_point(self.start(two, 1e4), 12, above)
        assert lost.diverged
        assert same(lost.params, above.params)
        start = self.start(two, 0.5)
        assert same(learn_point(start, 3, lost).params, learn_point(start, 3, above).params)

    def test_its_trial_diverges_with_the_same_words(self, two: TaskSequence) -> None:
        start = self.start(two, 1e4)
        lost = learn_point(start, 12, None)
        with pytest.raises(Diverged) as caught:
            evaluated_point(start, lost)
        assert str(caught.value) == lost.diverged
        assert caught.value.n_steps == lost.n_steps


@pytest.mark.parametrize("balance", ["none", "weights", "resample"])
@pytest.mark.parametrize("n_skipped", [0, 1, 3, 4, 6, 11])
def test_batches_go_on_where_they_were_left(n_skipped: int, balance: str) -> None:
    rng = generator(0, "batches that go on")
    images = torch.randint(0, 256, (17, 1, 3, 3), dtype=torch.uint8, generator=rng)
    data = Examples(images, torch.arange(17), torch.arange(17) % 3)
    scale = Scale(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))

    def shown(n_steps: int, skipped: int) -> list[tuple[Tensor, Tensor]]:
        order = Order(0, 1, 5, n_steps, "flip", balance=balance, n_skipped=skipped)
        found = batches(data, scale, order, lambda epoch, n: {})
        firsts, chunks = zip(*found, strict=True)
        counts = [len(chunk) for chunk in chunks]
        assert list(firsts) == [sum(counts[:i]) for i in range(len(counts))]
        return [(one.x, one.y) for chunk in chunks for one in chunk]

    whole, part = shown(13, 0)[n_skipped:], shown(13 - n_skipped, n_skipped)
    assert len(whole) == len(part)
    for (x, y), (own_x, own_y) in zip(whole, part, strict=True):
        assert x.equal(own_x)
        assert y.equal(own_y)


def test_a_point_above_is_not_modified(two: TaskSequence) -> None:
    start = start_of(method_of(net_of(two, 6), "ewc", 2.0), two, **MOMENTUM, reset=False, steps=5)
    above = learn_point(start, 5, None)
    before = PathPoint(
        {n: v.clone() for n, v in above.params.items()},
        {n: v.clone() for n, v in above.optimiser.items()},
        *above[2:],
    )
    learn_point(start, 5, above)
    assert same(above.params, before.params)
    assert same(above.optimiser, before.optimiser)
    assert above.optimiser
