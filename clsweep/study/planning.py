"""Planning what a study has to compute: trials, and the stages that they share.

    source(seed) -> statistics(seed, estimator) -> trial(configuration, seed)
    source(seed) -> finetuned(seed)             -> trial(configuration, seed)
    path(configuration above, seed) -> path(configuration, seed) -> trial(configuration, seed)

A stage is named by the hash of everything it depends on; not by device, workers or fractions of a
GPU, which cannot change it. Planning imports neither torch nor ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from clsweep.records.schema import trial_id_of
from clsweep.study.identity import identity
from clsweep.study.jobs import Job, Plan

if TYPE_CHECKING:
    from pydantic import BaseModel

    from clsweep.study.configurations import Configuration
    from clsweep.study.starts import Start
    from clsweep.study.study_tables import Conditions, StudyTables

# Raised when the code of a stage changes what it computes.
SOURCE_VERSION = 1
STATISTICS_VERSION = 1
FINETUNED_VERSION = 1
PATH_VERSION = 1

# (name, fingerprint) of inputs.
Values = tuple[tuple[str, str], ...]


def stage_key(name: str, version: int, inputs: dict[str, Any]) -> str:
    """Hash of a stage's identity: 24 hexadecimal digits.

    Args:
        name: what kind of stage it is.
        version: raised when its code changes what it computes.
        inputs: everything that it depends on, as JSON values; parents by their keys.
    """
    text = json.dumps(
        [name, version, inputs], sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def source_key(conditions: Conditions, start: Start, seed: int, values: Values = ()) -> str:
    """Key of the source model: data, network, optimiser and seed, but no method.

    Args:
        conditions: those of the study.
        start: of the configuration whose training it is.
        seed: the seed.
        values: fingerprints of what is no published data set, see `recorded_inputs.stage_inputs`.
    """
    return _source_key(conditions.benchmark, conditions.net, start.training, seed, values)


# A study asks for the same few keys once per trial.
@lru_cache(maxsize=1024)
def _source_key(
    benchmark: BaseModel, net: BaseModel, training: BaseModel, seed: int, values: Values
) -> str:
    inputs = {
        "benchmark": identity(benchmark),
        "net": identity(net),
        "training": identity(training),
        "seed": seed,
    }
    if values:
        inputs["inputs"] = dict(values)
    return stage_key("source", SOURCE_VERSION, inputs)


def statistics_key(conditions: Conditions, start: Start, seed: int, values: Values = ()) -> str:
    """Key of the method's statistics of the source task; '' for methods without any."""
    if not start.statistics:
        return ""
    inputs = {**start.numbers, "source": source_key(conditions, start, seed, values)}
    if start.code:
        inputs["code"] = start.code
    return stage_key(start.statistics, STATISTICS_VERSION, inputs)


def finetuned_key(conditions: Conditions, start: Start, seed: int, values: Values = ()) -> str:
    """Key of the fine-tuned network of the second task; '' for methods that need none."""
    if not start.is_finetuned:
        return ""
    # Data, network, optimiser and seed are in the source's key.
    inputs = {"source": source_key(conditions, start, seed, values)}
    return stage_key("finetuned", FINETUNED_VERSION, inputs)


def path_key(conditions: Conditions, start: Start, seed: int, values: Values = ()) -> str:
    """Key of the network at a point of a regularisation path; '' for an independent trial."""
    if start.path is None:
        return ""
    # The configuration's identity holds the method with its statistics, and the path above.
    inputs = {
        "source": source_key(conditions, start, seed, values),
        "statistics": STATISTICS_VERSION,
        "configuration": start.config_id,
    }
    return stage_key("path", PATH_VERSION, inputs)


def key_above(conditions: Conditions, start: Start, seed: int, values: Values = ()) -> str:
    """`path_key` of the point from which one of a path starts; '' for the first."""
    above = start.path.above if start.path else None
    if above is None:
        return ""
    # Of the same benchmark, network and training: nothing else of it is in the key.
    return path_key(conditions, replace(start, config_id=above.ids[-1], path=above), seed, values)


def plan(
    study: StudyTables,
    configurations: list[Configuration],
    done: Set[str],
    in_cache: Callable[[str], bool],
    values: Values = (),
) -> Plan:
    """The missing trials, seed by seed, each preceded by the stages that it needs.

    Seeds come first so that a study stopped halfway has whole fronts of fewer seeds, not a part of
    every front.

    Args:
        study: what is asked for.
        configurations: its grid.
        done: ids of trials that have a record.
        in_cache: whether a stage key has been committed.
        values: see `source_key`.
    """
    starts = {configuration.id: configuration.start for configuration in configurations}
    labels = {configuration.id: configuration.label for configuration in configurations}
    needed = _Needed(study.conditions, in_cache, values)
    n_done = 0
    for seed in study.seeds:
        for config_id, start in starts.items():
            name = trial_id_of(config_id, seed)
            if name in done:
                n_done += 1
                continue
            label, needs = labels[config_id], needed.stages(start, seed)
            if start.path is not None:
                needs += needed.path([starts[key] for key in start.path.ids], label, seed)
            needed.jobs.append(Job(name, "trial", label, config_id, seed, needs, start.asked))
    n_trials = len(study.seeds) * len(starts)
    return Plan(needed.jobs, n_trials, n_done, needed.cached)


class _Needed:
    """The jobs of a plan as they come up, each stage once."""

    def __init__(
        self, conditions: Conditions, in_cache: Callable[[str], bool], values: Values
    ) -> None:
        self.conditions, self.in_cache, self.values = conditions, in_cache, values
        self.jobs: list[Job] = []
        self.cached: list[str] = []
        self.planned: set[str] = set()

    def stages(self, start: Start, seed: int) -> tuple[str, ...]:
        """Keys of the stages that a trial starts from, each added unless it is there."""
        found = _stages_of(self.conditions, start, seed, self.values)
        for stage in found:
            if self._is_missing(stage.key):
                self.jobs.append(stage)
        return tuple(stage.key for stage in found)

    def path(self, points: Sequence[Start], label: str, seed: int) -> tuple[str, ...]:
        """The key of the last point of a path, which begins at the lowest that is there."""
        keys = [path_key(self.conditions, point, seed, self.values) for point in points]
        first = len(points)
        while first and self._is_missing(keys[first - 1]):
            first -= 1
        for index in range(first, len(points)):
            point, above = points[index], keys[index - 1 : index] if index else []
            needs = (*self.stages(point, seed), *above)
            text = f"{label}, point {index + 1}, seed {seed}"
            self.jobs.append(Job(keys[index], "path", text, point.config_id, seed, needs))
        return (keys[-1],)

    def _is_missing(self, key: str) -> bool:
        """Whether a stage is to be computed and was not asked for before."""
        if key in self.planned:
            return False
        self.planned.add(key)
        if self.in_cache(key):
            self.cached.append(key)
            return False
        return True


def _stages_of(conditions: Conditions, start: Start, seed: int, values: Values) -> list[Job]:
    if not start.at_source:
        return []
    key, asked = start.config_id, start.asked
    source = source_key(conditions, start, seed, values)
    stages = [Job(source, "source", f"source, seed {seed}", key, seed, asked=asked)]
    statistics = statistics_key(conditions, start, seed, values)
    if statistics:
        label = f"{start.statistics}, seed {seed}"
        stages.append(Job(statistics, "statistics", label, key, seed, (source,), asked))
    finetuned = finetuned_key(conditions, start, seed, values)
    if finetuned:
        label = f"fine-tuned, seed {seed}"
        stages.append(Job(finetuned, "finetuned", label, key, seed, (source,), asked))
    return stages
