"""The order in which Tune starts trials that wait."""

from __future__ import annotations

import time
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

__all__ = ["NewestFirst"]

# As long as no worker takes to start. On a cluster that others use too, a worker may not come.
PATIENCE_SECONDS = 60.0


class NewestFirst(FIFOScheduler):
    """Gives a worker that is free to the newest trial, and leaves the others their own.

    Tune asks for a worker for every trial that waits, and in its own order gives one that has just
    become free to the oldest, whose worker, still starting, is then stopped again. While trials
    are shorter than the start of a worker, all of them would run on the first one, in turn. A
    trial whose worker does not come within `PATIENCE_SECONDS` goes before all newer ones. Where
    nothing newer waits, Tune itself gives the free worker to any that does.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._live: list[tuple[float, Trial]] = []

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Note a new trial."""
        self._live.append((time.monotonic(), trial))

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The next, without a look at all that have ended, as Tune's own order takes."""
        self._live = [(since, trial) for since, trial in self._live if not trial.is_finished()]
        waiting = [one for one in self._live if one[1].status == Trial.PENDING]
        if not waiting:
            return None
        since, oldest = waiting[0]
        return oldest if time.monotonic() - since > PATIENCE_SECONDS else waiting[-1][1]
