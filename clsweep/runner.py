"""Running a study: plan what is missing, hand it out, fold the records into tables."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clsweep import attempts, cache, stages, stopping
from clsweep.callbacks import Callbacks
from clsweep.errors import ClsweepError, RunnerError
from clsweep.interrupts import Terminated, terminable
from clsweep.listeners import Audience, Listener
from clsweep.losses import forgive_cut_short, left_on_disk, suspects_last
from clsweep.progress import Progress
from clsweep.records import record_of
from clsweep.schedule import Schedule
from clsweep.search import Search
from clsweep.store import Store
from clsweep.study import configurations, resolved_toml, study_identity

if TYPE_CHECKING:
    from clsweep.stages import Job, Plan
    from clsweep.study import Configuration, Study
    from clsweep.worker import Context, Outcome

__all__ = ["Summary", "run"]


class Summary(NamedTuple):
    """How a run ended.

    Attributes:
        n_trials: trials of the study.
        n_done: trials that have a record now, whatever their status.
        n_new: of those, committed by this run.
        n_failed: trials of the study whose row says 'failed'.
        n_diverged: trials of the study whose row says 'diverged'.
        n_oom: trials of the study whose row says 'oom'.
        n_sources_trained: source models trained by this run.
        n_sources_reused: trials of this run that started from a source model trained for another.
        seconds_saved: what training those, and the fine-tuned networks, again would have taken.
        wall_seconds: duration of the run.
        interrupted: whether Ctrl-C stopped it.
        terminated: whether SIGTERM stopped it.
        warnings: sentences about damage that was set aside.
        n_finetuned_trained: fine-tuned networks trained by this run.
        n_finetuned_reused: trials of this run that used one trained for another.
        n_stopped: trials of the study whose row says 'stopped'.
    """

    n_trials: int
    n_done: int
    n_new: int
    n_failed: int
    n_diverged: int
    n_oom: int
    n_sources_trained: int
    n_sources_reused: int
    seconds_saved: float
    wall_seconds: float
    interrupted: bool
    terminated: bool
    warnings: tuple[str, ...]
    n_finetuned_trained: int = 0
    n_finetuned_reused: int = 0
    n_stopped: int = 0


def run(
    study: Study,
    *,
    out: Path,
    address: str | None = None,
    inline: bool = False,
    workers: int | None = None,
    data_root: Path | None = None,
    stages: Path | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
    listeners: Sequence[Listener] = (),
) -> Summary:
    """Run exactly the trials of a study that have no record yet.

    Args:
        study: what is asked for.
        out: the results folder; made if it does not exist.
        address: an existing Ray cluster; None for Ray on this machine alone.
        inline: run in this process, without Ray; gives the same numbers.
        workers: trials at the same time; None for as many as there is room for.
        data_root: folder that holds the data sets.
        stages: stage cache, if it is to be shared by several studies; default `out`/stages.
        retry_failed: run trials again that failed, diverged or ran out of memory.
        progress: told what happens; None to show nothing.
        listeners: told as well.

    Raises:
        ClsweepError: the folder belongs to another study, the data are missing, the disk is full,
            the cluster is too small, ... Whatever had been computed is kept.
    """
    if inline and address:
        raise RunnerError(
            "--inline and --address exclude each other", next_step="give one of them"
        )
    out = out.resolve()
    stage_folder = (stages or out / "stages").resolve()
    progress = progress or Progress()
    callbacks = Callbacks(study, out, inline=inline)
    audience = Audience([*listeners, callbacks], progress.warned)
    try:
        with Store(out) as store:
            store.open_for_run(study_identity(study), resolved_toml(study), study.name)
            driver = _Driver(study, store, stage_folder, retry_failed, progress, audience)
            context = _context(study, out, stage_folder, data_root)
            driver.run(context, callbacks, inline=inline, address=address, workers=workers)
            store.compact()
            audience.collect()
            summary = driver.summary()
    except ClsweepError as error:
        audience.failed(str(error))
        raise
    audience.end(summary)
    return summary._replace(warnings=(*store.warnings, *audience.warnings))


def _context(study: Study, out: Path, stage_folder: Path, data_root: Path | None) -> Context:
    from clsweep.worker import Context

    return Context(
        run=uuid.uuid4().hex,
        study=study,
        out=out,
        stages=stage_folder,
        data_root=data_root.resolve() if data_root else None,
        device="cpu",
        n_threads=max(1, int(study.resources.cpus)),
    )


_RETRIED = ("failed", "diverged", "oom")


class _Sharing(NamedTuple):
    n_trained: int
    n_reused: int
    seconds_saved: float


class _Driver:
    """One run: the plan, what came of it, and the numbers for the summary."""

    def __init__(
        self,
        study: Study,
        store: Store,
        stage_folder: Path,
        retry: bool,
        progress: Progress,
        audience: Audience,
    ) -> None:
        self.study, self.store, self.progress = study, store, progress
        self.audience = audience
        self.stage_folder = stage_folder
        self.began = time.perf_counter()
        store.check_tables()
        statuses = store.statuses()
        again = stopping.overturned(study.search, store, statuses)
        again |= {key for key, status in statuses.items() if retry and status in _RETRIED}
        done = statuses.keys() - again
        self.configurations = configurations(study)
        self.search: Search | None = None
        if study.search.kind != "grid":
            self.search = Search(study, store.load(), done)
            self.configurations += self.search.known
            self.configurations += self.search.more()
        self.by_id: dict[str, Configuration] = {c.id: c for c in self.configurations}
        self.plan: Plan = stages.plan(study, self.configurations, done, self._in_cache)
        if self.search:
            self.plan.jobs[:] = self.search.barred(self.plan.jobs)
        for key in self.plan.stages_in_cache:
            cache.check(stage_folder, key)
        self.had_records = {*statuses}
        self.finished: set[str] = set()
        self.interrupted = self.terminated = False
        more = self._more if self.search else None
        jobs = suspects_last(store.directory, self.plan.jobs, retry=retry)
        self.schedule = Schedule(jobs, self._started, self._done, more)

    def run(
        self,
        context: Context,
        callbacks: Callbacks,
        *,
        inline: bool,
        address: str | None,
        workers: int | None,
    ) -> None:
        """Work through the plan; returns early when the user stops it."""
        n_to_come = self._n_to_come()
        n_trials, n_done = self.plan.n_trials + n_to_come, self.plan.n_done
        self.audience.begin(
            self.study, self.store.directory, n_trials, n_done, is_upper_limit=n_to_come > 0
        )
        if not self.plan.jobs:
            return
        self.progress.begin(n_trials, n_done)
        try:
            with terminable():
                if inline:
                    from clsweep.inline import run_inline

                    run_inline(self.schedule, context)
                else:
                    from clsweep.connection import before_ray

                    before_ray()
                    from clsweep.on_ray import run_on_ray

                    run_on_ray(
                        self.schedule,
                        context,
                        address=address,
                        workers=workers,
                        inside=callbacks,
                        committed=partial(
                            left_on_disk, self.store, self.stage_folder, self.had_records
                        ),
                    )
        except Terminated:
            self.terminated = True
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self.progress.end()
            forgive_cut_short(self.store.directory, self.schedule, context.run)
        if self.schedule.abort_message:
            raise ClsweepError(self.schedule.abort_message)

    def _in_cache(self, key: str) -> bool:
        return cache.exists(self.stage_folder, key)

    def _n_to_come(self) -> int:
        """Trials that a search may still ask for, at most."""
        coming = self.search.n_to_come.values() if self.search else ()
        return sum(coming) * len(self.study.seeds)

    def _more(self) -> list[Job]:
        """What the search asks for now that a job has ended."""
        new = self.search.more() if self.search else []
        if not self.search or not new:
            return []
        self.configurations += new
        self.by_id |= {c.id: c for c in new}
        planned = {job.key for job in self.plan.jobs}
        grown = stages.plan(self.study, new, set(), self._in_cache)
        for key in grown.stages_in_cache:
            if key not in planned:  # what this run has made needs no check
                cache.check(self.stage_folder, key)
        jobs = self.search.barred([job for job in grown.jobs if job.key not in planned])
        self.plan.jobs.extend(jobs)
        return jobs

    def _started(self, job: Job) -> None:
        self.progress.started(job.label, job.kind)
        self.audience.started(job)

    def _done(self, job: Job, outcome: Outcome) -> None:
        if job.kind == "trial":
            self.finished.add(job.key)
            self._ensure_record(job, outcome)
            if self.search:
                self.search.told(self.store.pending(job.key))
        average = outcome.average_accuracy
        self.progress.finished(
            job.label,
            job.kind,
            outcome.status,
            None if average != average else average,
            outcome.message,
        )
        record = partial(self.store.pending, job.key)
        self.audience.finished(job, outcome, self.by_id[job.config_id], record)

    def _ensure_record(self, job: Job, outcome: Outcome) -> None:
        """A trial that never ran, or whose process died, has no record of its own yet."""
        if outcome.status == "ok" or outcome.wall_seconds > 0:
            return
        self.store.commit(
            record_of(
                self.by_id[job.config_id],
                job.seed,
                outcome.status,
                message=outcome.message,
                stages=job.needs,
                attempts=max(1, attempts.attempts(self.store.directory, job.key)),
            )
        )

    def summary(self) -> Summary:
        """The numbers of the run, read from what was committed."""
        statuses = self.store.statuses()
        wanted = [
            stages.trial_id(c, seed) for c in self.configurations for seed in self.study.seeds
        ]
        here = [statuses[name] for name in wanted if name in statuses]
        # A worker may have committed a trial of which a stopped driver did not hear any more.
        new = self.finished | ({*wanted} & {*statuses} - self.had_records)
        sources, tuned = self._shared("source"), self._shared("finetuned")
        return Summary(
            n_trials=len(wanted) + self._n_to_come(),
            n_done=len(here),
            n_new=len(new),
            n_failed=here.count("failed"),
            n_diverged=here.count("diverged"),
            n_oom=here.count("oom"),
            n_sources_trained=sources.n_trained,
            n_sources_reused=sources.n_reused,
            seconds_saved=sources.seconds_saved + tuned.seconds_saved,
            wall_seconds=time.perf_counter() - self.began,
            interrupted=self.interrupted,
            terminated=self.terminated,
            warnings=(*self.store.warnings, *self.audience.warnings),
            n_finetuned_trained=tuned.n_trained,
            n_finetuned_reused=tuned.n_reused,
            n_stopped=here.count("stopped"),
        )

    def _shared(self, kind: str) -> _Sharing:
        """What the trained networks of one kind of stage were used for in this run."""
        key_of = {"source": stages.source_key, "finetuned": stages.finetuned_key}[kind]
        trained = {job.key for job in self.plan.jobs if job.kind == kind}
        left = {job.key for job in self.schedule.waiting}
        uses: Counter[str] = Counter()
        for job in self.plan.jobs:
            if job.kind == "trial" and job.key not in left:
                uses.update(
                    {key_of(self.study, self.by_id[job.config_id], job.seed)} & {*job.needs}
                )
        there = [key for key in {*uses, *trained} if key and cache.exists(self.stage_folder, key)]
        spared = {key: uses[key] - (key in trained) for key in there}
        seconds = sum(
            n * float(cache.facts(self.stage_folder, key)["wall_seconds"])
            for key, n in spared.items()
            if n > 0
        )
        return _Sharing(len(trained.intersection(there)), sum(spared.values()), seconds)
