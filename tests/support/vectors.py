"""Tasks of a few vectors, what methods compute from them, and the union of tasks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Scale, Task, TaskSequence
from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params

AS_STORED = Scale(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))


def sequence_of(
    scenario: str,
    vectors: list[list[list[int]]],
    labels: list[list[int]],
    n_classes: int = 1,
) -> TaskSequence:
    """Tasks whose training, validation and test examples are the same.

    Args:
        scenario: of the heads.
        vectors: by task, then example; bytes.
        labels: by task, in 0..n_classes-1.
        n_classes: of every task.
    """
    heads = Heads(scenario, (n_classes,) * len(vectors))
    tasks = []
    for index, (rows, classes) in enumerate(zip(vectors, labels, strict=True)):
        images = torch.tensor(rows, dtype=torch.uint8)[:, :, None, None].transpose(1, 3)
        numbers = torch.tensor(classes) + heads.label_offset(index)
        part = Examples(images, torch.arange(len(images)), numbers)
        tasks.append(Task(index, part, part, part, n_classes))
    return TaskSequence(tuple(tasks), heads, AS_STORED, (1, 1, len(vectors[0][0])))


def union_of(sequence: TaskSequence) -> tuple[Tensor, Tensor]:
    """All training examples as vectors of bytes, float64 [N, d], and their classes [N]."""
    heads, parts, classes = sequence.heads, [], []
    for task in sequence.tasks:
        x = task.train.raw(torch.arange(len(task.train)))
        parts.append(x.flatten(1).double())
        first = sum(heads.sizes[: task.index]) if heads.scenario == "task" else 0
        classes.append(task.train.labels + first)
    return torch.cat(parts), torch.cat(classes)


def method_for(name: str, sequence: TaskSequence, **numbers: Any) -> Method:
    """A method with its numbers, on a small net."""
    net = build_net(NetConfig(hidden=(3,)), sequence.input_shape, sequence.heads)
    return methods.build(name, net, methods.METHODS[name].hyper(**numbers))


def fitted(method: Method, sequence: TaskSequence, seed: int = 0) -> tuple[Params, Memory]:
    """Parameters and memory of a method that computes its classifier, after all tasks."""
    assert method.begin is not None
    assert method.fit is not None
    params = method.net.init(generator(seed, "init"))
    memory = method.begin(params)
    for task in sequence.tasks:
        rng = generator(seed, "fit", task.index)
        learnt = LearntTask(task, AS_STORED, None, len(task.train), rng)
        params, memory = method.fit(params, memory, learnt)
    return params, memory
