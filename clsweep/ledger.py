"""How often test numbers of a results folder were looked at: `test_looks.jsonl`, one line a look.

The file is only ever appended to: one line per report that showed test numbers, and per notebook
that loaded them, in every folder whose numbers they are, written at once and synced, before they
are shown. A line that cannot be read is still a look, so that damage never lowers the count. The
looks stay with the results, wherever somebody looks from: objects cannot be appended to, so that
in an object store each look is an object of its own, `test_looks/TIME-NONCE.json`, and two at a
time are two. A folder that was copied may hold both forms; both count.

    {"at": "2025-01-31T12:00:00.000+00:00", "by": "report", "study": "HASH", "n_trials": 114}

`study` is a hash of the folder's `study.toml` at that time: where it is another one today, the
study was changed by somebody who had seen test numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from clsweep.disk import disk_errors, through_no_link
from clsweep.errors import StoreError
from clsweep.folders import Place, RemotePath, read_many

__all__ = [
    "LEDGER",
    "Look",
    "Shown",
    "add_look",
    "changes_text",
    "count_looks",
    "looks",
    "looks_text",
    "shown_text",
    "study_hash",
]

LEDGER = "test_looks.jsonl"
_OBJECTS = "test_looks"


@dataclass(frozen=True)
class Look:
    """One look at test numbers; empty strings where the line is damaged.

    Attributes:
        at: when, in ISO 8601 with time zone.
        study: hash of the study file as it was then.
    """

    at: str
    study: str


@dataclass(frozen=True)
class Shown:
    """A results folder whose test numbers a report shows.

    Attributes:
        directory: the folder.
        n_trials: its trials whose test numbers are shown.
        looks: earlier looks.
    """

    directory: Place
    n_trials: int
    looks: tuple[Look, ...]


def add_look(directory: Place, by: str, n_trials: int, now: datetime) -> None:
    """Append a look.

    Args:
        directory: the results folder whose test numbers are shown.
        by: which command shows them.
        n_trials: the trials whose test numbers are shown.
        now: the time, with time zone.

    Raises:
        StoreError: the folder may not be written to.
    """
    path = directory / LEDGER
    line = {
        "at": now.isoformat(timespec="milliseconds"),
        "by": by,
        "study": study_hash(directory),
        "n_trials": n_trials,
    }
    if isinstance(path, RemotePath):
        moment = now.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
        name = f"{moment}-{uuid.uuid4().hex[:8]}.json"
        (directory / _OBJECTS / name).write_bytes(json.dumps(line).encode())
        return
    # What was cut short by a crash has no end of line; a second line must not vanish in it.
    torn = path.exists() and path.read_bytes()[-1:] not in (b"\n", b"")
    data = (b"\n" if torn else b"") + json.dumps(line).encode() + b"\n"
    with disk_errors(path):
        descriptor = through_no_link(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def count_looks(shown: Sequence[Shown], by: str) -> tuple[str, ...]:
    """Add a look to every results folder; a note for each where it cannot be counted.

    Args:
        shown: the folders.
        by: which command shows their test numbers.
    """
    notes = []
    for one in shown:
        try:
            add_look(one.directory, by, one.n_trials, datetime.now(timezone.utc))
        except StoreError as error:
            where = f" in {one.directory.resolve().name}" if len(shown) > 1 else ""
            notes.append(f"This look is not counted{where}: {error.found}.")
    return tuple(notes)


def looks(directory: Place) -> tuple[Look, ...]:
    """Every look so far, in order.

    Args:
        directory: the results folder.

    Raises:
        StoreError: the file is there and cannot be read.
    """
    path = directory / LEDGER
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    except FileNotFoundError:
        lines = []
    except OSError as error:
        raise StoreError(
            f"cannot read the looks at test data: {error}", where=str(path)
        ) from error
    found = [_look(line) for line in lines]
    objects = _objects(directory / _OBJECTS)
    return tuple(sorted(found + objects, key=lambda look: look.at) if objects else found)


def looks_text(before: tuple[Look, ...]) -> str:
    """How often test numbers had been looked at, as a sentence.

    Args:
        before: the looks so far.
    """
    if not before:
        return "Test numbers of this folder had not been shown before."
    return f"Test numbers of this folder had been shown {_times(before)} ({LEDGER})."


def shown_text(shown: Sequence[Shown]) -> str:
    """How often test numbers of one or more folders had been looked at; empty for no folder.

    Args:
        shown: the folders.
    """
    if len(shown) < 2:
        return "".join(looks_text(one.looks) for one in shown)
    counts = ", ".join(
        f"{one.directory.resolve().name} {_times(one.looks) if one.looks else 'not before'}"
        for one in shown
    )
    return f"Test numbers of these folders had been shown: {counts} ({LEDGER})."


def changes_text(before: Sequence[Look], study: str) -> str:
    """Whether somebody who had seen test numbers changed the study; empty if nobody did.

    Args:
        before: the looks so far.
        study: `study_hash` of today.
    """
    n = sum(look.study not in ("", study) for look in before)
    if not n or not study:
        return ""
    times = "once" if n == 1 else f"{n} times"
    return (
        f"The study file was changed after test numbers had been shown {times}: whatever was "
        "added since may have been chosen by them."
    )


def study_hash(directory: Place) -> str:
    """Of the folder's study file; empty where there is none."""
    try:
        return hashlib.sha256((directory / "study.toml").read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def _times(before: Sequence[Look]) -> str:
    dates = [look.at[:10] for look in before if look.at]
    since = f", first on {dates[0]}" if dates else ""
    return ("once" if len(before) == 1 else f"{len(before)} times") + f" before{since}"


def _objects(folder: Place) -> list[Look]:
    if isinstance(folder, RemotePath):
        # One that vanished since it was listed has been a look.
        return [_look(data or b"") for data in read_many(list(folder.glob("*.json")))]
    return [_look(path.read_bytes()) for path in sorted(folder.glob("*.json"))]


def _look(line: bytes) -> Look:
    try:
        found = json.loads(line)
        return Look(str(found["at"]), str(found["study"]))
    except (ValueError, KeyError, TypeError):
        return Look("", "")
