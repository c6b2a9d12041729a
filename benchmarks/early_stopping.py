"""Measure what early stopping saves, and what it does to fronts: several margins and methods.

    python benchmarks/early_stopping.py [--methods ewc,lwf,replay] [--margins 0.2,0.1,0.05,0.02]
        [--data mnist --data-root DIR] [--tasks 5] [--kind optuna] [--trials 24] [--out FOLDER]
        [--same-asks-only] [--looks]

Split digits (or MNIST), three seeds, one trial after the other in this process; no time is
measured. Each method is searched by TPE over its knobs and the learning rate, or by `fill` over
its knob alone. Figures are on test data, of the front of the validation means:

- *steps*: gradient steps not made, as a share of those of the search that stops nothing;
- *hypervolume*: that of the front over that of the search that stops nothing, from chance;
- *gap*: the largest distance of neighbours on the front; for the search that stops nothing, too.

Two comparisons per margin. *same asks*: the rule applied to the records of the search that stops
nothing, so that every difference is the rule's; *lost* counts points of its front that the rule
stops with any seed. *own asks*: a search that was run with the margin, which asks for other
configurations as soon as a trial has been stopped. A run that was cut short goes on.

With `--looks`, what it costs to be looked at while the last task is learnt: processor time of one
look over that of a trial that is not looked at, each the least of several rounds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from clsweep import methods
from clsweep.data import benchmarks
from clsweep.execution import runner
from clsweep.nets.build import build_net
from clsweep.records.schema import Record
from clsweep.reporting.curve_building import curve_of
from clsweep.reporting.curves import Curve
from clsweep.search import pareto
from clsweep.search.search import Search
from clsweep.storage.store import Store
from clsweep.study.study import Study, parse_study
from clsweep.training.early_stopping import checkpoint_accuracies, deficit, lowest_accuracies
from clsweep.training.evaluation import evaluate
from clsweep.training.sequences import learn_sequence, learn_source, measure_source

STUDY = """\
name = "early_stopping"
seeds = 3
[benchmark]
name = "split"
dataset = "{data}"
n_tasks = {tasks}
scenario = "domain"
[net]
hidden = [100]
[training]
lr = {lr}
batch_size = {batch_size}
epochs = {epochs}
[resources]
device = "cpu"
[search]
kind = "{kind}"
trials = {trials}
stop_margin = {margin}
{more}
[[methods]]
name = "{method}"
{numbers}
"""
# Every trial is looked at, and none is stopped: nothing is ahead by 99.9 points in both.
NEVER = 0.999
CHANCE = (0.5, 0.5)
NUMBERS = {
    "optuna": {"replay": "memory_size = { low = 10, high = 500 }", "ewc": 'form = "proximal"'},
    "fill": {"replay": "memory_size = 100", "ewc": 'form = "proximal"'},
}


class Outcome(NamedTuple):
    """A search's cost and front.

    Attributes:
        steps: gradient steps of its trials.
        n_stopped: trials that were stopped.
        n_trials: all of them.
        curve: its points, without those of which a trial was stopped.
    """

    steps: float
    n_stopped: int
    n_trials: int
    curve: Curve

    @property
    def front(self) -> np.ndarray:
        """Test means of the front of the validation means, from low to high source."""
        chosen = [
            p for p, is_on in zip(self.curve.points, self.curve.on_front, strict=True) if is_on
        ]
        tests = np.array([p.mean("test") for p in chosen]).reshape(-1, 2)
        return tests[np.lexsort((tests[:, 1], tests[:, 0]))]

    @property
    def gap(self) -> float:
        """The largest distance of neighbours on the front."""
        return max((math.dist(a, b) for a, b in pairwise(self.front)), default=math.nan)

    @property
    def hypervolume(self) -> float:
        """Area above chance."""
        return pareto.hypervolume_2d(self.front, CHANCE)


def study_of(method: str, margin: float, given: argparse.Namespace) -> Study:
    is_digits = given.data == "digits"
    return parse_study(
        STUDY.format(
            data=given.data,
            tasks=given.tasks,
            lr=0.1 if is_digits else 0.05,
            batch_size=32 if is_digits else 128,
            epochs=10 if is_digits else 1,
            kind=given.kind,
            trials=given.trials,
            margin=margin,
            more="training = { lr = [0.003, 0.01, 0.03, 0.1, 0.3] }"
            if given.kind == "optuna"
            else "gap = 0.02",
            method=method,
            numbers=NUMBERS[given.kind].get(method, ""),
        )
    )


def searched(method: str, margin: float, given: argparse.Namespace) -> tuple[Study, list[Record]]:
    """The study with this margin, and the records of its search."""
    study = study_of(method, margin, given)
    where = f"{given.data}{given.tasks}-{given.kind}"
    out = given.out / where / f"{method}-{margin:g}"
    runner.run(
        study,
        out=out,
        inline=True,
        stages=given.out / where / "stages",  # source models are the same for all
        data_root=given.data_root,
    )
    return study, Store(out).load()


def outcome(study: Study, records: list[Record]) -> Outcome:
    statuses = [record["trial"]["status"] for record in records]
    steps = sum(record["trial"]["n_steps"] for record in records)
    n_tasks = study.benchmark.n_tasks
    curve = curve_of(study.methods[0].label, records, study.seeds, n_tasks, CHANCE)
    return Outcome(steps, statuses.count("stopped"), len(records), curve)


def replayed(study: Study, records: list[Record], margin: float) -> Outcome:
    """What the rule would have stopped of a search that stopped nothing, asks unchanged."""
    n_learnt, seeds = study.benchmark.n_tasks - 1, study.seeds
    of = {(r["trial"]["config_id"], r["trial"]["seed"]): r for r in records}
    search = Search(study, records, {record["trial"]["trial_id"] for record in records})
    (line,) = search._lines
    ids = [row.configuration.id for row in search._ordered(line)]
    kept: set[tuple[str, int]] = set()
    steps, n_stopped = 0.0, 0
    for index, key in enumerate(ids):
        start, _ = search._batch(line, index)
        yardsticks = [k for k in ids[:start] if all((k, seed) in kept for seed in seeds)]
        yardsticks = [k for k in yardsticks if all(_is_ok(of[k, seed]) for seed in seeds)]
        worsts = {
            k: lowest_accuracies([checkpoint_accuracies(of[k, seed]) for seed in seeds])
            for k in yardsticks
        }
        for seed in seeds:
            record, share = of[key, seed], 1.0
            passed = checkpoint_accuracies(record)
            for name in sorted(passed, key=lambda name: _share(name, n_learnt)):
                known = [(k, *points[name]) for k, points in worsts.items()]
                if deficit(passed[name], known).lead > margin:
                    share = _share(name, n_learnt)
                    break
            else:
                kept.add((key, seed))
            n_stopped += share < 1
            steps += share * record["trial"]["n_steps"]
    left = outcome(study, [record for key, record in of.items() if key in kept])
    return left._replace(steps=steps, n_stopped=n_stopped, n_trials=len(records))


def _is_ok(record: Record) -> bool:
    return record["trial"]["status"] == "ok"


def cost_of_a_look(method: str, given: argparse.Namespace, rounds: int = 7) -> float:
    """Processor time of a look at a net without batch norm, over that of a whole trial."""
    study = study_of(method, NEVER, given)
    sequence = benchmarks.build(study.benchmark, given.data_root, 0)
    net = build_net(study.net, sequence.input_shape, sequence.heads)
    built = methods.build(method, net, Search(study, [], set()).more()[0].hyper)
    source = learn_source(net, sequence, study.training, 0)
    statistics = measure_source(built, sequence, source, 0)
    last = len(sequence.tasks) - 1

    def trial() -> None:
        learn_sequence(built, sequence, study.training, 0, source, statistics)

    def look() -> None:
        evaluate(net.apply, source.params, sequence, last, ("validation",))

    return _least_seconds(look, rounds) / _least_seconds(trial, rounds)


def _least_seconds(work: Callable[[], None], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def _share(name: str, n_learnt: int) -> float:
    """How much of a trial's training lies before a point; tasks are taken for equally long."""
    kind, _, value = name.partition(" ")
    return int(value) / n_learnt if kind == "task" else (n_learnt - 1 + float(value)) / n_learnt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="ewc,lwf,replay")
    parser.add_argument("--margins", default="0.2,0.1,0.05,0.02")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--kind", default="optuna")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("results/early_stopping_benchmark"))
    parser.add_argument("--same-asks-only", action="store_true")
    parser.add_argument("--looks", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.looks:
        for method in given.methods.split(","):
            print(f"{method:7s} a look takes {cost_of_a_look(method, given):.2%} of a trial")
        return
    print(f"{given.data}, {given.tasks} tasks, {given.kind}, {given.trials} configurations")
    print("method  margin asks    stopped     steps  hypervolume  gap (without)  front (lost)")
    for method in given.methods.split(","):
        study, records = searched(method, NEVER, given)
        whole = outcome(study, records)
        on_front = _ids_on_front(whole)
        for margin in map(float, given.margins.split(",")):
            found = {"same": replayed(study, records, margin)}
            if not given.same_asks_only:
                found["own"] = outcome(*searched(method, margin, given))
            for asks, one in found.items():
                lost = len(on_front - {p.config_id for p in one.curve.points})
                saved = 1 - one.steps / whole.steps
                print(
                    f"{method:7s} {margin:5g}  {asks:4s} {one.n_stopped:4d} of {one.n_trials:3d}"
                    f"  {saved:7.1%}  {one.hypervolume / whole.hypervolume:11.4f}"
                    f"  {one.gap:.3f} ({whole.gap:.3f})  {len(one.front)} of {len(on_front)}"
                    + (f" ({lost})" if asks == "same" else ""),
                    flush=True,
                )


def _ids_on_front(found: Outcome) -> set[str]:
    pairs = zip(found.curve.points, found.curve.on_front, strict=True)
    return {point.config_id for point, is_on in pairs if is_on}


if __name__ == "__main__":
    main()
