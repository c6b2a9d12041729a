"""A study whose trials cost nothing, for tests of the search: accuracies are a known function."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from clsweep.execution.trial_record import record_of
from clsweep.records.schema import Record, trial_id_of
from clsweep.search.search import Search
from clsweep.study.configurations import Configuration, configurations
from clsweep.study.study import Study, parse_study

HEAD = """\
name = "searched"
seeds = {seeds}
[benchmark]
name = "split"
n_tasks = 2
scenario = "domain"
[search]
{search}
"""
REFERENCES = '[[methods]]\nname = "finetune"\n[[methods]]\nname = "frozen"\n'
EWC = '[[methods]]\nname = "ewc"\nlam = { low = 1, high = 1e8 }\nform = "proximal"\n'
LWF = '[[methods]]\nname = "lwf"\n'

Accuracies = tuple[float, float]
World = Callable[[Configuration, int], "Accuracies | None"]


def searched(search: str, methods: str = REFERENCES + EWC + LWF, seeds: Any = 2) -> Study:
    """A study with the given `[search]`."""
    return parse_study(HEAD.format(seeds=seeds, search=search) + methods)


def share(configuration: Configuration) -> float:
    """Where the knob lies between the ends of EWC's range, or of LwF's, on its scale."""
    lam = float(configuration.hyper.model_dump()["lam"])
    return math.log10(lam) / 8 if configuration.method == "ewc" else (math.log10(lam) + 2) / 4


def smooth(configuration: Configuration, seed: int) -> Accuracies | None:
    """A curve without noise from fine-tuning to the frozen trunk; seeds differ by a shift."""
    if configuration.reference:
        return (0.5, 0.95) if configuration.method == "finetune" else (0.95, 0.5)
    rise = 1 / (1 + math.exp(-12 * (share(configuration) - 0.5)))
    return 0.5 + 0.45 * rise + 0.002 * seed, 0.95 - 0.45 * rise**2 + 0.001 * seed


def record(
    configuration: Configuration, seed: int, values: Accuracies | None, time: int
) -> Record:
    """A trial's record with validation accuracies of one in a million, and test far from them."""
    at = f"2026-01-01T00:{time // 60:02d}:{time % 60:02d}.000+00:00"
    if values is None:
        return record_of(configuration, seed, "diverged", message="NaN", finished_at=at)
    rows = [
        (after, on, split, round(10**6 * (value if split == "validation" else 0.3)), 10**6)
        for split in ("validation", "test")
        for after, on, value in ((0, 0, 0.95), (1, 0, values[0]), (1, 1, values[1]))
    ]
    return record_of(configuration, seed, "ok", accuracy=rows, finished_at=at, wall_seconds=1.0)


def work(
    study: Study,
    records: list[Record] | None = None,
    *,
    world: World = smooth,
    n_new: int = 10**6,
    workers: int = 1,
    order: int = 0,
) -> list[Record]:
    """The records after a run of at most `n_new` more trials.

    Args:
        study: what is asked for.
        records: of earlier runs.
        world: the accuracies of a trial, or None for one that diverges.
        n_new: trials until the process is killed.
        workers: trials at the same time.
        order: seed of the order in which those end.
    """
    kept = list(records or [])
    rng = random.Random(order)
    done = {r["trial"]["trial_id"] for r in kept}
    search = Search(study, kept, done)
    asked = configurations(study) + search.known + search.more()
    waiting = [(c, s) for s in study.seeds for c in asked if trial_id_of(c.id, s) not in done]
    running: list[tuple[Configuration, int]] = []
    for _ in range(n_new):
        while waiting and len(running) < workers:
            running.append(waiting.pop(0))
        if not running:
            break
        configuration, seed = running.pop(rng.randrange(len(running)))
        made = record(configuration, seed, world(configuration, seed), len(kept))
        kept.append(made)
        search.tell(made)
        waiting += [(c, s) for c in search.more() for s in study.seeds]
    return kept


def chosen(study: Study, records: list[Record]) -> dict[str, list[str]]:
    """Label -> ids of the searched configurations, in the order that the search sees."""
    search = Search(study, records, {r["trial"]["trial_id"] for r in records})
    found: dict[str, list[str]] = {}
    for configuration in search.known:
        found.setdefault(configuration.label, []).append(configuration.id)
    return found
