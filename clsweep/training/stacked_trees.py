"""Trees of tensors of several lanes as one tree, with a first axis of lanes, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clsweep.errors import MethodError
from clsweep.nets.parameter_trees import Params
from clsweep.training.optimisers import OptimiserState


class NotStackable(MethodError):
    """Lanes cannot be trained as one program; each of them can alone."""


def stacked(trees: Sequence[Any]) -> tuple[Any, Any]:
    """One tree of K, and the same tree with the axis of lanes in place of each leaf.

    A tensor that all lanes share is kept as it is, and so is what is no tensor: their axis is
    None.

    Args:
        trees: of dicts, tuples, tensors and numbers, alike in all but the tensors' values; at
            least one.

    Raises:
        NotStackable: they are not alike.
    """
    first = trees[0]
    if all(tree is first for tree in trees):
        return first, _without_axis(first)
    if isinstance(first, Tensor):
        if any(not isinstance(t, Tensor) or t.shape != first.shape for t in trees):
            raise NotStackable(f"tensors of other shapes than {tuple(first.shape)} in a lane")
        return torch.stack([*trees]), 0
    if isinstance(first, Mapping):
        if any(tree.keys() != first.keys() for tree in trees):
            raise NotStackable(f"other names than {sorted(first)} in a lane")
        pairs = {name: stacked([tree[name] for tree in trees]) for name in first}
        return {n: pair[0] for n, pair in pairs.items()}, {n: p[1] for n, p in pairs.items()}
    if isinstance(first, tuple):
        both = [stacked(parts) for parts in zip(*trees, strict=True)]
        values, axes = [pair[0] for pair in both], [pair[1] for pair in both]
        if hasattr(first, "_fields"):  # a NamedTuple
            return type(first)(*values), type(first)(*axes)
        return tuple(values), tuple(axes)
    if any(tree != first for tree in trees):
        raise NotStackable(f"{first!r} is not the same in all lanes")
    return first, None


def _without_axis(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _without_axis(value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        parts = [_without_axis(value) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return None


def stacked_params(trees: Sequence[Params]) -> Params:
    """Parameters [K, ...], a copy for each lane.

    Args:
        trees: of each lane, same names and shapes.
    """
    return {name: torch.stack([tree[name] for tree in trees]) for name in trees[0]}


def lane_of(tree: Params, index: int) -> Params:
    """One lane's part, copied out.

    Args:
        tree: [K, ...] by name.
        index: which lane.
    """
    return {name: value[index].clone() for name, value in tree.items()}


def stacked_state(states: Sequence[OptimiserState]) -> OptimiserState:
    """The state of an optimiser of stacked parameters.

    What is one number of a parameter, such as a count of steps, is the same in all lanes.

    Args:
        states: of each lane.

    Raises:
        NotStackable: they hold other things.
    """
    if any(state.keys() != states[0].keys() for state in states):
        raise NotStackable("the optimiser keeps other things in some lanes")
    found = {}
    for key, value in states[0].items():
        if value.ndim:
            found[key] = torch.stack([state[key] for state in states])
            continue
        if any(not torch.equal(state[key], value) for state in states):
            raise NotStackable(f"the optimiser's '{key}' is not the same in all lanes")
        found[key] = value
    return found


def state_of(state: OptimiserState, index: int) -> OptimiserState:
    """One lane's part of such a state.

    Args:
        state: of `stacked_state`, or of an optimiser of stacked parameters.
        index: which lane.
    """
    return {key: value[index] if value.ndim else value for key, value in state.items()}


def along_lanes(values: Tensor, like: Tensor) -> Tensor:
    """One number per lane, or one tensor per lane, in as many axes as a stacked tensor has.

    Args:
        values: [K, ...], of no more axes than `like`.
        like: [K, ...].
    """
    missing = like.ndim - values.ndim
    return values.reshape(values.shape[0], *[1] * missing, *values.shape[1:])
