"""Jobs that wait, in their order: which of them are ready, and which of those belong together.

Whoever hands jobs out asks for the first that is ready again and again, of tens of thousands. So
those that lack a stage are kept beside that stage, and the others by group, where the first is
found without a look at those behind it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush

from clsweep.study.jobs import Job

Suits = Callable[[Job], bool]


def all_suit(job: Job) -> bool:
    """Whether a job may be handed out now: every one."""
    return True


class WaitingJobs:
    """Jobs by their place in the queue, a whole number; the smallest comes first.

    Attributes:
        n_trials: trials among them.
    """

    def __init__(self, jobs: Iterable[Job], group_of: Callable[[Job], str]) -> None:
        """Begin with some jobs; every stage among them is missing.

        Args:
            jobs: in their order.
            group_of: a job -> what it has in common with those that it may be handed out with;
                '' for a job that is handed out by itself. Asked when the job begins to wait.
        """
        self._group_of = group_of
        self._jobs: dict[int, Job] = {}
        self._groups: dict[int, str] = {}
        self._missing: set[str] = set()
        self._lacks: dict[str, set[int]] = {}  # missing stage -> places of those that need it
        self._ready: dict[str, list[int]] = {}  # group -> places, sorted
        self._heads: list[tuple[int, str]] = []  # the first place of every group, sorted
        self._sizes: Counter[str] = Counter()  # group -> jobs that wait, ready or not
        self._first, self._last, self.n_trials = 0, 0, 0
        self.append(jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return (self._jobs[place] for place in sorted(self._jobs))

    def append(self, jobs: Iterable[Job]) -> None:
        """Have jobs wait behind all others; every stage among them is missing from now on.

        Args:
            jobs: in their order.
        """
        new = [*jobs]
        self._missing.update(job.key for job in new if job.kind != "trial")
        for job in new:
            self._last += 1
            self._put(self._last, job)

    def put_back(self, job: Job) -> None:
        """Have a job wait before all others.

        Args:
            job: one that was taken.
        """
        self._first -= 1
        self._put(self._first, job)

    def _put(self, place: int, job: Job) -> None:
        group = self._group_of(job)
        self._jobs[place], self._groups[place] = job, group
        self._sizes[group] += 1
        self.n_trials += job.kind == "trial"
        lacks = self._missing.intersection(job.needs)
        for key in lacks:
            self._lacks.setdefault(key, set()).add(place)
        if not lacks:
            self._make_ready(place)

    def stage_exists(self, key: str) -> None:
        """Note that a stage is there.

        Args:
            key: of the stage.
        """
        self._missing.discard(key)
        for place in sorted(self._lacks.pop(key, ())):
            if self._missing.isdisjoint(self._jobs[place].needs):
                self._make_ready(place)

    def _make_ready(self, place: int) -> None:
        group = self._groups[place]
        places = self._ready.setdefault(group, [])
        head = places[0] if places else None
        insort(places, place)
        self._new_head(group, head)

    def _new_head(self, group: str, old: int | None) -> None:
        """Keep the first place of a group, which was another."""
        places = self._ready[group]
        if places and places[0] == old:
            return
        if old is not None:
            del self._heads[bisect_left(self._heads, (old, group))]
        if places:
            insort(self._heads, (places[0], group))
        else:
            del self._ready[group]

    def lacking(self, stages: Iterable[str]) -> list[int]:
        """Places of the jobs that lack one of some stages, in order.

        Args:
            stages: keys.
        """
        return sorted(set().union(*(self._lacks.get(key, ()) for key in stages)))

    def ready(self, suits: Suits = all_suit) -> Iterator[tuple[int, str]]:
        """The first place of each group that is ready and suits, and the group, in order.

        Args:
            suits: whether a job may be handed out now.
        """
        later: list[tuple[int, str]] = []
        for head, group in self._heads:
            while later and later[0][0] < head:
                yield heappop(later)
            first = next((p for p in self._ready[group] if suits(self._jobs[p])), None)
            if first == head:
                yield head, group
            elif first is not None:
                heappush(later, (first, group))
        while later:
            yield heappop(later)

    def together(self, group: str, most: int, suits: Suits) -> tuple[list[int], bool]:
        """Places of the first jobs of a group that are ready; whether waiting would add none.

        Args:
            group: one that has a job that is ready.
            most: how many, at most.
            suits: see `ready`.
        """
        found: list[int] = []
        for place in self._ready[group]:
            if len(found) == most:
                break
            if suits(self._jobs[place]):
                found.append(place)
        return found, len(found) in (most, self._sizes[group])

    def at(self, place: int) -> Job:
        """The job at a place.

        Args:
            place: where one waits.
        """
        return self._jobs[place]

    def take(self, places: Iterable[int]) -> list[Job]:
        """Jobs that wait no longer.

        Args:
            places: where they wait.
        """
        return [self._take(place) for place in places]

    def _take(self, place: int) -> Job:
        job, group = self._jobs.pop(place), self._groups.pop(place)
        self._sizes[group] -= 1
        self.n_trials -= job.kind == "trial"
        lacks = self._missing.intersection(job.needs)
        for key in lacks:
            self._lacks[key].discard(place)
        if not lacks:
            places = self._ready[group]
            head = places[0]
            del places[bisect_left(places, place)]
            self._new_head(group, head)
        return job
