"""What Tune is told, and what it tells: a lost job is tried again, but not for ever."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError

from clsweep.errors import RunnerError
from clsweep.execution import outcomes
from clsweep.execution.hand_overs import unpacked
from clsweep.execution.outcomes import Outcome
from clsweep.execution.ray import connection
from clsweep.execution.ray import searcher as searching
from clsweep.execution.ray.connection import connected
from clsweep.execution.ray.executor import run_on_ray
from clsweep.execution.ray.job_trials import WORK
from clsweep.execution.ray.searcher import ClusterSlots, ScheduleSearcher
from clsweep.execution.retries import LostJobs
from clsweep.execution.schedule import Schedule
from clsweep.study.jobs import Job
from clsweep.study.sections import Resources
from clsweep.study.study import load_study
from tests.end_to_end.studies import write_study

TRIAL = Job("t", "trial", "EWC", "c", 0)


def node(node_id: str, cpus: float, gpus: float = 0) -> dict[str, Any]:
    return {"NodeID": node_id, "Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Ray says of its nodes, at once and without a cluster."""
    there = [node("a", 8)]
    monkeypatch.setattr(ray, "nodes", lambda: there)
    monkeypatch.setattr(searching, "_NODES_SECONDS", -1.0)
    return there


def keys(given: Any) -> list[str]:
    """The jobs of what Tune is given."""
    return [job.key for job in unpacked(given["jobs"])]


def result_of(*ended: Outcome, seconds: float = 10.0) -> dict[str, Any]:
    """What Tune says of a trial."""
    return {"ends": [(list(outcome), seconds) for outcome in ended]}


@pytest.fixture
def ended() -> list[Outcome]:
    return []


def searcher_of(
    jobs: list[Job], ended: list[Outcome], *, workers: int | None = None, **resources: Any
) -> ScheduleSearcher:
    schedule = Schedule(jobs, lambda job: None, lambda job, outcome: ended.append(outcome))
    lost_jobs = LostJobs(schedule, 3, lambda job: None, lambda job: None)
    return ScheduleSearcher(schedule, lost_jobs, ClusterSlots(Resources(**resources), workers))


@pytest.fixture
def searcher(nodes: object, ended: list[Outcome]) -> ScheduleSearcher:
    return searcher_of([TRIAL], ended)


def test_a_job_whose_worker_died_is_tried_again(
    searcher: ScheduleSearcher, ended: list[Outcome]
) -> None:
    # Tune reports one error however far the trial was, and whatever retries it was allowed.
    assert keys(searcher.suggest("first")) == ["t"]
    searcher.on_trial_complete("first", error=True)
    assert ended == []
    assert keys(searcher.suggest("second")) == ["t"]
    searcher.on_trial_complete("second", result_of(Outcome("ok", wall_seconds=1.0)))
    assert [outcome.status for outcome in ended] == ["ok"]
    assert searcher.schedule.finished


