"""Attempts at a job: one line per start in a file beside the records.

A start counts until the job has an end: the record of a trial, once it is put into the tables,
or the outcome of a stage. So a configuration that takes its process down every time is known as
such by the next run too, even if it takes the driver or the machine along. A start does not count
when the run was asked to stop, or could not go on for another reason: `forgive`.
"""

from __future__ import annotations

import os
import socket

from clsweep.errors import RunnerError, StoreError
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place


def mark_attempt(directory: Place, key: str, run: str = "") -> int:
    """Note that a job starts; returns how often it has started since it last came to an end.

    Args:
        directory: the results folder.
        key: trial id, or key of a stage.
        run: name of the run.

    Raises:
        StoreError: the disk refuses it.
    """
    line = f"{socket.gethostname()} {os.getpid()} {run}\n".encode()
    # One worker at a time has a job.
    return folder_of(directory).append(_name(key), line).count(b"\n")


def begin(directory: Place, key: str, run: str, max_attempts: int) -> None:
    """Note that a job starts, unless it has started too often to no end.

    Args:
        directory: the results folder.
        key: trial id, or key of a stage.
        run: name of the run.
        max_attempts: starts that may come to no end.

    Raises:
        RunnerError: that many did, in this run and earlier ones.
        StoreError: the disk refuses it.
    """
    n_before = mark_attempt(directory, key, run) - 1
    if n_before >= max_attempts:
        forgive(directory, key, run)
        raise RunnerError(
            f"started {n_before} times, and each time its process was gone before it came to an "
            "end",
            expected=f"fewer than [resources] max_attempts = {max_attempts} such starts, those "
            "of earlier runs included",
            next_step="see whether it takes too much memory; --retry-failed counts from nothing",
        )


def attempts(directory: Place, key: str) -> int:
    """How often a job has started since it last came to an end."""
    return _lines(attempts_path(directory, key)).count(b"\n")


def started(directory: Place) -> set[str]:
    """Keys of the jobs that have started and come to no end."""
    return {path.stem for path in (directory / "records").glob("*.attempts")}


def forgive(directory: Place, key: str, run: str) -> None:
    """Take the last start back, if it belongs to `run`.

    Args:
        directory: the results folder.
        key: trial id, or key of a stage.
        run: name of the run that did not let the job come to an end.

    Raises:
        StoreError: the disk refuses it.
    """
    lines = _lines(attempts_path(directory, key)).splitlines(keepends=True)
    if lines and lines[-1].split()[2:] == [run.encode()]:
        folder_of(directory).shorten(_name(key), b"".join(lines[:-1]))


def forget(directory: Place, key: str) -> None:
    """Count from nothing again.

    Raises:
        StoreError: the disk refuses it.
    """
    folder_of(directory).delete(_name(key))


def attempts_path(directory: Place, key: str) -> Place:
    """The file of a job's starts."""
    return directory / _name(key)


def _name(key: str) -> str:
    return f"records/{key}.attempts"


def _lines(path: Place) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(
            f"cannot read how often a job was started: {error.strerror or error}", where=str(path)
        ) from error
