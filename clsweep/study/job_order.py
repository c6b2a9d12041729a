"""The order in which a grid's jobs start: breadth before depth, so that a figure stands early.

What is computed does not depend on it, nor does any table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job

# Whether it is off the middle of the numbers beside the knob, and how fine the knob's values are.
Rank = tuple[int, int]


def breadth_first(jobs: Sequence[Job], ranks: Mapping[str, Rank]) -> list[Job]:
    """The jobs with those first that draw a coarse figure, each stage before who needs it first.

    Seed by seed, as they come. Within a seed: references; then of every method the ends and the
    middle of its knob, the other numbers in their middle; then the values between those, halving
    the gaps; then the other numbers. Equals stay in the order of the study file.

    Args:
        jobs: of a plan, in an order in which every job follows what it needs.
        ranks: of the configurations whose trials they are, see `ranks`.
    """
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


def ranks(configurations: Iterable[Configuration]) -> dict[str, Rank]:
    """Configuration id -> its rank among those of its seed; the lowest starts first.

    Args:
        configurations: whose trials are to be ordered.
    """
    found: dict[str, Rank] = {}
    curves: defaultdict[str, defaultdict[float, list[str]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for index, one in enumerate(configurations):
        if one.reference:
            found[one.id] = (-1, 0)
        else:
            # Without a knob, the values of the other numbers are all that there is to walk along.
            value = next(iter(one.knobs.values()), float(index))
            curves[one.label][value].append(one.id)
    for by_value in curves.values():
        found |= _ranks_in([by_value[value] for value in sorted(by_value)])
    return found


def _ranks_in(curve: Sequence[Sequence[str]]) -> dict[str, Rank]:
    """The ranks of the configurations of one label, by value of the knob: those with each."""
    found: dict[str, Rank] = {}
    for same, level in zip(curve, halving_levels(len(curve)), strict=True):
        middle = same[len(same) // 2]
        found |= {one: (int(one != middle), level) for one in same}
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
