"""Schema of a trial's record: its fields, their types, and the version of both.

A `Record` is a plain dict, one per trial (configuration and seed):

    {"schema": 1, "trial": {...}, "config": {...},
     "accuracy": [[after_task, on_task, split, n_correct, n_total], ...]}

Of a regression it is of schema 2, and its rows are those of `SUM_COLUMNS`.

`records/tables.py` turns records into Parquet and back.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from clsweep.errors import StoreError
from clsweep.records.metrics import REGRESSION_METRICS
from clsweep.text import is_printable


class Trial(TypedDict):
    """One run of a configuration with one seed; its keys are those of `TRIAL_TYPES`.

    Attributes:
        trial_id: `CONFIG_ID-SEED`.
        config_id: its configuration.
        label: the curve.
        method: the method.
        seed: the seed.
        status: one of `STATUSES`.
        message: what went wrong, or ''.
        n_steps: optimiser steps, at least 0.
        wall_seconds: duration in seconds, at least 0.
        peak_memory_bytes: of the process or the GPU, in bytes; of a trial in lanes, of the whole
            program.
        memory_bytes: what the method carries from task to task, in bytes.
        n_params: numbers that the network learns.
        device: on which it ran.
        stages: keys of the stages that it used.
        attempts: starts until it ended, this one included.
        finished_at: when, by the clock of its machine, ISO 8601.
        versions: package to version, and inputs to fingerprint.
        counters: further numbers by name.
    """

    trial_id: str
    config_id: str
    label: str
    method: str
    seed: int
    status: str
    message: str
    n_steps: int
    wall_seconds: float
    peak_memory_bytes: int
    memory_bytes: int
    n_params: int
    device: str
    stages: list[str]
    attempts: int
    finished_at: str
    versions: dict[str, str]
    counters: dict[str, float]


class Config(TypedDict):
    """What a trial computed; its keys are those of `CONFIG_TYPES`.

    Attributes:
        config_id: hash of all that follows and of the study's identity.
        label: the curve.
        method: the method.
        hyper: the method's numbers.
        training: how its tasks are trained.
        knobs: the numbers that move along the front.
        is_reference: whether it is a reference instead of a point of a front.
    """

    config_id: str
    label: str
    method: str
    hyper: dict[str, Any]
    training: dict[str, Any]
    knobs: dict[str, float]
    is_reference: bool


class Record(TypedDict):
    """All that is kept of one trial.

    Attributes:
        schema: version of these keys.
        trial: the run.
        config: what it computed.
        accuracy: rows of `ACCURACY_COLUMNS`, or of a regression of `SUM_COLUMNS`.
    """

    schema: int
    trial: Trial
    config: Config
    accuracy: Sequence[list[Any]]


SCHEMA_VERSION = 1
# Of records, and of `accuracy.parquet`, whose rows are the sums of a regression.
REGRESSION_VERSION = 2
# Of `trials.parquet` alone; 2 has the columns of `ADDED_TRIAL_COLUMNS`, each of which may be null,
# and 3, of a table with points of regularisation paths, also `PATH_POINT`.
TRIALS_VERSION = 3
ADDED_TRIAL_COLUMNS = ("code_commit", "code_dirty", "gpu", "gpu_driver")
# The accuracies of a trial are a table of tasks × tasks: more tasks than can be trained, and a
# table that any memory holds.
MAX_TASKS = 1000
# What was stopped has the accuracies that it had by then, and is no failure.
STATUSES = ("ok", "diverged", "failed", "oom", "stopped")
SPLITS = ("validation", "test")

TRIAL_TYPES: dict[str, type | tuple[type, ...]] = {
    "trial_id": str,
    "config_id": str,
    "label": str,
    "method": str,
    "seed": int,
    "status": str,
    "message": str,
    "n_steps": int,
    "wall_seconds": (int, float),
    "peak_memory_bytes": int,
    "memory_bytes": int,
    "n_params": int,
    "device": str,
    "stages": list,
    "attempts": int,
    "finished_at": str,
    "versions": dict,
    "counters": dict,
}
CONFIG_TYPES: dict[str, type | tuple[type, ...]] = {
    "config_id": str,
    "label": str,
    "method": str,
    "hyper": dict,
    "training": dict,
    "knobs": dict,
    "is_reference": bool,
}
COUNTS = tuple(
    name for name, kind in TRIAL_TYPES.items() if kind not in (str, list, dict) and name != "seed"
)
# Counters instead of fields: records of the first releases lack them, and stay readable.
CPU_SECONDS = "cpu_seconds"
# The share of a GPU that a trial had, times its duration; absent without one.
GPU_SECONDS = "gpu_seconds"
# Which point of a regularisation path it is, from 1; absent of an independent trial.
PATH_POINT = "path_point"
# Trials that were trained as one program, this one included; absent where it was trained alone.
# The time that the program took is divided by them; its peak of memory is not.
LANES = "lanes"
# The parts of `memory_bytes`.
MEMORY_BYTES = ("data_bytes", "importance_bytes", "model_bytes")
ACCURACY_COLUMNS = ("after_task", "on_task", "split", "n_correct", "n_total")
SUM_COLUMNS = (
    *("after_task", "on_task", "split", "squared_error", "n_total"),
    *("fourth_power", "squared_deviation", "metric"),
)
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]+")


class NewerSchemaError(StoreError):
    """Sound results that only a newer clsweep can read; never to be treated as damage."""


def trial_id_of(config_id: str, seed: int) -> str:
    """The identity of one trial: its configuration's id and its seed."""
    return f"{config_id}-{seed}"


