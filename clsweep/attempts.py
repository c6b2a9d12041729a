"""How often a trial has been started: one line per start in a file beside its record."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from clsweep.disk import disk_errors, through_no_link

__all__ = ["attempts", "attempts_path", "mark_attempt"]


def mark_attempt(directory: Path, trial_id: str) -> int:
    """Note that a trial starts; returns how often it has started since its last folded record.

    Args:
        directory: the results folder.
        trial_id: configuration id and seed.

    Raises:
        StoreError: the disk refuses it.
    """
    path = attempts_path(directory, trial_id)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", opener=through_no_link) as file:
            file.write(f"{socket.gethostname()} {os.getpid()}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    return attempts(directory, trial_id)


def attempts(directory: Path, trial_id: str) -> int:
    """How often a trial has started since its last folded record."""
    try:
        return attempts_path(directory, trial_id).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def attempts_path(directory: Path, trial_id: str) -> Path:
    """The file of a trial's starts."""
    return directory / "records" / f"{trial_id}.attempts"
