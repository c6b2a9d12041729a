"""What counts against a job that comes to no end, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.tune.execution import tune_controller

from clsweep.errors import RunnerError
from clsweep.execution import stage_cache
from clsweep.execution.outcomes import Outcome
from clsweep.execution.ray.tune_patches import memory_kills
from clsweep.execution.retries import (
    Ending,
    LostJobs,
    endings,
    forgive_cut_short,
    left_on_disk,
    suspects_last,
)
from clsweep.execution.schedule import Schedule
from clsweep.storage.attempts import attempts, begin, forget, forgive, mark_attempt, started
from clsweep.storage.store import Store
from clsweep.study.jobs import Job
from tests.support.records import make_record

TRIAL = Job("t", "trial", "EWC", "c", 0)
DIED = Outcome("failed", "it died")


# ----- in one run


@pytest.fixture
def ended() -> list[tuple[str, Outcome]]:
    return []


def schedule_of(jobs: list[Job], ended: list[tuple[str, Outcome]]) -> Schedule:
    return Schedule(jobs, lambda job: None, lambda job, how: ended.append((job.key, how)))


def test_a_lost_job_is_tried_again_but_not_for_ever(ended: list[tuple[str, Outcome]]) -> None:
    schedule = schedule_of([TRIAL], ended)
    lost_jobs = LostJobs(schedule, 2, lambda job: None, lambda job: None)
    assert schedule.next() is TRIAL
    lost_jobs.lost([TRIAL], DIED)
    assert ended == []
    assert schedule.next() is TRIAL
    lost_jobs.lost([TRIAL], DIED)
    assert ended == [("t", DIED)]
    assert schedule.finished


def test_what_was_committed_before_the_worker_died_is_done(
    ended: list[tuple[str, Outcome]],
) -> None:
    done = Outcome("ok", wall_seconds=2.0)
    schedule = schedule_of([TRIAL], ended)
    lost_jobs = LostJobs(schedule, 2, lambda job: done, lambda job: None)
    schedule.next()
    lost_jobs.lost([TRIAL], DIED)
    assert ended == [("t", done)]
    assert schedule.finished


def test_of_several_the_first_without_an_end_is_blamed(
    ended: list[tuple[str, Outcome]],
) -> None:
    jobs = [replace(TRIAL, key=key) for key in "abcd"]
    there = {"a": Outcome("ok", wall_seconds=2.0)}
    schedule = schedule_of([*jobs, replace(TRIAL, key="later")], ended)
    lost_jobs = LostJobs(schedule, 2, lambda job: there.get(job.key), lambda job: None)
    for _ in jobs:
        schedule.next()
    lost_jobs.lost(jobs, DIED)
    assert [key for key, _ in ended] == ["a"]
    assert [job.key for job in schedule.waiting] == ["b", "c", "d", "later"]
    assert [lost_jobs.was_lost(job) for job in jobs] == [False, True, False, False]
    schedule.next()
    lost_jobs.lost(jobs[1:2], DIED)
    assert ended[1:] == [("b", DIED)]


# ----- across runs


def test_starts_of_all_runs_count(tmp_path: Path) -> None:
    for run in ("first", "second", "third"):
        begin(tmp_path, "t", run, 3)
    assert started(tmp_path) == {"t"}
    with pytest.raises(RunnerError, match=r"started 3 times(?s:.)*max_attempts = 3"):
        begin(tmp_path, "t", "fourth", 3)
    assert attempts(tmp_path, "t") == 3, "a start that was refused is none"
    begin(tmp_path, "t", "fourth", 4)
    forget(tmp_path, "t")
    assert attempts(tmp_path, "t") == 0
    assert started(tmp_path) == set()


def test_a_run_forgives_its_own_starts_alone(tmp_path: Path) -> None:
    mark_attempt(tmp_path, "t", "killed")
    forgive(tmp_path, "t", "stopped")
    assert attempts(tmp_path, "t") == 1
    mark_attempt(tmp_path, "t", "stopped")
    forgive(tmp_path, "t", "stopped")
    forgive(tmp_path, "t", "stopped")
    assert attempts(tmp_path, "t") == 1
    mark_attempt(tmp_path, "u", "stopped")
    forgive(tmp_path, "u", "stopped")
    assert started(tmp_path) == {"t"}
    forgive(tmp_path, "never", "stopped")


# ----- what is on disk


def test_what_a_lost_worker_has_committed(tmp_path: Path) -> None:
    stage = Job("s", "source", "source", "c", 0)
    trials = [Job(f"c-{seed}", "trial", "EWC", "c", seed) for seed in (0, 1)]
    with Store(tmp_path / "out").open_for_run("identity", "", "tiny") as folder:

        def found(before: dict[str, Ending]) -> list[str]:
            jobs = (stage, *trials)
            outcomes = [left_on_disk(folder, tmp_path, before, job) for job in jobs]
            return [outcome.status if outcome else "" for outcome in outcomes]

        def commit(job: Job, status: str, wall_seconds: float) -> None:
            record = make_record(status=status, seed=job.seed)
            record["trial"] |= {"config_id": job.config_id, "trial_id": job.key}
            record["trial"]["wall_seconds"] = wall_seconds
            record["config"]["config_id"] = job.config_id
            folder.commit(record)

        assert found({}) == ["", "", ""]
        stage_cache.commit(tmp_path, stage.key, {"w": torch.zeros(1)}, {})
        for job, status in zip(trials, ("ok", "failed"), strict=True):
            commit(job, status, 1.0)
        assert found({}) == ["ok", "ok", "failed"]
        # To a later run that tries failed trials again, that record is an old one.
        before = endings(folder)
        assert found(before) == ["ok", "ok", ""]
        # What has failed once more, before its worker was lost with another trial, has ended.
        commit(trials[1], "failed", 1.5)
        assert found(before) == ["ok", "ok", "failed"]


def test_what_did_not_finish_comes_last_or_counts_from_nothing(tmp_path: Path) -> None:
    jobs = [Job(key, "trial", "EWC", key, 0) for key in "abcd"]
    for key in "bc":
        mark_attempt(tmp_path, key, "killed")
    assert [job.key for job in suspects_last(tmp_path, jobs, retry=False)] == ["a", "d", "b", "c"]
    assert suspects_last(tmp_path, jobs, retry=True) == jobs
    assert started(tmp_path) == set()


def test_what_a_run_cut_short_was_not_at_fault(tmp_path: Path) -> None:
    jobs = [Job(key, "trial", "EWC", key, 0) for key in "abcd"]
    schedule = schedule_of(jobs, [])
    for key in "abc":
        assert schedule.next()
        mark_attempt(tmp_path, key, "this")
    schedule.done(jobs[0], Outcome("failed"))
    schedule.done(jobs[1], Outcome("abort", "the disk is full"))
    forgive_cut_short(tmp_path, schedule, "this")
    assert started(tmp_path) == {"a"}


# ----- what Tune says of a loss


def test_a_memory_kill_is_the_loss_of_one_worker_and_its_reason_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Manager:
        """Tune's own, which raises at what it does not know."""

        def __init__(self) -> None:
            self.seen: list[Exception] = []

        def _actor_task_failed(self, tracked_actor_task: object, exception: Exception) -> None:
            if isinstance(exception, OutOfMemoryError):
                raise RuntimeError("Caught unexpected exception")
            self.seen.append(exception)

        def _actor_start_failed(self, tracked_actor: object, exception: Exception) -> None:
            self.seen.append(exception)

    monkeypatch.setattr(tune_controller, "RayActorManager", Manager)
    noted: list[Exception] = []
    kill, death = OutOfMemoryError("the node is low on memory"), ActorDiedError()
    with memory_kills(noted.append):
        manager = tune_controller.RayActorManager()
        manager._actor_task_failed(None, kill)
        manager._actor_task_failed(None, death)
        manager._actor_start_failed(None, death)
    assert noted == [kill, death, death]
    assert [type(e).__name__ for e in manager.seen] == ["RayActorError"] + ["ActorDiedError"] * 2
    assert "low on memory" in str(manager.seen[0])
    assert tune_controller.RayActorManager is Manager


def test_without_that_class_of_tune_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tune_controller, "RayActorManager")
    with memory_kills(lambda cause: None):
        assert not hasattr(tune_controller, "RayActorManager")
