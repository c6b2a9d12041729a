"""Ledger of looks at test numbers: `test_looks.jsonl`, one line a look.

There are two such files: one in every results folder, which goes where the results go, and one of
the user, which outlives folders: a study that is run again in a new folder, or after its folder
was deleted, has been looked at before. The user's is `$CLSWEEP_LEDGER`, else
`$XDG_STATE_HOME/clsweep/test_looks.jsonl`, else `~/.local/state/clsweep/test_looks.jsonl`;
`CLSWEEP_LEDGER=` (empty) keeps none. What counts is the test set: a look elsewhere counts where
data set and task sequence are the same (`key_of_test_set`): data by what they hold, where both
looks know it, else by their names. A look that stands in both files is one.

A file is only ever appended to: one line per report that showed test numbers, and per notebook
that loaded them, in every folder whose numbers they are, written at once and synced, before they
are shown. A line that cannot be read is still a look, so that damage never lowers the count. The
looks stay with the results, wherever somebody looks from: objects cannot be appended to, so that
in an object store each look is an object of its own, `test_looks/TIME-NONCE.json`, and two at a
time are two. A folder that was copied may hold both forms; both count.

    {"at": "2025-01-31T12:00:00.000+00:00", "by": "report", "study": "HASH", "n_trials": 114,
     "id": "NONCE", "test_set": "HASH", "data": "HASH", "analysis": {"statistics": "2", ...}}

`study` is a hash of the folder's `study.toml` at that time: where it is another one today, the
study was changed by somebody who had seen test numbers. `analysis` is what `analysis_of` says.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from clsweep.data.benchmark_specs import BENCHMARKS, own_draws
from clsweep.errors import StoreError
from clsweep.process_environment import expanded
from clsweep.reporting.analysis_version import Analysis
from clsweep.storage.disk import append_line
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place

_LOG = "test_looks"
LEDGER = f"{_LOG}.jsonl"
LEDGER_VARIABLE = "CLSWEEP_LEDGER"
# What else a benchmark declares leaves the test images, and the order of the tasks, as they are.
_OF_THE_TEST_SET = (
    "name",
    "dataset",
    "target",
    "n_tasks",
    "class_order",
    "classes_per_task",
    "datasets",
    "permute_first",
    "max_degrees",
    "order",
    "angles",
    "interpolation",
)
_OF_THE_DRAWS = ("draws", "data_seed")


@dataclass(frozen=True)
class TestLook:
    """One look at test numbers; empty where the line is damaged, or does not tell.

    Attributes:
        at: when, in ISO 8601 with time zone.
        study: hash of the study file as it was then.
        test_set: `key_of_test_set` of the study's benchmark, by the names of the data.
        data: the same by what the data hold.
        id: of this look, in whichever file it stands.
        analysis: what was done with the numbers; None where the line does not tell.
    """

    at: str
    study: str
    test_set: str = ""
    id: str = ""
    data: str = ""
    analysis: Analysis | None = field(default=None, hash=False)


@dataclass(frozen=True)
class ShownFolder:
    """A results folder whose test numbers a report shows.

    Attributes:
        directory: the folder.
        n_trials: its trials whose test numbers are shown.
        looks: earlier looks that the folder tells of.
        test_set: `key_of_test_set` of its benchmark, by the names of the data.
        data: the same by what the data hold; empty where it is not known.
        elsewhere: earlier looks at the same test set that only the user's ledger tells of.
        analysis: what is done with the numbers now.
    """

    directory: Place
    n_trials: int
    looks: tuple[TestLook, ...]
    test_set: str = ""
    data: str = ""
    elsewhere: tuple[TestLook, ...] = ()
    analysis: Analysis | None = field(default=None, hash=False)


def add_look(
    directory: Place,
    by: str,
    n_trials: int,
    now: datetime,
    test_set: str = "",
    data: str = "",
    analysis: Analysis | None = None,
) -> None:
    """Append a look to the folder's ledger, and to the user's.

    Args:
        directory: the results folder whose test numbers are shown.
        by: which command shows them.
        n_trials: the trials whose test numbers are shown.
        now: the time, with time zone.
        test_set: `key_of_test_set` of the folder's benchmark, by the names of the data.
        data: the same by what the data hold; empty where it is not known.
        analysis: what is done with the numbers.

    Raises:
        StoreError: one of the two may not be written to; the other one was tried as well.
    """
    line = {
        "at": now.isoformat(timespec="milliseconds"),
        "by": by,
        "study": study_hash(directory),
        "n_trials": n_trials,
        "id": uuid.uuid4().hex[:16],
        "test_set": test_set,
        "data": data,
        "analysis": analysis,
    }
    try:
        moment = now.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
        folder_of(directory).add_entry(_LOG, f"{moment}-{line['id']}", _text(line))
    finally:
        _add_to_user(line)


def _add_to_user(line: Mapping[str, Any]) -> None:
    path = users_ledger()
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        append_line(path, _text(line))
    except OSError as error:
        raise StoreError(
            f"the user's ledger cannot be written: {error.strerror or error}",
            where=str(path),
            next_step=f"name another file in {LEDGER_VARIABLE}, or leave it empty to keep none",
        ) from error


def _text(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line).encode()


def users_ledger() -> Path | None:
    """The file of the user's looks; None where there is no place for it, or none is wanted."""
    named = os.environ.get(LEDGER_VARIABLE)
    if named is not None:
        return expanded(Path(named), LEDGER_VARIABLE) if named else None
    state = os.environ.get("XDG_STATE_HOME", "")
    # The specification of XDG asks that a relative path be ignored.
    if os.path.isabs(state):
        return Path(state) / "clsweep" / LEDGER
    home = os.path.expanduser("~")
    # Without a home folder "~" is left as it is; the root is what containers give to nobody.
    if not os.path.isabs(home) or home == os.sep or not os.path.isdir(home):
        return None
    return Path(home) / ".local" / "state" / "clsweep" / LEDGER


