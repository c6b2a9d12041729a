"""Replacements of parts of Tune while it runs: its order of starts, its word on killed workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution import tune_controller
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from clsweep.execution.ray.internals import IDLE_WORKERS, MEMORY_KILLS, differences

# As long as no worker takes to start. On a cluster that others use too, a worker may not come.
PATIENCE_SECONDS = 60.0


class NewestFirst(FIFOScheduler):
    """Gives a worker that is free to the newest trial, and leaves the others their own.

    Tune asks for a worker for every trial that waits, and in its own order gives one that has just
    become free to the oldest, whose worker, still starting, is then stopped again. While trials
    are shorter than the start of a worker, all of them would run on the first one, in turn. A
    trial whose worker does not come within `PATIENCE_SECONDS` goes before all newer ones. Where
    nothing newer waits, Tune itself gives the free worker to any that does.

    Of workers that are idle, Tune keeps one, and ends the others. Here a worker of every slot is
    kept, as long as `keeps_idle` says so.

    Args:
        keeps_idle: whether workers that have nothing to do are kept.
    """

    def __init__(self, keeps_idle: Callable[[], bool] = lambda: False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._live: list[tuple[float, Trial]] = []
        self._keeps_idle = keeps_idle
        self._kept: list[Any] = []

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Note a new trial, and keep the worker of one that is the first in its slot."""
        self._live.append((time.monotonic(), trial))
        if trial.config.get("is_cold") and not differences(IDLE_WORKERS):
            tune_controller._actor_cache.increase_max(trial.placement_group_factory)
            self._kept.append(trial.placement_group_factory)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The next, without a look at all that have ended, as Tune's own order takes."""
        if self._kept and not self._keeps_idle():
            for resources in self._kept:
                tune_controller._actor_cache.decrease_max(resources)
            self._kept = []
        self._live = [(since, trial) for since, trial in self._live if not trial.is_finished()]
        waiting = [one for one in self._live if one[1].status == Trial.PENDING]
        if not waiting:
            return None
        since, oldest = waiting[0]
        return oldest if time.monotonic() - since > PATIENCE_SECONDS else waiting[-1][1]


@contextmanager
def memory_kills(note: Callable[[Exception], None]) -> Iterator[None]:
    """Within the block, Tuners go on when Ray's memory monitor kills a worker, and say why.

    Tune raises out of `fit` at an OutOfMemoryError, which is no RayActorError, and with that ends
    every other trial too. The class that does so is internal to Ray: where it is not the one that
    `internals` names, which a run says at its beginning, the block changes nothing.

    Args:
        note: told the reason for a loss right before the searcher hears of the lost trial.
    """
    if differences(MEMORY_KILLS):
        yield
        return
    module: Any = tune_controller
    manager: Any = module.RayActorManager

    class Manager(manager):  # type: ignore[misc]
        def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
            note(exception)
            if isinstance(exception, OutOfMemoryError):
                exception = RayActorError(error_msg=str(exception))
            super()._actor_task_failed(tracked_actor_task, exception)

        def _actor_start_failed(self, tracked_actor: Any, exception: Exception) -> None:
            note(exception)
            super()._actor_start_failed(tracked_actor, exception)

    module.RayActorManager = Manager
    try:
        yield
    finally:
        module.RayActorManager = manager