def test_a_job_that_kills_its_worker_every_time_fails(
    searcher: ScheduleSearcher, ended: list[Outcome]
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
            with refused, connected(written, Resources(), None):
                pass


def test_a_ray_that_does_not_start_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def overloaded(**options: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", overloaded)
    refused = pytest.raises(
        RunnerError, match=r"does not start here: .*timed out(?s:.*)next: .*--inline"
    )
    with refused, connected(None, Resources(), None):
        pass


@pytest.mark.parametrize(
    ("error", "limit", "words"),
    [
        (
            OSError(
                "validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes"
            ),
            65536,
            "longer than the system allows(?s:.*)RAY_TMPDIR(?s:.*)next: `export RAY_TMPDIR=/tmp`",
        ),
        (OSError(24, "Too many open files"), 65536, "Too many(?s:.*)next: `ulimit -n 65536`"),
        (Exception("the raylet has gone"), 64, "it may have 64,(?s:.*)next: `ulimit -n 65536`"),
        (PermissionError(13, "denied", "/x"), 65536, "denied(?s:.*)where: /long(?s:.*)RAY_TMPDIR"),
        (Exception("timed out"), 65536, "timed out(?s:.*)less busy(?s:.*)--inline"),
        (Exception("timed out"), None, "timed out(?s:.*)less busy(?s:.*)--inline"),
    ],
)
def test_the_way_out_fits_what_hinders_ray(
    monkeypatch: pytest.MonkeyPatch, error: Exception, limit: int | None, words: str
) -> None:
    def start(**options: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(connection, "open_file_limit", lambda least: limit)
    monkeypatch.setenv("RAY_TMPDIR", "/long")
    refused = pytest.raises(RunnerError, match=f"does not start here: (?s:.*){words}")
    with refused, connected(None, Resources(), None):
        pass


def test_ray_is_given_the_cores_of_the_container_and_the_path_of_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "init", lambda **options: given.append(options))
    monkeypatch.setattr(connection, "usable_cores", lambda: 3)
    for workers, own_net in ((None, False), (5, True)):
        with connected(None, Resources(), workers, imports_from_folder=own_net):
            pass
    assert [options["num_cpus"] for options in given] == [3, 5]
    monkeypatch.setattr(connection, "_check_reachable", lambda address: None)
    for own_net in (False, True):
        with connected("host:1", Resources(), None, imports_from_folder=own_net):
            pass
    # A study's own network may lie in the driver's folder, which a cluster then has to look in.
    assert ["job_config" in options for options in given] == [True, True, True, False]


def test_tune_may_write_the_searcher_down_whatever_the_schedule_holds() -> None:
    # The schedule tells a progress display, which may hold a terminal; that cannot be pickled.
    lock = threading.Lock()
    schedule = Schedule([TRIAL], lambda job: lock.release(), lambda job, outcome: None)
    with pytest.raises(TypeError, match="pickle"):
        cloudpickle.dumps(schedule)
    lost_jobs = LostJobs(schedule, 3, lambda job: None, lambda job: None)
    searcher = ScheduleSearcher(schedule, lost_jobs, ClusterSlots(Resources(), None))
    assert cloudpickle.dumps(searcher)
    assert searcher.schedule is schedule


# ----- where jobs go


def trials(n: int) -> list[Job]:
    return [Job(f"t{index}", "trial", "EWC", "c", index) for index in range(n)]


def handed_out(searcher: ScheduleSearcher, n: int = 20) -> list[tuple[str, str]]:
    """(job, place) of all that is handed out when Tune asks until it gets nothing."""
    found = []
    for index in range(n):
        given = searcher.suggest(f"{searcher.n_suggested}-{index}")
        if given is None or isinstance(given, str) or not keys(given):
            break
        request = given["place"]["request"]
        kind = {0.25: "gpu", 1.0: "whole"}.get(request.get("gpu"), "cpu")
        found += [(key, kind + ":" + ",".join(given["place"]["node_ids"])) for key in keys(given)]
    return found


def finish(searcher: ScheduleSearcher, key: str, status: str = "ok") -> None:
    (trial_id,) = [name for name, (jobs, _) in searcher.jobs.items() if jobs[0].key == key]
    searcher.on_trial_complete(trial_id, result_of(Outcome(status, "", 0.5, 1.0)))


def test_gpus_are_used_first_and_then_the_nodes_without_one(
    nodes: list[dict[str, Any]], ended: list[Outcome]
) -> None:
    nodes[:] = [node("a", 8, 1), node("b", 2), node("c", 1)]
    found = handed_out(searcher_of(trials(20), ended))
    assert [kind for _, kind in found] == ["gpu:"] * 4 + ["cpu:b,c"] * 3


def test_a_node_that_joins_is_used_and_one_that_leaves_is_not_waited_for(
    nodes: list[dict[str, Any]], ended: list[Outcome]
) -> None:
    searcher = searcher_of(trials(9), ended)
    nodes[:] = [node("a", 1)]
    assert [key for key, _ in handed_out(searcher)] == ["t0"]
    nodes.append(node("b", 2))
    assert [key for key, _ in handed_out(searcher)] == ["t1", "t2"]
    nodes[:] = [node("b", 2)]
    finish(searcher, "t0")
    assert handed_out(searcher) == []
    nodes.clear()  # and no node at all is waited for
    for key in ("t1", "t2"):
        finish(searcher, key)
    assert handed_out(searcher) == []
    nodes.append(node("c", 8))
    assert [key for key, _ in handed_out(searcher)] == ["t3", "t4", "t5", "t6", "t7", "t8"]


@pytest.mark.parametrize("limit", [{"workers": 2}, {"max_concurrent": 2}])
def test_no_more_than_asked_for_run_at_the_same_time(
    nodes: object, ended: list[Outcome], limit: dict[str, int]
) -> None:
    searcher = searcher_of(trials(5), ended, **limit)
    assert len(handed_out(searcher)) == 2
    finish(searcher, "t1")
    assert [key for key, _ in handed_out(searcher)] == ["t2"]


def test_what_does_not_fit_its_share_gets_a_gpu_to_itself_after_the_others(
    nodes: list[dict[str, Any]], ended: list[Outcome]
) -> None:
    nodes[:] = [node("a", 8, 1)]
    searcher = searcher_of(trials(6), ended)
    assert [key for key, _ in handed_out(searcher)] == ["t0", "t1", "t2", "t3"]
    finish(searcher, "t0", "crowded")
    assert [key for key, _ in handed_out(searcher)] == ["t4"]
    for key in ("t1", "t2", "t3"):
        finish(searcher, key)
    assert handed_out(searcher) == [("t5", "gpu:")]
    finish(searcher, "t4")
    assert handed_out(searcher) == [], "a share of the GPU is still in use"
    finish(searcher, "t5")
    assert handed_out(searcher) == [("t0", "whole:")]
    assert len(ended) == 5
    finish(searcher, "t0")
    assert [outcome.status for outcome in ended] == ["ok"] * 6
    assert searcher.schedule.finished


def test_without_gpus_left_what_was_crowded_goes_where_there_is_room(
    nodes: list[dict[str, Any]], ended: list[Outcome]
) -> None:
    nodes[:] = [node("a", 8, 1)]
    searcher = searcher_of(trials(1), ended)
    handed_out(searcher)
    finish(searcher, "t0", "crowded")
    nodes[:] = [node("b", 1)]
    assert handed_out(searcher) == [("t0", "cpu:")]


# ----- several jobs at once


def bundled(
    ended: list[Outcome], n: int = 20, *, committed: frozenset[str] = frozenset(), **more: Any
) -> ScheduleSearcher:
    """A searcher that has been told of one trial of half a millisecond."""
    jobs = trials(n)
    schedule = Schedule(jobs, lambda job: None, lambda job, outcome: ended.append(outcome))
    done = Outcome("ok", "on disk", wall_seconds=1.0)
    lost_jobs = LostJobs(
        schedule, 3, lambda job: done if job.key in committed else None, lambda job: None
    )
    made = ScheduleSearcher(schedule, lost_jobs, ClusterSlots(Resources(), 1))
    assert keys(made.suggest("first")) == ["t0"]
    made.on_trial_complete("first", result_of(Outcome("ok"), seconds=5e-4))
    ended.clear()
    return made


def test_short_trials_are_handed_over_together(nodes: object, ended: list[Outcome]) -> None:
    searcher = bundled(ended)
    assert keys(searcher.suggest("a")) == [f"t{index}" for index in range(1, 10)]
    assert searcher.suggest("b") is None, "there is one slot"
    searcher.on_trial_complete("a", result_of(*[Outcome("ok")] * 8, Outcome("failed")))
    assert [outcome.status for outcome in ended] == ["ok"] * 8 + ["failed"]
    assert keys(searcher.suggest("b"))[0] == "t10"


def test_those_that_a_worker_has_not_come_to_are_next(nodes: object, ended: list[Outcome]) -> None:
    searcher = bundled(ended)
    searcher.suggest("a")
    searcher.on_trial_complete("a", result_of(*[Outcome("ok")] * 3, seconds=5e-4))
    assert len(ended) == 3
    assert keys(searcher.suggest("b"))[:2] == ["t4", "t5"]


def test_a_lost_worker_loses_nothing_that_it_has_committed(
    nodes: object, ended: list[Outcome]
) -> None:
    searcher = bundled(ended, committed=frozenset({"t1", "t2", "t3"}))
    assert len(keys(searcher.suggest("a"))) == 9
    searcher.on_trial_complete("a", error=True)
    assert [outcome.message for outcome in ended] == ["on disk"] * 3
    # The next is the one that it was lost with: it takes no others along a second time.
    assert keys(searcher.suggest("b")) == ["t4"]
    searcher.on_trial_complete("b", error=True)
    assert keys(searcher.suggest("c")) == ["t4"]
    searcher.on_trial_complete("c", error=True)
    assert "died 3 times" in ended[-1].message
    assert keys(searcher.suggest("d"))[:2] == ["t5", "t6"]


def test_an_end_of_the_run_leaves_the_rest_for_later(nodes: object, ended: list[Outcome]) -> None:
    searcher = bundled(ended)
    searcher.suggest("a")
    searcher.on_trial_complete("a", result_of(Outcome("ok"), Outcome("abort", "no disk")))
    assert searcher.schedule.abort_message == "no disk"
    assert [job.key for job in searcher.schedule.aborted] == ["t2"]
    assert searcher.schedule.running == {}
    assert [job.key for job in searcher.schedule.waiting][:2] == ["t3", "t4"]


# ----- on Ray


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(240)
def test_a_worker_that_is_killed_in_a_bundle_loses_one_trial(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, seeds=1, steps=1))
    context = outcomes.Context("run", study, tmp_path, tmp_path, None, "cpu")

    def execute(context: outcomes.Context, job: Job) -> Outcome:
        with (tmp_path / f"{job.key}.begun").open("a") as file:
            file.write(f"{os.getpid()}\n")
        if job.key == "t12" and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / f"{job.key}.done").touch()
        return Outcome("ok", wall_seconds=1e-3)

    def committed(job: Job) -> Outcome | None:
        there = (tmp_path / f"{job.key}.done").exists()
        return Outcome("ok", "on disk", wall_seconds=1e-3) if there else None

    ended: dict[str, str] = {}
    schedule = Schedule(
        trials(40), lambda job: None, lambda job, how: ended.update({job.key: how.message})
    )
    work = WORK._replace(execute=execute, warm_up=lambda context: None, check=None)
    run_on_ray(schedule, context, address=None, workers=1, work=work, committed=committed)
    begun = {path.stem: len(path.read_text().split()) for path in tmp_path.glob("*.begun")}
    assert begun == {f"t{index}": 1 + (index == 12) for index in range(40)}
    assert ended.keys() == begun.keys()
    on_disk = [key for key, message in ended.items() if message == "on disk"]
    assert on_disk, "the bundle had others before it"
    assert on_disk == [f"t{index}" for index in range(12 - len(on_disk), 12)]


