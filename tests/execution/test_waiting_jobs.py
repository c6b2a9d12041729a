"""Jobs that wait: the same answers as a look at all of them, and no such look."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from clsweep.execution.laned_jobs import LanedJobs
from clsweep.execution.outcomes import Outcome
from clsweep.execution.schedule import Schedule
from clsweep.execution.waiting_jobs import WaitingJobs
from clsweep.study.jobs import Job


def group_of(job: Job) -> str:
    return job.label if job.kind == "trial" else ""


def is_none_of(keys: set[str], job: Job) -> bool:
    return job.key not in keys


class Scanned:
    """What `WaitingJobs` says, by looking at every job in turn."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.missing: set[str] = set()

    def suiting(self, without: set[str]) -> list[Job]:
        return [
            job
            for job in self.jobs
            if self.missing.isdisjoint(job.needs) and job.key not in without
        ]

    def firsts(self, without: set[str]) -> list[Job]:
        found: dict[str, Job] = {}
        for job in self.suiting(without):
            found.setdefault(group_of(job), job)
        return [*found.values()]

    def together(self, group: str, most: int, without: set[str]) -> tuple[list[Job], bool]:
        ready = [job for job in self.suiting(without) if group_of(job) == group]
        same = [job for job in self.jobs if group_of(job) == group]
        return ready[:most], len(ready) >= most or len(ready) == len(same)


def test_answers_are_those_of_a_look_at_all() -> None:
    rng = random.Random(0)
    waiting, scanned, taken = WaitingJobs([], group_of), Scanned(), list[Job]()
    for turn in range(600):
        what = rng.randrange(5)
        if what == 0:
            stage = Job(f"s{turn}", "source", "source", "c", 0)
            trials = [
                Job(f"t{turn}-{k}", "trial", rng.choice("abc"), "c", 0, (f"s{turn}",) * (k % 2))
                for k in range(rng.randrange(6))
            ]
            new = [*trials, stage] if rng.random() < 0.5 else [stage, *trials]
            waiting.append(new)
            scanned.jobs += new
            scanned.missing.add(stage.key)
        elif what == 1 and scanned.missing:
            key = rng.choice(sorted(scanned.missing))
            waiting.stage_exists(key)
            scanned.missing.remove(key)
        elif what == 2 and taken:
            job = taken.pop()
            waiting.put_back(job)
            scanned.jobs.insert(0, job)
        without = {job.key for job in scanned.jobs if rng.random() < 0.2}
        suits = partial(is_none_of, without)
        firsts = list(waiting.ready(suits))
        assert [waiting.at(place) for place, _ in firsts] == scanned.firsts(without)
        for _, group in firsts:
            most = rng.randrange(1, 6)
            places, is_whole = waiting.together(group, most, suits)
            expected = scanned.together(group, most, without)
            assert ([waiting.at(place) for place in places], is_whole) == expected
        if firsts and what > 2:
            place, group = rng.choice(firsts)
            places = waiting.together(group, 2, lambda job: True)[0] if what == 3 else [place]
            gone = waiting.take(places)
            taken += gone
            scanned.jobs = [job for job in scanned.jobs if job not in gone]
        lost = sorted(scanned.missing)[:2]
        assert [waiting.at(place) for place in waiting.lacking(lost)] == [
            job for job in scanned.jobs if not {*lost}.isdisjoint(job.needs)
        ]
        assert list(waiting) == scanned.jobs
        assert len(waiting) == len(scanned.jobs)
        assert waiting.n_trials == sum(job.kind == "trial" for job in scanned.jobs)


class Watched(Job):
    """A job that counts how often anybody looks at it."""

    looks = 0

    def __getattribute__(self, name: str) -> Any:
        Watched.looks += name in ("kind", "label", "needs", "key", "members")
        return super().__getattribute__(name)


def test_a_hand_over_does_not_look_at_all_that_wait() -> None:
    """10,000 trials of 20 labels on two sources, one of which comes late; in lanes and without."""
    sources = [Job(f"s{seed}", "source", "source", "c", seed) for seed in (0, 1)]
    trials = [
        Watched(f"t{k}", "trial", f"label{k % 20}", "c", k % 2, (f"s{k % 2}",))
        for k in range(10_000)
    ]
    for lanes in (LanedJobs(group_of, 16, print, print), None):
        queue = Schedule([*sources, *trials], lambda job: None, lambda job, how: None, lanes=lanes)
        Watched.looks = 0
        for _ in sources:
            queue.next()
        queue.done(sources[0], Outcome("ok"))
        n_handed_out = n_programs = 0
        while (job := queue.next()) is not None:
            if n_programs == 100:
                queue.done(sources[1], Outcome("ok"))
            n_programs += 1
            n_handed_out += len(job.members) or 1
            ended = tuple((one.key, Outcome("ok")) for one in job.members)
            queue.done(job, Outcome("lanes", members=ended) if ended else Outcome("ok"))
        assert n_handed_out == len(trials)
        assert (n_programs < 1000) == (lanes is not None)
        assert Watched.looks < 40 * len(trials), "a look at all at each would be millions"
