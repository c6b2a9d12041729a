"""Replay and its memory: the joint gradient, fair shares, and a reservoir that is uniform."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Task, TaskSequence
from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.hypers import ReplayHyper
from clsweep.methods.parts import buffer
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import own_head_logits


def test_full_memory_and_weight_one_is_the_joint_gradient(
    sequences: dict[str, TaskSequence],
) -> None:
    for scenario in ("task", "domain", "class"):
        sequence = sequences[scenario]
        net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
        params = {n: v.requires_grad_() for n, v in net.init(generator(0, "init")).items()}
        first, second = (task.train for task in sequence.tasks[:2])
        n = min(len(first), len(second))
        method = methods.build("replay", net, ReplayHyper(memory_size=len(first)))
        data = LearntTask(sequence.tasks[0], sequence.scale, None, 0, generator(0, "absorb"))
        memory = method.absorb(params, method.begin(params), {}, data)
        assert memory["slots"].n_filled == len(first)
        index = torch.arange(n)
        raw = second.raw(index)
        draw = {"slots": torch.arange(len(first))}
        batch = Batch(sequence.scale(raw), second.labels[index], raw, sequence.scale, draw)
        replayed = torch.autograd.grad(
            method.phases[0].loss(params, memory, batch, 1),
            list(params.values()),
            materialize_grads=True,
            allow_unused=True,
        )
        whole = torch.arange(len(first))
        old = F.cross_entropy(
            net.apply(params, sequence.scale(first.raw(whole)), 1 if scenario == "class" else 0),
            first.labels,
        )
        new = F.cross_entropy(net.apply(params, batch.x, 1), batch.y)
        joint = torch.autograd.grad(
            old + new, list(params.values()), materialize_grads=True, allow_unused=True
        )
        for a, b in zip(replayed, joint, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def stream_task(index: int, labels: list[int]) -> Task:
    n = len(labels)
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None]
    data = Examples(images, torch.arange(n), torch.tensor(labels))
    return Task(index, data, data, data, max(labels) + 1)


def counts(stored: buffer.Buffer) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for task, label in zip(stored.tasks.tolist(), stored.labels.tolist(), strict=True):
        if task >= 0:
            found[task, label] = found.get((task, label), 0) + 1
    return found


def test_balanced_shares() -> None:
    memory = buffer.empty(12, (1, 1, 1), torch.device("cpu"))
    memory = buffer.balanced(memory, stream_task(0, [0] * 20 + [1] * 20), generator(0, "a"))
    assert counts(memory) == {(0, 0): 6, (0, 1): 6}
    memory = buffer.balanced(memory, stream_task(1, [0] * 20 + [1] * 20), generator(0, "b"))
    assert counts(memory) == {(0, 0): 3, (0, 1): 3, (1, 0): 3, (1, 1): 3}
    memory = buffer.balanced(memory, stream_task(2, [0] + [1] * 20), generator(0, "c"))
    assert counts(memory) == {(0, 0): 3, (0, 1): 2, (1, 0): 2, (1, 1): 2, (2, 0): 1, (2, 1): 2}
    assert memory.n_filled == 12


def test_a_memory_larger_than_the_data_is_not_full() -> None:
    memory = buffer.empty(50, (1, 1, 1), torch.device("cpu"))
    memory = buffer.balanced(memory, stream_task(0, [0] * 4 + [1] * 9), generator(0, "a"))
    assert memory.n_filled == 13
    assert counts(memory) == {(0, 0): 4, (0, 1): 9}
    assert (memory.tasks[13:] == -1).all()


@pytest.mark.parametrize("fill", [buffer.balanced, buffer.uniform])
def test_a_share_larger_than_a_task_takes_all_of_it(fill: Callable[..., buffer.Buffer]) -> None:
    memory = buffer.empty(40, (1, 1, 1), torch.device("cpu"))
    for task, labels in enumerate(([0] * 4 + [1] * 9, [0] * 15 + [1] * 15)):
        memory = fill(memory, stream_task(task, labels), generator(0, task), most_per_task=20)
    assert memory.tasks.tolist() == [0] * 13 + [1] * 20 + [-1] * 7


def streamed_in_parts(
    capacity: int, images: torch.Tensor, labels: torch.Tensor, uniform: torch.Tensor, batch: int
) -> buffer.Buffer:
    """The reservoir after the whole stream, in batches of that many examples."""
    memory = buffer.empty(capacity, (1, 1, 1), torch.device("cpu"))
    for part in torch.arange(len(labels)).split(batch):
        memory = buffer.streamed(memory, images[part], labels[part], 0, uniform[part])
    return memory


@pytest.mark.parametrize("batch", [1, 3])
def test_reservoir_is_uniform_over_the_stream(batch: int) -> None:
    """Each of n items stays in M slots with probability M/n, over all draws that there are.

    An item chooses among as many slots as items were seen: one number within each range stands
    for all of it, and the draws of six items are few enough to go through them all.
    """
    n, capacity = 6, 3
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None]
    labels = torch.arange(n)
    ranges = [torch.arange(seen, dtype=torch.float64).add(0.5) / seen for seen in range(1, n + 1)]
    # What arrives while a slot is free takes it, whatever it draws.
    draws = torch.cartesian_prod(*(part[:1] for part in ranges[:capacity]), *ranges[capacity:])
    assert len(draws) == 4 * 5 * 6
    kept = torch.zeros(n, dtype=torch.int64)
    for uniform in draws:
        memory = streamed_in_parts(capacity, images, labels, uniform, batch)
        assert memory.n_filled == capacity
        assert len(set(memory.labels.tolist())) == capacity
        kept[memory.labels] += 1
    assert kept.tolist() == [len(draws) * capacity // n] * n


def test_reservoir_in_batches_equals_one_at_a_time() -> None:
    images = torch.arange(60, dtype=torch.uint8)[:, None, None, None]
    uniform = torch.rand(60, generator=generator(3, "u"), dtype=torch.float64)
    ends = [streamed_in_parts(8, images, torch.arange(60), uniform, size) for size in (1, 13)]
    assert torch.equal(ends[0].labels, ends[1].labels)
    assert torch.equal(ends[0].raw, ends[1].raw)


def test_stored_examples_use_their_own_head(sequences: dict[str, TaskSequence]) -> None:
    """Replay of task 0 reaches head 0, never head 2, and leaves both alone with weight 0."""
    net = build_net(NetConfig(hidden=(6,)), (1, 8, 8), Heads("task", (2,) * 5))
    params = {n: v.requires_grad_() for n, v in net.init(generator(0, "init")).items()}
    h = net.features(params, torch.rand(3, 1, 8, 8, generator=generator(0, "x")))
    logits = own_head_logits(net, params, h, torch.tensor([0, 0, 0]), 2)
    torch.testing.assert_close(logits, net.head(params, h, 0))
    grads = torch.autograd.grad(
        logits.sum(), [params["heads.0.weight"], params["heads.2.weight"]], allow_unused=True
    )
    assert grads[0].abs().sum() > 0
    assert grads[1] is None or grads[1].abs().sum() == 0


def test_heads_of_different_width() -> None:
    net = build_net(NetConfig(hidden=(6,)), (1, 2, 2), Heads("task", (2, 4)))
    params = net.init(generator(0, "init"))
    h = net.features(params, torch.rand(2, 1, 2, 2, generator=generator(0, "x")))
    logits = own_head_logits(net, params, h, torch.tensor([0, 1]), 1)
    assert torch.isneginf(logits[0, 2:]).all()
    assert torch.isfinite(logits[1]).all()
