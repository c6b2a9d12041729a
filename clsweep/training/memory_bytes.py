"""Size of what a method carries from task to task, in bytes by kind.

Methods of equal memory are compared fairly only if a kilobyte of source images is told apart from
a kilobyte of importances: the one may be forbidden where the other is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from clsweep.methods.parts.buffer import Buffer

# The fields of memories that hold importances. What is neither these nor stored examples is
# networks: teachers, anchors, generators, generated weights.
_IMPORTANCES = frozenset({"omega", "path"})


class MemoryBytes(NamedTuple):
    """Bytes of all tensors in a memory.

    Attributes:
        data: stored examples with their labels.
        importances: of parameters.
        models: networks, and whatever else there is.
    """

    data: int = 0
    importances: int = 0
    models: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


def memory_bytes(memory: object) -> MemoryBytes:
    """Bytes by kind of a memory, through dicts and tuples.

    Args:
        memory: of a method, after the last task.
    """
    found = {"data": 0, "importances": 0, "models": 0}
    for kind, value in _tensors(memory, "models"):
        found[kind] += value.numel() * value.element_size()
    return MemoryBytes(**found)


def _tensors(memory: object, kind: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(memory, Tensor):
        yield kind, memory
    elif isinstance(memory, Mapping):
        yield from _of_fields(memory, kind)
    elif isinstance(memory, Buffer):
        yield from _of_fields(memory._asdict(), "data")
    elif hasattr(memory, "_asdict"):  # a NamedTuple
        yield from _of_fields(memory._asdict(), kind)
    elif isinstance(memory, tuple):
        for value in memory:
            yield from _tensors(value, kind)


def _of_fields(fields: Mapping[str, object], kind: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in fields.items():
        yield from _tensors(value, "importances" if name in _IMPORTANCES else kind)
