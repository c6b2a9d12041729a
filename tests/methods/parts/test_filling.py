"""Rings and loss-aware reservoirs against lists, and what their methods keep."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.errors import MethodError
from clsweep.methods.base import Batch, LearntTask, Memory
from clsweep.methods.hypers import ReplayHyper
from clsweep.methods.parts import buffer, filling
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
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


@pytest.mark.parametrize("first_task", ["shared", "own"])
def test_stored_losses_are_those_of_the_last_step_that_has_met_them(
    first_task: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["domain"]
    net = net_of(sequence)
    hyper = ReplayHyper(memory_size=6, replay_batch=3, fill="loss_aware", first_task=first_task)
    method = methods.build("replay", net, hyper)
    (phase,) = method.phases
    drawn = net.init(generator(0, "init"))
    full = {n: v.requires_grad_() for n, v in drawn.items()}
    memory: Memory = method.begin(full)
    if first_task == "shared":
        learnt = LearntTask(sequence.tasks[0], sequence.scale, None, 9, generator(0, "absorb"))
        memory = method.absorb(full, memory, {}, learnt)
    rng = generator(1, "draw")
    draws = phase.draw(rng, memory, 3, 4)
    data = sequence.tasks[1].train
    for step in range(3):
        index = torch.arange(4 * step, 4 * step + 4)
        raw, y = data.raw(index), data.labels[index]
        draw = {name: rows[step] for name, rows in draws.items()}
        batch = Batch(sequence.scale(raw), y, raw, sequence.scale, draw)
        noted = phase.loss(full, memory, batch, 1).noted
        memory = phase.track(memory, batch._replace(noted=noted), 1)
    stored: buffer.Buffer = memory["slots"]
    assert stored.n_filled == 6
    assert {0: {0, 1}, 1: {1}}[int(first_task == "own")] >= set(stored.tasks.tolist())
    z = net.apply(full, sequence.scale(stored.raw), 1)
    each = F.cross_entropy(z, stored.labels, reduction="none")  # no step was made: all are as then
    torch.testing.assert_close(stored.noted[filling.LOSS], each)


@pytest.mark.parametrize("first_task", ["shared", "own"])
def test_rings_of_a_whole_sequence(
    first_task: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["domain"]
    net = net_of(sequence)
    hyper = ReplayHyper(memory_size=10, fill="ring", first_task=first_task)
    method = methods.build("replay", net, hyper)
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
