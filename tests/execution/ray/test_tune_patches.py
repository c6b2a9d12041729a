"""Which trial gets a worker that is free."""

from __future__ import annotations

from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.utils.object_cache import _ObjectCache

from clsweep.execution.ray import tune_patches
from clsweep.execution.ray.tune_patches import NewestFirst


class Known:
    """A trial as far as an order of trials looks at it."""

    placement_group_factory = "one core"

    def __init__(self, status: str = Trial.PENDING, *, is_cold: bool = False) -> None:
        self.status, self.config = status, {"is_cold": is_cold}

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, as the order sees them."""
    now = [0.0]
    monkeypatch.setattr(tune_patches.time, "monotonic", lambda: now[0])
    return now


def added(order: NewestFirst, *trials: Any) -> None:
    for trial in trials:
        order.on_trial_add(None, trial)


def test_the_newest_that_waits(clock: list[float]) -> None:
    order, trials = NewestFirst(), [Known() for _ in range(4)]
    assert order.choose_trial_to_run(None) is None
    added(order, *trials)
    trials[3].status = Trial.RUNNING
    assert order.choose_trial_to_run(None) is trials[2]
    assert order.choose_trial_to_run(None) is trials[2]  # asked again, the same
    trials[2].status = Trial.ERROR
    trials[1].status = Trial.TERMINATED
    assert order.choose_trial_to_run(None) is trials[0]
    trials[0].status = Trial.RUNNING
    assert order.choose_trial_to_run(None) is None


def test_one_that_has_waited_for_too_long_goes_first(clock: list[float]) -> None:
    order, early, late = NewestFirst(), Known(), Known()
    added(order, early)
    clock[0] = 59.0
    added(order, late)
    assert order.choose_trial_to_run(None) is late
    clock[0] = 61.0
    assert order.choose_trial_to_run(None) is early
    early.status = Trial.RUNNING
    assert order.choose_trial_to_run(None) is late


def test_what_has_ended_is_forgotten() -> None:
    order = NewestFirst()
    added(order, *(Known(Trial.TERMINATED) for _ in range(100)), Known())
    order.choose_trial_to_run(None)
    assert len(order._live) == 1


class Controller:
    """Tune's, as far as it keeps workers that are idle."""

    def __init__(self) -> None:
        self._actor_cache = _ObjectCache(may_keep_one=True)

    def kept(self, workers: list[str]) -> list[str]:
        """Those of the idle workers that Tune keeps."""
        taken = [one for one in workers if self._actor_cache.cache_object("one core", one)]
        ended = list(self._actor_cache.flush_cached_objects())
        return [one for one in taken if one not in ended]


def test_a_worker_of_every_slot_is_kept_while_jobs_wait_for_a_stage() -> None:
    controller, is_wanted = Controller(), [True]
    order = NewestFirst(lambda: is_wanted[0])
    for trial in [Known(is_cold=True) for _ in range(3)] + [Known()]:
        order.on_trial_add(controller, trial)
    order.choose_trial_to_run(controller)
    assert controller.kept(list("abcd")) == list("abc")
    is_wanted[0] = False
    order.choose_trial_to_run(controller)
    assert list(controller._actor_cache.flush_cached_objects()) == list("abc")
    assert controller._actor_cache.total_max_objects == 0


def test_without_jobs_that_wait_tune_keeps_one() -> None:
    controller = Controller()
    order = NewestFirst()
    order.on_trial_add(controller, Known(is_cold=True))
    order.choose_trial_to_run(controller)
    assert controller.kept(list("ab")) == ["a"]
