"""The records of a results folder as Optuna studies, for optuna-dashboard and Optuna's own plots.

One study per curve, named `NAME: LABEL`, with the objectives *source accuracy* and *target
accuracy*: the means over the seeds on validation data, never test data. A configuration of which a
seed failed or diverged is a failed trial, one of which a seed was stopped a pruned one; the
attribute "status by seed" tells them apart. One that has not run with every seed is left out. The
file is a copy to look at: no run of clsweep reads it.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsweep.errors import StoreError
from clsweep.methods import known_entry
from clsweep.methods.hyper_fields import search_range
from clsweep.records.recorded_inputs import refuse_mixture
from clsweep.records.schema import Config, Record
from clsweep.search.stored_validation import of_its_study
from clsweep.search.validation_table import validation_point
from clsweep.storage.remote_path import Place
from clsweep.storage.store import Store
from clsweep.study.idle_numbers import idle_keys
from clsweep.training.config import in_full

if TYPE_CHECKING:
    import optuna

OBJECTIVES = ("source accuracy", "target accuracy")
_SQLITE = (".db", ".sqlite", ".sqlite3")
_JOURNAL = (".log", ".journal")


def export_optuna(directory: Place, file: Path) -> dict[str, int]:
    """Write the studies; returns study name -> number of trials.

    Args:
        directory: a results folder.
        file: a new file, SQLite or Optuna's journal by its ending.

    Raises:
        StoreError: the folder holds no results, or the file cannot be written.
    """
    if file.suffix not in _SQLITE + _JOURNAL:
        raise StoreError(
            f"{file} does not say which kind of file it is to be",
            expected=f"{', '.join(_SQLITE)} for SQLite, {', '.join(_JOURNAL)} for a journal",
        )
    if file.exists():
        raise StoreError(f"{file} exists already", next_step="choose another name")
    store = Store(directory)
    records = of_its_study(store)
    if not records:
        raise StoreError(
            "there is no record to export",
            expected="the results folder of a run",
            where=str(directory),
        )
    refuse_mixture(records, str(directory))
    table = store.study_table()
    seeds = table.get("seeds") or sorted({record["trial"]["seed"] for record in records})
    try:
        file.touch(exist_ok=False)  # says what is wrong with the place, which SQLite does not
    except OSError as error:
        raise _refused(file, str(error.strerror or error)) from error
    try:
        return _written(file, str(table.get("name", directory.name)), records, seeds)
    except Exception as error:
        reason = _reason_of_storage(error)
        if reason is None:
            raise
        with contextlib.suppress(OSError):  # half a file would only be in the way
            file.unlink()
        raise _refused(file, reason) from error


def _reason_of_storage(error: Exception) -> str | None:
    """What a disk, or what lies above it, says; None of an error of another kind."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, OSError):
        return str(error.strerror or error)
    if isinstance(error, StorageInternalError | SQLAlchemyError):
        return str(getattr(error, "orig", None) or error)  # what SQLite has said
    return None


def _refused(file: Path, reason: str) -> StoreError:
    return StoreError(
        f"the export cannot be written: {reason}",
        expected="a new file in a folder that exists, on a disk with free space",
        where=str(file),
    )


def _written(
    file: Path, name: str, records: Sequence[Record], seeds: Sequence[int]
) -> dict[str, int]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = _storage(file)
    by_label: dict[str, dict[str, dict[int, Record]]] = {}
    for record in records:
        trial = record["trial"]
        curve = by_label.setdefault(trial["label"], {})
        curve.setdefault(trial["config_id"], {})[trial["seed"]] = record
    written = {}
    for label, curve in by_label.items():
        whole = [by_seed for by_seed in curve.values() if set(seeds) <= by_seed.keys()]
        study = optuna.create_study(
            storage=storage, study_name=f"{name}: {label}", directions=["maximize"] * 2
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(OBJECTIVES))
        whole.sort(key=lambda by_seed: min(by_seed[s]["trial"]["finished_at"] for s in seeds))
        spans = _distributions([by_seed[seeds[0]]["config"] for by_seed in whole])
        study.add_trials([_trial(by_seed, seeds, spans) for by_seed in whole])
        written[study.study_name] = len(whole)
    return written