def normalized(record: Mapping[str, Any]) -> Record:
    """The record as JSON gives it back: tuples as lists, UTF-8 strings, accuracy rows sorted.

    Args:
        record: a record; not modified.

    Raises:
        StoreError: a value is not JSON, or the record breaks the schema.
    """
    try:
        # A message can carry half of a surrogate pair from a file name, which no table takes.
        text = json.dumps(record, ensure_ascii=False, default=_listed).encode("utf-8", "replace")
        plain: Record = json.loads(text)
    except (TypeError, ValueError) as error:
        raise bad_record(f"a value is not plain JSON ({error})", "") from error
    check_record(plain)
    plain["accuracy"] = sorted(plain["accuracy"])
    return plain


def _listed(value: Any) -> list[Any]:
    """Rows that were read from a table (`accuracy.AccuracyRows`), as a list."""
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} {value!r}")


def check_record(record: Any, where: str = "") -> None:
    """Refuse a record that the tables could not hold without loss.

    Args:
        record: what JSON gave.
        where: the file it came from, for the message.

    Raises:
        StoreError: a field is missing, unknown, of another type or out of range; or the record
            was written by a newer clsweep.
    """
    if not isinstance(record, dict):
        raise bad_record("it is not a JSON object", where)
    check_version(record.get("schema"), where, REGRESSION_VERSION)
    parts = {"schema", "trial", "config", "accuracy"}
    if set(record) != parts:
        raise bad_record(f"its parts are {sorted(record)}, not {sorted(parts)}", where)
    _check_fields(record["trial"], TRIAL_TYPES, "trial", where)
    _check_fields(record["config"], CONFIG_TYPES, "config", where)
    _check_trial(record["trial"], where)
    for key in ("config_id", "method"):
        if record["config"][key] != record["trial"][key]:
            raise bad_record(f"config.{key} and trial.{key} differ", where)
    for name in ("hyper", "training"):
        check_values(record["config"][name], name, where)
    check_names((record["config"]["label"], *record["config"]["knobs"]), "config", where)
    for name, value in record["config"]["knobs"].items():
        if not is_number(value) or not math.isfinite(value):
            raise bad_record(f"config.knobs.{name} is {value!r}, not a number", where)
    _check_accuracy(record["accuracy"], record["schema"] == REGRESSION_VERSION, where)
    status = record["trial"]["status"]
    if status in ("ok", "stopped") and not record["accuracy"]:
        raise bad_record(f"trial.status is '{status}' but there are no accuracy rows", where)


def check_values(part: Any, name: str, where: str) -> None:
    """Refuse what the objects of a record, whose keys are free, may not hold.

    Args:
        part: what JSON gave.
        name: 'versions', 'counters', 'hyper' or 'training'.
        where: the file it came from, for the message.

    Raises:
        StoreError: it is no object, or a value is not of its kind.
    """
    sound = {"versions": _is_text, "counters": is_number}.get(name, _is_setting)
    if not isinstance(part, dict):
        raise bad_record(f"'{name}' is not an object", where)
    check_names(list(part), name, where)
    for key, value in part.items():
        if not sound(value):
            raise bad_record(f"{name}.{key} is {value!r}", where)


def check_names(names: Iterable[str], part: str, where: str) -> None:
    """Refuse names that would drive the terminal, or break the figure, in which they stand.

    Args:
        names: labels, keys, and the like; not messages.
        part: of the record, for the message.
        where: the file it came from, for the message.

    Raises:
        StoreError: one of them holds control characters.
    """
    if not is_printable("".join(names)):
        raise bad_record(f"a name in '{part}' holds control characters", where)


