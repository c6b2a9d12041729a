"""Rings and loss-aware reservoirs against lists, and what their methods keep."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.errors import MethodError
from clsweep.methods.base import Batch, LearntTask, Memory, Method
from clsweep.methods.parts import buffer, filling
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.memory_bytes import memory_bytes
from clsweep.training.sequences import learn_sequence, learn_source

CPU = torch.device("cpu")


def batch_of(values: list[int], **draw: Tensor) -> Batch:
    raw = torch.tensor(values, dtype=torch.uint8)[:, None]
    return Batch(raw.float(), torch.tensor(values) % 3, raw, None, draw)


def test_a_ring_keeps_the_newest_examples_of_each_task() -> None:
    stored, kept, value = buffer.empty(11, (1,), CPU), [], 0
    n_tasks, share = 3, 3
    for task in range(n_tasks):
        ring: list[int] = [-1] * share
        seen = 0
        for size in (2, 4, 1) if task != 1 else (2,):  # the second task does not fill its ring
            values = list(range(value, value + size))
            value += size
            stored = filling.streamed(stored, batch_of(values), task, None, "ring", n_tasks)
            for new in values:
                ring[seen % share] = new
                seen += 1
            there = kept + [v for v in ring if v >= 0]
            assert stored.raw[: stored.n_filled, 0].tolist() == there
        kept += [v for v in ring if v >= 0]
        learnt = LearntTask(None, None, None, seen, generator(0, "absorb"))
        stored = filling.absorbed(stored, learnt, "ring", n_tasks=n_tasks)
    assert stored.tasks[: stored.n_filled].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert stored.labels[: stored.n_filled].tolist() == [v % 3 for v in kept]


def test_rings_need_a_slot_per_task() -> None:
    with pytest.raises(MethodError, match="rings of 4 tasks do not fit into 3 stored examples"):
        filling.ring_share(3, 4)


def full_of(losses: list[float], labels: list[int], tasks: list[int]) -> buffer.Buffer:
    stored = buffer.empty(len(losses), (1,), CPU, noted={filling.LOSS: ()})
    return stored._replace(
        labels=torch.tensor(labels),
        tasks=torch.tensor(tasks),
        n_filled=len(losses),
        n_seen=len(losses),
        noted={filling.LOSS: torch.tensor(losses)},
    )


@pytest.mark.parametrize("has_heads", [False, True])
def test_scores_by_hand(has_heads: bool) -> None:
    losses, labels, tasks = [0.5, 2.0, 0.1, 1.0, 3.0], [0, 0, 1, 0, 2], [0, 1, 1, 0, 1]
    classes = list(zip(labels, tasks, strict=True)) if has_heads else labels
    counts = Counter(classes)
    b = [counts[c] for c in classes]
    size = (sum(losses) / 5) * (sum(b) / 5)
    v = [0.5 * -loss / size + 0.5 * n for loss, n in zip(losses, b, strict=True)]
    wanted = torch.tensor([(x - min(v)) / (max(v) - min(v)) for x in v])
    torch.testing.assert_close(
        filling.loss_scores(full_of(losses, labels, tasks), has_heads), wanted
    )
    alike = filling.loss_scores(full_of([0.0] * 3, [1] * 3, [0] * 3), has_heads)
    assert alike.tolist() == [1.0] * 3


def test_what_is_learnt_best_makes_room() -> None:
    stored = full_of([5.0, 0.1, 4.0, 3.0], [0, 0, 0, 0], [0, 0, 0, 0])
    share = filling.loss_scores(stored, False).double()
    share = share / share.sum()
    lost: Counter[int] = Counter()
    rng = generator(0, "draw")
    n_trials = 2000
    for _ in range(n_trials):
        draw = {name: torch.rand(1, generator=rng).double() for name in ("uniform", "victim")}
        after = filling.streamed_by_loss(
            stored, batch_of([9], **draw), 1, torch.tensor([7.0]), has_heads=False
        )
        (gone,) = (after.tasks == 1).nonzero().flatten().tolist() or [-1]
        lost[gone] += 1
        if gone >= 0:
            assert float(after.noted[filling.LOSS][gone]) == 7.0
    assert lost[-1] / n_trials == pytest.approx(1 / 5, abs=0.03)  # enters with probability M/n
    for slot in range(4):
        expected = float(share[slot]) * 4 / 5
        assert lost[slot] / n_trials == pytest.approx(expected, abs=0.04)
    assert lost[0] == 0  # the largest loss has the score 0


def net_of(sequence: TaskSequence) -> Net:
    return build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)


# Methods that share the fillings, with numbers under which no step of theirs moves the network.
REPLAYING: dict[str, dict[str, Any]] = {
    "replay": {"replay_batch": 3},
    "er_ace": {"replay_batch": 3},
    "der": {"replay_batch": 3},
    "derpp": {"replay_batch": 3},
    "mir": {"candidates": 4, "replay_batch": 3},
    "mer": {"replay_batch": 3, "n_batches": 2, "inner_lr": 1e-9},
    "hal": {"replay_batch": 3, "ascent_steps": 1, "inner_lr": 1e-9},
}
STARTS = [(name, start) for name in REPLAYING for start in ("shared", "own")]
STARTS.remove(("mir", "own"))  # its first task is plain training


def built(name: str, net: Net, first_task: str, **numbers: Any) -> Method:
    own = {} if name == "mir" else {"first_task": first_task}
    hyper = methods.METHODS[name].hyper(**{**REPLAYING[name], **own, **numbers})
    return methods.build(name, net, hyper)


def stepped(method: Method, full: Params, memory: Memory, batch: Batch) -> Memory:
    """The memory after a step that leaves the network as it is."""
    (phase,) = method.phases
    found = phase.loss(full, memory, batch, 1)
    batch = batch._replace(noted={n: v.detach() for n, v in found.noted.items()})
    if phase.project:
        grads = {n: torch.zeros_like(v) for n, v in full.items()}
        _, memory = phase.project(grads, full, memory, batch, 1)
    return phase.track(memory, batch, 1)


@pytest.mark.parametrize(("name", "first_task"), STARTS)
def test_stored_losses_are_those_of_the_last_step_that_has_met_them(
    name: str, first_task: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["domain"]
    net = net_of(sequence)
    method = built(name, net, first_task, memory_size=6, fill="loss_aware")
    (phase,) = method.phases
    drawn = net.init(generator(0, "init"))
    full = {n: v.requires_grad_() for n, v in drawn.items()}
    memory: Memory = method.begin(full)
    if first_task == "shared":
        learnt = LearntTask(sequence.tasks[0], sequence.scale, None, 9, generator(0, "absorb"))
        memory = method.absorb(full, memory, {}, learnt)
    # What no step has met yet has a loss that no network gives.
    wrong = torch.full_like(memory["slots"].noted[filling.LOSS], -1.0)
    noted = {**memory["slots"].noted, filling.LOSS: wrong}
    memory = {**memory, "slots": memory["slots"]._replace(noted=noted)}
    draws = phase.draw(generator(1, "draw"), memory, 3, 4)
    data = sequence.tasks[1].train
    for step in range(3):
        index = torch.arange(4 * step, 4 * step + 4)
        raw, y = data.raw(index), data.labels[index]
        draw = {name: rows[step] for name, rows in draws.items()}
        batch = Batch(sequence.scale(raw), y, raw, sequence.scale, draw)
        memory = stepped(method, full, memory, batch)
    stored: buffer.Buffer = memory["slots"]
    assert stored.n_filled == 6
    assert {0: {0, 1}, 1: {1}}[int(first_task == "own")] >= set(stored.tasks.tolist())
    losses, met = stored.noted[filling.LOSS], stored.noted[filling.LOSS] >= 0
    assert met.sum() > 3
    z = net.apply(full, sequence.scale(stored.raw), 1)
    each = F.cross_entropy(z, stored.labels, reduction="none")  # no step was made: all are as then
    torch.testing.assert_close(losses[met], each[met])


@pytest.mark.parametrize("name", REPLAYING)
def test_the_first_losses_are_those_after_the_shared_task(
    name: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["class"]
    net = net_of(sequence)
    method = built(name, net, "shared", memory_size=6, fill="loss_aware")
    if name in ("der", "derpp"):
        method = built(name, net, "shared", memory_size=6, fill="loss_aware", outputs="seen")
    full = net.init(generator(0, "init"))
    learnt = LearntTask(sequence.tasks[0], sequence.scale, None, 9, generator(0, "absorb"))
    stored: buffer.Buffer = method.absorb(full, method.begin(full), {}, learnt)["slots"]
    z = net.apply(full, sequence.scale(stored.raw), 0)
    each = F.cross_entropy(z, stored.labels, reduction="none")
    torch.testing.assert_close(stored.noted[filling.LOSS], each)


@pytest.mark.parametrize(("name", "first_task"), STARTS)
def test_rings_of_a_whole_sequence(
    name: str, first_task: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["domain"]
    net = net_of(sequence)
    method = built(name, net, first_task, memory_size=10, fill="ring")
    training = TrainingConfig(batch_size=4, steps=3)
    source = learn_source(net, sequence, training, 0) if first_task == "shared" else None
    kept: list[buffer.Buffer] = []

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        found = method.absorb(params, memory, statistics, learnt)
        kept.append(found["slots"])
        return found

    learn_sequence(replace(method, absorb=absorb), sequence, training, 0, source, {})
    assert [one.n_filled for one in kept] == [3, 6]
    assert kept[-1].tasks[:6].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", REPLAYING)
def test_rings_of_too_many_tasks_are_refused_before_training(
    name: str, short_sequences: dict[str, TaskSequence]
) -> None:
    with pytest.raises(MethodError, match="rings of 3 tasks"):
        built(name, net_of(short_sequences["domain"]), "shared", memory_size=2, fill="ring")


@pytest.mark.parametrize("name", REPLAYING)
def test_bytes_are_those_of_examples_outputs_and_losses(
    name: str, short_sequences: dict[str, TaskSequence]
) -> None:
    net = net_of(short_sequences["class"])
    params = net.init(generator(0, "init"))
    found = {
        fill: memory_bytes(
            built(name, net, "shared", memory_size=20, fill=fill).begin(params)
        ).data
        for fill in ("reservoir", "balanced", "ring", "loss_aware")
    }
    outputs = net.heads.n_outputs * 4 * (name in ("der", "derpp"))
    n_pixels = math.prod(net.input_shape)
    n_anchors = sum(net.heads.sizes[:-1]) * (name == "hal")  # inputs in floating point
    anchors = n_anchors * (4 * n_pixels + 8 + 8)
    assert found["ring"] == 20 * (n_pixels + 8 + 8 + outputs) + anchors
    assert found["loss_aware"] == found["ring"] + 20 * 4
    assert found["reservoir"] == found["balanced"] == found["ring"]


def test_free_slots_are_filled_before_any_example_makes_room(
    short_sequences: dict[str, TaskSequence],
) -> None:
    """A memory larger than the first task, which has passed by several times."""
    task = short_sequences["domain"].tasks[0]
    n_first = len(task.train)
    noted = {filling.LOSS: ()}
    stored = buffer.empty(n_first + 5, task.train.raw(torch.arange(1)).shape[1:], CPU, noted=noted)
    learnt = LearntTask(task, None, None, 10 * n_first, generator(0, "absorb"))

    def losses(raw: Tensor) -> dict[str, Tensor]:
        return {filling.LOSS: torch.ones(len(raw))}

    stored = filling.absorbed(stored, learnt, "loss_aware", losses)
    assert (stored.n_filled, stored.n_seen) == (n_first, 10 * n_first)
    draw = {name: torch.full((4,), 0.999).double() for name in ("uniform", "victim")}
    new = Batch(task.train.raw(torch.arange(4)), task.train.labels[:4], None, None, draw)
    new = new._replace(raw=new.x)
    for n_there in (n_first + 4, n_first + 5):
        plain = filling.streamed(stored, new, 1, {filling.LOSS: torch.ones(4)})
        chosen = filling.streamed_by_loss(stored, new, 1, torch.ones(4), has_heads=False)
        for found in (plain, chosen):
            assert found.n_filled == n_there
            assert found.tasks[:n_there].bincount().tolist() == [n_first, n_there - n_first]
        stored = plain
