"""ResCL against a loop written from its equations, its ends, and its parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.tasks import Examples, TaskSequence
from clsweep.methods.base import Phase
from clsweep.methods.hypers import ResclHyper
from clsweep.methods.parts.network_units import units_of
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.norms import is_statistic, without_statistics
from clsweep.nets.parameter_trees import Params
from clsweep.training.batch_norm_statistics import with_data_statistics, with_population
from clsweep.training.config import TrainingConfig
from clsweep.training.learnt_models import FinetunedModel, LearntSequence, SourceModel
from clsweep.training.sequences import finetune_source, learn_sequence, learn_source
from tests.methods.branches import TwoBranches

# One batch is a whole task, so that the order of examples means nothing.
WHOLE = TrainingConfig(lr=0.1, batch_size=1000, steps=4)
TRAINING = TrainingConfig(lr=0.05, batch_size=16, steps=8)
SCENARIOS = ("task", "domain", "class")
CONV = {"name": "conv", "channels": (4, 5), "width": 8, "norm": "batch"}


def net_of(sequence: TaskSequence, **keys: Any) -> Net:
    config = NetConfig(**(keys or {"hidden": (12, 9)}))
    return build_net(config, sequence.input_shape, sequence.heads)


def first(sequence: TaskSequence, n: int = 2) -> TaskSequence:
    return replace(sequence, tasks=sequence.tasks[:n])


def started(
    net: Net, sequence: TaskSequence, training: TrainingConfig
) -> tuple[SourceModel, FinetunedModel]:
    source = learn_source(net, sequence, training, 0)
    return source, finetune_source(net, sequence, training, 0, source)


def learnt(
    net: Net,
    sequence: TaskSequence,
    training: TrainingConfig,
    source: SourceModel,
    tuned: FinetunedModel | None = None,
    **numbers: Any,
) -> LearntSequence:
    method = methods.build("rescl", net, ResclHyper(**numbers))
    return learn_sequence(method, sequence, training, 0, source, {}, tuned)


def combine_phase(net: Net, **numbers: Any) -> Phase:
    return methods.build("rescl", net, ResclHyper(**numbers)).phases[1]


def by_hand(
    sequence: TaskSequence, source: Params, tuned: Params, hyper: ResclHyper
) -> dict[str, tuple[Tensor, Tensor]]:
    """The merged weights and biases of an mlp with one whole-task batch, both branches apart."""
    x = sequence.scale(sequence.tasks[1].train.raw(torch.arange(len(sequence.tasks[1].train))))
    scenario = sequence.heads.scenario
    layers = ["layers.0", "layers.1"]
    new_head = "heads.1" if scenario == "task" else "head"
    old_head = "heads.0" if scenario == "task" else "head"
    n_out = {"task": 0, "domain": 2, "class": 2}[scenario]  # combined rows of the head
    names = [*layers, new_head]
    theta = {
        f"{n}.{p}": tuned[f"{n}.{p}"].clone().requires_grad_()
        for n in names
        for p in ("weight", "bias")
    }
    widths = {"layers.0": 12, "layers.1": 9, "head": n_out}
    alpha = {
        (n, which): torch.full((k,), start, requires_grad=True)
        for n, k in widths.items()
        if k
        for which, start in (("s", -0.5), ("t", 0.5))
    }

    def layer(n: str, h: Tensor) -> Tensor:
        s = F.linear(h, source[f"{n}.weight"], source[f"{n}.bias"])
        t = F.linear(h, theta[f"{n}.weight"], theta[f"{n}.bias"])
        if n == new_head:  # rows of new classes are the target's
            k = n_out
            if not k:
                return t
            mix = (1 + alpha[n, "s"]) * s[:, :k] + alpha[n, "t"] * t[:, :k]
            return torch.cat([mix, t[:, k:]], 1)
        return (1 + alpha[n, "s"]) * s + alpha[n, "t"] * t

    def plain(params: Params, head: str) -> Tensor:
        h = x.flatten(1)
        for n in layers:
            h = F.relu(F.linear(h, params[f"{n}.weight"], params[f"{n}.bias"]))
        return F.linear(h, params[f"{head}.weight"], params[f"{head}.bias"])

    n_old, n_all = {"task": (2, 2), "domain": (2, 2), "class": (2, 4)}[scenario]
    T = hyper.temperature
    q_s = (plain(source, old_head)[:, :n_old] / T).softmax(1)
    q_t = (plain(tuned, new_head)[:, :n_all] / T).softmax(1)
    n_alpha = sum(v.numel() for v in alpha.values())
    lam = hyper.lam if hyper.lam_unit == "sum" else hyper.lam / n_alpha
    for _ in range(WHOLE.steps):
        h = x.flatten(1)
        for n in layers:
            h = F.relu(layer(n, h))
        new = layer(new_head, h)[:, :n_all]
        if scenario == "task":
            old = F.linear(h, source["heads.0.weight"], source["heads.0.bias"])
        else:
            old = new[:, :n_old]
        loss = -(q_s * (old / T).log_softmax(1)).sum(1).mean()
        loss = loss - (q_t * (new / T).log_softmax(1)).sum(1).mean()
        loss = loss * (T**2 if hyper.t_squared else 1)
        loss = loss + hyper.decay / 2 * sum(v.square().sum() for v in theta.values())
        if hyper.form == "gradient":
            loss = loss + lam * sum(v.abs().sum() for v in alpha.values())
        leaves = [*theta.values(), *alpha.values()]
        with torch.no_grad():
            for leaf, g in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
                leaf -= WHOLE.lr * g
            if hyper.form == "proximal":
                for a in alpha.values():
                    a.copy_(a.sign() * (a.abs() - WHOLE.lr * lam).clamp(min=0))
    found = {}
    with torch.no_grad():
        for n in names:
            for p in ("weight", "bias"):
                s, t = source[f"{n}.{p}"], theta[f"{n}.{p}"]
                if n == new_head:
                    rows = t.clone()
                    if n_out:
                        shape = (-1, 1) if p == "weight" else (-1,)
                        a_s, a_t = (alpha[n, w].view(shape) for w in "st")
                        rows[:n_out] = (1 + a_s) * s[:n_out] + a_t * t[:n_out]
                    found[f"{n}.{p}"] = rows
                    continue
                shape = (-1, 1) if p == "weight" else (-1,)
                a_s, a_t = (alpha[n, w].view(shape) for w in "st")
                found[f"{n}.{p}"] = (1 + a_s) * s + a_t * t
    return found


NUMBERS = [
    {"lam": 1e-2, "decay": 0.0, "t_squared": False},
    {"lam": 3.0, "lam_unit": "channel", "decay": 0.05, "temperature": 1.5},
    {"lam": 0.2, "form": "proximal", "decay": 0.01},
]


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_merged_network_is_that_of_a_loop_over_both_branches(
    scenario: str, numbers: dict, sequences: dict[str, TaskSequence]
) -> None:
    sequence = first(sequences[scenario])
    net = net_of(sequence)
    source, tuned = started(net, sequence, WHOLE)
    found = learnt(net, sequence, WHOLE, source, tuned, **numbers)
    expected = by_hand(sequence, source.params, tuned.params, ResclHyper(**numbers))
    for name, value in expected.items():
        torch.testing.assert_close(found.params[name], value, atol=2e-6, rtol=1e-5)
    # The numbers matter: another λ is another network.
    other = learnt(net, sequence, WHOLE, source, tuned, **{**numbers, "lam": 0.0})
    assert not torch.allclose(other.params["layers.0.weight"], expected["layers.0.weight"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_start_is_the_mean_of_both_networks(
    scenario: str, sequences: dict[str, TaskSequence]
) -> None:
    sequence = first(sequences[scenario])
    net = net_of(sequence)
    source, tuned = started(net, sequence, TRAINING)
    phase = combine_phase(net)
    memory = {"source": source.params, "zero_share": torch.zeros(())}
    opened = phase.open(tuned.params, memory, 1)
    one, _ = phase.close({**tuned.params, **opened}, memory, 1)
    for name, value in one.items():
        if name.startswith("layers"):
            torch.testing.assert_close(value, (source.params[name] + tuned.params[name]) / 2)
    if scenario == "task":
        assert torch.equal(one["heads.0.weight"], source.params["heads.0.weight"])
        assert torch.equal(one["heads.1.weight"], tuned.params["heads.1.weight"])
    if scenario == "class":
        assert torch.equal(one["head.weight"][2:4], tuned.params["head.weight"][2:4])


@pytest.mark.parametrize("bn_mode", ["frozen", "batch"])
def test_a_huge_decay_leaves_the_source_alone(
    bn_mode: str, sequences: dict[str, TaskSequence]
) -> None:
    sequence = sequences["task"]
    net = net_of(sequence, **CONV, bn_mode=bn_mode)
    source, _ = started(net, sequence, TRAINING)
    run = learnt(net, sequence, TRAINING, source, lam=1e4, form="proximal")
    assert run.counters == {"alpha_zero_share": 1.0}
    rows = {row[1:] for row in run.rows if row[1] == 0 and row[0] >= 0}
    assert len(rows) == 2  # validation and test, the same after every task
    task = sequence.tasks[0]
    x = sequence.scale(task.test.raw(torch.arange(len(task.test))))
    before, after = net.apply(source.params, x, 0), net.apply(run.params, x, 0)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    if bn_mode == "frozen":
        names = [name for name in source.params if not name.startswith("heads.")]
        assert all(torch.equal(run.params[n], source.params[n]) for n in names)
    free = learnt(net, sequence, TRAINING, source, lam=0.0, form="proximal")
    assert free.counters["alpha_zero_share"] < 0.1
    assert not torch.allclose(net.apply(free.params, x, 0), before, atol=0.01)


def test_the_size_stays_and_coefficients_are_not_kept(sequences: dict[str, TaskSequence]) -> None:
    sequence = sequences["class"]
    net = net_of(sequence, **CONV)
    source, _ = started(net, sequence, TRAINING)
    run = learnt(net, sequence, TRAINING, source)
    assert run.params.keys() == source.params.keys()
    assert all(run.params[n].shape == value.shape for n, value in source.params.items())


@pytest.mark.parametrize("reset", [True, False])
def test_sharing_the_fine_tuned_network_changes_no_bit(
    reset: bool, sequences: dict[str, TaskSequence]
) -> None:
    training = TrainingConfig(optimizer="adam", lr=0.02, batch_size=16, steps=6, reset=reset)
    sequence = first(sequences["domain"], 4)
    net = net_of(sequence)
    source, tuned = started(net, sequence, training)
    shared = learnt(net, sequence, training, source, tuned)
    alone = learnt(net, sequence, training, source)
    assert all(torch.equal(shared.params[n], value) for n, value in alone.params.items())
    assert (shared.n_steps, alone.n_steps) == (5 * 6, 6 * 6)


def test_the_merged_network_is_the_next_source(sequences: dict[str, TaskSequence]) -> None:
    sequence = first(sequences["task"], 3)
    net = net_of(sequence)
    source, tuned = started(net, sequence, WHOLE)
    numbers = {"lam": 1e-2}
    run = learnt(net, sequence, WHOLE, source, tuned, **numbers)
    middle = learnt(net, first(sequence), WHOLE, source, tuned, **numbers).params
    # By hand: two earlier heads are distilled, each from the middle network.
    phase, task = combine_phase(net, **numbers), sequence.tasks[2]
    x = sequence.scale(task.train.raw(torch.arange(len(task.train))))
    third = replace(sequence, tasks=(sequence.tasks[0], task))
    again = finetune_source(net, third, WHOLE, 0, source._replace(params=middle)).params
    memory = {"source": middle, "zero_share": torch.zeros(())}
    hyper = ResclHyper(**numbers)
    trained = {n: v.clone().requires_grad_() for n, v in phase.open(again, memory, 2).items()}
    for _ in range(WHOLE.steps):
        full = {**again, **trained}
        one, _ = phase.close(full, memory, 2)
        loss = torch.zeros(())
        for k in range(3):
            teacher = middle if k < 2 else again
            q = (net.apply(teacher, x, k) / 2).softmax(1)
            loss = loss - 4 * (q * (net.apply(one, x, k) / 2).log_softmax(1)).sum(1).mean()
        for name, value in trained.items():
            if name.startswith("alpha"):
                loss = loss + hyper.lam * value.abs().sum()
            elif not name.startswith(("target.heads.0", "target.heads.1")):
                loss = loss + hyper.decay / 2 * value.square().sum()
        grads = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        trained = {
            n: v if g is None else (v - WHOLE.lr * g).detach().requires_grad_()
            for (n, v), g in zip(trained.items(), grads, strict=True)
        }
    expected, _ = phase.close({**again, **trained}, memory, 2)
    for name, value in run.params.items():
        torch.testing.assert_close(value, expected[name].detach(), atol=5e-6, rtol=1e-4)


def test_old_heads_are_frozen_or_trained(sequences: dict[str, TaskSequence]) -> None:
    sequence = first(sequences["task"])
    net = net_of(sequence)
    source, tuned = started(net, sequence, TRAINING)
    frozen = learnt(net, sequence, TRAINING, source, tuned).params
    trained = learnt(net, sequence, TRAINING, source, tuned, old_heads="trained").params
    name = "heads.0.weight"
    assert torch.equal(frozen[name], source.params[name])
    assert not torch.equal(trained[name], source.params[name])


def test_the_studys_weight_decay_spares_the_coefficients(
    sequences: dict[str, TaskSequence],
) -> None:
    sequence = first(sequences["domain"])
    net = net_of(sequence)
    source, tuned = started(net, sequence, TRAINING)
    heavy = TRAINING.model_copy(update={"weight_decay": 0.5})
    light = learnt(net, sequence, TRAINING, source, tuned).params
    found = learnt(net, sequence, heavy, source, tuned).params
    assert all(torch.equal(found[name], value) for name, value in light.items())
    other = learnt(net, sequence, TRAINING, source, tuned, decay=0.5).params
    assert not torch.equal(other["layers.0.weight"], light["layers.0.weight"])


RENEWED = {"held": (), "target": ("target",), "batch": ("source", "target")}
every_choice = pytest.mark.parametrize("statistics", RENEWED)


@every_choice
def test_renewed_statistics_are_surveyed_before_the_merge(
    statistics: str, sequences: dict[str, TaskSequence]
) -> None:
    sequence = first(sequences["domain"])
    net = net_of(sequence, **CONV)
    source, tuned = started(net, sequence, TRAINING)
    phase = combine_phase(net, statistics=statistics)
    memory = {"source": source.params, "zero_share": torch.zeros(())}
    opened = {**tuned.params, **phase.open(tuned.params, memory, 1)}
    survey = phase.survey(memory, 1) if phase.survey else None
    assert (survey is None) is (statistics == "held")
    data = sequence.tasks[1].train
    # Without a step: the ends are the two networks, with the statistics of the new task or not.
    for branch, params, at in (
        ("source", source.params, (0.0, 0.0)),
        ("target", tuned.params, (-1.0, 1.0)),
    ):
        alphas = {f"alpha.{b}": a for b, a in zip(("source", "target"), at, strict=True)}
        full = opened | {n: torch.full_like(opened[n], a) for n, a in alphas.items()}
        if survey is not None:
            full = with_population(survey, full, data, sequence.scale)
        one, _ = phase.close(full, memory, 1)
        renewed = branch in RENEWED[statistics]
        expected = with_population(net, params, data, sequence.scale) if renewed else params
        x = sequence.scale(data.raw(torch.arange(len(data))))
        found = net.apply(one, x, 1)
        torch.testing.assert_close(found, net.apply(expected, x, 1), atol=1e-4, rtol=1e-4)


@every_choice
def test_the_loss_under_batch_statistics_is_that_of_both_branches(
    statistics: str, sequences: dict[str, TaskSequence]
) -> None:
    sequence = first(sequences["domain"])
    net = net_of(sequence, **CONV)
    source, tuned = started(net, sequence, TRAINING)
    phase = combine_phase(net, statistics=statistics)
    memory = {"source": source.params, "zero_share": torch.zeros(())}
    full = {**tuned.params, **phase.open(tuned.params, memory, 1)}
    task = sequence.tasks[1]
    index = torch.arange(20)
    x, raw = sequence.scale(task.train.raw(index)), task.train.raw(index)
    noted = phase.note(tuned.params, memory, 1)(x)
    labels = task.train.labels[index]
    batch = methods.base.Batch(x, labels, raw, sequence.scale, {}, None, noted)
    alphas = {u.name: (torch.full(u.shape, -0.5), torch.full(u.shape, 0.5)) for u in units_of(net)}
    both = [
        without_statistics(params) if branch in RENEWED[statistics] else params
        for branch, params in (("source", source.params), ("target", tuned.params))
    ]
    with TwoBranches(units_of(net), alphas, *both):
        logits = net.apply(both[0], x, 1)
    expected = 4 * sum(
        -((net.apply(p, x, 1) / 2).softmax(1) * (logits / 2).log_softmax(1)).sum(1).mean()
        for p in (source.params, tuned.params)
    )
    torch.testing.assert_close(phase.loss(full, memory, batch, 1), expected)


def test_every_choice_of_statistics_is_another_network(
    sequences: dict[str, TaskSequence],
) -> None:
    sequence = first(sequences["domain"])
    net = net_of(sequence, **CONV)
    source, tuned = started(net, sequence, TRAINING)
    held, target, batch = (
        learnt(net, sequence, TRAINING, source, tuned, statistics=kind).params["convs.0.weight"]
        for kind in RENEWED
    )
    assert not torch.allclose(held, target)
    assert not torch.allclose(target, batch)


def test_frozen_statistics_are_held_whatever_is_chosen(
    sequences: dict[str, TaskSequence],
) -> None:
    sequence = first(sequences["domain"])
    net = net_of(sequence, **CONV, bn_mode="frozen")
    source, tuned = started(net, sequence, TRAINING)
    runs = [
        learnt(net, sequence, TRAINING, source, tuned, statistics=kind).params for kind in RENEWED
    ]
    for other in runs[1:]:
        assert all(torch.equal(other[name], value) for name, value in runs[0].items())
    assert all(torch.equal(runs[0][name], source.params[name]) for name in net.statistics)


@pytest.mark.parametrize("kind", ["conv", "resnet32"])
def test_restating_keeps_the_function_and_sets_the_statistics(
    kind: str, sequences: dict[str, TaskSequence]
) -> None:
    sequence = sequences["domain"]
    keys = CONV if kind == "conv" else {"name": "resnet32", "depth": 8, "base_maps": 2}
    net = net_of(sequence, **keys)
    params = learn_source(net, sequence, TRAINING, 0).params
    data = sequence.tasks[3].train
    found = with_data_statistics(net, params, data, sequence.scale)
    x = sequence.scale(data.raw(torch.arange(len(data))))
    before = net.apply(params, x, 0)
    torch.testing.assert_close(net.apply(found, x, 0), before, atol=1e-4, rtol=1e-4)
    moved = {n for n in params if not torch.allclose(params[n], found[n], atol=1e-3)}
    assert moved
    assert all(is_statistic(n) or "norm" in n for n in moved)
    # Its own statistics: set again they stay, and the data's own normalise as they do.
    again = with_data_statistics(net, found, data, sequence.scale)
    for name in net.statistics:
        torch.testing.assert_close(again[name], found[name], atol=1e-5, rtol=1e-4)
    in_training = net.apply(without_statistics(found), x, 0)
    torch.testing.assert_close(in_training, before, atol=1e-3, rtol=1e-3)


def test_a_network_whose_every_layer_has_a_norm(sequences: dict[str, TaskSequence]) -> None:
    """Behind the trunk of a ResNet-18 with a head per task no plain layer is left to merge."""

    def doubled(part: Examples) -> Examples:
        return replace(part, images=part.images.repeat_interleave(2, 2).repeat_interleave(2, 3))

    small = first(sequences["task"])
    tasks = tuple(
        replace(
            task,
            train=doubled(task.train),
            validation=doubled(task.validation),
            test=doubled(task.test),
        )
        for task in small.tasks
    )
    sequence = replace(small, tasks=tasks, input_shape=(1, 16, 16))
    net = net_of(sequence, name="resnet18", base_maps=2)
    training = TrainingConfig(optimizer="sgd", lr=0.01, batch_size=16, steps=2)
    source, tuned = started(net, sequence, training)
    found = learnt(net, sequence, training, source, tuned, lam=1e-3)
    assert all(value.isfinite().all() for value in found.params.values())
