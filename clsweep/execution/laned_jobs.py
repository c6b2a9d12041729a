"""Which trials that wait are handed out as one, to be trained in lanes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from clsweep.study.jobs import Job


class Gathered(NamedTuple):
    """Trials that can be handed out together.

    Attributes:
        members: at least one.
        is_whole: whether waiting for a stage would add none to them.
    """

    members: list[Job]
    is_whole: bool


class LanedJobs:
    """How the trials of a run are grouped into programs, by what its workers have found out.

    Attributes:
        n_slots: jobs that run at the same time, by which the trials that wait are divided.
    """

    def __init__(
        self, group_of: Callable[[Job], str], most: int, announce: Callable[[str], None]
    ) -> None:
        """Begin with as many lanes as the study asks for.

        Args:
            group_of: a trial -> what it has in common with those that it may be trained with; ''
                for a trial that is trained alone.
            most: trials in one program, at most.
            announce: told what people have to know.
        """
        self._find_group, self._announce = group_of, announce
        self._groups: dict[str, str] = {}  # asked for at every hand-over, of all that wait
        self._most, self._limits = most, dict[str, int]()
        self._alone: set[str] = set()
        self._said: set[str] = set()
        self.n_slots = 1

    def group_of(self, job: Job) -> str:
        """A job's group; '' where it is handed out by itself.

        Args:
            job: one that waits.
        """
        if job.kind != "trial" or job.key in self._alone:
            return ""
        return self._group(job)

    def _group(self, trial: Job) -> str:
        if trial.key not in self._groups:
            self._groups[trial.key] = self._find_group(trial)
        return self._groups[trial.key]

    def gathered(
        self, group: str, waiting: Iterable[Job], is_ready: Callable[[Job], bool]
    ) -> Gathered:
        """The first trials of a group that are ready, as many as one program holds.

        Never more than a slot's share of all trials that wait: two slots are not left with one
        program.

        Args:
            group: of a trial that is ready.
            waiting: all jobs that wait.
            is_ready: whether a job may be handed out now.
        """
        trials = [job for job in waiting if job.kind == "trial"]
        same = [job for job in trials if self.group_of(job) == group]
        ready = [job for job in same if is_ready(job)]
        most = min(self._limits.get(group, self._most), math.ceil(len(trials) / self.n_slots))
        return Gathered(ready[:most], len(ready) == len(same) or len(ready) >= most)

    def limit(self, program: Job, n_lanes: int, why: str) -> None:
        """Note how many lanes a group may have from now on.

        Args:
            program: one that was handed out.
            n_lanes: at least 1.
            why: for people.
        """
        self._limits[self._group(program.members[0])] = n_lanes
        if why and why not in self._said:
            self._said.add(why)
            self._announce(why)

    def separate(self, job: Job) -> None:
        """Have a trial handed out by itself.

        Args:
            job: it was in a program whose worker was lost.
        """
        self._alone.add(job.key)


def program_of(members: list[Job]) -> Job:
    """One job for several trials; the trial itself where it is one.

    Args:
        members: at least one.
    """
    first = members[0]
    if len(members) == 1:
        return first
    key = f"lanes-{first.key}"
    return Job(key, "lanes", first.label, first.config_id, first.seed, members=tuple(members))
