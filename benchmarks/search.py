"""How many trials a front takes: the grid, Optuna's TPE and Gaussian process, and the fill search.

    python benchmarks/search.py [--method ewc] [--max-trials 24] [--out FOLDER]

EWC (or another method with one knob, searched over its declared range) on two tasks of five digits
each, three seeds, one after the other in this process; no time is measured. For every way of
choosing and every number of trials (configurations, each with every seed), two figures of what has
been found by then, on test data, means over the seeds:

- *share of hypervolume*: that of the front over that of all configurations of all ways together,
  counted from the corner (fine-tuning's source, the frozen trunk's target);
- *largest gap*: the largest distance of neighbours on the front, from fine-tuning to the frozen
  trunk, both of which are given.

The grid of n values is a grid of its own for every n, as a user would write it; a search with n
trials is the first n of one search. All ways share their results folder, so that no configuration
is trained twice, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise
from pathlib import Path

import numpy as np

from clsweep import fronts, measures, runner
from clsweep.configurations import configurations
from clsweep.progress import Progress
from clsweep.schema import Record
from clsweep.search import Search
from clsweep.space import space_of
from clsweep.store import Store
from clsweep.study import Study, parse_study

STUDY = """\
name = "search"
seeds = 3
[benchmark]
name = "split"
dataset = "digits"
n_tasks = 2
scenario = "domain"
validation_fraction = 0.2
[net]
hidden = [50]
[training]
lr = 0.05
batch_size = 32
epochs = 10
[resources]
device = "cpu"
[search]
{search}
[[methods]]
name = "finetune"
[[methods]]
name = "frozen"
[[methods]]
name = "{method}"
{numbers}
"""
GRIDS = (4, 6, 8, 12, 16, 24)


def study_of(search: str, method: str, knob: str = "") -> Study:
    proximal = 'form = "proximal"\n' if method in ("ewc", "mas", "si", "l2") else ""
    return parse_study(STUDY.format(search=search, method=method, numbers=proximal + knob))


def run(study: Study, out: Path) -> None:
    # Source models and statistics are the same for all.
    stages = out.parent / "stages"
    runner.run(study, out=out, inline=True, stages=stages, progress=Progress())


def points_of(records: list[Record], ids: list[str], split: str) -> np.ndarray:
    """Mean (source, target) accuracy over seeds of every configuration, in the order of `ids`."""
    by_id: dict[str, list[tuple[float, float]]] = {key: [] for key in ids}
    for record in records:
        if record["trial"]["config_id"] in by_id:
            acc = measures.accuracy_table(record["accuracy"], split, 2)
            point = measures.source_accuracy(acc), measures.target_accuracy(acc)
            by_id[record["trial"]["config_id"]].append(point)
    nothing = (math.nan, math.nan)
    return np.array([np.mean(found or [nothing], axis=0) for found in by_id.values()])


def largest_gap(points: np.ndarray, ends: np.ndarray) -> float:
    """Between neighbours on the front of the points and the two ends."""
    every = np.concatenate([points, ends])
    front = every[fronts.non_dominated(every)]
    front = front[np.lexsort((front[:, 1], front[:, 0]))]
    return max((math.dist(a, b) for a, b in pairwise(front)), default=math.nan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="ewc")
    parser.add_argument("--max-trials", type=int, default=24)
    parser.add_argument("--gap", type=float, default=0.05)
    parser.add_argument("--out", type=Path, default=Path("results/search_benchmark"))
    given = parser.parse_args()
    most, out = given.max_trials, given.out / given.method
    budget = f"trials = {most}\n"
    searches = {
        "fill": study_of(f'kind = "fill"\n{budget}gap = {given.gap}', given.method),
        "TPE": study_of(f'kind = "optuna"\n{budget}', given.method),
        "GP": study_of(f'kind = "optuna"\nsampler = "gp"\n{budget}', given.method),
        "random": study_of(f'kind = "optuna"\nsampler = "random"\n{budget}', given.method),
    }
    chosen: dict[tuple[str, int], list[str]] = {}
    for name, study in searches.items():
        # A folder each: what another way has found would count as found.
        run(study, out / name)
        records = Store(out / name).load()
        done = {record["trial"]["trial_id"] for record in records}
        ids = [c.id for c in Search(study, records, done).known]
        chosen |= {(name, n): ids[:n] for n in sorted({*GRIDS, len(ids)}) if n <= len(ids)}
    (axis,) = space_of(searches["fill"], searches["fill"].methods[-1]).axes
    for n in (n for n in GRIDS if n <= most):
        knob = f"{axis.key} = {{ low = {axis.low!r}, high = {axis.high!r}, n = {n} }}\n"
        study = study_of('kind = "grid"', given.method, knob)
        run(study, out / "grid")
        chosen["grid", n] = [c.id for c in configurations(study) if not c.reference]
    records = [r for name in ("grid", *searches) for r in Store(out / name).load()]
    unique = {r["trial"]["trial_id"]: r for r in records if r["trial"]["status"] == "ok"}
    references = configurations(searches["fill"])
    ends = points_of(list(unique.values()), [c.id for c in references], "test")
    corner = (float(ends[:, 0].min()), float(ends[:, 1].min()))
    points = {key: points_of(list(unique.values()), ids, "test") for key, ids in chosen.items()}
    whole = fronts.hypervolume_2d(np.concatenate([*points.values()]), corner)
    print(f"{given.method}: {len(unique)} trials; share of hypervolume, largest gap")
    for name, n in sorted(points, key=lambda key: (["grid", *searches].index(key[0]), key[1])):
        found = points[name, n]
        share = fronts.hypervolume_2d(found, corner) / whole
        print(f"{name:7s} {n:3d}  {share:.3f}  {largest_gap(found, ends):.3f}", flush=True)


if __name__ == "__main__":
    main()
