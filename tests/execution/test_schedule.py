"""The order of work: stages before the trials that need them, and what a lost stage costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clsweep.execution.outcomes import Outcome
from clsweep.execution.schedule import Schedule
from clsweep.study.configurations import configurations
from clsweep.study.job_order import breadth_first, ranks
from clsweep.study.jobs import Job
from clsweep.study.planning import plan
from clsweep.study.study import load_study
from tests.end_to_end.studies import write_study

SOURCE = Job("s", "source", "source", "c", 0)
FISHER = Job("f", "statistics", "Fisher", "c", 0, ("s",))
PLAIN = Job("t0", "trial", "fine-tuning", "c0", 0, ("s",))
EWC = Job("t1", "trial", "EWC", "c1", 0, ("s", "f"))
JOINT = Job("t2", "trial", "joint", "c2", 0)


def schedule() -> tuple[Schedule, list[tuple[str, str]]]:
    ended: list[tuple[str, str]] = []
    made = Schedule(
        [SOURCE, FISHER, PLAIN, EWC, JOINT],
        lambda job: None,
        lambda job, outcome: ended.append((job.key, outcome.status)),
    )
    return made, ended


def test_what_waits_for_a_stage_is_passed_over() -> None:
    queue, _ = schedule()
    assert queue.next() is SOURCE
    assert queue.next() is JOINT
    assert queue.next() is None
    queue.done(SOURCE, Outcome("ok"))
    assert queue.next() is FISHER
    assert queue.next() is PLAIN
    assert queue.next() is None
    queue.done(FISHER, Outcome("ok"))
    assert queue.next() is EWC
    assert queue.exhausted
    assert not queue.finished
    for job in (JOINT, PLAIN, EWC):
        queue.done(job, Outcome("ok"))
    assert queue.finished


def test_a_lost_stage_takes_along_what_needs_it_with_its_reason() -> None:
    queue, ended = schedule()
    queue.next()
    queue.done(SOURCE, Outcome("diverged", "the loss is NaN"))
    assert ended == [("s", "diverged"), ("f", "diverged"), ("t0", "diverged"), ("t1", "diverged")]
    assert queue.next() is JOINT


def test_an_abort_hands_out_nothing_more_and_keeps_the_first_reason() -> None:
    queue, ended = schedule()
    queue.next()
    queue.next()
    queue.done(SOURCE, Outcome("abort", "the disk is full"))
    queue.done(JOINT, Outcome("abort", "the disk is still full"))
    assert queue.abort_message == "the disk is full"
    assert queue.next() is None
    assert queue.finished
    assert ended == []


def test_a_lost_worker_puts_its_job_back_in_front_and_announces_it_once() -> None:
    started: list[str] = []
    queue = Schedule([SOURCE], lambda job: started.append(job.key), lambda job, outcome: None)
    queue.next()
    queue.requeue(SOURCE)
    assert queue.next() is SOURCE
    assert started == ["s"]


def test_the_work_may_grow_while_a_job_runs() -> None:
    found = [Job("t3", "trial", "EWC", "c3", 0, ("s",))]
    more: list[list[Job]] = [[], found, []]
    queue = Schedule(
        [SOURCE], lambda job: None, lambda job, outcome: None, lambda: more.pop(0) if more else []
    )
    assert queue.next() is SOURCE
    assert queue.next() is None
    assert not queue.exhausted, "a job that runs may lead to more"
    queue.done(SOURCE, Outcome("ok"))
    assert queue.exhausted, "nothing runs, and nothing came of it"
    queue.requeue(SOURCE)
    queue.next()
    queue.done(SOURCE, Outcome("ok"))
    assert queue.next() is found[0]
    assert not queue.finished
    queue.done(found[0], Outcome("ok"))
    assert queue.finished


def test_new_work_that_needs_a_lost_stage_ends_at_once_with_its_reason() -> None:
    new = [Job(f"t{index}", "trial", "EWC", "c", index, ("s",)) for index in range(5000)]
    ended: list[tuple[str, str]] = []
    queue = Schedule(
        [SOURCE],
        lambda job: None,
        lambda job, outcome: ended.append((job.key, outcome.message)),
        lambda: [new.pop()] if new else [],
    )
    queue.next()
    queue.done(SOURCE, Outcome("diverged", "the loss is NaN"))
    # However many there are: each of them leads to the next.
    assert len(ended) == 5001
    assert {message for _, message in ended[1:]} == {"source: the loss is NaN"}
    assert queue.finished


def test_a_trial_that_ends_costs_the_same_however_many_wait() -> None:
    looked: list[str] = []

    class Watched(tuple[str, ...]):
        def __iter__(self) -> Iterator[str]:
            looked.extend(super().__iter__())
            return super().__iter__()

    trials = [Job(f"t{i}", "trial", "EWC", "c", i, Watched(("s", "f"))) for i in range(100)]
    queue = Schedule([SOURCE, FISHER, *trials], lambda job: None, lambda job, outcome: None)
    for stage in (SOURCE, FISHER):
        assert queue.next() is stage
        queue.done(stage, Outcome("ok"))
    looked.clear()
    for trial in trials:
        assert queue.next() is trial
        queue.done(trial, Outcome("ok"))
    # Twice per trial: the two keys that it needs, when it is handed out, and nothing afterwards.
    assert len(looked) == 200


def test_when_the_time_is_up_nothing_more_is_handed_out_and_what_runs_ends() -> None:
    is_up, ended = [False], []
    queue = Schedule(
        [SOURCE, JOINT, PLAIN],
        lambda job: None,
        lambda job, outcome: ended.append(job.key),
        is_time_up=lambda: is_up[0],
    )
    assert queue.next() is SOURCE
    is_up[0] = True
    assert queue.next() is None
    assert queue.exhausted
    assert not queue.finished, "the source still runs"
    queue.done(SOURCE, Outcome("ok"))
    assert queue.finished
    assert queue.expired
    assert ended == ["s"]
    assert queue.waiting == (JOINT, PLAIN)


def test_who_has_handed_out_everything_in_time_is_not_out_of_time() -> None:
    is_up = [False]
    queue = Schedule(
        [JOINT], lambda job: None, lambda job, outcome: None, is_time_up=lambda: is_up[0]
    )
    assert queue.next() is JOINT
    is_up[0] = True
    assert queue.next() is None
    queue.done(JOINT, Outcome("ok"))
    assert queue.finished
    assert not queue.expired


def test_stages_of_several_seeds_are_computed_side_by_side(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, seeds=3))
    asked = configurations(study)
    jobs = breadth_first(plan(study, asked, set(), lambda key: False).jobs, ranks(asked))
    queue = Schedule(jobs, lambda job: None, lambda job, outcome: None)
    first = queue.next(lambda job: job.kind != "trial")
    assert first is not None
    others = [queue.next(lambda job: job.kind != "trial") for _ in range(2)]
    assert [(one.kind, one.seed) for one in (first, *others) if one] == [
        ("source", 0),
        ("source", 1),
        ("source", 2),
    ]
    assert queue.next(lambda job: job.kind != "trial") is None, "statistics wait for their source"
    late = others[1]
    assert late is not None
    queue.done(late, Outcome("ok"))  # of the last seed, whose trials wait for nobody else's
    after = queue.next(lambda job: bool(job.needs))
    assert after is not None
    assert (after.seed, after.needs[0]) == (2, late.key)
