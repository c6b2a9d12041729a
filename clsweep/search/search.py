"""The search of a study: told how trials ended, it says which configurations come next.

Everything it knows comes from records, and what it asks for depends on nothing else, so that a run
that was killed, continued or extended asks for what one uninterrupted run would have asked for. It
reads validation counts alone.

Each curve is searched by itself: `at_once` configurations are asked for, and the next when all of
them have their results, so that the choice does not depend on the number of workers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from clsweep.records import accuracy
from clsweep.records.schema import Record
from clsweep.search import front_filling, stopping_rules
from clsweep.search.observations import Observation
from clsweep.search.samplers import Ask, draw, suggestion
from clsweep.search.validation_table import validation_point
from clsweep.study.configurations import Configuration, configurations, searched_requests
from clsweep.study.jobs import Job
from clsweep.study.search_axes import AxisValues
from clsweep.study.search_space import Space, known_configurations, space_of
from clsweep.training.early_stopping import checkpoint_accuracies, lowest_accuracies

if TYPE_CHECKING:
    from clsweep.study.study_tables import StudyTables

_Propose = Callable[[int, list[Observation], list[AxisValues]], AxisValues | None]

# A sampler repeats what is good, and what has been run tells nothing new: so often it is asked for
# something else, before points are drawn; a small space runs out of those.
_SUGGESTIONS, _DRAWS = 10, 200


def _before(record: Record) -> float:
    """Source accuracy on validation data before the last task was learnt; NaN if unknown."""
    rows = [row for row in record["accuracy"] if row[2] == "validation"]
    n_tasks = 1 + max((max(row[:2]) for row in rows), default=1)
    return accuracy.source_before(accuracy.accuracy_table(rows, "validation", n_tasks))


@dataclass
class _Row:
    """One configuration, with what is known of its seeds."""

    configuration: Configuration
    point: AxisValues
    results: dict[int, tuple[float, float] | None] = field(default_factory=dict)
    # Source accuracy before the last task, by seed.
    before: dict[int, float] = field(default_factory=dict)
    # When its first result was there; orders what was asked for in turn.
    since: str = ""
    # Of every seed: how its trial ended, when, and what it can be compared by.
    statuses: dict[int, str] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    passed: dict[int, dict[str, tuple[float, float]]] = field(default_factory=dict)
    # Whether a trial that has a record is run again.
    runs_again: bool = False

    def observation(self, seeds: Sequence[int]) -> Observation:
        values = [self.results[seed] for seed in seeds]
        sound = [value for value in values if value is not None]
        if len(sound) < len(values):
            lost = {self.statuses[s] for s in seeds if self.results[s] is None}
            diverged = "diverged" in lost and lost <= {"diverged", "stopped"}
            return Observation(self.point, None, stopped=lost == {"stopped"}, diverged=diverged)
        sources, targets = zip(*sound, strict=True)
        n = len(sound)
        return Observation(self.point, (math.fsum(sources) / n, math.fsum(targets) / n))


@dataclass
class _Line:
    """The search of one curve."""

    label: str
    space: Space
    rows: dict[str, _Row] = field(default_factory=dict)
    is_over: bool = False


class Search:
    """What has been asked and told so far, for every curve that is searched."""

    def __init__(
        self,
        study: StudyTables,
        records: Sequence[Record],
        done: Set[str],
        only: Set[str] | None = None,
    ) -> None:
        """Start from what is stored.

        Args:
            study: the study.
            records: of the results folder, this study's or not.
            done: ids of the trials among them that count as finished.
            only: labels of the curves for which it asks for more; None for all.
        """
        self.study, self.settings, self._only = study, study.search, only
        self._lines = [
            _Line(request.label, space_of(study, request)) for request in searched_requests(study)
        ]
        names = {c.id: c for c in configurations(study) if c.method == "finetune"}
        self._references = {key: _Row(c, {}) for key, c in names.items()}
        for record in records:
            if record["trial"]["trial_id"] in done:
                self.tell(record)
            else:
                # It runs again, and keeps its place among those that were asked for.
                row = self._row_of(record)
                if row is not None:
                    row.runs_again = True

    @property
    def known(self) -> list[Configuration]:
        """All configurations that have a result or have been asked for, curve by curve."""
        return [row.configuration for line in self._lines for row in self._ordered(line)]

    @property
    def n_to_come(self) -> dict[str, int]:
        """Label -> how many configurations may still be asked for, at most."""
        return {
            line.label: 0 if line.is_over else max(0, self.settings.trials - len(line.rows))
            for line in self._lines
        }

    @property
    def undrawn(self) -> tuple[str, ...]:
        """Labels whose front has gaps, or open ends, that `fill` has no trials left to close."""
        return tuple(line.label for line in self._lines if self._is_undrawn(line))

    def tell(self, record: Record) -> None:
        """Take note of a trial that has ended; what is not of a searched curve is left aside.

        Args:
            record: the trial.
        """
        row = self._row_of(record)
        if row is None:
            return
        trial = record["trial"]
        seed, at = trial["seed"], trial["finished_at"]
        row.results[seed] = validation_point(record)
        if self.settings.kind == "fill":
            row.before[seed] = _before(record)
        row.statuses[seed], row.ended[seed] = trial["status"], at
        row.since = min(row.since or at, at)
        if self.settings.stops:
            row.passed[seed] = checkpoint_accuracies(record)

    def more(self) -> list[Configuration]:
        """The configurations to run now; empty while those asked for before are waited for.

        A curve that is drawn, or whose budget is spent, asks for nothing.
        """
        lines = (one for one in self._lines if self._only is None or one.label in self._only)
        return [made for line in lines for made in self._more(line)]

    def with_yardsticks(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs, each searched trial with what it is compared with while it trains.

        That is what had finished when its configuration was asked for. A configuration of which a
        trial is run again, or which is older than a seed of the study, is compared with nothing:
        what had finished by then would depend on where a run was cut short.

        Args:
            jobs: work that comes next.
        """
        if not self.settings.stops:
            return list(jobs)
        wanted = {job.config_id for job in jobs}
        yardsticks = {
            key: text for line in self._lines for key, text in self._yardsticks(line, wanted)
        }
        return [
            replace(job, yardsticks=yardsticks.get(job.config_id, ""))
            if job.kind == "trial"
            else job
            for job in jobs
        ]

    def _row_of(self, record: Record) -> _Row | None:
        config = record["config"]
        key = config["config_id"]
        if key in self._references:
            return self._references[key]
        for line in self._lines:
            if key in line.rows:
                return line.rows[key]
            point = line.space.values_of(config)
            if point is not None:
                line.rows[key] = _Row(line.space.configuration(point), point)
                return line.rows[key]
        return None

    def _is_complete(self, row: _Row) -> bool:
        return all(seed in row.results for seed in self.study.seeds)

    def _ordered(self, line: _Line) -> list[_Row]:
        """Rows as they were asked for, batch by batch; within one, in an order of no time."""
        complete = [row for row in line.rows.values() if self._is_complete(row)]
        complete.sort(key=lambda row: (row.since, row.configuration.id))
        ordered: list[_Row] = []
        while len(ordered) < len(complete):
            start, end = self._batch(line, len(ordered))
            ordered += sorted(complete[start:end], key=lambda row: row.configuration.id)
        others = [row for row in line.rows.values() if not self._is_complete(row)]
        return ordered + sorted(others, key=lambda row: row.configuration.id)

    def _batch(self, line: _Line, n: int) -> tuple[int, int]:
        """First and last plus one of the batch that the `n`-th configuration is in."""
        size, first = self.settings.at_once, self.settings.at_once
        if self.settings.kind == "fill":
            first = len(front_filling.coarse_values(line.space.axes[0], self.settings.coarse))
        if n < first:
            return 0, first
        start = first + (n - first) // size * size
        return start, start + size

    def _yardsticks(self, line: _Line, wanted: Set[str]) -> Iterator[tuple[str, str]]:
        """(configuration, yardsticks) of the wanted configurations of a line."""
        seeds, ordered = self.study.seeds, self._ordered(line)
        start, _ = self._batch(line, sum(map(self._is_complete, ordered)))
        before = [row for row in ordered[:start] if row.observation(seeds).values is not None]
        latest = {row.configuration.id: max(row.ended[seed] for seed in seeds) for row in before}
        lowest = {
            row.configuration.id: lowest_accuracies([row.passed[seed] for seed in seeds])
            for row in before
        }
        for row in line.rows.values():
            if row.configuration.id not in wanted or row.runs_again:
                continue
            older = {k: p for k, p in lowest.items() if not row.since or latest[k] <= row.since}
            yield row.configuration.id, stopping_rules.packed_yardsticks(older)

    def _more(self, line: _Line) -> list[Configuration]:
        ordered = self._ordered(line)
        n_complete = sum(map(self._is_complete, ordered))
        start, end = self._batch(line, n_complete)
        n = min(end, self.settings.trials) - len(ordered)
        if line.is_over or n <= 0:
            return []
        refines = self.settings.kind == "fill" and start > 0
        if refines and not all(map(self._is_complete, self._references.values())):
            return []  # the ends of a front are measured by them
        known = [row.observation(self.study.seeds) for row in ordered[:start]]
        # A batch of which a part has its results is made again, and asked for without that part.
        batch: list[AxisValues] = []
        new: list[Configuration] = []
        propose = self._filler(line) if self.settings.kind == "fill" else self._sampler(line)
        for index in range(start, end):
            made = propose(index, known, batch) if len(new) < n else None
            if made is None:
                break
            batch.append(made)
            configuration = line.space.configuration(made)
            if configuration.id not in line.rows:
                line.rows[configuration.id] = _Row(configuration, made)
                new.append(configuration)
        line.is_over = not new and len(ordered) == n_complete
        return new

    def _is_undrawn(self, line: _Line) -> bool:
        ordered = self._ordered(line)
        is_spent = len(ordered) >= self.settings.trials and all(map(self._is_complete, ordered))
        if self.settings.kind != "fill" or not is_spent:
            return False
        known = [row.observation(self.study.seeds) for row in ordered]
        return self._filler(line)(len(ordered), known, []) is not None

    def _filler(self, line: _Line) -> _Propose:
        (axis,) = line.space.axes
        seeds = self.study.seeds
        before = {
            row.point[axis.key]: math.fsum(row.before[seed] for seed in seeds) / len(seeds)
            for row in line.rows.values()
            if self._is_complete(row)
        }
        ends = front_filling.Ends(self._target_end(), lambda value: before.get(value, math.nan))

        def propose(
            index: int, finished: list[Observation], pending: list[AxisValues]
        ) -> AxisValues | None:
            known: dict[float, tuple[float, float] | None] = {
                told.point[axis.key]: told.values for told in finished
            }
            known |= {point[axis.key]: None for point in pending}
            settings = self.settings
            value = front_filling.next_value(
                axis, known, coarse=settings.coarse, gap=settings.gap, ends=ends
            )
            return None if value is None else {axis.key: value}

        return propose

    def _target_end(self) -> float:
        """Fine-tuning's target accuracy; NaN without it."""
        for row in self._references.values():
            if self._is_complete(row):
                values = row.observation(self.study.seeds).values
                return math.nan if values is None else values[1]
        return math.nan

    def _sampler(self, line: _Line) -> _Propose:
        axes, settings = line.space.axes, self.settings

        def propose(
            index: int, finished: list[Observation], pending: list[AxisValues]
        ) -> AxisValues | None:
            asked = [told.point for told in finished] + pending
            ask = Ask(settings.sampler, settings.seed, line.label, index, settings.trials)
            for attempt in range(_SUGGESTIONS + _DRAWS):
                again = ask._replace(attempt=attempt)
                point = line.space.acting(
                    suggestion(axes, again, finished, pending)
                    if attempt < _SUGGESTIONS
                    else draw(axes, again)
                )
                if point not in asked:
                    return point
            return None

        return propose


