"""Tensors and arrays that can be reached from an object through what it refers to."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# What holds nothing of a task, or what is not counted for any method: generators of random
# numbers, code, and the state of an optimiser.
_PASSED_OVER = (
    torch.Generator,
    torch.optim.Optimizer,
    torch.dtype,
    torch.device,
    torch.Size,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    type,
    str,
    int,
    float,
    complex,
    type(None),
)


class Found(NamedTuple):
    """A tensor or an array, and how it was reached.

    Attributes:
        path: from the object, such as '.memory[0].raw'.
        value: a torch tensor, or a numpy array.
    """

    path: str
    value: Tensor | np.ndarray[Any, Any]

    @property
    def n_bytes(self) -> int:
        """Size of its elements."""
        if isinstance(self.value, Tensor):
            return self.value.numel() * self.value.element_size()
        return int(self.value.nbytes)


def reachable(root: object, apart_from: nn.Module | None = None) -> list[Found]:
    """Every tensor and array, each once, in the order in which they are met.

    Looks through attributes, mappings, sequences, sets and bound methods; not through closures,
    globals of modules, optimisers and gradients.

    Args:
        root: where to start.
        apart_from: a module whose parameters and buffers are left out, and whatever shares their
            memory.
    """
    known: set[tuple[int, int, int]] = set()
    own = () if apart_from is None else (*apart_from.parameters(), *apart_from.buffers())
    kept_apart = {value.untyped_storage().data_ptr() for value in own}
    found: list[Found] = []
    # By id; what is made on the way stays alive, so that nothing else gets its id.
    seen: dict[int, object] = {id(apart_from): apart_from}
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting:
        path, one = waiting.pop()
        if id(one) in seen or isinstance(one, _PASSED_OVER):
            continue
        seen[id(one)] = one
        if isinstance(one, Tensor):
            start = one.untyped_storage().data_ptr()
            key = (start, int(one.storage_offset()), one.numel())
            if one.numel() and start not in kept_apart and key not in known:
                known.add(key)
                found.append(Found(path, one.detach()))
            continue
        if isinstance(one, np.ndarray) and one.dtype != object:
            found.append(Found(path, one))
            continue
        waiting.extend(reversed(list(_parts(path, one))))
    return found


def _parts(path: str, one: object) -> Iterator[tuple[str, object]]:
    if isinstance(one, Mapping):
        for key, value in list(one.items()):
            yield f"{path}[{key!r}]", value
    elif isinstance(one, tuple) and hasattr(one, "_fields"):
        for name, value in zip(one._fields, one, strict=True):
            yield f"{path}.{name}", value
    elif isinstance(one, list | tuple | set | frozenset) or type(one).__name__ == "deque":
        for index, value in enumerate(list(one)):  # type: ignore[call-overload]
            yield f"{path}[{index}]", value
    elif isinstance(one, np.ndarray):
        yield f"{path}[...]", one.tolist()
    elif isinstance(one, types.MethodType):
        yield path, one.__self__
    else:
        yield from _attributes(path, one)


def _attributes(path: str, one: object) -> Iterator[tuple[str, object]]:
    names = dict(getattr(one, "__dict__", {}))
    for kind in type(one).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__") and hasattr(one, slot):
                names[slot] = getattr(one, slot)
    for name, value in names.items():
        # Tensors of a module stand in dicts of this kind, under the names that people know.
        is_table = isinstance(one, nn.Module) and name in ("_parameters", "_buffers", "_modules")
        if is_table and isinstance(value, Mapping):
            for key, inner in value.items():
                yield f"{path}.{key}", inner
        else:
            yield f"{path}.{name}", value
