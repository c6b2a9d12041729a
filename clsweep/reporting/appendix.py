"""The appendix of a report: matrices, failures, the study file, versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clsweep.records import accuracy
from clsweep.records.accuracy import n_tasks_of
from clsweep.records.schema import Record
from clsweep.reporting.comparison import Comparison
from clsweep.storage.remote_path import Place
from clsweep.text import printable

_MOST_FAILURES = 40
_LONGEST_MESSAGE = 400


@dataclass(frozen=True)
class Failure:
    """Trials of one label that ended in the same way.

    Attributes:
        label: their label.
        status: 'failed', 'diverged' or 'oom'.
        message: the first line of what went wrong.
        n_trials: how many.
    """

    label: str
    status: str
    message: str
    n_trials: int


@dataclass(frozen=True)
class Details:
    """What stands behind a comparison.

    Attributes:
        matrices: label to mean test accuracy over seeds of its best configuration, shape
            [T + 1, T]: row 0 before training, row i + 1 after task i; NaN where not evaluated.
        failures: trials that failed, the most frequent first; none that was stopped.
        n_failures_left_out: further failures that are not listed.
        study_files: name and text of each study file.
        versions: package to the versions that trials ran with.
        finished: when the first and the last trial finished; empty without trials.
    """

    matrices: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    n_failures_left_out: int = 0
    study_files: tuple[tuple[str, str], ...] = ()
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    finished: tuple[str, ...] = ()


def details_of(
    records: Sequence[Record], comparison: Comparison, directories: Sequence[Place]
) -> Details:
    """What stands behind a comparison.

    Args:
        records: those that were compared.
        comparison: what `compare` made of them.
        directories: the results folders, for their study files.
    """
    failures = list(_failures(records))
    dates = [record["trial"]["finished_at"] for record in records]
    return Details(
        matrices=_matrices(records, comparison),
        failures=tuple(failures[:_MOST_FAILURES]),
        n_failures_left_out=len(failures[_MOST_FAILURES:]),
        study_files=tuple(_study_files(directories)),
        versions=_versions(records),
        finished=(min(dates), max(dates)) if dates else (),
    )


def _matrices(records: Sequence[Record], comparison: Comparison) -> dict[str, NDArray[np.float64]]:
    n_tasks = n_tasks_of(records)
    by_config: dict[str, list[Record]] = {}
    for record in records:
        trial = record["trial"]
        if trial["status"] == "ok" and trial["seed"] in comparison.seeds:
            by_config.setdefault(trial["config_id"], []).append(record)
    found = {}
    for curve in comparison.all_curves:
        if curve.best is not None:
            trials = by_config[curve.points[curve.best].config_id]
            tables = [accuracy.accuracy_table(r["accuracy"], "test", n_tasks) for r in trials]
            found[curve.label] = np.mean(tables, axis=0)
    return found


def _failures(records: Sequence[Record]) -> Iterator[Failure]:
    found = Counter(
        (
            record["config"]["label"],
            record["trial"]["status"],
            printable(next(iter(record["trial"]["message"].splitlines()), "")[:_LONGEST_MESSAGE]),
        )
        for record in records
        if record["trial"]["status"] not in ("ok", "stopped")
    )
    for (label, status, message), n in found.most_common():
        yield Failure(label, status, message, n)


def _study_files(directories: Sequence[Place]) -> Iterator[tuple[str, str]]:
    for directory in directories:
        # Not the whole path: a page is handed on, and its reader has other folders.
        name = f"{directory.resolve().name}/study.toml"
        try:
            text = (directory / "study.toml").read_bytes().decode("utf-8", "replace")
            yield name, printable(text)
        except OSError as error:
            yield name, f"cannot be read: {error.strerror or error}"


def _versions(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for record in records:
        for package, version in record["trial"]["versions"].items():
            found.setdefault(package, set()).add(str(version))
    return {package: tuple(sorted(found[package])) for package in sorted(found)}