def _storage(file: Path) -> optuna.storages.BaseStorage:
    from optuna import storages

    if file.suffix in _SQLITE:
        # Not by its URL: versions of SQLAlchemy read '?', '#' and '%' in one differently, and
        # Optuna fills in what stands in braces.
        path = str(file.absolute())
        creator = {"creator": lambda: sqlite3.connect(path)}
        return storages.RDBStorage("sqlite:///export.db", engine_kwargs=creator)
    from optuna.storages.journal import JournalFileBackend

    return storages.JournalStorage(JournalFileBackend(str(file)))


def _numbers(config: Config) -> dict[str, Any]:
    """Every number of a configuration that changes anything."""
    training = {f"training.{key}": value for key, value in in_full(config["training"]).items()}
    return {k: v for k, v in {**config["hyper"], **training}.items() if k not in idle_keys(config)}


def _distributions(configs: Sequence[Config]) -> dict[str, Any]:
    """What differs between the configurations of a curve, and between which values."""
    if not configs:
        return {}
    numbers = [_numbers(config) for config in configs]
    found = {}
    for key in dict.fromkeys(key for one in numbers for key in one):
        values = [one[key] for one in numbers if key in one]
        if any(value != values[0] for value in values):
            found[key] = _distribution(configs[0]["method"], key, values)
    return found


def _distribution(method: str, key: str, values: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kinds = {type(value) for value in values}
    if not kinds <= {int, float}:
        return CategoricalDistribution(tuple(dict.fromkeys(values)))
    low, high = min(values), max(values)
    entry = known_entry(method)
    declared = entry and key in entry.hyper.model_fields
    worth = search_range(entry.hyper.model_fields[key]) if entry and declared else None
    log = low > 0 and (worth[2] if worth else key == "training.lr")
    if kinds == {int}:
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _trial(
    by_seed: Mapping[int, Record], seeds: Sequence[int], spans: Mapping[str, Any]
) -> optuna.trial.FrozenTrial:
    from optuna.trial import TrialState, create_trial

    records = [by_seed[seed] for seed in seeds]
    points = [validation_point(record) for record in records]
    sound = [point for point in points if point is not None]
    ended = [datetime.fromisoformat(record["trial"]["finished_at"]) for record in records]
    numbers = _numbers(records[0]["config"])
    messages = {r["trial"]["message"]: None for r in records if r["trial"]["message"]}
    is_whole = len(sound) == len(points)
    lost = {r["trial"]["status"] for r in records} - {"ok"}
    without = TrialState.PRUNED if lost == {"stopped"} else TrialState.FAIL
    trial = create_trial(
        state=TrialState.COMPLETE if is_whole else without,
        values=[math.fsum(axis) / len(sound) for axis in zip(*sound, strict=True)]
        if is_whole
        else None,
        params={key: numbers[key] for key in spans if key in numbers},
        distributions={key: span for key, span in spans.items() if key in numbers},
        user_attrs={
            "config_id": records[0]["config"]["config_id"],
            "seeds": list(seeds),
            "by seed": [point and list(point) for point in points],
            **({"status by seed": [r["trial"]["status"] for r in records]} if lost else {}),
            **({"message": "; ".join(messages)} if messages else {}),
        },
    )
    # Optuna's own are local times without a zone.
    seconds = max(record["trial"]["wall_seconds"] for record in records)
    trial.datetime_complete = max(ended).astimezone().replace(tzinfo=None)
    begun = min(ended) - timedelta(seconds=seconds)
    trial.datetime_start = begun.astimezone().replace(tzinfo=None)
    return trial
