"""The order in which a grid's jobs start: breadth before depth, so that a figure stands early.

What is computed does not depend on it, nor does any table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from clsweep.methods.hyper_fields import knob_keys

if TYPE_CHECKING:
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job

# Whether it is off the middle of the numbers beside the knob, and how fine the knob's values are.
_Rank = tuple[int, int]


def breadth_first(jobs: Sequence[Job], configurations: Iterable[Configuration]) -> list[Job]:
    """The jobs with those first that draw a coarse figure, each stage before who needs it first.

    Seed by seed, as they come. Within a seed: references; then of every method the ends and the
    middle of its knob, the other numbers in their middle; then the values between those, halving
    the gaps; then the other numbers. Equals stay in the order of the study file.

    Args:
        jobs: of a plan, in an order in which every job follows what it needs.
        configurations: whose trials they are.
    """
    ranks = _ranks(configurations)
    seeds = {seed: index for index, seed in enumerate(dict.fromkeys(job.seed for job in jobs))}
    trials = [job for job in jobs if job.kind == "trial"]
    trials.sort(key=lambda job: (seeds[job.seed], *ranks[job.config_id]))
    stages = {job.key: job for job in jobs if job.kind != "trial"}
    ordered: list[Job] = []
    for trial in trials:
        # `needs` names a stage before those that need it themselves.
        ordered += [stages.pop(key) for key in trial.needs if key in stages]
        ordered.append(trial)
    return [*ordered, *stages.values()]


def _ranks(configurations: Iterable[Configuration]) -> dict[str, _Rank]:
    """Configuration id -> its rank among those of its seed; the lowest starts first."""
    ranks: dict[str, _Rank] = {}
    curves: defaultdict[str, list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        if configuration.reference:
            ranks[configuration.id] = (-1, 0)
        else:
            curves[configuration.label].append(configuration)
    for curve in curves.values():
        ranks |= _ranks_in(curve)
    return ranks


def _ranks_in(curve: Sequence[Configuration]) -> dict[str, _Rank]:
    """The ranks of the configurations of one label."""
    knobs = knob_keys(type(curve[0].hyper).model_fields)
    by_value: defaultdict[float, list[Configuration]] = defaultdict(list)
    for index, configuration in enumerate(curve):
        # Without a knob, the values of the other numbers are all that there is to walk along.
        value = configuration.knobs[knobs[0]] if knobs else float(index)
        by_value[value].append(configuration)
    values = sorted(by_value)
    found: dict[str, _Rank] = {}
    for value, level in zip(values, halving_levels(len(values)), strict=True):
        same = by_value[value]
        middle = same[len(same) // 2]
        found |= {one.id: (int(one is not middle), level) for one in same}
    return found


def halving_levels(n: int) -> list[int]:
    """For each of n places in a row, how often the gaps are halved before it has its turn.

    The ends and the middle have 0, the middles of the two halves 1, and so on.

    Args:
        n: at least 0.
    """
    levels = [0] * n
    gaps, level = [(0, n - 1)], 0
    while gaps:
        halves = []
        for first, last in gaps:
            if last - first > 1:
                middle = (first + last) // 2
                levels[middle] = level
                halves += [(first, middle), (middle, last)]
        gaps, level = halves, level + 1
    return levels
