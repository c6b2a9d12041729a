"""How many lanes are fastest on this device: a few steps of some numbers of them, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Method
from clsweep.training.lanes import Lane, begun, measured_part, steps_alone, steps_in_lanes

if TYPE_CHECKING:
    from clsweep.methods.hyper_fields import Hyper

# Numbers of lanes that are tried, as far as there are trials.
_TRIED = (4, 16, 64)
# Lanes that save less than this share of the time are not worth their rounding.
_LEAST_GAIN = 0.1
_SECONDS, _MOST_STEPS = 0.2, 20


class LaneSpeed(NamedTuple):
    """What was measured.

    Attributes:
        n_lanes: the number that is fastest; 1 where none is faster than a trial alone.
        seconds: number of lanes -> seconds of a step, for each of them.
    """

    n_lanes: int
    seconds: dict[int, float]


def fastest(
    lanes: Sequence[Lane], sequence: TaskSequence, build: Callable[[Hyper], Method]
) -> LaneSpeed:
    """The number of lanes that trains a trial in the least time, by a short measurement.

    Nothing that is trained here is kept.

    Args:
        lanes: trials of one group, two or more.
        sequence: their tasks.
        build: see `learn_lanes`.

    Raises:
        NotStackable: they cannot be trained as one.
    """
    running = begun(lanes, sequence)
    part = measured_part(running, sequence)
    seconds = {1: _measured(steps_alone(running[0], part))}
    for n in sorted({*_TRIED, len(lanes)}):
        if n <= len(lanes):
            seconds[n] = _measured(steps_in_lanes(running[:n], part, build)) / n
    best = min(seconds, key=lambda n: seconds[n])
    if seconds[best] > (1 - _LEAST_GAIN) * seconds[1]:
        best = 1
    return LaneSpeed(best, seconds)


def _measured(step: Callable[[], torch.Tensor]) -> float:
    """Seconds of one step, the least of some: others on this machine only add to it.

    Of the processor where it computes: a long step would else seem longer than it is on a machine
    that others use, and a short one not.
    """
    is_on_cpu = [step().device.type == "cpu" for _ in range(2)]  # what torch loads once
    clock = time.process_time if all(is_on_cpu) else time.perf_counter
    found: list[float] = []
    until = time.perf_counter() + _SECONDS
    while len(found) < 3 or (len(found) < _MOST_STEPS and time.perf_counter() < until):
        began = clock()
        step().sum().item()  # waits for a GPU
        found.append(clock() - began)
    return min(found)
