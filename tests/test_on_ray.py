"""What Tune is told, and what it tells: a lost job is tried again, but not for ever."""

from __future__ import annotations

import socket
import threading

import pytest
import ray
from ray import cloudpickle

from clsweep.errors import RunnerError
from clsweep.on_ray import _connected, _ScheduleSearcher
from clsweep.schedule import Schedule
from clsweep.settings import Resources
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


def test_an_address_where_nothing_answers_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Ray itself tries for more than ten minutes, with warnings of its own.
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray was asked"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # but does not listen, and keeps others from it
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for written in (address, f"ray://{address}"):
            refused = pytest.raises(RunnerError, match=rf"{address}(?s:.*)next: check the address")
            with refused, _connected(written, Resources(), None):
                pass


def test_a_ray_that_does_not_start_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def overloaded(**options: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", overloaded)
    refused = pytest.raises(
        RunnerError, match=r"does not start here: .*timed out(?s:.*)next: .*--inline"
    )
    with refused, _connected(None, Resources(), None):
        pass


def test_tune_may_write_the_searcher_down_whatever_the_schedule_holds() -> None:
    # The schedule tells a progress display, which may hold a terminal; that cannot be pickled.
    lock = threading.Lock()
    schedule = Schedule([TRIAL], lambda job: lock.release(), lambda job, outcome: None)
    with pytest.raises(TypeError, match="pickle"):
        cloudpickle.dumps(schedule)
    searcher = _ScheduleSearcher(schedule, {}, max_attempts=3)
    assert cloudpickle.dumps(searcher)
    assert searcher.schedule is schedule
