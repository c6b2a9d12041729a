"""What Tune is told, and what it tells: a lost job is tried again, but not for ever."""

from __future__ import annotations

import threading

import pytest
from ray import cloudpickle

from clsweep.on_ray import _ScheduleSearcher
from clsweep.schedule import Schedule
from clsweep.stages import Job
from clsweep.worker import Outcome

TRIAL = Job("t", "trial", "EWC", "c", 0)


@pytest.fixture
def ended() -> list[Outcome]:
    return []


@pytest.fixture
def searcher(ended: list[Outcome]) -> _ScheduleSearcher:
    schedule = Schedule([TRIAL], lambda job: None, lambda job, outcome: ended.append(outcome))
    return _ScheduleSearcher(schedule, {}, max_attempts=3)


def test_a_job_whose_worker_died_is_tried_again(
    searcher: _ScheduleSearcher, ended: list[Outcome]
) -> None:
    # Tune reports one error however far the trial was, and whatever retries it was allowed.
    assert searcher.suggest("first")["job"]["key"] == "t"
    searcher.on_trial_complete("first", error=True)
    assert ended == []
    assert searcher.suggest("second")["job"]["key"] == "t"
    searcher.on_trial_complete("second", {"outcome": list(Outcome("ok", wall_seconds=1.0))})
    assert [outcome.status for outcome in ended] == ["ok"]
    assert searcher.schedule.finished


def test_a_job_that_kills_its_worker_every_time_fails(
    searcher: _ScheduleSearcher, ended: list[Outcome]
) -> None:
    for attempt in ("first", "second", "third"):
        assert ended == []
        assert searcher.suggest(attempt) is not None
        searcher.on_trial_complete(attempt, error=True)
    (outcome,) = ended
    assert outcome.status == "failed"
    assert "died 3 times" in outcome.message
    assert searcher.schedule.finished


def test_tune_may_write_the_searcher_down_whatever_the_schedule_holds() -> None:
    # The schedule tells a progress display, which may hold a terminal; that cannot be pickled.
    lock = threading.Lock()
    schedule = Schedule([TRIAL], lambda job: lock.release(), lambda job, outcome: None)
    with pytest.raises(TypeError, match="pickle"):
        cloudpickle.dumps(schedule)
    searcher = _ScheduleSearcher(schedule, {}, max_attempts=3)
    assert cloudpickle.dumps(searcher)
    assert searcher.schedule is schedule
