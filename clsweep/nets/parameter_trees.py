"""Arithmetic on flat dictionaries of tensors, the only container of parameters in the project."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Params = dict[str, Tensor]


def tree_map(fn: Callable[..., Tensor], tree: Params, *others: Params) -> Params:
    """`fn` applied name by name; `others` must hold every name of `tree`."""
    return {name: fn(value, *(other[name] for other in others)) for name, value in tree.items()}


def zeros_like(tree: Params) -> Params:
    """A tree of zeros with the same names, shapes, types and devices."""
    return tree_map(torch.zeros_like, tree)


def dot(a: Params, b: Params) -> Tensor:
    """Sum over all names of the inner products, shape ()."""
    return torch.stack([(value * b[name]).sum() for name, value in a.items()]).sum()


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no element is NaN or infinite."""
    return all(bool(torch.isfinite(value).all()) for value in tensors)


def n_elements(tree: Params) -> int:
    """Number of scalars in the tree."""
    return sum(value.numel() for value in tree.values())


def with_prefix(tree: Params, prefix: str) -> Params:
    """The same tensors under longer names."""
    return {f"{prefix}{name}": value for name, value in tree.items()}


def without_prefix(tree: Params, prefix: str) -> Params:
    """Those tensors whose names begin with `prefix`, under what follows it."""
    n = len(prefix)
    return {name[n:]: value for name, value in tree.items() if name.startswith(prefix)}