def key_of_test_set(
    benchmark: Mapping[str, Any], fingerprints: Mapping[str, str] | None = None
) -> str:
    """A hash of what names the test images of a benchmark and the order of its tasks.

    The heads, the validation split and what is done to pixel values are not in it: results on the
    same test images, task by task, were seen whatever these were.

    Args:
        benchmark: what a study file says of it.
        fingerprints: data set to what tells its content, which then takes the place of the name;
            None for the names.

    Returns:
        The hash; empty without a benchmark, or where a fingerprint is missing.
    """
    keys = (*_OF_THE_TEST_SET, *(_OF_THE_DRAWS if own_draws(benchmark) else ()))
    declared = BENCHMARKS.get(str(benchmark.get("name")))
    # A folder of before a key was there means its default.
    fields = {} if declared is None else declared.model_fields
    given = {key: field.default for key, field in fields.items() if not field.is_required()}
    found = {key: value for key, value in {**given, **benchmark}.items() if key in keys}
    if not found.get("classes_per_task"):  # it is in no hash of before it was there
        found.pop("classes_per_task", None)
    if fingerprints is not None:
        target = found.get("target", ())
        names = [found.get("dataset"), *([target] if isinstance(target, str) else target)]
        names = list(found.get("datasets", names))
        contents = [fingerprints.get(str(name), "") for name in names]
        if not all(contents):
            return ""
        if "datasets" in found:
            shape = fingerprints.get(str(found["dataset"]), "")
            found |= {"dataset": shape, "datasets": contents}
        else:
            found |= {"dataset": contents[0], "target": contents[1:]}
    text = json.dumps(found, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16] if benchmark else ""


def count_looks(shown: Sequence[ShownFolder], by: str) -> tuple[str, ...]:
    """Add a look to every results folder; a note for each where it cannot be counted.

    Args:
        shown: the folders.
        by: which command shows their test numbers.
    """
    notes = []
    for one in shown:
        now = datetime.now(timezone.utc)
        try:
            keys = (one.test_set, one.data)
            add_look(one.directory, by, one.n_trials, now, *keys, one.analysis)
        except StoreError as error:
            where = f" in {one.directory.resolve().name}" if len(shown) > 1 else ""
            notes.append(f"This look is not counted{where}: {error.found}.")
    return tuple(notes)


def looks(directory: Place) -> tuple[TestLook, ...]:
    """Every look so far that the folder tells of, in order.

    Args:
        directory: the results folder.

    Raises:
        StoreError: the file is there and cannot be read.
    """
    found = _read(directory / LEDGER)
    objects = _objects(directory)
    return tuple(sorted(found + objects, key=lambda look: look.at) if objects else found)


