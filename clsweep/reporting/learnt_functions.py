"""Predictions of a regression as data: what a figure of them is drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TaskFunction:
    """A task with one input and one target.

    Attributes:
        x: inputs of its training examples, shape [N].
        y: their targets, shape [N].
        grid: evenly spaced inputs from the least to the largest x, shape [G].
        true: the function's values there; None where it is not known.
    """

    x: Array
    y: Array
    grid: Array
    true: Array | None


@dataclass(frozen=True)
class Predicted:
    """What the network of one label predicts after the last task.

    Attributes:
        label: the curve.
        knobs: of its configuration.
        lines: predictions at `TaskFunction.grid`, one list per task.
    """

    label: str
    knobs: dict[str, float]
    lines: tuple[list[float], ...]


@dataclass(frozen=True)
class LearntFunctions:
    """All labels of a study.

    Attributes:
        name: of the study.
        seed: of the networks.
        tasks: in the order in which they were learnt.
        predicted: one per label.
    """

    name: str
    seed: int
    tasks: tuple[TaskFunction, ...]
    predicted: tuple[Predicted, ...]
