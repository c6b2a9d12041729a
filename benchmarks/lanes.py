"""How much lanes save: microseconds of a step per lane, and the quickstart's trials.

    python benchmarks/lanes.py                 # 1, 4, 16 and 64 lanes of six methods on three nets
    python benchmarks/lanes.py --quickstart    # the quickstart inline, with and without lanes

The first measures what `benchmarks/tables/lanes.csv` does not hold yet, adds a line there after
each, and prints the table: stopped at any time, the same command goes on. `--fresh` measures all
anew. Inputs are drawn, since a step takes as long whatever they show. Processor seconds stand
beside those of the clock, which others on the machine add to. In the quickstart, the two kinds of
run take turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

import clsweep
from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.tasks import Examples, Scale, Task, TaskSequence
from clsweep.methods import METHODS
from clsweep.methods.base import Method
from clsweep.methods.hyper_fields import Hyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.records.schema import CPU_SECONDS
from clsweep.storage.store import Store
from clsweep.training.config import TrainingConfig
from clsweep.training.lanes import Lane, begun, measured_part, steps_alone, steps_in_lanes
from clsweep.training.learnt_models import SourceModel
from clsweep.training.sequences import learn_source, measure_source

TABLE = Path(__file__).parent / "tables" / "lanes.csv"
TRAINING = TrainingConfig(lr=0.05, batch_size=32, steps=60, first_steps=10)
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("finetune", {}, ""),
    ("ewc", {"form": "proximal"}, "lam"),
    ("si", {"form": "proximal"}, "c"),
    ("lwf", {}, "lam"),
    ("replay", {"memory_size": 100, "fill": "reservoir"}, "weight"),
    ("rescl", {}, "lam"),
]
N_LANES = (1, 4, 16, 64)
N_OUTPUTS = 10
# (side of an image, units of the hidden layers)
NETS: list[tuple[int, tuple[int, ...]]] = [(8, (100, 100)), (28, (100, 100)), (28, (400, 400))]


class Cell(NamedTuple):
    """A number of lanes of a method on a net.

    Attributes:
        net: its layers.
        method: its name.
        lanes: how many.
    """

    net: str
    method: str
    lanes: int


def name_of(side: int, hidden: tuple[int, ...]) -> str:
    """The units of all layers, joined by '-'.

    Args:
        side: of an image.
        hidden: units of each hidden layer.
    """
    return "-".join(map(str, (side * side, *hidden, N_OUTPUTS)))


@lru_cache(maxsize=1)
def subject(side: int, hidden: tuple[int, ...]) -> tuple[TaskSequence, Net, SourceModel]:
    """Two tasks of drawn images, a net, and what it has learnt of the first.

    Args:
        side: of an image.
        hidden: units of each hidden layer.
    """
    rng = torch.Generator().manual_seed(0)
    n, tasks = 1024, []
    for index in range(2):
        images = torch.randint(256, (n, 1, side, side), generator=rng, dtype=torch.uint8)
        labels = torch.randint(N_OUTPUTS, (n,), generator=rng)
        part = Examples(images, torch.arange(n), labels)
        tasks.append(Task(index, part, part, part, N_OUTPUTS))
    scale = Scale(torch.full((1, 1, 1), 1 / 255), torch.zeros(1, 1, 1))
    heads = Heads("domain", (N_OUTPUTS, N_OUTPUTS))
    sequence = TaskSequence(tuple(tasks), heads, scale, (1, side, side))
    net = build_net(NetConfig(hidden=hidden), sequence.input_shape, heads)
    return sequence, net, learn_source(net, sequence, TRAINING, 0)


def step_of(
    name: str, numbers: dict[str, Any], knob: str, n: int, side: int, hidden: tuple[int, ...]
) -> Callable[[], torch.Tensor]:
    """One step of `n` lanes, whose knobs differ; of a trial by itself for 1.

    Args:
        name: of the method.
        numbers: those that it has in all lanes.
        knob: the number that differs; '' for none.
        n: lanes.
        side: of an image.
        hidden: units of each hidden layer.
    """
    sequence, net, source = subject(side, hidden)

    def build(hyper: Hyper) -> Method:
        return methods.build(name, net, hyper)

    lanes: list[Lane] = []
    for index in range(n):
        own = {knob: 0.1 * (index + 1)} if knob else {}
        method = build(METHODS[name].hyper(**{**numbers, **own}))
        statistics = lanes[0].statistics if lanes else measure_source(method, sequence, source, 0)
        lanes.append(Lane(method, TRAINING, 0, source, statistics))
    running = begun(lanes, sequence)
    part = measured_part(running, sequence)
    if METHODS[name].starts_from_finetuned:  # its second phase is the method's own
        part = part._replace(place=1)
    return steps_alone(running[0], part) if n == 1 else steps_in_lanes(running, part, build)


def seconds_of(step: Callable[[], torch.Tensor], n_seconds: float) -> tuple[float, float]:
    """Processor's and clock's seconds of one step, each the least of all that were made.

    Args:
        step: makes one.
        n_seconds: how long steps are made; five at least.
    """
    for _ in range(2):
        step()  # torch loads once what it needs
    found: list[tuple[float, float]] = []
    until = time.perf_counter() + n_seconds
    while len(found) < 5 or time.perf_counter() < until:
        began, began_cpu = time.perf_counter(), time.process_time()
        step()
        found.append((time.process_time() - began_cpu, time.perf_counter() - began))
    return min(cpu for cpu, _ in found), min(wall for _, wall in found)


def measured(file: Path) -> dict[Cell, tuple[float, float]]:
    """Microseconds per lane that a table holds: of the processor, of the clock.

    Args:
        file: the table.
    """
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        return {
            Cell(row["net"], row["method"], int(row["lanes"])): (
                float(row["processor_us"]),
                float(row["clock_us"]),
            )
            for row in csv.DictReader(lines)
        }


def measure(file: Path, n_seconds: float) -> None:
    """Measure what the table lacks, and add it line by line.

    Args:
        file: the table.
        n_seconds: for each cell.
    """
    known = measured(file)
    for side, hidden in NETS:
        for name, numbers, knob in CASES:
            for n in N_LANES:
                cell = Cell(name_of(side, hidden), name, n)
                if cell in known:
                    continue
                cpu, wall = seconds_of(step_of(name, numbers, knob, n, side, hidden), n_seconds)
                row = (*cell, f"{1e6 * cpu / n:.1f}", f"{1e6 * wall / n:.1f}")
                add(file, (*row, torch.__version__))
                print(", ".join(map(str, row)), flush=True)


def add(file: Path, row: tuple[object, ...]) -> None:
    """Add a line to the table, which has its heading then.

    Args:
        file: the table.
        row: net, method, lanes, both times, version of torch.
    """
    is_new = not file.is_file()
    with file.open("a", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        if is_new:
            heading = ("net", "method", "lanes", "processor_us", "clock_us", "torch")
            writer.writerow(heading)
        writer.writerow(row)


def show(file: Path) -> None:
    """Print the table: processor microseconds of a step per lane, and how many times fewer.

    Args:
        file: the table.
    """
    known = measured(file)
    print("batches of 32; processor microseconds of a step per lane (and times fewer than alone)")
    print(f"{'net':16}{'method':10}" + "".join(f"{n:>16}" for n in N_LANES))
    for side, hidden in NETS:
        for name, _, _ in CASES:
            net = name_of(side, hidden)
            alone = known[Cell(net, name, 1)][0]
            times = [known[Cell(net, name, n)][0] for n in N_LANES]
            shown = "".join(f"{f'{us:.0f} ({alone / us:.1f})':>16}" for us in times)
            print(f"{net:16}{name:10}{shown}")


def quickstart(file: Path, n_rounds: int) -> None:
    """The trials of the quickstart, alone and in lanes, in turns."""
    counts: dict[Any, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(2 * n_rounds):
            lanes: Any = ("auto", 1)[turn % 2]
            study = clsweep.load_study(file)
            asked = study.resources.model_copy(update={"lanes": lanes})
            out = Path(scratch) / f"out{turn}"
            clsweep.run(
                study.model_copy(update={"resources": asked}),
                out=out,
                stages=Path(scratch) / "stages",
                inline=True,
            )
            trials = [dict(record) for record in Store(out).load()]
            wall = sum(one["trial"]["wall_seconds"] for one in trials)
            cpu = sum(one["trial"]["counters"][CPU_SECONDS] for one in trials)
            rows = {one["trial"]["trial_id"]: list(map(list, one["accuracy"])) for one in trials}
            print(f"lanes = {json.dumps(lanes):7}{wall:8.1f} s{cpu:8.1f} processor s", flush=True)
            differing = compared(counts, rows)
            if differing is not None:
                print(f"  counts that differ from the first run's: {differing}")
            counts = counts or rows


def compared(first: dict[Any, Any], rows: dict[Any, Any]) -> int | None:
    """How many counts differ; None for the first run."""
    if not first:
        return None
    pairs = [(row, first[key]) for key, row in rows.items()]
    return sum(a != b for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True))


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quickstart", action="store_true", help="the quickstart's trials")
    parser.add_argument("--rounds", type=int, default=1, help="of the quickstart")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each cell of the table")
    parser.add_argument("--table", type=Path, default=TABLE, metavar="FILE", help="the table")
    parser.add_argument("--fresh", action="store_true", help="forget what the table holds")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.quickstart:
        quickstart(Path(__file__).parents[1] / "configs" / "quickstart.toml", chosen.rounds)
        return
    if chosen.fresh:
        chosen.table.unlink(missing_ok=True)
    measure(chosen.table, chosen.seconds)
    show(chosen.table)


if __name__ == "__main__":
    main()
