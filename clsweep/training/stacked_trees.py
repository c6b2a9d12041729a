"""Trees of tensors of several lanes as one tree, with a first axis of lanes, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.overrides import TorchFunctionMode

from clsweep.errors import MethodError
from clsweep.nets.parameter_trees import Params
from clsweep.training.optimisers import OptimiserState


class NotStackable(MethodError):
    """Lanes cannot be trained as one program; each of them can alone."""


def stacked(trees: Sequence[Any], *, may_share: bool = True) -> tuple[Any, Any]:
    """One tree of K, and the same tree with the axis of lanes in place of each leaf.

    A tensor that all lanes share is kept as it is, and so is what is no tensor: their axis is
    None.

    Args:
        trees: of dicts, tuples, tensors and numbers, alike in all but the tensors' values; at
            least one.
        may_share: whether a tensor that all lanes share may be kept; else each has its own.

    Raises:
        NotStackable: they are not alike.
    """
    first = trees[0]
    if may_share and all(tree is first for tree in trees):
        return first, without_axis(first)
    if isinstance(first, Tensor):
        if any(not isinstance(t, Tensor) or t.shape != first.shape for t in trees):
            raise NotStackable(f"tensors of other shapes than {tuple(first.shape)} in a lane")
        return torch.stack([*trees]), 0
    if isinstance(first, Mapping):
        if any(tree.keys() != first.keys() for tree in trees):
            raise NotStackable(f"other names than {sorted(first)} in a lane")
        pairs = {
            name: stacked([tree[name] for tree in trees], may_share=may_share) for name in first
        }
        return {n: pair[0] for n, pair in pairs.items()}, {n: p[1] for n, p in pairs.items()}
    if isinstance(first, tuple):
        if any(len(tree) != len(first) for tree in trees):
            raise NotStackable("more of something in some lanes")
        both = [stacked(parts, may_share=may_share) for parts in zip(*trees, strict=True)]
        values, axes = [pair[0] for pair in both], [pair[1] for pair in both]
        if hasattr(first, "_fields"):  # a NamedTuple
            return type(first)(*values), type(first)(*axes)
        return tuple(values), tuple(axes)
    if any(tree != first for tree in trees):
        raise NotStackable(f"{first!r} is not the same in all lanes")
    return first, None


def without_axis(tree: Any) -> Any:
    """None in place of each leaf of a tree that all lanes share.

    Args:
        tree: of dicts, tuples, tensors and numbers.
    """
    return _mapped(tree, lambda leaf: None)


def _mapped(tree: Any, of: Callable[[Any], Any]) -> Any:
    """A tree of dicts and tuples with something in place of each leaf."""
    if isinstance(tree, Mapping):
        return {name: _mapped(value, of) for name, value in tree.items()}
    if isinstance(tree, tuple):
        parts = [_mapped(value, of) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return of(tree)


def axes_of(tree: Any) -> Any:
    """The axis of lanes in place of each leaf of a tree whose tensors all have one.

    Args:
        tree: [K, ...] at every tensor.
    """
    return _mapped(tree, lambda leaf: 0 if isinstance(leaf, Tensor) else None)


def tree_of(tree: Any, index: int) -> Any:
    """One lane's part of a tree, copied out.

    Args:
        tree: [K, ...] at every tensor.
        index: which lane.
    """
    return _mapped(tree, lambda leaf: leaf[index].clone() if isinstance(leaf, Tensor) else leaf)


def over_lanes(
    function: Callable[..., Any], axes: tuple[Any, ...], *given: Any, has_lists: bool = True
) -> Any:
    """What a function of one lane gives for all of them, [K, ...] at every tensor.

    `torch.func.vmap` for functions that return trees with numbers in them, which have to be the
    same in all lanes.

    Args:
        function: of one lane.
        axes: the axis of lanes of each argument, see `stacked`.
        given: its arguments.
        has_lists: whether it may make operations on lists of tensors, for which vmap has no rule.
    """
    found: list[Any] = []

    def flat(*own: Any) -> tuple[Tensor, ...]:
        leaves: list[Tensor] = []

        def noted(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            leaves.append(leaf)
            return _Place(len(leaves) - 1)

        found.append(_mapped(function(*own), noted))
        return tuple(leaves)

    # Nothing is drawn but shapes of a network, which are those of all lanes.
    with _TensorByTensor() if has_lists else contextlib.nullcontext():
        values = vmap(flat, in_dims=axes, randomness="same")(*given)
    return _mapped(found[0], lambda leaf: values[leaf.index] if isinstance(leaf, _Place) else leaf)


class _TensorByTensor(TorchFunctionMode):
    """Within it, operations on lists of tensors are made one by one."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if not name.startswith("_foreach_"):
            return func(*args, **(kwargs or {}))
        of = getattr(torch.Tensor, name.removeprefix("_foreach_"))
        n = len(args[0])
        lists = [arg if isinstance(arg, (list, tuple)) else [arg] * n for arg in args]
        if name in ("_foreach_addcmul", "_foreach_addcmul_") and len(lists) == 4:
            *lists, values = lists
            kwargs = {"value": values[0]}
        return [of(*each, **(kwargs or {})) for each in zip(*lists, strict=True)]


class _Place:
    """Where a tensor stands among those that a function of one lane gives."""

    def __init__(self, index: int) -> None:
        self.index = index


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
