"""What training leaves behind, as plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from clsweep.methods.base import Trace
from clsweep.nets.parameter_trees import Params
from clsweep.records.accuracy import AccuracyRow
from clsweep.training.memory_bytes import MemoryBytes
from clsweep.training.optimisers import OptimiserState


class SourceModel(NamedTuple):
    """The network after its first task, with everything that a method may need of that training.

    Attributes:
        params: the network.
        trace: start and path integral of the training.
        optimiser: state to continue from; empty when the study resets it.
        rows: accuracies before and after the task.
        n_steps: gradient steps made.
    """

    params: Params
    trace: Trace
    optimiser: OptimiserState
    rows: list[AccuracyRow]
    n_steps: int


class FinetunedModel(NamedTuple):
    """The source network after plain training on the second task.

    Attributes:
        params: the network.
        optimiser: state to continue from; empty when the study resets it.
        n_steps: gradient steps made.
    """

    params: Params
    optimiser: OptimiserState
    n_steps: int


class PathPoint(NamedTuple):
    """A network on a path.

    Attributes:
        params: the network; where this point diverged, that of the last one above that did not.
        optimiser: state to continue from; empty when the study resets it.
        n_steps: gradient steps of this point.
        n_before: steps from the source model to `params`; 0 for the source model itself.
        diverged: why the point diverged; '' where it did not.
    """

    params: Params
    optimiser: OptimiserState
    n_steps: int
    n_before: int
    diverged: str = ""


Predict = Callable[[Params, Tensor, int], Tensor]


class LearntSequence(NamedTuple):
    """What a method made of a sequence.

    Attributes:
        params: the final network.
        rows: accuracies after every task.
        n_steps: gradient steps beyond those of the stages that it started from.
        memory_bytes: what the method carries from task to task, bytes by kind.
        counters: what the method counted, for the record.
        stopped: why it ended before the last task was learnt; '' if it did not.
        note: what else is worth a sentence in the record.
        predict: (params, x, task) -> logits; None where `params` alone do not say.
    """

    params: Params
    rows: list[AccuracyRow]
    n_steps: int
    memory_bytes: MemoryBytes
    counters: dict[str, float]
    stopped: str = ""
    note: str = ""
    predict: Predict | None = None
