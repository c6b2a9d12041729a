"""Status of a sweep as plain values, which `status/reader.py` finds out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class Curve:
    """The trials of one label.

    Attributes:
        label: the curve.
        n_trials: that its study asks for; with a search at most.
        n_done: those that have a record.
        n_not_ok: those of them that diverged, failed or ran out of memory.
        n_running: those at work.
    """

    label: str
    n_trials: int
    n_done: int
    n_not_ok: int
    n_running: int


@dataclass(frozen=True)
class Running:
    """A trial at work.

    Attributes:
        trial_id: its identity.
        label: the curve.
        configuration: its knobs, and what else is not at its default, in words.
        seed: the seed.
        seconds: since it started.
        n_starts: 1, or more if its worker was lost before.
        machine: where it started last; '' where nobody knows.
        process: its worker there; 0 where nobody knows.
    """

    trial_id: str
    label: str
    configuration: str
    seed: int
    seconds: float
    n_starts: int
    machine: str = ""
    process: int = 0


@dataclass(frozen=True)
class Error:
    """A trial that did not end well.

    Attributes:
        trial_id: its identity.
        label: the curve.
        configuration: its knobs, and what else is not at its default, in words.
        seed: the seed.
        status: 'diverged', 'failed' or 'oom'.
        message: what went wrong.
        finished_at: when, by the clock of the machine that computed it, ISO 8601.
    """

    trial_id: str
    label: str
    configuration: str
    seed: int
    status: str
    message: str
    finished_at: str


@dataclass(frozen=True)
class Status:
    """How far a sweep is; the keys of `clsweep status --json`.

    Attributes:
        format: of these keys; raised when one changes its meaning.
        folder: the results folder.
        study: the study's name.
        state: 'running'; 'unknown' if the lock was taken on a machine that cannot be asked from
            here; 'finished' if nothing is to come, else 'stopped'.
        holder: process and machine of the run at work, or of the last one; '' if nobody knows.
        held_since: when it took the folder, by the folder's file times, ISO 8601, or None.
        n_trials: that the study asks for.
        is_upper_limit: whether a search may end before it has asked for all of them.
        n_done: trials that have a record.
        n_ok: of those, that ended well.
        n_diverged: of those, that diverged.
        n_failed: of those, that failed.
        n_oom: of those, that ran out of memory.
        n_stopped: of those, that were stopped early, which is no failure.
        n_running: trials at work.
        n_to_come: all others.
        n_left_behind: of those, that a run had started which was killed.
        trials_per_minute: at which the latest records were written; None where too few were.
        seconds_left: at that rate; None without one.
        last_record_at: when the latest record of the run was written, or None.
        curves: the labels in file order.
        running: the trials at work, longest first.
        errors: the latest that did not end well, the latest first.
        warnings: sentences about what cannot be read.
    """

    format: int
    folder: str
    study: str
    state: str
    holder: str
    held_since: str | None
    n_trials: int
    is_upper_limit: bool
    n_done: int
    n_ok: int
    n_diverged: int
    n_failed: int
    n_oom: int
    n_stopped: int
    n_running: int
    n_to_come: int
    n_left_behind: int
    trials_per_minute: float | None
    seconds_left: float | None
    last_record_at: str | None
    curves: tuple[Curve, ...]
    running: tuple[Running, ...]
    errors: tuple[Error, ...]
    warnings: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """3 if trials are to come and no run is at work, 1 if a trial is not ok, else 0."""
        if self.state == "stopped":
            return 3
        return int(self.n_done > self.n_ok + self.n_stopped)


def plain(status: Status) -> dict[str, Any]:
    """The status as JSON values.

    Args:
        status: how far a sweep is.
    """
    return asdict(status)
