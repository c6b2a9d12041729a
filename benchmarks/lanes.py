"""How much lanes save: microseconds of a step per lane, and the quickstart's trials.

    python benchmarks/lanes.py                 # microseconds per lane at 1, 4, 16 and 64 lanes
    python benchmarks/lanes.py --quickstart    # the quickstart inline, with and without lanes

Both print processor seconds beside those of the clock, which others on the machine add to. In the
quickstart, the two kinds of run take turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import clsweep
from clsweep import methods
from clsweep.data import benchmarks
from clsweep.data.benchmark_specs import SplitBenchmark
from clsweep.methods import METHODS
from clsweep.methods.base import Method
from clsweep.methods.hyper_fields import Hyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.records.schema import CPU_SECONDS
from clsweep.storage.store import Store
from clsweep.training.config import TrainingConfig
from clsweep.training.lanes import Lane, begun, steps_alone, steps_in_lanes
from clsweep.training.sequences import learn_source, measure_source

TRAINING = TrainingConfig(lr=0.05, batch_size=32, epochs=30, first_steps=60)
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("finetune", {}, ""),
    ("ewc", {"form": "proximal"}, "lam"),
    ("mas", {"form": "proximal"}, "lam"),
    ("si", {"form": "proximal"}, "c"),
    ("lwf", {}, "lam"),
    ("replay", {"memory_size": 100, "average": True}, "weight"),
]
N_LANES = (1, 4, 16, 64)


def step_times(name: str, numbers: dict[str, Any], knob: str, n_steps: int) -> str:
    """A line of the table: processor microseconds of a step, per lane."""
    config = SplitBenchmark.model_validate(
        {"dataset": "digits", "n_tasks": 2, "scenario": "domain"}
    )
    sequence = benchmarks.build(config, None, 0)
    net = build_net(NetConfig(hidden=(100, 100)), sequence.input_shape, sequence.heads)
    source = learn_source(net, sequence, TRAINING, 0)

    def build(hyper: Hyper) -> Method:
        return methods.build(name, net, hyper)

    lanes = []
    for index in range(max(N_LANES)):
        own = {knob: 0.1 * (index + 1)} if knob else {}
        method = build(METHODS[name].hyper(**{**numbers, **own}))
        statistics = measure_source(method, sequence, source, 0) if not lanes else {}
        statistics = lanes[0].statistics if lanes else statistics
        lanes.append(Lane(method, TRAINING, 0, source, statistics))
    running = begun(lanes, sequence)
    found = []
    for n in N_LANES:
        step = (
            steps_alone(running[0], sequence)
            if n == 1
            else steps_in_lanes(running[:n], sequence, build)
        )
        found.append(processor_seconds(step, max(10, n_steps // n)) / n * 1e6)
    return f"{name:10}" + "".join(f"{value:9.0f}" for value in found)


def processor_seconds(step: Callable[[], torch.Tensor], n_steps: int) -> float:
    """Processor seconds of one step, the least of five rounds."""
    rounds = []
    for _ in range(6):
        began = time.process_time()
        for _ in range(n_steps):
            step()
        rounds.append((time.process_time() - began) / n_steps)
    return min(rounds[1:])  # the first loads what torch loads once


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quickstart", action="store_true", help="the quickstart's trials")
    parser.add_argument("--rounds", type=int, default=1, help="of the quickstart")
    parser.add_argument("--steps", type=int, default=320, help="per round, over all lanes")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.quickstart:
        quickstart(Path(__file__).parents[1] / "configs" / "quickstart.toml", chosen.rounds)
        return
    print("64-100-100-5, batches of 32; processor microseconds of a step per lane")
    print(f"{'lanes':10}" + "".join(f"{n:9}" for n in N_LANES))
    for line in map(partial(_line, chosen.steps), CASES):
        print(line, flush=True)


def _line(n_steps: int, case: tuple[str, dict[str, Any], str]) -> str:
    return step_times(*case, n_steps)


if __name__ == "__main__":
    main()