class Extent(NamedTuple):
    """How much a study asks for, as its records stand.

    Attributes:
        configurations: the study's own, those of its searches that have a record, and those that
            `fill` asks for next.
        n_to_come: label of a searched curve -> how many more may be asked for, at most.
    """

    configurations: list[Configuration]
    n_to_come: dict[str, int]


def extent(study: StudyTables, records: Sequence[Record], done: Set[str]) -> Extent:
    """How much a study asks for: told by the records' numbers, without a search of its own.

    One question alone is left to the search: whether the fronts of `fill` are drawn, which ends
    it before its budget is spent.

    Args:
        study: the study.
        records: of the results folder, this study's or not.
        done: ids of the trials among them that count as finished.
    """
    found = known_configurations(study, (record["config"] for record in records))
    n_known, most = Counter(configuration.label for configuration in found), study.search.trials
    labels = [request.label for request in searched_requests(study)]
    n_to_come = {label: max(0, most - n_known[label]) for label in labels}
    if study.search.kind != "fill" or not any(n_to_come.values()):
        return Extent(found, n_to_come)
    search = Search(study, records, done)
    return Extent(found + search.more(), search.n_to_come)


def expected(study: StudyTables, records: Sequence[Record], done: Set[str]) -> list[Configuration]:
    """All configurations of a study: its own, those that were searched, stand-ins for the rest.

    Args:
        study: the study.
        records: of the results folder.
        done: ids of the trials that count as finished.
    """
    known, n_to_come = extent(study, records, done)
    return known + _stand_ins(study, n_to_come)


def _stand_ins(study: StudyTables, n_to_come: Mapping[str, int]) -> list[Configuration]:
    """What is still to come, as configurations in the middle of each space: for a forecast."""
    found = []
    for request in searched_requests(study):
        space = space_of(study, request)
        point = {
            axis.key: axis.choices[0]
            if axis.choices
            else axis.value_at((axis.position(axis.low) + axis.position(axis.high)) / 2)
            for axis in space.axes
        }
        like = space.configuration(point)
        found += [replace(like, id=f"{like.id}+{i}") for i in range(n_to_come[request.label])]
    return found
