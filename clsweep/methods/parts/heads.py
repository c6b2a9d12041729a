"""Which outputs of a network belong to the old tasks, and which to the new one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.errors import MethodError
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


def check_readout(net: Net, needs: str, method: str) -> None:
    """Refuse a network in which nothing tells the outputs of one task from those of another.

    Args:
        net: the network.
        needs: what the method does with the last layer, as the start of a sentence.
        method: its name in study files.

    Raises:
        MethodError: the network does not end in a linear layer with an output per class.
    """
    if net.readout(0):
        return
    last, weight = list(net.init(generator(0, "shapes")).items())[-1]
    raise MethodError(
        f"{needs}, and the network does not end in a linear layer with "
        f"{net.heads.n_outputs} outputs: its last parameter is '{last}' of shape "
        f"{tuple(weight.shape)}",
        expected=f"a network that ends in nn.Linear(..., {net.heads.n_outputs})",
        where="[net]",
        next_step=f"choose or write such a network, or remove '{method}' from the study",
    )


def owned_parameters(
    net: Net, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[int, int], ...]:
    """Runs of the flattened parameters by the task whose outputs alone they make.

    Args:
        net: a net with outputs of their own for every task.
        shapes: of its parameters, by name, in the order in which they are laid out.

    Returns:
        (numbers, task), −1 for what all tasks use.
    """
    rows = [task for task, size in enumerate(net.heads.sizes) for _ in range(size)]
    readers: dict[str, list[int]] = {}
    for k in range(len(net.heads.sizes)):
        for name in net.readout(k):
            readers.setdefault(name, []).append(k)
    runs: list[tuple[int, int]] = []
    for name, shape in shapes.items():
        n, owners = math.prod(shape), [-1]
        if name in readers:
            # A layer that one task reads is its own; of one that all read, rows are.
            owners = readers[name] if len(readers[name]) == 1 else rows
        for owner, alike in itertools.groupby(owners):
            runs.append((n // len(owners) * len(list(alike)), owner))
    return tuple(runs)


def old_heads(net: Net, task: int) -> list[tuple[int, int]]:
    """Heads to distil while `task` is learnt, and how often each counts.

    One head per task: every old head once. Domain-incremental: all old heads are the shared head.
    Class-incremental: one softmax over all old classes.
    """
    if net.heads.scenario == "task":
        return [(k, 1) for k in range(task)]
    return [(task - 1, task if net.heads.scenario == "domain" else 1)]


def new_outputs(net: Net, task: int, device: torch.device) -> Tensor:
    """Which of all outputs only `task` and its successors use, bool [n_outputs].

    Args:
        net: a net whose heads are parts of one layer.
        task: the task being learnt, at least 1.
        device: where the mask is wanted.
    """
    first = 0 if net.heads.scenario == "domain" else net.heads.columns(task - 1)[1]
    return torch.arange(net.heads.n_outputs, device=device) >= first


def with_own_heads(net: Net, params: Params, old: Params, new: Params, task: int) -> Params:
    """`params`, with the outputs of old tasks from `old` and those of `task` from `new`.

    Args:
        net: a net with outputs of their own for every task.
        params: taken for everything else.
        old: the network that the old heads were trained with.
        new: the network that the head of `task` was trained with.
        task: the task being learnt.
    """
    found = dict(params)
    for name in params:
        if name.startswith("heads."):
            found[name] = (new if name in net.readout(task) else old)[name]
        elif name in net.readout(task):
            is_new = new_outputs(net, task, params[name].device)
            shape = (-1, *(1 for _ in params[name].shape[1:]))
            found[name] = torch.where(is_new.reshape(shape), new[name], old[name])
    return found