@pytest.mark.ray
@pytest.mark.slow  # half a minute; the CI runs it by name
@pytest.mark.timeout(240)
def test_trials_shorter_than_the_start_of_a_worker_use_every_slot(tmp_path: Path) -> None:
    """In Tune's own order all of them run on the one worker that has trained the source."""
    study = load_study(write_study(tmp_path, seeds=1, steps=1))
    context = outcomes.Context("run", study, tmp_path, tmp_path, None, "cpu")

    def execute(context: outcomes.Context, job: Job) -> Outcome:
        time.sleep(0.2)
        (tmp_path / f"{job.key}.pid").write_text(str(os.getpid()))
        return Outcome("ok", wall_seconds=0.2)

    source = Job("s", "source", "source", "c", 0)
    after = [replace(trial, needs=("s",)) for trial in trials(200)]  # 40 s for one worker
    schedule = Schedule([source, *after], lambda job: None, lambda job, outcome: None)
    work = WORK._replace(execute=execute)
    run_on_ray(schedule, context, address=None, workers=2, work=work)
    jobs_of = Counter(path.read_text() for path in tmp_path.glob("*.pid"))
    assert jobs_of.total() == 201
    assert len(jobs_of) == 2
    assert min(jobs_of.values()) > 1


def test_tune_is_told_to_end_when_the_time_is_up_and_what_runs_ends(nodes: object) -> None:
    is_up, ended = [False], []
    schedule = Schedule(
        [replace(TRIAL, key=key) for key in "abc"],
        lambda job: None,
        lambda job, outcome: ended.append(job.key),
        is_time_up=lambda: is_up[0],
    )
    lost_jobs = LostJobs(schedule, 3, lambda job: None, lambda job: None)
    searcher = ScheduleSearcher(schedule, lost_jobs, ClusterSlots(Resources(), 2))
    assert [keys(searcher.suggest(name)) for name in ("1", "2")] == [["a"], ["b"]]
    assert searcher.suggest("3") is None
    is_up[0] = True
    assert searcher.suggest("3") == searching.Searcher.FINISHED
    assert not schedule.finished, "two still run"
    searcher.on_trial_complete("1", result_of(Outcome("ok", wall_seconds=1.0)))
    assert searcher.suggest("3") == searching.Searcher.FINISHED
    searcher.on_trial_complete("2", error=True)  # it would be tried again, and is left for later
    assert schedule.finished
    assert schedule.expired
    assert (ended, [job.key for job in schedule.waiting]) == (["a"], ["b", "c"])


