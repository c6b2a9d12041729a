"""What numbers of several methods have in common."""

from __future__ import annotations

from typing import Literal

Form = Literal["gradient", "proximal"]

# At a weight of zero a method is fine-tuning, bit for bit, whatever its other numbers are.
WITHOUT_LAM = {"lam": 0}
TWO_TASKS = {"benchmark.n_tasks": 2}
# A regression has neither softmaxes nor classes.
OF_NUMBERS = {"benchmark.targets": "numbers"}


def is_on(weight: float) -> bool:
    """Whether a term counts; of several lanes, whose weight is a tensor, it does in each.

    Args:
        weight: in front of it, ≥ 0.
    """
    return not isinstance(weight, (int, float)) or weight != 0
