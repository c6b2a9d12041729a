"""What methods carry, against sizes that are known from their definitions."""

from __future__ import annotations

import torch

from clsweep.methods.parts import buffer
from clsweep.methods.parts.penalty import Anchor
from clsweep.training.memory_bytes import MemoryBytes, memory_bytes

FOUR = torch.zeros(4)


def test_kinds_are_told_apart_by_what_holds_the_tensors() -> None:
    memory = {
        "anchor": Anchor({"w": FOUR}, {"w": FOUR.double()}),
        "slots": buffer.empty(3, (1, 2, 2), torch.device("cpu")),
        "teacher": {"w": FOUR.half()},
        "n_steps": 7,
        "pair": (FOUR, {"omega": {"b": FOUR}}),
    }
    # Of an example: four bytes of image, label and task as int64.
    expected = MemoryBytes(data=3 * 20, importances=16 + 16, models=32 + 8 + 16)
    assert memory_bytes(memory) == expected


def test_nothing_is_nothing() -> None:
    assert memory_bytes({}) == MemoryBytes(0, 0, 0)
    assert memory_bytes(None).total == 0
