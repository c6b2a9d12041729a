"""Studies of one knob on two tasks with a small network, which `search.py` and `paths.py` run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from clsweep.study.study import Study, parse_study

STUDY = """\
name = "{name}"
seeds = [{seeds}]
[benchmark]
n_tasks = 2
{benchmark}
[net]
hidden = [{width}]
[training]
lr = 0.05
batch_size = {batch_size}
epochs = {epochs}
[resources]
device = "cpu"
[search]
{search}
"""


class Size(NamedTuple):
    """Data, network and training of a study.

    Attributes:
        benchmark: lines of its section, besides the number of tasks.
        width: units of the hidden layer.
        batch_size: of a step.
        epochs: of a task.
    """

    benchmark: str
    width: int
    batch_size: int
    epochs: int


def knob_study(name: str, size: Size, seeds: Sequence[int], search: str, methods: str) -> Study:
    """A study.

    Args:
        name: of it.
        size: what it learns from, and how.
        seeds: in their order.
        search: lines of `[search]`.
        methods: the `[[methods]]` tables.
    """
    listed = ", ".join(map(str, seeds))
    head = STUDY.format(name=name, seeds=listed, search=search, **size._asdict())
    return parse_study(head + methods)
