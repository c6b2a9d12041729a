"""Tune's actor manager, taught that a worker killed for memory is a lost worker like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution import tune_controller

from clsweep.ray_internals import MEMORY_KILLS, differences

__all__ = ["in_one_line", "losses_told"]


@contextmanager
def losses_told(note: Callable[[Exception], None]) -> Iterator[None]:
    """Within the block, Tuners go on when Ray's memory monitor kills a worker, and say why.

    Tune raises out of `fit` at an OutOfMemoryError, which is no RayActorError, and with that ends
    every other trial too. The class that does so is internal to Ray: where it is not the one that
    `ray_internals` names, which a run says at its beginning, the block changes nothing.

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


def in_one_line(cause: Exception) -> str:
    """The sentence of Ray's error that gives the reason, which it puts last."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(cause).__name__
