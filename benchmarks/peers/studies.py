"""The studies that `measure.py` gives to clsweep and to its peers."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

Values = dict[str, list[float]]

# Ends of each method's knob, whose values are evenly spaced on a logarithmic scale.
RANGES = {
    "ewc": (1.0, 1e5),
    "si": (1e-2, 1e2),
    "mas": (1e-3, 1e2),
    "lwf": (1e-2, 1e1),
    "replay": (50.0, 800.0),
    "agem": (50.0, 800.0),
    "gem": (1e-2, 1.0),
}
KNOBS = {"ewc": "lam", "si": "c", "mas": "lam", "lwf": "lam", "gem": "margin"}
MEMORIES = ("replay", "agem")
# What else a method is told: penalties that cannot diverge, and Avalanche's ways of storing.
MORE = {
    "ewc": 'form = "proximal"',
    "si": 'form = "proximal"',
    "mas": 'form = "proximal"',
    "agem": "per_task = true\nreference_batch = 32",
    "gem": "memory_size = 256\nper_task = true",
}


class Grid(NamedTuple):
    """Methods × values × seeds on two tasks of five digits of MNIST.

    Attributes:
        methods: by name.
        seeds: 0, 1, ...
        examples: training images of each task; one epoch in batches of 32.
    """

    methods: tuple[str, ...]
    seeds: int
    examples: int


GRIDS = {
    "ewc": Grid(("ewc",), 1, 6000),
    "seven": Grid(tuple(RANGES), 3, 1000),
}


def values_of(grid: Grid, n: int, extended: bool = False) -> Values:
    """N values per method; with `extended`, half as many more between and beyond them."""
    found = {}
    for method in grid.methods:
        low, high = RANGES[method]
        values = np.geomspace(low, high, n)
        if extended:
            values = np.concatenate([values, np.sqrt(values[:-1:2] * values[1::2])])
        found[method] = [float(f"{v:.4g}") for v in values]
        if method in MEMORIES:
            found[method] = [float(round(v)) for v in values]
    return found


def for_avalanche(grid: Grid, values: Values, seeds: list[int]) -> str:
    """The study as `avalanche_study.py` reads it."""
    return json.dumps({"methods": values, "seeds": seeds, "examples": grid.examples})


def for_clsweep(grid: Grid, values: Values) -> str:
    """The study file."""
    head = f"""\
name = "study"
seeds = {grid.seeds}
[benchmark]
name = "split"
dataset = "mnist"
n_tasks = 2
scenario = "class"
examples_per_task = {grid.examples}
[net]
hidden = [400, 400]
[training]
lr = 0.05
steps = {-(-grid.examples // 32)}
batch_size = 32
[resources]
device = "cpu"
"""
    return head + "".join(_table(method, values[method]) for method in grid.methods)


def _table(method: str, values: list[float]) -> str:
    knob = "memory_size" if method in MEMORIES else KNOBS[method]
    shown: list[Any] = [int(v) for v in values] if method in MEMORIES else values
    return f'[[methods]]\nname = "{method}"\n{knob} = {shown}\n{MORE.get(method, "")}\n'


# Of van de Ven's comparison script: what both have, and what both are told.
ITERATIONS, FISHER = 30, 100
SCRIPT = (
    "compare.py --experiment splitMNIST --scenario task --no-gpus --no-save --no-fromp --no-bir "
    f"--no-context-spec --iters {ITERATIONS} --fisher-n {FISHER}"
).split()


def for_clsweep_as_the_script(n_seeds: int) -> str:
    """The same eight methods with the script's numbers for Split MNIST, task-incremental."""
    return f"""\
name = "study"
seeds = {n_seeds}
[benchmark]
name = "split"
dataset = "mnist"
n_tasks = 5
scenario = "task"
class_order = "shuffled"
draws = "per_seed"
validation_fraction = 0.001
[net]
hidden = [400, 400]
[training]
optimizer = "adam"
lr = 0.001
batch_size = 128
steps = {ITERATIONS}
reset = false
[resources]
device = "cpu"
[[methods]]
name = "finetune"
[[methods]]
name = "joint"
[[methods]]
name = "ewc"
lam = 100000.0
form = "gradient"
fisher_examples = {FISHER}
[[methods]]
name = "si"
c = 10.0
form = "gradient"
[[methods]]
name = "lwf"
weighting = "average"
t_squared = true
[[methods]]
name = "dgr"
targets = "hard"
[[methods]]
name = "replay"
memory_size = 1000
average = true
[[methods]]
name = "agem"
memory_size = 1000
reference_batch = 128
"""
