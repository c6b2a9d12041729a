"""A-GEM's projection in closed form, its reference gradient, and what it counts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.agem import projected
from clsweep.methods.base import Batch, LearntTask, Memory
from clsweep.methods.hypers import AgemHyper
from clsweep.methods.parts import buffer
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, dot
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import learn_sequence, learn_source

EVERY_FILL = pytest.mark.parametrize("fill", ["balanced", "uniform"])


def net_of(sequence: TaskSequence) -> Net:
    return build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)


def memory_of(sequence: TaskSequence, hyper: AgemHyper, n_tasks: int) -> Memory:
    """The memory after `n_tasks` tasks."""
    net = net_of(sequence)
    method, params = methods.build("agem", net, hyper), net.init(generator(0, "init"))
    memory = method.begin(params)
    for task in sequence.tasks[:n_tasks]:
        data = LearntTask(task, sequence.scale, None, 0, generator(0, "absorb", task.index))
        memory = method.absorb(params, memory, {}, data)
    return memory


def random_tree(seed: int) -> Params:
    rng = generator(seed, "g")
    return {name: torch.randn(4, 3, generator=rng, dtype=torch.float64) for name in "ab"}


def test_the_projection_is_the_nearest_gradient_without_conflict() -> None:
    """It lies on the boundary, and what was taken away is a multiple of g_ref."""
    reference = random_tree(0)
    g = {name: value - 2 * reference[name] for name, value in random_tree(1).items()}
    assert dot(g, reference) < 0
    found = projected(g, reference)
    assert abs(float(dot(found, reference))) < 1e-12
    taken = torch.cat([(g[n] - found[n]).flatten() for n in "ab"])
    flat = torch.cat([reference[n].flatten() for n in "ab"])
    assert float(F.cosine_similarity(taken, flat, 0)) == pytest.approx(-1.0)


def test_a_gradient_without_conflict_is_left_alone() -> None:
    """Not even a part of the reference is added: the step would be replay otherwise."""
    g = random_tree(0)
    assert projected(g, g) is g
    assert projected(g, {name: torch.zeros_like(value) for name, value in g.items()}) is g


def test_heads_of_past_tasks_have_no_gradient_of_their_own_but_get_the_references() -> None:
    reference = random_tree(0)
    found = projected({"a": -reference["a"]}, reference)
    share = -float(dot({"a": reference["a"]}, reference)) / float(dot(reference, reference))
    torch.testing.assert_close(found["b"], -share * reference["b"])


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_the_reference_is_the_mean_gradient_of_the_drawn_examples(
    scenario: str, sequences: dict[str, TaskSequence]
) -> None:
    """Against a loop over stored examples, each through its own head; g is minus it, so g̃ = 0."""
    sequence = sequences[scenario]
    net, hyper = net_of(sequence), AgemHyper(memory_size=24)
    params = {n: v.requires_grad_() for n, v in net.init(generator(1, "init")).items()}
    memory = memory_of(sequence, hyper, 2)
    stored = memory["slots"]
    index = torch.tensor([0, 5, 13, 20])
    assert set(stored.tasks[index].tolist()) == {0, 1}
    losses = []
    for i in index.tolist():
        head = int(stored.tasks[i]) if scenario == "task" else 2
        logits = net.apply(params, sequence.scale(stored.raw[i : i + 1]), head)
        losses.append(F.cross_entropy(logits, stored.labels[i : i + 1]))
    mean = torch.stack(losses).mean()
    found = torch.autograd.grad(
        mean, list(params.values()), allow_unused=True, materialize_grads=True
    )
    grads = {name: -g for name, g in zip(params, found, strict=True)}
    raw = stored.raw[:1]
    batch = Batch(sequence.scale(raw), stored.labels[:1], raw, sequence.scale, {"slots": index})
    project = methods.build("agem", net, hyper).phases[0].project
    after, counted = project(grads, params, memory, batch, 2)
    assert counted["projected_steps"] == memory["projected_steps"] + 1
    for name, value in after.items():
        assert float(value.abs().max()) < 1e-6, name
    if scenario == "task":
        assert not grads["heads.2.weight"].any()


@EVERY_FILL
def test_memory_is_full_from_the_first_task_on(
    fill: str, sequences: dict[str, TaskSequence]
) -> None:
    for n_tasks in (1, 2, 3):
        stored = memory_of(sequences["domain"], AgemHyper(memory_size=24, fill=fill), n_tasks)
        counts = stored["slots"].tasks.bincount().tolist()
        assert counts == [24 // n_tasks] * n_tasks


@EVERY_FILL
def test_memory_per_task_is_not_shared(fill: str, sequences: dict[str, TaskSequence]) -> None:
    sequence = sequences["domain"]
    hyper = AgemHyper(memory_size=12, fill=fill, per_task=True)
    for n_tasks in (1, 2, 3, 4):
        held = memory_of(sequence, hyper, n_tasks)["slots"]
        assert len(held.labels) == 12 * 4
        assert held.tasks[: held.n_filled].tolist() == [
            k for k in range(n_tasks) for _ in range(12)
        ]


@EVERY_FILL
def test_a_memory_larger_than_the_data_and_a_batch_larger_than_the_memory(
    fill: str, sequences: dict[str, TaskSequence]
) -> None:
    sequence = sequences["domain"]
    memory = memory_of(sequence, AgemHyper(memory_size=1000, fill=fill), 1)
    n = len(sequence.tasks[0].train)
    assert memory["slots"].n_filled == n
    hyper = AgemHyper(reference_batch=5000)
    phase = methods.build("agem", net_of(sequence), hyper).phases[0]
    draw = phase.draw(generator(0, "d"), memory, 3, 10)
    assert draw["slots"].sort(1).values.tolist() == [list(range(n))] * 3


def test_a_memory_without_slots_is_refused() -> None:
    for key in ("memory_size", "reference_batch"):
        with pytest.raises(ValueError, match=f"{key}(?s:.)*greater than or equal to 1"):
            AgemHyper(**{key: 0})


def test_projections_are_counted(sequences: dict[str, TaskSequence]) -> None:
    sequence, training = sequences["domain"], TrainingConfig(lr=0.1, batch_size=16, steps=8)
    net = net_of(sequence)
    source = learn_source(net, sequence, training, 0)
    method = methods.build("agem", net, AgemHyper())
    learnt = learn_sequence(method, sequence, training, 0, source, {})
    assert 0 < learnt.counters["projected_steps"] <= learnt.n_steps


def test_what_is_drawn_holds_no_more_memory_than_itself() -> None:
    """A row of all slots per step was once kept alive by the few that are drawn of it."""
    index = buffer.example_indices(generator(0, "drawn"), 500, 10, 600)
    assert index.shape == (600, 10)
    assert index.untyped_storage().nbytes() == index.numel() * index.element_size()
    whole = torch.rand(600, 500, generator=generator(0, "drawn")).argsort(1)[:, :10]
    assert torch.equal(index, whole)
