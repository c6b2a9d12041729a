"""Every trial of a sweep as a row that can be searched, sorted and turned over by pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from clsweep.status.sweep import Sweep
from clsweep.status.validation_points import ValidationPoint
from clsweep.study.configuration_text import words_of
from clsweep.text import with_keys

RUNNING, TO_COME = "running", "to come"
# In the order of the page until somebody sorts.
STATES = (RUNNING, "failed", "oom", "diverged", "stopped", "ok", TO_COME)
_MOST_ROWS = 200


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        trial_id: its identity.
        label: the curve.
        method: the method.
        configuration: gives its knobs, and what else is not at its default, in words.
        seed: the seed.
        state: how it ended, 'running' or 'to come'.
        message: what went wrong; '' for nothing.
        at: when it ended, by the clock of its machine, or started if it runs, by the folder's;
            seconds since 1970; None for one to come.
        machine: where it runs; '' for others.
        point: its validation accuracies; None without any.
    """

    trial_id: str
    label: str
    method: str
    configuration: Callable[[], str]
    seed: int
    state: str
    message: str = ""
    at: float | None = None
    machine: str = ""
    point: ValidationPoint | None = None


class Wanted(NamedTuple):
    """Which rows somebody asks for.

    Attributes:
        text: what label, method, configuration, seed, state, message or machine has to hold; of
            several parts with commas between them, all.
        state: one of `STATES`, or 'not ok', or '' for all.
        label: of the curve, or '' for all.
        sort: one of `SORTABLE`, or '' for the latest first within each state.
        is_descending: whether the largest comes first.
        page: from 1.
        size: rows of a page.
    """

    text: str = ""
    state: str = ""
    label: str = ""
    sort: str = ""
    is_descending: bool = False
    page: int = 1
    size: int = 50


class RowsPage(NamedTuple):
    """Some rows.

    Attributes:
        rows: of this page.
        page: which one it is, from 1; the last one if there are fewer than were asked for.
        n_pages: at least 1.
        n_found: rows that were asked for, on all pages.
    """

    rows: Sequence[TrialRow]
    page: int
    n_pages: int
    n_found: int


def trial_rows(sweep: Sweep, points: Mapping[str, ValidationPoint]) -> tuple[TrialRow, ...]:
    """A row for every trial that is asked for by now.

    Args:
        sweep: as it is.
        points: trial id -> validation accuracies.
    """
    words = words_of(sweep.study)
    rows = []
    for key, (configuration, seed) in sweep.asked.items():
        # Words are made for rows that are shown or searched: most are neither.
        same: dict[str, Any] = {
            "trial_id": key,
            "label": configuration.label,
            "method": configuration.method,
            "configuration": lambda one=configuration: words(one),
            "seed": seed,
        }
        end, mark = sweep.done.get(key), sweep.at_work.get(key)
        if end is not None:
            same |= {"state": end.status, "message": end.message, "at": _seconds(end.finished_at)}
            rows.append(TrialRow(**same, point=points.get(key)))
        elif mark is not None:
            rows.append(TrialRow(**same, state=RUNNING, at=mark.at, machine=mark.machine))
        else:
            rows.append(TrialRow(**same, state=TO_COME))
    return tuple(rows)


def _seconds(moment: str) -> float | None:
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:  # of a record that says no time
        return None


def wanted_rows(rows: Sequence[TrialRow], wanted: Wanted) -> RowsPage:
    """The rows that somebody asks for.

    Args:
        rows: of all trials.
        wanted: which.
    """
    found = [row for row in rows if _is_wanted(row, wanted)]
    if wanted.sort in SORTABLE:
        key = SORTABLE[wanted.sort]
        known = [row for row in found if key(row) is not None]
        known.sort(key=key, reverse=wanted.is_descending)
        found = known + [row for row in found if key(row) is None]
    else:
        found = _as_usual(found)
    size = min(max(wanted.size, 1), _MOST_ROWS)
    n_pages = max(1, -(-len(found) // size))
    page = min(max(wanted.page, 1), n_pages)
    return RowsPage(found[(page - 1) * size : page * size], page, n_pages, len(found))


def _as_usual(rows: Iterable[TrialRow]) -> list[TrialRow]:
    """What runs longest first, what ended last first, what is to come in the order it has."""
    by_state: dict[str, list[TrialRow]] = {state: [] for state in STATES}
    for row in rows:
        by_state[row.state].append(row)
    by_state[RUNNING].sort(key=lambda row: (row.at or 0.0, row.trial_id))
    for state in STATES[1:-1]:
        by_state[state].sort(key=lambda row: (row.at or 0.0, row.trial_id), reverse=True)
    return [row for state in STATES for row in by_state[state]]


def _is_wanted(row: TrialRow, wanted: Wanted) -> bool:
    if wanted.label and row.label != wanted.label:
        return False
    if wanted.state == "not ok":
        if row.state not in ("failed", "oom", "diverged"):
            return False
    elif wanted.state and row.state != wanted.state:
        return False
    parts = _parts(wanted.text)
    return not parts or all(part.search(_text(row)) for part in parts)


@lru_cache(maxsize=64)
def _parts(text: str) -> tuple[re.Pattern[str], ...]:
    """What is searched, part by part; a number is found as a whole: no 10 by `λ = 1`."""
    words = filter(None, (" ".join(part.split()).lower() for part in text.split(",")))
    whole = ((r"(?<![\d.])" if w[0].isdigit() else "", w) for w in words)
    return tuple(
        re.compile(start + re.escape(word) + (r"(?![\d.])" if word[-1].isdigit() else ""))
        for start, word in whole
    )


def _text(row: TrialRow) -> str:
    numbers = row.configuration()
    words = row.label, row.method, numbers, row.state, row.message, row.machine
    # Who thinks of a number by its key in the study file finds it too.
    return "\n".join((*words, with_keys(numbers), f"seed {row.seed}", row.trial_id)).lower()


def _accuracy(name: str) -> Callable[[TrialRow], Any]:
    return lambda row: None if row.point is None else getattr(row.point, name)


@lru_cache(maxsize=4096)
def _natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """A key that sorts numbers within words by their value: `λ = 2` before `λ = 10`."""
    parts = []
    for word in text.replace(",", " ").split():
        try:
            parts.append((0, float(word), ""))
        except ValueError:
            parts.append((1, 0.0, word))
    return tuple(parts)


SORTABLE: Mapping[str, Callable[[TrialRow], Any]] = {
    "label": lambda row: row.label.lower(),
    "configuration": lambda row: _natural(row.configuration()),
    "seed": lambda row: row.seed,
    "state": lambda row: STATES.index(row.state),
    "source": _accuracy("source"),
    "target": _accuracy("target"),
    "average": _accuracy("average"),
    "message": lambda row: row.message or None,
    "at": lambda row: row.at,
}