def made_ready(searcher: ScheduleSearcher, prefix: str) -> list[str]:
    """Trials of Tune's that make a worker ready, until it gets nothing."""
    found: list[str] = []
    while (given := searcher.suggest(f"{prefix}{len(found)}")) is not None:
        assert keys(given) == []
        assert given["is_cold"]
        found.append(f"{prefix}{len(found)}")
    return found


def test_slots_that_wait_for_a_stage_get_their_workers_once(
    nodes: list[dict[str, Any]], ended: list[Outcome]
) -> None:
    nodes[:] = [node("a", 4)]
    jobs = [replace(job, needs=("s",)) for job in trials(9)]
    searcher = searcher_of([Job("s", "source", "source", "", 0), *jobs], ended)
    assert searcher.suggest("source")["is_cold"]
    ready = made_ready(searcher, "ready")
    assert len(ready) == 3
    for name in ready:
        searcher.on_trial_complete(name, {"ends": []})
    assert searcher.suggest("again") is None  # they are idle, and kept for the trials
    assert searcher.keeps_idle()
    assert ended == []
    finish(searcher, "s")
    given = [searcher.suggest(f"trial{index}") for index in range(4)]
    assert [(keys(one), one["is_cold"]) for one in given] == [
        ([f"t{index}"], False) for index in range(4)
    ]


