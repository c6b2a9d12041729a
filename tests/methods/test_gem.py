"""GEM's programme against brute force and closed forms, and its rules around the solver."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, TaskSequence
from clsweep.methods import agem, gem
from clsweep.methods.base import Batch, LearntTask, Memory, Method
from clsweep.methods.hypers import GemHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, dot
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import learn_sequence, learn_source

Array = NDArray[np.float64]
SCENARIOS = ("task", "domain", "class")


def programme(seed: int, n_tasks: int) -> tuple[Array, Array]:
    """MMᵀ and Mg of random gradients, with a conflict."""
    rng = np.random.default_rng(seed)
    m, g = rng.normal(size=(n_tasks, 12)), rng.normal(size=12)
    g -= 1.5 * m[0]
    return m @ m.T, m @ g


def brute_force(gram: Array, along: Array, margin: float) -> Array:
    """The best of all feasible points at which some weights stand at the margin."""
    best, lowest = None, np.inf
    n = len(along)
    for at_margin in itertools.product([False, True], repeat=n):
        free = ~np.array(at_margin)
        v = np.full(n, margin)
        right = -(along + gram @ np.where(free, 0, v))[free]
        v[free] = np.linalg.solve(gram[np.ix_(free, free)], right)
        value = 0.5 * v @ gram @ v + along @ v
        if (v >= margin - 1e-9).all() and value < lowest:
            best, lowest = v, value
    assert best is not None
    return best


@pytest.mark.parametrize("n_tasks", [1, 2, 3, 4])
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_the_weights_are_the_best_of_all_active_sets(n_tasks: int, margin: float) -> None:
    for seed in range(20):
        gram, along = programme(seed, n_tasks)
        v = gem.dual_weights(gram, along, margin, 0.0, True)
        np.testing.assert_allclose(v, brute_force(gram, along, margin), atol=1e-8)


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e3])
def test_optimality_conditions(margin: float, size: float) -> None:
    """v ≥ γ, gradient ≥ 0, and one of both is tight; whatever the size of the gradients."""
    for seed in range(20):
        gram, along = programme(seed, 19)
        gram, along = gram * size**2, along * size**2
        v = gem.dual_weights(gram, along, margin, 1e-3, True)
        slope = (gram + 1e-3 * np.trace(gram) / 19 * np.eye(19)) @ v + along
        assert (v >= margin - 1e-9).all()
        assert (slope >= -1e-8 * size**2 * 100).all()
        assert np.abs((v - margin) * slope).max() < 1e-7 * size**2 * 100


def test_one_constraint_is_a_gem() -> None:
    """γ = 0 and ε → 0: v is A-GEM's share."""
    for seed in range(10):
        gram, along = programme(seed, 1)
        v = gem.dual_weights(gram, along, 0.0, 1e-12, True)
        assert v[0] == pytest.approx(-along[0] / gram[0, 0], rel=1e-8)


@pytest.mark.parametrize("size", [1.0, 1e-2])
def test_the_published_ridge_misses_the_constraint_where_gradients_are_small(size: float) -> None:
    """What is left of a conflict is the share ε / (‖g_k‖² + ε) of it."""
    gram, along = np.array([[size**2]]), np.array([-(size**2)])
    for ridge, in_units, left in ((1e-3, False, 1e-3 / (size**2 + 1e-3)), (1e-3, True, 1e-3)):
        v = gem.dual_weights(gram, along, 0.0, ridge, in_units)
        assert (along + gram @ v)[0] / along[0] == pytest.approx(left, rel=2e-3)


def test_a_singular_programme_falls_back_to_equal_weights() -> None:
    gram, along = np.ones((2, 2)), np.array([-3.0, -3.0])
    assert gem.dual_weights(gram, along, 0.0, 0.0, True) is None
    v = gem.equal_weights(gram, along, 0.0)
    np.testing.assert_allclose(v, [1.5, 1.5])
    np.testing.assert_allclose(along + gram @ v, 0)
    np.testing.assert_allclose(gem.equal_weights(gram, along, 2.0), [2.0, 2.0])
    np.testing.assert_allclose(gem.equal_weights(np.zeros((2, 2)), along * 0, 0.5), [0.5, 0.5])


