"""Count the trials that a front takes: the grid, Optuna's samplers, and the fill search.

    python benchmarks/search.py [--method ewc] [--dataset digits] [--data-root DIR] [--out FOLDER]

A method with one knob, searched over its declared range, on two tasks of five digits each, three
seeds, inline; no time is measured. For every way of choosing and every number of trials
(configurations, each with every seed), what has been found by then, as means over the seeds:

- *share*: the hypervolume of the front on test data over that of all configurations of all ways
  together, counted from the corner (fine-tuning's source, the frozen trunk's target);
- *gap*: the largest distance of neighbours on the front, from fine-tuning's point on, on
  validation data (what a search may see) and on test data.

The grid of n values is a grid of its own for every n, as a user would write it; a search with n
trials is the first n of one search. Samplers are drawn `--repeats` times, with seeds of their own,
and the median is printed. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from knob_studies import Size, knob_study

from clsweep.execution import runner
from clsweep.records import accuracy
from clsweep.records.schema import Record
from clsweep.search import pareto
from clsweep.search.search import Search
from clsweep.storage.store import Store
from clsweep.study.configurations import configurations
from clsweep.study.search_space import space_of
from clsweep.study.study import Study

METHODS = """\
[[methods]]
name = "finetune"
[[methods]]
name = "frozen"
[[methods]]
name = "{method}"
{numbers}
"""
SPLIT = 'name = "split"\nscenario = "domain"\ndataset = '
SIZES = {
    "digits": Size(f'{SPLIT}"digits"\nvalidation_fraction = 0.2', 50, 32, 10),
    "mnist": Size(f'{SPLIT}"mnist"', 100, 128, 1),
}
# The proximal form cannot diverge; of two knobs one is searched.
PROXIMAL = 'form = "proximal"\n'
FIXED = {
    **dict.fromkeys(("ewc", "mas", "si", "l2"), PROXIMAL),
    **dict.fromkeys(("replay", "gem"), "memory_size = 100\n"),
}
SAMPLERS = {"TPE": "tpe", "GP": "gp", "random": "random"}
GRIDS = (4, 6, 8, 12, 16, 24)
GOALS = (("share", 0.9), ("share", 0.95), ("gap", 0.2), ("gap", 0.1))
Point = tuple[float, float]
# Of one configuration: means over the seeds, by split.
Means = dict[str, Point]


def study_of(given: argparse.Namespace, search: str, knob: str = "") -> Study:
    numbers = FIXED.get(given.method, "") + knob
    methods = METHODS.format(method=given.method, numbers=numbers)
    return knob_study("search", SIZES[given.dataset], range(3), search, methods)


def run(study: Study, given: argparse.Namespace, name: str) -> list[Record]:
    """Run a study to its end in a folder of its own; source models are the same for all."""
    out = given.out / given.dataset / given.method / name
    root, stages = given.data_root, given.out / given.dataset / "stages"
    runner.run(study, out=out, inline=True, stages=stages, data_root=root)
    return Store(out).load()


def found_by(given: argparse.Namespace) -> Iterator[tuple[str, list[list[str]], list[Record]]]:
    """For every way: its name, configurations in the order of asking (one list per grid), rows."""
    budget = f"trials = {given.max_trials}\n"
    searches = {"fill": [f'kind = "fill"\n{budget}gap = {given.gap}']}
    for name, sampler in SAMPLERS.items():
        drawn = f'kind = "optuna"\nsampler = "{sampler}"\n{budget}'
        searches[name] = [f"{drawn}seed = {seed}" for seed in range(given.repeats)]
    searched = study_of(given, searches["fill"][0])
    (axis,) = space_of(searched, searched.methods[-1]).axes
    grids, rows = [], []
    for n in (n for n in GRIDS if n <= given.max_trials):
        knob = f"{axis.key} = {{ low = {axis.low!r}, high = {axis.high!r}, n = {n} }}\n"
        study = study_of(given, 'kind = "grid"', knob)
        rows = run(study, given, "grid")
        grids.append([c.id for c in configurations(study) if not c.reference])
    yield "grid", grids, rows
    for name, asked in searches.items():
        orders, rows = [], []
        for index, search in enumerate(asked):
            study = study_of(given, search)
            records = run(study, given, f"{name}_{index}")
            done = {record["trial"]["trial_id"] for record in records}
            orders.append([c.id for c in Search(study, records, done).known])
            rows += records
        yield name, orders, rows


def means_of(records: list[Record]) -> dict[str, Means]:
    """Configuration -> mean accuracies over its seeds; only what has trained with all of them."""
    by_id: dict[str, list[dict[str, Point]]] = {}
    for record in {r["trial"]["trial_id"]: r for r in records}.values():
        if record["trial"]["status"] == "ok":
            points = {}
            for split in ("validation", "test"):
                acc = accuracy.accuracy_table(record["accuracy"], split, 2)
                points[split] = accuracy.source_accuracy(acc), accuracy.target_accuracy(acc)
            by_id.setdefault(record["trial"]["config_id"], []).append(points)
    return {
        key: {s: tuple(np.mean([p[s] for p in points], axis=0)) for s in ("validation", "test")}
        for key, points in by_id.items()
        if len(points) == 3
    }


def largest_gap(points: list[Point], plastic: Point) -> float:
    """Between neighbours on the front of the points and the plastic end."""
    every = np.array([plastic, *points])
    front = every[pareto.non_dominated(every)]
    front = front[np.lexsort((front[:, 1], front[:, 0]))]
    return max((math.dist(a, b) for a, b in pairwise(front)), default=math.inf)


def figures(ids: list[str], means: dict[str, Means], ends: dict[str, Means], whole: float) -> dict:
    """What a list of configurations has drawn."""
    found = [means[key] for key in ids if key in means]
    corner = ends["finetune"]["test"][0], ends["frozen"]["test"][1]
    test = [point["test"] for point in found]
    return {
        "share": pareto.hypervolume_2d(np.array(test), corner) / whole if test else 0.0,
        "gap": largest_gap([p["validation"] for p in found], ends["finetune"]["validation"]),
        "test gap": largest_gap(test, ends["finetune"]["test"]),
    }


def needed(curve: dict[int, dict], key: str, goal: float) -> str:
    """The number of trials from which on the goal is kept."""
    kept = ""
    for n in sorted(curve):
        reached = curve[n][key] >= goal if key == "share" else curve[n][key] <= goal
        kept = (kept or str(n)) if reached else ""
    return kept or f"> {max(curve)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="ewc")
    parser.add_argument("--dataset", choices=sorted(SIZES), default="digits")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--max-trials", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--gap", type=float, default=0.05)
    parser.add_argument("--out", type=Path, default=Path("results/search_benchmark"))
    given = parser.parse_args()
    ways = {name: (orders, rows) for name, orders, rows in found_by(given)}
    means = means_of([record for _, rows in ways.values() for record in rows])
    fill = study_of(given, 'kind = "fill"\n')
    ends = {c.method: means[c.id] for c in configurations(fill) if c.reference}
    corner = ends["finetune"]["test"][0], ends["frozen"]["test"][1]
    tests = [point["test"] for point in means.values()]
    whole = pareto.hypervolume_2d(np.array(tests), corner)
    print(f"{given.method} on {given.dataset}, {len(means)} configurations in all")
    print("way      n  share    gap  test gap")
    for name, (orders, _) in ways.items():
        if name == "grid":
            curves = [{len(ids): figures(ids, means, ends, whole) for ids in orders}]
        else:
            curves = [
                {n: figures(o[:n], means, ends, whole) for n in range(1, len(o) + 1)}
                for o in orders
            ]
        for n in sorted({*GRIDS, max(curves[0])}):
            at = [curve[n] for curve in curves if n in curve]
            if at:
                row = {key: median(one[key] for one in at) for key in at[0]}
                print(f"{name:6s} {n:3d}", *(f" {value:.3f}" for value in row.values()))
        for key, goal in GOALS:
            counts = ", ".join(needed(curve, key, goal) for curve in curves)
            print(f"  trials to {key} {goal}: {counts}")


if __name__ == "__main__":
    main()
