"""Making the record of one trial from what its worker measured."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TypedDict

from clsweep.records.metrics import SUM_ROW_LENGTH
from clsweep.records.own_code import own_versions
from clsweep.records.schema import (
    PATH_POINT,
    REGRESSION_VERSION,
    SCHEMA_VERSION,
    Record,
    Trial,
    trial_id_of,
)
from clsweep.redaction import without_secrets
from clsweep.versions import versions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from clsweep.records.accuracy import AccuracyRow
    from clsweep.study.configurations import Configuration


class Measurements(TypedDict, total=False):
    """The fields of a trial that are measured while it runs; see `schema.Trial`."""

    n_steps: int
    wall_seconds: float
    peak_memory_bytes: int
    memory_bytes: int
    n_params: int
    device: str
    attempts: int
    counters: dict[str, float]


def record_of(
    configuration: Configuration,
    seed: int,
    status: str,
    *,
    message: str = "",
    accuracy: list[AccuracyRow] | None = None,
    stages: tuple[str, ...] = (),
    inputs: Mapping[str, str] | None = None,
    **measured: Unpack[Measurements],
) -> Record:
    """A trial's record.

    Args:
        configuration: what was run.
        seed: with which seed.
        status: one of `schema.STATUSES`.
        message: what went wrong, or why it was stopped, for people.
        accuracy: rows, see `records.accuracy`.
        stages: keys of the stages it started from.
        inputs: name to fingerprint of data, weights and code, see `fingerprints_of`.
        measured: see `Measurements`; zero or empty where not given.
    """
    trial: Trial = {
        "trial_id": trial_id_of(configuration.id, seed),
        "config_id": configuration.id,
        "label": configuration.label,
        "method": configuration.method,
        "seed": seed,
        "status": status,
        # A table is handed on: what an exception quotes of a URL or the environment is not.
        "message": without_secrets(message),
        "n_steps": 0,
        "wall_seconds": 0.0,
        "peak_memory_bytes": 0,
        "memory_bytes": 0,
        "n_params": 0,
        "device": "",
        "stages": list(stages),
        "attempts": 1,
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "versions": {**versions(), **own_versions(configuration.code), **(inputs or {})},
        "counters": {},
        **measured,
    }
    if configuration.path is not None:
        trial["counters"] = {**trial["counters"], PATH_POINT: float(len(configuration.path.ids))}
    is_regression = any(len(row) == SUM_ROW_LENGTH for row in accuracy or [])
    return {
        "schema": REGRESSION_VERSION if is_regression else SCHEMA_VERSION,
        "trial": trial,
        "config": {
            "config_id": configuration.id,
            "label": configuration.label,
            "method": configuration.method,
            "hyper": configuration.hyper.model_dump(mode="json"),
            "training": configuration.training.recorded,
            "knobs": dict(configuration.knobs),
            "is_reference": configuration.reference,
        },
        "accuracy": [list(row) for row in accuracy or []],
    }