def test_gradients_that_are_not_finite_are_not_hidden() -> None:
    gram, along = np.full((2, 2), np.nan), np.array([np.nan, 1.0])
    assert gem.dual_weights(gram, along, 0.5, 1e-3, True) is None
    assert np.isnan(gem.equal_weights(gram, along, 0.5)).all()


def net_of(sequence: TaskSequence) -> Net:
    return build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)


def memory_of(sequence: TaskSequence, hyper: GemHyper, n_tasks: int) -> Memory:
    net = net_of(sequence)
    method, params = methods.build("gem", net, hyper), net.init(generator(0, "init"))
    memory = method.begin(params)
    for task in sequence.tasks[:n_tasks]:
        data = LearntTask(task, sequence.scale, None, 0, generator(0, "absorb", task.index))
        memory = method.absorb(params, memory, {}, data)
    return memory


def past_gradients(sequence: TaskSequence, params: Params, memory: Memory) -> list[Params]:
    """g_k by a loop over the past tasks."""
    net, stored, found = net_of(sequence), memory["slots"], []
    newest = int(stored.tasks.max()) + 1
    for k in range(newest):
        here = stored.tasks == k
        head = k if sequence.heads.scenario == "task" else newest
        logits = net.apply(params, sequence.scale(stored.raw[here]), head)
        loss = F.cross_entropy(logits, stored.labels[here])
        g = torch.autograd.grad(
            loss, list(params.values()), allow_unused=True, materialize_grads=True
        )
        found.append(dict(zip(params, g, strict=True)))
    return found


def projected(
    sequence: TaskSequence, grads: Params, params: Params, memory: Memory, hyper: GemHyper
) -> tuple[Params, Memory]:
    raw = memory["slots"].raw[:1]
    batch = Batch(sequence.scale(raw), torch.zeros(1, dtype=torch.int64), raw, sequence.scale, {})
    newest = int(memory["slots"].tasks.max()) + 1
    phase = methods.build("gem", net_of(sequence), hyper).phases[0]
    return phase.project(grads, params, memory, batch, newest)


def fresh(sequence: TaskSequence) -> Params:
    drawn = net_of(sequence).init(generator(1, "init"))
    return {name: value.requires_grad_() for name, value in drawn.items()}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_past_task_and_no_margin_is_a_gems_projection(
    scenario: str, sequences: dict[str, TaskSequence]
) -> None:
    sequence, hyper = sequences[scenario], GemHyper(memory_size=20, margin=0.0, ridge=1e-6)
    memory, params = memory_of(sequence, hyper, 1), fresh(sequence)
    (past,) = past_gradients(sequence, params, memory)
    noise = {n: torch.randn(v.shape, generator=generator(2, n)) for n, v in params.items()}
    grads = {name: 0.01 * noise[name] - 3 * value for name, value in past.items()}
    found, counted = projected(sequence, grads, params, memory, hyper)
    assert counted["projected_steps"] == 1
    for name, value in agem.projected(grads, past).items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_past_loss_increases_along_the_projected_gradient(
    scenario: str, sequences: dict[str, TaskSequence]
) -> None:
    sequence, hyper = sequences[scenario], GemHyper(memory_size=30, margin=0.0)
    memory, params = memory_of(sequence, hyper, 3), fresh(sequence)
    past = past_gradients(sequence, params, memory)
    noise = {n: torch.randn(v.shape, generator=generator(2, n)) for n, v in params.items()}
    grads = {name: 0.01 * noise[name] - sum(g[name] for g in past) for name in params}
    found, _ = projected(sequence, grads, params, memory, hyper)
    before, after = ([float(dot(t, g)) for g in past] for t in (grads, found))
    for g, along in zip(past, after, strict=True):
        assert along > -0.005 * float(dot(grads, grads) * dot(g, g)) ** 0.5
    assert min(before) < -0.5 * float(dot(grads, grads)) / 3


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_without_a_conflict_the_gradient_is_the_same_object(
    scenario: str, sequences: dict[str, TaskSequence]
) -> None:
    sequence, hyper = sequences[scenario], GemHyper(memory_size=30, margin=0.5)
    memory, params = memory_of(sequence, hyper, 1), fresh(sequence)
    (past,) = past_gradients(sequence, params, memory)
    found, counted = projected(sequence, past, params, memory, hyper)
    assert found is past
    assert counted is memory


