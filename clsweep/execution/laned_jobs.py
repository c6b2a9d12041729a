"""Which trials that wait are handed out as one, to be trained in lanes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from clsweep.study.jobs import Job

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Outcome


class LanedJobs:
    """How the trials of a run are grouped into programs, by what its workers have found out.

    Attributes:
        n_slots: jobs that run at the same time, by which the trials that wait are divided.
    """

    def __init__(
        self,
        group_of: Callable[[Job], str],
        most: int,
        announce: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        """Begin with as many lanes as the study asks for.

        Args:
            group_of: a trial -> what it has in common with those that it may be trained with; ''
                for a trial that is trained alone.
            most: trials in one program, at most.
            announce: told what went wrong.
            note: told what was found out and is nothing wrong.
        """
        self._find_group, self._announce, self._note = group_of, announce, note
        self._groups: dict[str, str] = {}
        self._most, self._limits = most, dict[str, int]()
        self._alone: set[str] = set()
        self._said: set[str] = set()
        self._noted: set[tuple[str, int]] = set()
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

    def most(self, group: str, n_trials: int) -> int:
        """How many trials a program of a group holds, at most.

        Never more than a slot's share of all trials that wait: two slots are not left with one
        program.

        Args:
            group: of trials that wait.
            n_trials: all that wait, of any group.
        """
        return min(self._limits.get(group, self._most), math.ceil(n_trials / self.n_slots))

    def learn(self, program: Job, outcome: Outcome) -> None:
        """Note what a worker has found out about a program, and say it.

        Args:
            program: one that was handed out.
            outcome: of it.
        """
        group = self._group(program.members[0])
        if outcome.n_lanes:
            self._limits[group] = outcome.n_lanes
        # Its times are others whenever it is measured: it is said once of a number of lanes.
        found = group, self._limits.get(group, 0)
        if outcome.note and found not in self._noted:
            self._noted.add(found)
            self._note(outcome.note)
        if outcome.message and outcome.status == "lanes" and outcome.message not in self._said:
            self._said.add(outcome.message)
            self._announce(outcome.message)

    def separate(self, keys: Iterable[str]) -> None:
        """Have trials handed out by themselves.

        Args:
            keys: of those that were in a program whose worker was lost.
        """
        self._alone.update(keys)


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
