"""The axes of a search: the numbers that it chooses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

AxisValues = dict[str, Any]

# Enough to tell two points of a front apart, and few enough to be read and typed again.
_DIGITS = 3


@dataclass(frozen=True)
class Axis:
    """One number that a search chooses.

    Attributes:
        key: of the method's table, or 'training.KEY'.
        choices: the values of a list; empty for a range.
        low: lower end of a range.
        high: upper end of a range.
        log: whether a range is searched on a logarithmic scale.
        whole: whether a range holds whole numbers.
        floor: smallest value that may be asked for; below `low` where a front may need it.
        ceiling: largest value that may be asked for.
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    floor: float = 0.0
    ceiling: float = 0.0

    def rounded(self, value: float) -> float:
        """The nearest value of the range with three significant digits.

        Args:
            value: any number.
        """
        short = float(f"{value:.{_DIGITS}g}")
        if self.whole:
            return int(min(max(round(short), self.floor), self.ceiling))
        return float(min(max(short, self.floor), self.ceiling))

    def position(self, value: float) -> float:
        """Where a value lies on the scale that is searched.

        Args:
            value: of the range.
        """
        return math.log(value) if self.log else float(value)

    def value_at(self, position: float) -> float:
        """The value at a position, rounded; see `position`."""
        return self.rounded(math.exp(position) if self.log else position)

    def holds(self, value: Any) -> bool:
        """Whether a search could ask for the value."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.floor <= value <= self.ceiling