def test_the_margin_is_added_of_every_past_gradient(sequences: dict[str, TaskSequence]) -> None:
    """With a margin far above every optimum, g̃ = g + γ Σ g_k."""
    sequence, hyper = sequences["domain"], GemHyper(memory_size=30, margin=50.0)
    memory, params = memory_of(sequence, hyper, 3), fresh(sequence)
    past = past_gradients(sequence, params, memory)
    grads = {name: sum(-g[name] for g in past) for name in params}
    found, _ = projected(sequence, grads, params, memory, hyper)
    for name in params:
        expected = grads[name] + 50 * sum(g[name] for g in past)
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-4)


def test_the_memory_of_one_task_does_not_reach_the_head_of_another(
    sequences: dict[str, TaskSequence],
) -> None:
    """The new task's head gets no gradient from the memory, nor do heads of later tasks."""
    sequence, hyper = sequences["task"], GemHyper(memory_size=30, margin=0.0)
    memory, params = memory_of(sequence, hyper, 1), fresh(sequence)
    (past,) = past_gradients(sequence, params, memory)
    found, counted = projected(
        sequence, {name: -value for name, value in past.items()}, params, memory, hyper
    )
    assert counted["projected_steps"] == 1
    for head in (1, 2, 3, 4):
        assert not found[f"heads.{head}.weight"].any()
    assert past["heads.0.weight"].any()


def test_failures_of_the_solver_are_counted(sequences: dict[str, TaskSequence]) -> None:
    """Two tasks with the same memory and no ridge make a singular programme."""
    sequence, hyper = sequences["domain"], GemHyper(memory_size=20, margin=0.0, ridge=0.0)
    memory, params = memory_of(sequence, hyper, 2), fresh(sequence)
    stored = memory["slots"]
    raw, labels = (torch.cat([t[:10], t[:10]]) for t in (stored.raw, stored.labels))
    twins = {**memory, "slots": stored._replace(raw=raw, labels=labels)}
    past = past_gradients(sequence, params, twins)
    grads = {name: -value for name, value in past[0].items()}
    found, counted = projected(sequence, grads, params, twins, hyper)
    assert counted["projected_steps"] == 1
    assert counted["solver_failures"] == 1
    for name, value in agem.projected(grads, past[0]).items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fill", ["balanced", "uniform"])
def test_memory_in_all_and_per_task(fill: str, sequences: dict[str, TaskSequence]) -> None:
    sequence = sequences["domain"]
    for n_tasks in (1, 2, 3, 4):
        total = memory_of(sequence, GemHyper(memory_size=24, fill=fill), n_tasks)["slots"]
        assert total.tasks.bincount().tolist() == [24 // n_tasks] * n_tasks
        each = GemHyper(memory_size=12, fill=fill, per_task=True)
        own = memory_of(sequence, each, n_tasks)["slots"]
        assert len(own.labels) == 12 * 4
        assert own.tasks[: own.n_filled].tolist() == [k for k in range(n_tasks) for _ in range(12)]


def test_a_task_without_a_slot_gives_no_constraint(sequences: dict[str, TaskSequence]) -> None:
    sequence, hyper = sequences["domain"], GemHyper(memory_size=2, fill="uniform")
    memory, params = memory_of(sequence, hyper, 4), fresh(sequence)
    assert set(memory["slots"].tasks.tolist()) == {0, 1}
    grads = {name: torch.ones_like(value) for name, value in params.items()}
    projected(sequence, grads, params, memory, hyper)


def test_a_memory_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match=r"memory_size(?s:.)*greater than or equal to 1"):
        GemHyper(memory_size=0)


