"""A results folder as the page shows it, read when somebody asks and for all who ask.

However many browsers are open, a folder is read at most every few seconds, and reading takes at
most a tenth of the time: what is slow to read is read less often. Nobody asks, nothing is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from clsweep.errors import ClsweepError
from clsweep.live.trial_rows import TrialRow, trial_rows
from clsweep.live.validation_fronts import LabelFront, validation_fronts
from clsweep.status.reader import StatusReader
from clsweep.status.sweep import Sweep
from clsweep.status.validation_points import ValidationPoint, ValidationPoints
from clsweep.storage.remote_path import Place
from clsweep.text import printable

REFRESHED_AFTER = 2.0
SHARE_OF_READING = 0.1


@dataclass(frozen=True)
class SweepState:
    """What was read last; None and an error where nothing could be read so far.

    Attributes:
        sweep: the sweep, trial by trial.
        points: trial id -> validation accuracies, of those that ended well.
        error: why the folder cannot be read now; '' where it can.
    """

    sweep: Sweep | None
    points: Mapping[str, ValidationPoint]
    error: str = ""

    @property
    def is_done(self) -> bool:
        """Whether all is done, so that test accuracies may be shown."""
        return self.sweep is not None and self.sweep.status.state == "finished" and not self.error

    @cached_property
    def rows(self) -> tuple[TrialRow, ...]:
        """A row for every trial."""
        return () if self.sweep is None else trial_rows(self.sweep, self.points)

    @cached_property
    def fronts(self) -> tuple[LabelFront, ...]:
        """The labels with their fronts of validation accuracies."""
        return () if self.sweep is None else validation_fronts(self.sweep, self.points)


class WatchedSweep:
    """Reads one results folder.

    Args:
        place: the results folder, or one in an object store.
        now: seconds since 1970.
        clock: seconds, from any origin.

    Attributes:
        place: as given.
        refreshed_after: seconds in which it is read at most once.
        share_of_reading: at most which part of the time is spent on reading.

    Raises:
        StoreError: it is no results folder, or the store refuses.
    """

    def __init__(
        self,
        place: Place,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.place = place
        self.refreshed_after, self.share_of_reading = REFRESHED_AFTER, SHARE_OF_READING
        self._points = ValidationPoints(place)
        self._reader = StatusReader(place, self._points)
        self._now, self._clock = now, clock
        self._turn = threading.Lock()
        self._state: SweepState | None = None
        self._due_at = 0.0

    @property
    def folder(self) -> str:
        """The folder's name, fit to be shown; a URI without credentials."""
        return printable(str(self.place), one_line=True)

    def state(self) -> SweepState:
        """As it is now, or was when it was read last; only the first reading is waited for."""
        known = self._state
        if known is not None and (self._clock() < self._due_at or self._turn.locked()):
            return known
        with self._turn:
            if self._state is None or self._clock() >= self._due_at:
                return self._read_anew()
            return self._state

    def state_now(self) -> SweepState:
        """As it is now, however lately it was read: for what must not be shown too early."""
        with self._turn:
            return self._read_anew()

    def _read_anew(self) -> SweepState:
        began = self._clock()
        self._state = self._read(self._state)
        ended = self._clock()
        pause = max(self.refreshed_after, (ended - began) / self.share_of_reading)
        self._due_at = ended + pause
        return self._state

    def _read(self, before: SweepState | None) -> SweepState:
        try:
            sweep = self._reader.sweep(self._now())
            ended = {
                key: (one.trial_id, one.finished_at)
                for key, one in sweep.done.items()
                if one.status == "ok"
            }
            return SweepState(sweep, self._points.of(ended))
        except Exception as error:  # a fault in one folder must not hide the others
            is_plain = isinstance(error, (ClsweepError, OSError))
            what = str(error) if is_plain else f"{type(error).__name__}: {error}"
            if before is None:
                return SweepState(None, {}, what)
            return SweepState(before.sweep, before.points, what)
