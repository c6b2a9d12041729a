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

from clsweep.number_conditions import with_rest
from clsweep.records.schema import trial_id_of
from clsweep.study.identity import identity
from clsweep.study.jobs import Job, Plan

if TYPE_CHECKING:
    from pydantic import BaseModel

    from clsweep.study.configurations import Configuration
    from clsweep.study.study_tables import StudyTables

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


def source_key(
    study: StudyTables, configuration: Configuration, seed: int, values: Values = ()
) -> str:
    """Key of the source model: data, network, optimiser and seed, but no method.

    Args:
        study: the study.
        configuration: whose training it is.
        seed: the seed.
        values: fingerprints of what is no published data set, see `recorded_inputs.stage_inputs`.
    """
    return _source_key(study.benchmark, study.net, configuration.training, seed, values)


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


def statistics_key(
    study: StudyTables, configuration: Configuration, seed: int, values: Values = ()
) -> str:
    """Key of the method's statistics of the source task; '' for methods without any."""
    entry = configuration.entry
    if not entry.statistics:
        return ""
    fields = entry.hyper.model_fields
    read = {name: getattr(configuration.hyper, name) for name in entry.statistics_read}
    # What they switch off among themselves; a weight of zero, say, does not change statistics.
    alike = with_rest(entry.hyper, read)
    inputs = {name: value for name, value in alike.items() if value != fields[name].default}
    inputs["source"] = source_key(study, configuration, seed, values)
    named = {value for value in alike.values() if isinstance(value, str)}
    code = {p: c for p, c in configuration.code if p in named or p == entry.path}
    if code:
        inputs["code"] = code
    return stage_key(entry.statistics, STATISTICS_VERSION, inputs)


def finetuned_key(
    study: StudyTables, configuration: Configuration, seed: int, values: Values = ()
) -> str:
    """Key of the fine-tuned network of the second task; '' for methods that need none."""
    if not configuration.entry.starts_from_finetuned:
        return ""
    # Data, network, optimiser and seed are in the source's key.
    inputs = {"source": source_key(study, configuration, seed, values)}
    return stage_key("finetuned", FINETUNED_VERSION, inputs)


def path_key(
    study: StudyTables, configuration: Configuration, seed: int, values: Values = ()
) -> str:
    """Key of the network at a point of a regularisation path; '' for an independent trial."""
    if configuration.path is None:
        return ""
    # The configuration's identity holds the method with its statistics, and the path above.
    inputs = {
        "source": source_key(study, configuration, seed, values),
        "statistics": STATISTICS_VERSION,
        "configuration": configuration.id,
    }
    return stage_key("path", PATH_VERSION, inputs)


def key_above(
    study: StudyTables, configuration: Configuration, seed: int, values: Values = ()
) -> str:
    """`path_key` of the point from which one of a path starts; '' for the first."""
    above = configuration.path.above if configuration.path else None
    if above is None:
        return ""
    # Of the same benchmark, network and training: nothing else of it is in the key.
    return path_key(study, replace(configuration, id=above.ids[-1], path=above), seed, values)


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
    by_id = {configuration.id: configuration for configuration in configurations}
    needed = _Needed(study, in_cache, values)
    n_done = 0
    for seed in study.seeds:
        for configuration in configurations:
            name = trial_id_of(configuration.id, seed)
            if name in done:
                n_done += 1
                continue
            needs = needed.stages(configuration, seed)
            if configuration.path is not None:
                needs += needed.path([by_id[key] for key in configuration.path.ids], seed)
            label, asked = configuration.label, configuration.asked
            needed.jobs.append(Job(name, "trial", label, configuration.id, seed, needs, asked))
    n_trials = len(study.seeds) * len(configurations)
    return Plan(needed.jobs, n_trials, n_done, needed.cached)


class _Needed:
    """The jobs of a plan as they come up, each stage once."""

    def __init__(
        self, study: StudyTables, in_cache: Callable[[str], bool], values: Values
    ) -> None:
        self.study, self.in_cache, self.values = study, in_cache, values
        self.jobs: list[Job] = []
        self.cached: list[str] = []
        self.planned: set[str] = set()

    def stages(self, configuration: Configuration, seed: int) -> tuple[str, ...]:
        """Keys of the stages that a configuration starts from, each added unless it is there."""
        found = _stages_of(self.study, configuration, seed, self.values)
        for stage in found:
            if self._is_missing(stage.key):
                self.jobs.append(stage)
        return tuple(stage.key for stage in found)

    def path(self, points: Sequence[Configuration], seed: int) -> tuple[str, ...]:
        """The key of the last point of a path, which begins at the lowest that is there."""
        keys = [path_key(self.study, point, seed, self.values) for point in points]
        first = len(points)
        while first and self._is_missing(keys[first - 1]):
            first -= 1
        for index in range(first, len(points)):
            point, above = points[index], keys[index - 1 : index] if index else []
            needs = (*self.stages(point, seed), *above)
            label = f"{point.label}, point {index + 1}, seed {seed}"
            self.jobs.append(Job(keys[index], "path", label, point.id, seed, needs))
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


def _stages_of(
    study: StudyTables, configuration: Configuration, seed: int, values: Values
) -> list[Job]:
    entry = configuration.entry
    if not entry.begins_at_source(configuration.hyper):
        return []
    key, asked = configuration.id, configuration.asked
    source = source_key(study, configuration, seed, values)
    stages = [Job(source, "source", f"source, seed {seed}", key, seed, asked=asked)]
    statistics = statistics_key(study, configuration, seed, values)
    if statistics:
        label = f"{entry.statistics}, seed {seed}"
        stages.append(Job(statistics, "statistics", label, key, seed, (source,), asked))
    finetuned = finetuned_key(study, configuration, seed, values)
    if finetuned:
        label = f"fine-tuned, seed {seed}"
        stages.append(Job(finetuned, "finetuned", label, key, seed, (source,), asked))
    return stages