def looks_elsewhere(test_set: str, data: str, here: Sequence[TestLook]) -> tuple[TestLook, ...]:
    """Looks at the same test set that the user's ledger tells of and the folder does not.

    Args:
        test_set: `key_of_test_set` of the folder's benchmark, by the names of the data; empty for
            none.
        data: the same by what the data hold; empty where it is not known.
        here: the looks of the folder.

    Raises:
        StoreError: the user's ledger is there and cannot be read.
    """
    path = users_ledger()
    if path is None or not test_set:
        return ()
    known = {look.id for look in here}

    def is_same(look: TestLook) -> bool:
        return look.data == data if look.data and data else look.test_set == test_set

    return tuple(look for look in _read(path) if is_same(look) and look.id not in known)


def _read(path: Place) -> list[TestLook]:
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(
            f"cannot read the looks at test data: {error}", where=str(path)
        ) from error
    return [_look(line) for line in lines]


def looks_text(before: Sequence[TestLook], elsewhere: Sequence[TestLook] = ()) -> str:
    """How often test numbers had been looked at, as a sentence.

    Args:
        before: the looks so far at the folder.
        elsewhere: those at the same test set in other folders.
    """
    said = f"been shown {_times(before)} ({LEDGER})" if before else "not been shown before"
    return f"Test numbers of this folder had {said}{_also(elsewhere)}."


def shown_text(shown: Sequence[ShownFolder]) -> str:
    """How often test numbers of one or more folders had been looked at; empty for no folder.

    Args:
        shown: the folders.
    """
    if len(shown) < 2:
        return "".join(looks_text(one.looks, one.elsewhere) for one in shown)
    counts = ", ".join(
        f"{one.directory.resolve().name} {_times(one.looks) if one.looks else 'not before'}"
        for one in shown
    )
    # The folders of one report have one test set; a look at one of them is elsewhere for another.
    here = {look.id for one in shown for look in one.looks}
    elsewhere = {look.id: look for one in shown for look in one.elsewhere if look.id not in here}
    also = _also(list(elsewhere.values()))
    return f"Test numbers of these folders had been shown: {counts} ({LEDGER}){also}."


def changes_text(before: Sequence[TestLook], study: str) -> str:
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


def other_studies_text(elsewhere: Sequence[TestLook], study: str) -> str:
    """Whether the same test set was looked at through other study files; empty if it was not.

    Args:
        elsewhere: looks at the test set in other folders.
        study: `study_hash` of today.
    """
    others = [look for look in elsewhere if look.study not in ("", study)]
    if not others or not study:
        return ""
    times = "once" if len(others) == 1 else f"{len(others)} times"
    return (
        "Test numbers of the same data and task sequence had been shown "
        f"{times} by other studies: what this one tries may have been chosen by them."
    )


def study_hash(directory: Place) -> str:
    """Of the folder's study file; empty where there is none."""
    try:
        return hashlib.sha256((directory / "study.toml").read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def _also(elsewhere: Sequence[TestLook]) -> str:
    if not elsewhere:
        return ""
    return (
        f"; those of the same data and task sequence in other folders {_times(elsewhere)} "
        "(ledger of the user)"
    )


def _times(before: Sequence[TestLook]) -> str:
    dates = [look.at[:10] for look in before if look.at]
    since = f", first on {dates[0]}" if dates else ""
    return ("once" if len(before) == 1 else f"{len(before)} times") + f" before{since}"


def _objects(directory: Place) -> list[TestLook]:
    """The looks that are objects of their own, or files where a folder was copied from a store."""
    folder = folder_of(directory)
    entries = folder.listed(_LOG, (".json",))
    return [_look(_content(read)) for read in folder.reads([f"{_LOG}/{e.name}" for e in entries])]


def _content(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except FileNotFoundError:  # what vanished since it was listed has been a look
        return b""


def _look(line: bytes) -> TestLook:
    try:
        found = json.loads(line)
        return TestLook(
            at=str(found["at"]),
            study=str(found["study"]),
            test_set=str(found.get("test_set", "")),
            id=str(found.get("id", "")),
            data=str(found.get("data", "")),
            analysis=_analysis(found.get("analysis")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return TestLook("", "")


def _analysis(found: object) -> Analysis | None:
    if not isinstance(found, dict):
        return None
    return {str(key): str(value) for key, value in found.items()}
