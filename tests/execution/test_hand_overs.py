"""Which jobs are handed over together, and how a worker does them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from clsweep.execution import hand_overs
from clsweep.execution.hand_overs import HandOvers, done_in_turn, packed, unpacked
from clsweep.execution.outcomes import Outcome
from clsweep.execution.schedule import Schedule
from clsweep.study.jobs import Job

TRIAL = Job("t", "trial", "EWC", "c", 0, ("s", "f"), "asked", "yardsticks")


def trials(n: int, label: str = "EWC") -> list[Job]:
    return [Job(f"{label}{index}", "trial", label, "c", index) for index in range(n)]


def known(**seconds: float) -> HandOvers:
    """What is chosen once trials of some labels have taken so long."""
    made = HandOvers()
    for label, each in seconds.items():
        made.note(Job("k", "trial", label, "c", 0), each)
    return made


def bundle(
    jobs: Iterable[Job], chosen: HandOvers, *, n_slots: int = 1, without: str = ""
) -> list[str]:
    schedule = Schedule(jobs, lambda job: None, lambda job, outcome: None)
    first = schedule.next()
    assert first is not None
    found = chosen.with_more(first, schedule, n_slots, lambda job: job.key != without)
    assert [*schedule.running] == [job.key for job in found]
    return [job.key for job in found]


def test_as_many_as_fit_into_a_second() -> None:
    assert bundle(trials(100), known(EWC=0.25)) == ["EWC0", "EWC1", "EWC2", "EWC3"]
    assert bundle(trials(100), known(EWC=0.6)) == ["EWC0"]
    assert bundle(trials(100), known(EWC=5.0)) == ["EWC0"]


def test_what_takes_a_time_that_nobody_knows_is_handed_over_alone() -> None:
    assert bundle(trials(100), known(MAS=0.01)) == ["EWC0"]
    mixed = [*trials(2), *trials(2, "MAS"), *trials(2)]
    assert bundle(mixed * 9, known(EWC=0.01)) == ["EWC0", "EWC1"]


def test_the_latest_trials_of_a_label_tell_how_long_the_next_takes() -> None:
    chosen = known(EWC=9.0)  # the first in a process
    for _ in range(5):
        chosen.note(TRIAL, 0.25)
    assert len(bundle(trials(100), chosen)) == 4
    chosen.note(replace(TRIAL, kind="source"), 9.0)
    assert len(bundle(trials(100), chosen)) == 4


@pytest.mark.parametrize(("n", "n_slots", "expected"), [(100, 2, 25), (8, 2, 2), (8, 16, 1)])
def test_no_worker_gets_more_than_half_of_its_share(n: int, n_slots: int, expected: int) -> None:
    assert len(bundle(trials(n), known(EWC=1e-4), n_slots=n_slots)) == expected


def test_jobs_stay_in_their_order_and_what_does_not_suit_ends_a_bundle() -> None:
    chosen = known(EWC=0.01)
    assert bundle(trials(100), chosen, without="EWC2") == ["EWC0", "EWC1"]
    assert bundle(trials(100), chosen, without="EWC0") == ["EWC0"]
    slow = [*trials(2), Job("slow", "trial", "slow", "c", 0), *trials(50)]
    assert bundle(slow, known(EWC=0.01, slow=2.0)) == ["EWC0", "EWC1"]


def test_a_job_that_waits_for_a_gpu_to_itself_ends_no_bundle() -> None:
    schedule = Schedule(trials(100), lambda job: None, lambda job, outcome: None)
    waits = schedule.next()
    assert waits is not None
    schedule.requeue(waits)
    first = schedule.next(lambda job: job is not waits)
    assert first is not None
    found = known(EWC=0.25).with_more(
        first, schedule, 1, lambda job: True, lambda job: job is not waits
    )
    assert [job.key for job in found] == ["EWC1", "EWC2", "EWC3", "EWC4"]
    assert schedule.next() is waits


def test_stages_are_handed_over_alone_and_trials_that_lack_one_are_passed_over() -> None:
    source = Job("s", "source", "source, seed 0", "c", 0)
    waits = [replace(job, needs=("s",)) for job in trials(9, "waits")]
    assert bundle([source, *waits, *trials(9)], known(EWC=0.01, waits=0.01)) == ["s"]
    assert bundle([*waits[:3], *trials(9)], known(EWC=0.1, waits=0.1))[0] == "waits0"
    schedule = Schedule([source, *waits, *trials(9)], lambda job: None, lambda job, how: None)
    assert schedule.next() is source
    first = schedule.next()
    assert first is not None
    chosen = known(EWC=0.01, waits=0.01).with_more(first, schedule, 1, lambda job: True)
    assert [job.label for job in chosen] == ["EWC"] * len(chosen)
    assert len(chosen) > 1


def test_jobs_travel_whole() -> None:
    assert unpacked(packed([TRIAL, *trials(2)])) == [TRIAL, *trials(2)]
    assert unpacked(packed([])) == []


def test_those_that_would_begin_late_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(hand_overs.time, "perf_counter", lambda: now[0])

    def execute(job: Job) -> Outcome:
        now[0] += 0.75
        return Outcome("ok", job.key)

    ended = [(outcome.message, s) for outcome, s in done_in_turn(trials(9), execute)]
    assert ended == [("EWC0", 0.75), ("EWC1", 0.75), ("EWC2", 0.75)]


def test_after_an_end_of_the_run_nothing_is_begun() -> None:
    statuses = iter(["failed", "ok", "abort", "ok"])
    ended = [
        outcome.status
        for outcome, _ in done_in_turn(trials(4), lambda job: Outcome(next(statuses)))
    ]
    assert ended == ["failed", "ok", "abort"]