def test_counters_of_a_run(sequences: dict[str, TaskSequence]) -> None:
    sequence, training = sequences["domain"], TrainingConfig(lr=0.1, batch_size=16, steps=8)
    net = net_of(sequence)
    source = learn_source(net, sequence, training, 0)
    learnt = learn_sequence(
        methods.build("gem", net, GemHyper()), sequence, training, 0, source, {}
    )
    assert set(learnt.counters) == {"projected_steps", "solver_failures"}
    assert 0 < learnt.counters["projected_steps"] <= learnt.n_steps
    assert learnt.counters["solver_failures"] == 0


def test_a_task_of_one_class(sequences: dict[str, TaskSequence]) -> None:
    """Its cross-entropy is zero in a head of its own: no gradient, hence never a conflict."""
    net = build_net(NetConfig(hidden=(6,)), (1, 8, 8), Heads("task", (1, 2)))
    sequence = sequences["task"]
    params = {n: v.requires_grad_() for n, v in net.init(generator(0, "init")).items()}
    method = methods.build("gem", net, GemHyper(memory_size=10))
    task = sequence.tasks[0]
    labels = torch.zeros_like(task.train.labels)
    only = type(task.train)(task.train.images, task.train.rows, labels)
    one = type(task)(0, only, only, only, 1)
    data = LearntTask(one, sequence.scale, None, 0, generator(0, "absorb"))
    memory = method.absorb(params, method.begin(params), {}, data)
    assert memory["slots"].n_filled == 10
    grads = {name: torch.ones_like(value) for name, value in params.items()}
    raw = memory["slots"].raw[:1]
    batch = Batch(sequence.scale(raw), labels[:1], raw, sequence.scale, {})
    found, _ = method.phases[0].project(grads, params, memory, batch, 1)
    assert found is grads


def test_an_absolute_ridge_holds_where_memories_repeat() -> None:
    """MMᵀ of repeated gradients is singular but for ε; float32 rounds more than that."""
    rng = np.random.default_rng(0)
    net = build_net(NetConfig(hidden=(40,)), (1, 8, 8), Heads("domain", (2, 2, 2, 2, 2)))
    params = {n: v.requires_grad_() for n, v in net.init(generator(0, "init")).items()}
    n_params = sum(v.numel() for v in params.values())
    hyper = GemHyper(memory_size=4, ridge_unit="absolute")
    method = methods.build("gem", net, hyper)
    for _ in range(20):
        distinct = 30 * rng.standard_normal((2, n_params)).astype(np.float32)
        rows = distinct[[0, 1, 0, 1]]
        grad = (rng.standard_normal(n_params) - 0.1 * rows.sum(0)).astype(np.float32)
        found, failures = step_of(method, params, rows, grad)
        wide, along = rows.astype(np.float64), rows.astype(np.float64) @ grad
        v = gem.dual_weights(wide @ wide.T, along, hyper.margin, hyper.ridge, False)
        assert v is not None
        assert failures == 0
        expected = grad + wide.T @ v
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert error < 1e-5


def step_of(method: Method, params: Params, rows: Array, grad: Array) -> tuple[Array, int]:
    """The projected gradient where the past tasks' gradients are `rows`; failures counted."""
    sizes = [v.numel() for v in params.values()]
    parts = torch.from_numpy(grad).split(sizes)
    grads = {n: g.view_as(v) for (n, v), g in zip(params.items(), parts, strict=True)}
    memory = method.begin(params)
    scale = Scale(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
    x = torch.zeros(1, 1, 8, 8)
    batch = Batch(x, torch.zeros(1, dtype=torch.int64), x.byte(), scale, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gem, "task_gradients", lambda *given: torch.from_numpy(rows))
        found, after = method.phases[0].project(grads, params, memory, batch, 4)
    flat = torch.cat([found[n].flatten() for n in params]).detach().numpy()
    return flat.astype(np.float64), after["solver_failures"]


def test_results_with_an_absolute_ridge_are_told_from_those_of_float32() -> None:
    assert GemHyper(ridge_unit="absolute").revision == 1
    assert GemHyper().revision == 0
