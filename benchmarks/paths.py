"""Compare regularisation paths with independent trials: are they the same front?

    python benchmarks/paths.py [digits digits_long mnist permuted] [--data-root DIR] [--out FOLDER]
        [--methods ewc mas si l2] [--seeds N]

Two tasks, the methods that a path can follow, in the proximal form, their declared ranges, inline;
no time is measured. For every share of steps per point, a path of 50 values is compared with
independent trials at 9 of them, every sixth, with the same seeds. Test accuracies throughout:
nothing is chosen. In points of accuracy, of means over the seeds:

- *point*: the largest difference, path minus independent, at one value, in source and in target;
- *short*: by how much the path's front must be lifted in both accuracies to cover the independent
  one (the additive ε indicator, Zitzler et al. 2003, IEEE TEC 7(2));
- *beyond*: the same the other way round, with the path at the 9 values alone;
- *seeds*: the larger of the two between independent trials and those of as many other seeds: what
  two fronts of one kind differ by.

A path is the same front where *short* and *beyond* are at most the tolerance, one point.
*cost* is its gradient steps over those of 50 independent trials. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from knob_studies import Size, knob_study
from numpy.typing import NDArray

import clsweep
from clsweep.records import accuracy
from clsweep.search import pareto
from clsweep.storage.store import Store
from clsweep.study.configurations import configurations
from clsweep.study.study import Study

TABLE = '[[methods]]\nname = "{name}"\nlabel = "{name}"\nform = "proximal"\n{values}\n'
METHODS = {"ewc": "lam", "mas": "lam", "si": "c", "l2": "lam"}
DIGITS = 'name = "split"\ndataset = "digits"\nvalidation_fraction = 0.2'
SIZES = {
    "digits": Size(DIGITS, 50, 32, 10),
    "digits_long": Size(DIGITS, 50, 32, 100),
    "mnist": Size('name = "split"\ndataset = "mnist"\nexamples_per_task = 3000', 100, 64, 2),
    "permuted": Size(
        'name = "permuted"\ndataset = "mnist"\nscenario = "domain"\nexamples_per_task = 3000',
        100,
        64,
        2,
    ),
}
N_POINTS, EVERY = 50, 6
SHARES = (0.02, 0.1)
TOLERANCE = 0.01
Array = NDArray[np.float64]


class Curve(NamedTuple):
    """Of one method: values of its knob, test accuracies [K, S, 2], steps of each trial [K, S]."""

    values: Array
    points_KS2: Array
    steps_KS: Array


def study_of(size: str, seeds: list[int], search: str, tables: str) -> Study:
    return knob_study("paths", SIZES[size], seeds, search, tables)


def path_study(size: str, seeds: list[int], share: float, names: Sequence[str]) -> Study:
    search = f'kind = "path"\npoints = {N_POINTS}\npoint_steps = {share}'
    tables = "".join(TABLE.format(name=name, values="") for name in names)
    return study_of(size, seeds, search, tables)


def grid_study(size: str, seeds: list[int], names: Sequence[str]) -> Study:
    """Independent trials at every sixth value of the paths."""
    by_method: dict[str, list[float]] = defaultdict(list)
    for one in configurations(path_study(size, seeds, SHARES[0], names)):
        by_method[one.method].append(next(iter(one.knobs.values())))
    tables = [
        TABLE.format(name=name, values=f"{METHODS[name]} = {by_method[name][::EVERY]!r}")
        for name in names
    ]
    return study_of(size, seeds, "", "".join(tables))


def curves(study: Study, out: Path, given: argparse.Namespace) -> dict[str, Curve]:
    """Run a study to its end, and read what it has found of each method."""
    summary = clsweep.run(
        study, out=out, inline=True, stages=out.parent / "stages", data_root=given.data_root
    )
    if summary.n_done < summary.n_trials:
        raise SystemExit("stopped; the same command goes on")
    found = {record["trial"]["trial_id"]: record for record in Store(out).load("test")}
    by_method: dict[str, list[tuple[float, list[list[float]], list[int]]]] = defaultdict(list)
    for one in configurations(study):
        records = [found[f"{one.id}-{seed}"] for seed in study.seeds]
        bad = [r["trial"]["message"] for r in records if r["trial"]["status"] != "ok"]
        if bad:
            raise SystemExit(f"{one.label}, {one.knobs}: {bad[0]}")
        tables = [accuracy.accuracy_table(r["accuracy"], "test", 2) for r in records]
        ends = [[accuracy.source_accuracy(t), accuracy.target_accuracy(t)] for t in tables]
        steps = [r["trial"]["n_steps"] for r in records]
        by_method[one.method].append((next(iter(one.knobs.values())), ends, steps))
    return {
        name: Curve(*(np.array(part, float) for part in zip(*rows, strict=True)))
        for name, rows in by_method.items()
    }


def shortfall(front: Array, other: Array) -> float:
    """By how much `front` must be lifted to cover `other`: max_b min_a max_i (b_i − a_i), ≥ 0.

    Args:
        front: points [N, 2].
        other: points [M, 2].
    """
    wanted = other[pareto.non_dominated(other)]
    lifts = (wanted[:, None] - front[None]).max(axis=2).min(axis=1)
    return max(0.0, float(lifts.max()))


def figures(path: Curve, grid: Curve, others: Curve) -> dict[str, float]:
    """What is printed of one method; accuracies in points."""
    at = [int(np.flatnonzero(path.values == value)[0]) for value in grid.values]
    here, alone = path.points_KS2.mean(axis=1), grid.points_KS2.mean(axis=1)
    more = others.points_KS2.mean(axis=1)
    source, target = (float(d[np.abs(d).argmax()]) for d in (here[at] - alone).T)
    n_full = grid.steps_KS.mean()
    return {
        "point, source": 100 * source,
        "point, target": 100 * target,
        "short": 100 * shortfall(here, alone),
        "beyond": 100 * shortfall(alone, here[at]),
        "seeds": 100 * max(shortfall(alone, more), shortfall(more, alone)),
        "cost": float(path.steps_KS.sum(axis=0).mean() / (len(path.values) * n_full)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help=" ".join(SIZES))
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    parser.add_argument("--out", type=Path, default=Path("results/paths_benchmark"))
    given = parser.parse_args()
    unknown = set(given.sizes) - SIZES.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(SIZES)}")
    seeds, more = list(range(given.seeds)), list(range(given.seeds, 2 * given.seeds))
    rows: list[dict[str, object]] = []
    for size in given.sizes or SIZES:
        out = given.out / size
        grid = curves(grid_study(size, seeds, given.methods), out / "grid", given)
        others = curves(grid_study(size, more, given.methods), out / "others", given)
        for share in SHARES:
            paths = curves(
                path_study(size, seeds, share, given.methods), out / f"path_{share}", given
            )
            for name, path in paths.items():
                found = figures(path, grid[name], others[name])
                is_same = max(found["short"], found["beyond"]) <= 100 * TOLERANCE
                said = {k: f"{v:.3f}" if k == "cost" else f"{v:.2f}" for k, v in found.items()}
                rows.append({"on": size, "method": name, "share": share, **said, "same": is_same})
                print(*(f"{key} {value}" for key, value in rows[-1].items()), sep="; ", flush=True)
    with (given.out / "paths.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    n_same = sum(bool(row["same"]) for row in rows)
    print(f"the same front within {100 * TOLERANCE:g} point: {n_same} of {len(rows)}")


if __name__ == "__main__":
    main()