def test_no_worker_is_made_ready_for_which_there_is_no_trial(
    nodes: list[dict[str, Any]], ended: list[Outcome]
) -> None:
    nodes[:] = [node("a", 8)]
    jobs = [replace(job, needs=("s",)) for job in trials(2)]
    searcher = searcher_of([Job("s", "source", "source", "", 0), *jobs], ended)
    assert keys(searcher.suggest("source")) == ["s"]
    assert len(made_ready(searcher, "ready")) == 1  # and the one that has the stage


def test_idle_workers_are_not_kept_from_a_job_that_needs_a_gpu_to_itself(
    nodes: list[dict[str, Any]], ended: list[Outcome]
) -> None:
    nodes[:] = [node("a", 8, 1)]
    searcher = searcher_of(trials(2), ended)
    handed_out(searcher, 1)
    assert searcher.keeps_idle()
    finish(searcher, "t0", "crowded")
    assert not searcher.keeps_idle()


def test_a_worker_that_is_lost_while_it_gets_ready_is_no_attempt_of_a_job(
    nodes: list[dict[str, Any]], ended: list[Outcome]
) -> None:
    nodes[:] = [node("a", 2)]
    jobs = [replace(job, needs=("s",)) for job in trials(3)]
    searcher = searcher_of([Job("s", "source", "source", "", 0), *jobs], ended)
    searcher.suggest("source")
    (ready,) = made_ready(searcher, "ready")
    searcher.note(OutOfMemoryError("of the worker that got ready"))
    searcher.on_trial_complete(ready, error=True)
    searcher.on_trial_complete("source", error=True)  # whose own reason is not known
    assert keys(searcher.suggest("source again")) == ["s"]
    assert ended == []
