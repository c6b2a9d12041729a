"""GDumb: a memory that is balanced at each moment, and a network that has seen nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Task, TaskSequence
from clsweep.methods.base import Batch, Method
from clsweep.methods.exemplar_hypers import GdumbHyper
from clsweep.methods.parts import buffer
from clsweep.methods.parts.training_sets import with_stored
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import learn_sequence


def method_of(sequence: TaskSequence, size: int) -> Method:
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    return methods.build("gdumb", net, GdumbHyper(memory_size=size))


def greedy(memory: list[int], stream: list[int], capacity: int, seed: int) -> list[int]:
    """The published sampler, label by label."""
    rng = generator(seed, "greedy")
    counts = Counter(memory)
    for label in stream:
        share = capacity / len({*counts, label})
        if counts[label] >= share:
            continue
        if len(memory) >= capacity:
            largest = max(counts, key=lambda k: counts[k])
            places = [i for i, kept in enumerate(memory) if kept == largest]
            memory.pop(places[int(torch.randint(len(places), (), generator=rng))])
            counts[largest] -= 1
        memory.append(label)
        counts[label] += 1
    return memory


@pytest.mark.parametrize("capacity", [7, 12, 30, 500])
def test_the_memory_has_the_counts_of_the_greedy_sampler(capacity: int) -> None:
    stored = buffer.empty(capacity, (1, 1, 1), torch.device("cpu"))
    memory: list[int] = []
    streams = [[0] * 20 + [1] * 30, [2] * 4 + [3] * 40, [4] * 25 + [5] * 25]
    for index, labels in enumerate(streams):
        order = torch.randperm(len(labels), generator=generator(index, "order")).tolist()
        memory = greedy(memory, [labels[i] for i in order], capacity, index)
        images = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
        data = Examples(images, torch.arange(len(labels)), torch.tensor(labels))
        task = Task(index, data, data, data, 2)
        stored = buffer.balanced(stored, task, generator(index, "fill"))
        found = stored.labels[: stored.n_filled].bincount(minlength=6)
        wanted = torch.tensor(memory).bincount(minlength=6)
        # Shares that do not divide evenly leave one example to some class; and where a class is
        # too small to fill its own, the greedy sampler gives the others an equal share at most.
        assert stored.n_filled == min(capacity, sum(map(len, streams[: index + 1])))
        assert (found >= wanted - 1).all()
        # Who has less than the largest share has all that there is of its class, or one less.
        n_of = torch.tensor([sum(stream.count(k) for stream in streams) for k in range(6)])
        seen = found[: 2 * (index + 1)]
        assert ((seen >= seen.max() - 1) | (seen == n_of[: 2 * (index + 1)])).all()


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_trained_from_scratch_on_the_memory_alone(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    method = method_of(sequence, 12)
    (phase,) = method.phases
    prepared: list[Any] = []
    seen: list[tuple[int, Batch]] = []
    starts: list[Params] = []

    def prepare(params: Params, memory: Any, task: Task, rng: torch.Generator) -> Any:
        starts.append(params)
        prepared.append(phase.prepare(params, memory, task, rng))
        return prepared[-1]

    def loss(full: Params, memory: Any, batch: Batch, task: int) -> Any:
        seen.append((task, batch))
        return phase.loss(full, memory, batch, task)

    watched = type(method)(
        **{
            **vars(method),
            "phases": (type(phase)(**{**vars(phase), "prepare": prepare, "loss": loss}),),
        }
    )
    training = TrainingConfig(optimizer="sgd", lr=0.1, batch_size=8, steps=5)
    learnt = learn_sequence(watched, sequence, training, 0, None, {})
    assert learnt.n_steps == 5 * len(sequence.tasks) == len(seen)
    for task, start in enumerate(prepared):
        slots = start.memory["slots"]
        groups = Counter(zip(slots.tasks.tolist(), slots.labels.tolist(), strict=True))
        assert {past for past, _ in groups} == set(range(task + 1))
        assert max(groups.values()) - min(groups.values()) <= 1
        kept = {image.numpy().tobytes() for image in slots.raw}
        shown = [image for at, batch in seen if at == task for image in batch.raw]
        assert {image.numpy().tobytes() for image in shown} <= kept
        assert not torch.equal(start.params["layers.0.weight"], starts[task]["layers.0.weight"])
    first, second = (start.params["layers.0.weight"] for start in prepared[:2])
    assert not torch.equal(first, second)


def test_a_union_gives_the_task_and_then_what_is_stored(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence = short_sequences["class"]
    first, second = sequence.tasks[:2]
    device = torch.device("cpu")
    stored = buffer.empty(5, sequence.input_shape, device, first.train.images.dtype)
    assert with_stored(first, stored) is first.train
    stored = buffer.balanced(stored, first, generator(0, "fill"))
    union, n = with_stored(second, stored), len(second.train)
    assert len(union) == n + 5
    index = torch.tensor([n + 4, 0, n - 1, n])
    raw = union.raw(index)
    assert torch.equal(raw[[0, 3]], stored.raw[[4, 0]])
    assert torch.equal(raw[[1, 2]], second.train.raw(torch.tensor([0, n - 1])))
    assert union.task_of is not None
    assert union.task_of[index].tolist() == [0, 1, 1, 0]
    assert torch.equal(union.labels[index[[0, 3]]], stored.labels[[4, 0]])
