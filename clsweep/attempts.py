"""How often a trial has been started: one line per start in a file beside its record."""

from __future__ import annotations

import os
import socket

from clsweep.disk import disk_errors, through_no_link
from clsweep.folders import Place, RemotePath

__all__ = ["attempts", "attempts_path", "mark_attempt"]


def mark_attempt(directory: Place, trial_id: str) -> int:
    """Note that a trial starts; returns how often it has started since its last folded record.

    Args:
        directory: the results folder.
        trial_id: configuration id and seed.

    Raises:
        StoreError: the disk refuses it.
    """
    path = attempts_path(directory, trial_id)
    line = f"{socket.gethostname()} {os.getpid()}\n".encode()
    if isinstance(path, RemotePath):
        # Objects cannot be appended to; one worker at a time has a trial.
        lines = _lines(path) + line
        path.write_bytes(lines)
        return lines.count(b"\n")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", opener=through_no_link) as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    return attempts(directory, trial_id)


def attempts(directory: Place, trial_id: str) -> int:
    """How often a trial has started since its last folded record."""
    return _lines(attempts_path(directory, trial_id)).count(b"\n")


def attempts_path(directory: Place, trial_id: str) -> Place:
    """The file of a trial's starts."""
    return directory / "records" / f"{trial_id}.attempts"


def _lines(path: Place) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
