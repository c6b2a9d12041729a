"""LanedJobs of trials: what is handed out together, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace

from clsweep.execution.hand_overs import packed, unpacked
from clsweep.execution.laned_jobs import LanedJobs
from clsweep.execution.outcomes import Outcome
from clsweep.execution.retries import LostJobs
from clsweep.execution.schedule import Schedule
from clsweep.study.jobs import Job

SOURCES = [Job(f"s{seed}", "source", "source", "c", seed) for seed in (0, 1)]
EWC = [
    Job(f"e{value}-{seed}", "trial", "EWC", f"e{value}", seed, (f"s{seed}",))
    for seed in (0, 1)
    for value in range(3)
]
JOINT = Job("j", "trial", "joint", "j", 0)


class Run:
    """A schedule, and what it told."""

    def __init__(self, jobs: list[Job], most: int = 4, n_slots: int = 1) -> None:
        self.started: list[str] = []
        self.ended: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.noted: list[str] = []
        self.programs = LanedJobs(
            lambda job: "" if job.label == "joint" else job.label,
            most,
            self.said.append,
            self.noted.append,
        )
        self.programs.n_slots = n_slots
        self.queue = Schedule(
            jobs,
            lambda job: self.started.append(job.key),
            lambda job, outcome: self.ended.append((job.key, outcome.status)),
            lanes=self.programs,
        )

    def next(self) -> Job:
        job = self.queue.next()
        assert job is not None
        return job

    def keys(self) -> list[str]:
        job = self.next()
        return [member.key for member in job.members or (job,)]


def all_ok(program: Job, n: int | None = None) -> Outcome:
    return Outcome("lanes", members=tuple((one.key, Outcome("ok")) for one in program.members[:n]))


def test_trials_of_a_group_are_handed_out_together_and_end_one_by_one() -> None:
    run = Run([*EWC, JOINT])  # their sources are in the cache
    program = run.next()
    assert [one.key for one in program.members] == ["e0-0", "e1-0", "e2-0", "e0-1"]
    assert run.started == [one.key for one in program.members] == list(run.queue.running)
    run.queue.done(program, all_ok(program))
    assert run.ended == [(one.key, "ok") for one in program.members]
    assert run.keys() == ["e1-1", "e2-1"]
    assert run.keys() == ["j"]
    assert not run.queue.waiting


def test_a_program_waits_for_stages_as_long_as_there_is_something_else_to_do() -> None:
    run = Run([*SOURCES, *EWC, JOINT], most=6)
    first, second = run.next(), run.next()
    run.queue.done(first, Outcome("ok"))
    assert run.keys() == ["j"], "three more trials are about to be ready"
    assert run.keys() == ["e0-0", "e1-0", "e2-0"], "nobody waits for them idly"
    run.queue.done(second, Outcome("ok"))
    assert run.keys() == ["e0-1", "e1-1", "e2-1"]


def test_no_slot_is_left_without_work_for_the_sake_of_another_one_s_program() -> None:
    run = Run([replace(job, needs=()) for job in EWC], most=6, n_slots=2)
    assert run.keys() == ["e0-0", "e1-0", "e2-0"]
    assert run.keys() == ["e0-1", "e1-1"]
    assert run.keys() == ["e2-1"]


def test_trials_that_did_not_end_come_again_in_smaller_programs_and_somebody_says_why() -> None:
    run = Run([replace(job, needs=()) for job in EWC], most=6)
    program = run.next()
    run.queue.done(program, Outcome("lanes", "they do not fit", n_lanes=2))
    assert run.said == ["they do not fit"]
    assert not run.ended
    assert not run.queue.running
    program = run.next()
    assert [one.key for one in program.members] == ["e0-0", "e1-0"]
    run.queue.done(program, all_ok(program, 1)._replace(n_lanes=1, message="nor do two"))
    assert run.ended == [("e0-0", "ok")]
    assert [run.keys() for _ in range(5)] == [["e1-0"], ["e2-0"], ["e0-1"], ["e1-1"], ["e2-1"]]
    assert run.started == [job.key for job in EWC], "each is announced once"


def test_what_was_measured_is_noted_once_for_a_number_of_lanes_and_warns_of_nothing() -> None:
    run = Run([replace(job, needs=()) for job in EWC], most=2)
    for note in ("300 µs", "301 µs"):
        program = run.next()
        run.queue.done(program, all_ok(program)._replace(note=note))
    program = run.next()
    run.queue.done(program, all_ok(program)._replace(note="now alone", n_lanes=1))
    assert (run.noted, run.said) == (["300 µs", "now alone"], [])


def test_a_lost_worker_loses_nothing_that_was_committed_and_parts_the_others() -> None:
    run = Run([replace(job, needs=()) for job in EWC], most=6)
    program = run.next()
    forgiven: list[str] = []
    lost = LostJobs(
        run.queue,
        3,
        lambda job: Outcome("ok") if job.key == "e1-0" else None,
        lambda job: forgiven.append(job.key),
    )
    lost.lost([program], Outcome("failed", "the worker died"))
    # One of them may be the reason: all starts are taken back, and then each counts alone.
    assert forgiven == ["e0-0", "e2-0", "e0-1", "e1-1", "e2-1"]
    assert run.ended == [("e1-0", "ok")]
    assert [run.keys() for _ in range(5)] == [["e0-0"], ["e2-0"], ["e0-1"], ["e1-1"], ["e2-1"]]


def test_an_abort_keeps_what_was_committed_and_forgives_the_others() -> None:
    run = Run([replace(job, needs=()) for job in EWC[:3]])
    program = run.next()
    run.queue.done(
        program, all_ok(program, 1)._replace(status="abort", message="the disk is full")
    )
    assert run.ended == [("e0-0", "ok")]
    assert {job.key for job in run.queue.aborted} == {"e1-0", "e2-0"}
    assert run.queue.abort_message == "the disk is full"
    assert run.queue.finished


def test_a_program_reaches_a_worker_as_it_is() -> None:
    program = replace(EWC[0], members=tuple(EWC[1:3]), kind="lanes")
    assert unpacked(packed([program, EWC[3]])) == [program, EWC[3]]