def check_date(text: str, where: str) -> None:
    """Refuse a date that nothing can be computed with.

    Raises:
        StoreError: it is not in ISO 8601, or of no possible year.
    """
    try:
        year = datetime.fromisoformat(text).year
    except ValueError:
        year = 0
    if not 1970 <= year < 9999:
        raise bad_record(f"finished_at is {text!r}, not a date", where)


def check_version(found: Any, where: str, newest: int = SCHEMA_VERSION) -> None:
    """Refuse a schema version that this clsweep does not know.

    Args:
        found: what a file says.
        where: the file.
        newest: the latest that is known.

    Raises:
        StoreError: the version is no number, or a newer one than this clsweep writes.
    """
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise StoreError(
            f"the schema version is {found!r}",
            expected=f"a whole number from 1 to {newest}",
            where=where,
        )
    if found > newest:
        raise NewerSchemaError(
            f"results of schema {found} were written by a newer clsweep",
            expected=f"schema {newest} or older",
            where=where,
            next_step="update clsweep, or write to another results folder",
        )


def bad_record(found: str, where: str) -> StoreError:
    """What is raised for a record that is not one.

    Args:
        found: what is wrong with it.
        where: its file, or empty.
    """
    return StoreError(f"a record cannot be stored: {found}", where=where)


def _check_fields(
    part: Any, types: Mapping[str, type | tuple[type, ...]], name: str, where: str
) -> None:
    if not isinstance(part, dict):
        raise bad_record(f"'{name}' is not an object", where)
    if part.keys() != types.keys():
        missing, unknown = sorted(set(types) - set(part)), sorted(set(part) - set(types))
        raise bad_record(f"'{name}' lacks {missing} and has unknown {unknown}", where)
    for key, kind in types.items():
        value = part[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise bad_record(f"{name}.{key} is {value!r}", where)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise bad_record(f"{name}.{key} = {value} does not fit in 64 bits", where)


def _check_trial(trial: Mapping[str, Any], where: str) -> None:
    expected = trial_id_of(trial["config_id"], trial["seed"])
    if trial["trial_id"] != expected or not _SAFE_ID.fullmatch(expected):
        raise bad_record(f"trial.trial_id is '{trial['trial_id']}', not '{expected}'", where)
    if trial["status"] not in STATUSES:
        raise bad_record(f"trial.status is '{trial['status']}', not one of {STATUSES}", where)
    if not all(isinstance(stage, str) for stage in trial["stages"]):
        raise bad_record("trial.stages holds something other than strings", where)
    names = (trial["label"], trial["method"], trial["device"], *trial["stages"])
    check_names(names, "trial", where)
    for name in ("versions", "counters"):
        check_values(trial[name], name, where)
    for key in COUNTS:
        if not 0 <= trial[key] < math.inf:
            raise bad_record(f"trial.{key} is {trial[key]!r}, not at least 0", where)
    check_date(trial["finished_at"], where)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and is_printable(value)


def _is_setting(value: Any) -> bool:
    if isinstance(value, list):
        return not any(isinstance(item, list) for item in value) and all(map(_is_setting, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, int) or _is_text(value)


def _check_accuracy(rows: Any, is_regression: bool, where: str) -> None:
    if not isinstance(rows, list):
        raise bad_record("'accuracy' is not a list", where)
    columns = SUM_COLUMNS if is_regression else ACCURACY_COLUMNS
    has_sound_values = _are_sums if is_regression else _are_counts
    seen = set()
    for row in rows:
        sound = (
            isinstance(row, list)
            and len(row) == len(columns)
            and all(type(row[i]) is int for i in (0, 1, 4))
            and row[2] in SPLITS
            and -1 <= row[0] < MAX_TASKS
            and 0 <= row[1] < MAX_TASKS
            and 0 < row[4] < 2**63
            and has_sound_values(row)
        )
        if not sound:
            raise bad_record(f"accuracy row {row!r} is not {list(columns)}", where)
        if tuple(row[:3]) in seen:
            raise bad_record(f"accuracy row {row[:3]} appears twice", where)
        seen.add(tuple(row[:3]))


def _are_counts(row: list[Any]) -> bool:
    return type(row[3]) is int and 0 <= row[3] <= row[4]


def _are_sums(row: list[Any]) -> bool:
    sums = (row[3], row[5], row[6])
    is_finite = all(is_number(one) and 0 <= one < math.inf for one in sums)
    return is_finite and row[6] > 0 and row[7] in REGRESSION_METRICS
