"""Progress of a sweep, read from its results folder by anybody, at any time.

A trial is *done* when it has a record. It is *running* when it has started since the run at work
took the folder's lock and has no record of that start yet. A run that was killed leaves markers of
starts behind, older than the lock of the next run; those trials are *left behind*: they are to
come, like those that never started.

The rate is that of the latest records of the run at work, by the file times of its records and of
its lock: one clock, whatever the clocks of the machines that compute. In an object store it is the
store's, which the lease quotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from clsweep.errors import StoreError
from clsweep.records.schema import STATUSES, trial_id_of
from clsweep.status.snapshot import EndedTrial, Snapshot, SnapshotReader, StartedTrial
from clsweep.status.status import FORMAT, Curve, Error, Running, Status
from clsweep.status.sweep import Sweep
from clsweep.status.validation_points import ValidationPoints
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.lock_state import LockState
from clsweep.storage.remote_path import Place, Stamp
from clsweep.study.configuration_text import numbers_in_words
from clsweep.study.configurations import Configuration, configurations
from clsweep.study.renamed_trials import Names, names_of
from clsweep.study.study import Study, stored_study

_N_ERRORS = 5
_N_RECENT = 100


class _Asked(NamedTuple):
    """What the study asks for: trials by id, and how many more a search may add per label."""

    trials: dict[str, tuple[Configuration, int]]
    to_add: dict[str, int]


class _Trials(NamedTuple):
    """Trials of the study by id: with a record; started; at work; done."""

    ours: dict[str, EndedTrial]
    started: dict[str, StartedTrial]
    at_work: dict[str, StartedTrial]
    done: dict[str, EndedTrial]


class StatusReader:
    """Says how far a sweep is, as often as asked; what has not changed is not read again.

    Args:
        directory: the results folder, or one in an object store.
        points: where validation accuracies of the records that are read are kept, if anywhere.

    Raises:
        StoreError: it is no results folder, or the store refuses.
    """

    def __init__(self, directory: Place, points: ValidationPoints | None = None) -> None:
        if not (directory / "study.toml").is_file():
            raise _no_results(directory)
        self.directory = directory
        self._reader = SnapshotReader(directory, points)
        self._study: tuple[Stamp, Study] | None = None
        self._asked: tuple[dict[str, EndedTrial], Stamp, _Asked] | None = None
        self._names: tuple[Study, set[str], Names] | None = None

    def read(self, now: float) -> Status:
        """How far it is.

        Args:
            now: seconds since 1970, to say how long trials have been running.

        Raises:
            StoreError: a table is damaged, something is a newer clsweep's, or a store refuses.
            StudyError: the folder's study cannot be read.
        """
        return self.sweep(now).status

    def sweep(self, now: float) -> Sweep:
        """How far it is, and every trial.

        Args:
            now: see `read`.

        Raises:
            StoreError: see `read`.
            StudyError: see `read`.
        """
        seen = self._reader.read()
        stamp, study = self._stored_study()
        seen = self._under_names(study, seen)
        asked = self._what_is_asked(study, stamp, seen.ended)
        trials = _trials_now(study, seen, asked)
        status = self._status(study, seen, asked, trials, now)
        return Sweep(status, study, asked.trials, trials.done, trials.at_work)

    def _stored_study(self) -> tuple[Stamp, Study]:
        path = self.directory / "study.toml"
        try:
            stamp = folder_of(self.directory).stamp(path.name)
        except FileNotFoundError:
            raise _no_results(self.directory) from None
        if self._study is None or self._study[0] != stamp:
            self._study = stamp, stored_study(path)
        return self._study

    def _under_names(self, study: Study, seen: Snapshot) -> Snapshot:
        """What was seen, trials under the names that the study has for them."""
        asked = {configuration.id for configuration in configurations(study)}
        others = {e.config_id: e for e in seen.ended.values() if e.config_id not in asked}
        if self._names is None or self._names[:2] != (study, {*others}):
            configs = (
                {"config_id": key, "method": end.method, **self._reader.config(key)}
                for key, end in others.items()
            )
            self._names = study, {*others}, names_of(study, configs)
        names = self._names[2]
        if not names:
            return seen
        kept = names.kept({key: end.status for key, end in seen.ended.items()})
        return seen._replace(ended={name: seen.ended[key] for name, key in kept.items()})

    def _what_is_asked(self, study: Study, stamp: Stamp, ended: dict[str, EndedTrial]) -> _Asked:
        is_grid = not study.search.asks
        known = self._asked
        if known is None or known[1] != stamp or not (is_grid or known[0] == ended):
            self._asked = known = (ended, stamp, self._expanded(study, ended))
        return known[2]

    def _expanded(self, study: Study, ended: Mapping[str, EndedTrial]) -> _Asked:
        found, to_add = configurations(study), {}
        if study.search.asks:
            from clsweep.search.search import extent
            from clsweep.storage.store import Store

            records = Store(self.directory, read_only=True).load(split="validation")
            names = names_of(study, (record["config"] for record in records))
            found, n_to_come = extent(study, names.records(records), ended.keys())
            to_add = {label: n * len(study.seeds) for label, n in n_to_come.items()}
        trials = {trial_id_of(c.id, seed): (c, seed) for c in found for seed in study.seeds}
        return _Asked(trials, to_add)

    def _status(
        self, study: Study, seen: Snapshot, asked: _Asked, trials: _Trials, now: float
    ) -> Status:
        ours, started, at_work, done = trials
        counts = dict.fromkeys(STATUSES, 0)
        for end in done.values():
            counts[end.status] += 1
        n_trials = len(asked.trials) + sum(asked.to_add.values())
        n_missing = n_trials - len(done)
        times = _times(ours.values(), seen.lock)
        rate = _trials_per_second(times, seen.lock)
        is_over = seen.lock.state == "free" or (seen.lock.state == "unknown" and not n_missing)
        state = {"held": "running"}.get(seen.lock.state, seen.lock.state)
        return Status(
            format=FORMAT,
            folder=str(self.directory),
            study=study.name,
            state=("stopped" if n_missing else "finished") if is_over else state,
            holder=seen.lock.holder,
            held_since=_iso(seen.lock.taken_at),
            n_trials=n_trials,
            is_upper_limit=any(asked.to_add.values()),
            n_done=len(done),
            **{f"n_{status}": n for status, n in counts.items()},
            n_running=len(at_work),
            n_to_come=n_missing - len(at_work),
            n_left_behind=len(started.keys() - at_work.keys() - done.keys()),
            trials_per_minute=None if is_over or rate is None else 60 * rate,
            seconds_left=None if is_over or rate is None else n_missing / rate,
            last_record_at=_iso(times[-1]) if times else None,
            curves=_curves(study, asked, done, at_work),
            running=self._running(study, at_work, asked, now),
            errors=self._errors(study, done),
            warnings=seen.warnings,
        )

    def _running(
        self, study: Study, at_work: Mapping[str, StartedTrial], asked: _Asked, now: float
    ) -> tuple[Running, ...]:
        found = []
        for mark in sorted(at_work.values(), key=lambda mark: (mark.at, mark.trial_id)):
            configuration, seed = asked.trials[mark.trial_id]
            words = numbers_in_words(
                configuration.method,
                configuration.hyper.model_dump(),
                configuration.training.model_dump(),
                study.training.model_dump(),
            )
            seconds = max(0.0, now - mark.at)
            label = configuration.label
            where = mark.machine, mark.process
            found.append(
                Running(mark.trial_id, label, words, seed, seconds, mark.n_starts, *where)
            )
        return tuple(found)

    def _errors(self, study: Study, done: Mapping[str, EndedTrial]) -> tuple[Error, ...]:
        bad = [end for end in done.values() if end.status not in ("ok", "stopped")]
        # What is not compacted yet is newer than what is.
        bad.sort(key=lambda e: (e.written_at or 0.0, e.finished_at, e.trial_id), reverse=True)
        found = []
        for end in bad[:_N_ERRORS]:
            numbers = self._reader.config(end.config_id)
            usual = study.training.model_dump(mode="json")
            words = numbers_in_words(end.method, numbers["hyper"], numbers["training"], usual)
            what = (end.seed, end.status, end.message, end.finished_at)
            found.append(Error(end.trial_id, end.label, words, *what))
        return tuple(found)


def _trials_now(study: Study, seen: Snapshot, asked: _Asked) -> _Trials:
    ours = {key: seen.ended[key] for key in asked.trials if key in seen.ended}
    started = {key: mark for key, mark in seen.started.items() if key in asked.trials}
    at_work = {key: mark for key, mark in started.items() if _is_of(mark, seen.lock)}
    # Without early stopping, what it has stopped is to be run again.
    stands = [key for key, e in ours.items() if e.status != "stopped" or study.search.stops]
    done = {key: ours[key] for key in stands if key not in at_work}
    return _Trials(ours, started, at_work, done)


def _no_results(directory: Place) -> StoreError:
    what = "holds no study.toml" if directory.is_dir() else "does not exist"
    return StoreError(
        f"the folder {what}",
        expected="the results folder of a run",
        where=str(directory),
        next_step="`clsweep run STUDY.toml` makes one and prints its name",
    )


def _is_of(mark: StartedTrial, lock: LockState) -> bool:
    """Whether a trial was started by the run that has the lock, not by one that was killed."""
    return lock.state != "free" and lock.taken_at is not None and mark.at >= lock.taken_at


def _times(ended: Any, lock: LockState) -> list[float]:
    """File times of the records that the run has written, in order."""
    began = lock.taken_at
    written = (end.written_at for end in ended)
    return sorted(t for t in written if t is not None and began is not None and t >= began)


def _trials_per_second(times: list[float], lock: LockState) -> float | None:
    """Over the latest records, from the one before the first of them, or the start of the run."""
    recent = times[-_N_RECENT:]
    if not recent or lock.taken_at is None:
        return None
    start = times[-len(recent) - 1] if len(times) > len(recent) else lock.taken_at
    return len(recent) / (recent[-1] - start) if recent[-1] > start else None


def _curves(
    study: Study,
    asked: _Asked,
    done: Mapping[str, EndedTrial],
    at_work: Mapping[str, StartedTrial],
) -> tuple[Curve, ...]:
    counts = {request.label: [0, 0, 0, 0] for request in study.methods}
    for key, (configuration, _) in asked.trials.items():
        count = counts[configuration.label]
        count[0] += 1
        count[1] += key in done
        count[2] += key in done and done[key].status not in ("ok", "stopped")
        count[3] += key in at_work
    for label, n in asked.to_add.items():
        counts[label][0] += n
    return tuple(Curve(label, *count) for label, count in counts.items())


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
