"""Running a study: plan what is missing, hand it out, fold the records into tables."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clsweep import attempts, cache, sight, stages, stopping
from clsweep.callbacks import Callbacks
from clsweep.data_notes import data_notes
from clsweep.errors import ClsweepError, RunnerError
from clsweep.folders import Place, place_of
from clsweep.inputs import Inputs, inputs_of, values_of, with_values
from clsweep.interrupts import Terminated, terminable
from clsweep.listeners import Audience, Listener
from clsweep.losses import forgive_cut_short, left_on_disk, suspects_last
from clsweep.progress import Progress
from clsweep.records import record_of
from clsweep.run_summary import Summary, seconds_spared
from clsweep.same_work import names_in
from clsweep.schedule import Schedule
from clsweep.search import Search
from clsweep.store import Store
from clsweep.study import configurations, resolved_toml, study_identity

if TYPE_CHECKING:
    from clsweep.stages import Job, Plan
    from clsweep.study import Configuration, Study
    from clsweep.worker import Context, Outcome

__all__ = ["Summary", "run"]


def run(
    study: Study,
    *,
    out: Place | str,
    address: str | None = None,
    inline: bool = False,
    workers: int | None = None,
    data_root: Path | str | None = None,
    stages: Place | str | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
    listeners: Sequence[Listener] = (),
) -> Summary:
    """Run exactly the trials of a study that have no record yet.

    Args:
        study: what is asked for.
        out: the results folder, a path or a URI (see `folders.place_of`); made if it does not
            exist.
        address: an existing Ray cluster; None for Ray on this machine alone.
        inline: run in this process, without Ray; gives the same numbers.
        workers: trials at the same time; None for as many as there is room for.
        data_root: folder that holds the data sets.
        stages: stage cache, likewise, if it is to be shared by several studies; default
            `out`/stages.
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
    folder = place_of(out).resolve()
    root = Path(data_root).resolve() if data_root else None
    stage_folder = (place_of(stages) if stages else folder / "stages").resolve()
    progress = progress or Progress()
    callbacks = Callbacks(study, folder, inline=inline)
    audience = Audience([*listeners, callbacks], progress.warned)
    try:
        with Store(folder) as store:
            store.open_for_run(study_identity(study), resolved_toml(study), study.name)
            store.compact()  # what a killed run has left is read once, and then from the tables
            inputs = inputs_of(study, root)
            store.bind_inputs(inputs)
            driver = _Driver(study, store, stage_folder, retry_failed, progress, audience, inputs)
            has_work = bool(driver.plan.jobs)
            for note in data_notes(study, root) if has_work else ():
                audience.warn(note)
            context = _context(study, folder, stage_folder, root, inputs) if has_work else None
            driver.run(context, callbacks, inline=inline, address=address, workers=workers)
            store.compact()
            if any(not one.fingerprint for one in inputs):  # downloaded meanwhile
                store.bind_inputs(inputs_of(study, root))
            audience.collect()
            summary = driver.summary()
    except ClsweepError as error:
        audience.failed(str(error))
        raise
    audience.end(summary)
    return summary._replace(warnings=(*store.warnings, *audience.warnings))


def _context(
    study: Study, out: Place, stage_folder: Place, data_root: Path | None, inputs: Inputs
) -> Context:
    from clsweep.worker import Context

    run = uuid.uuid4().hex
    return Context(
        run=run,
        study=study,
        out=out,
        stages=stage_folder,
        data_root=data_root,
        device="cpu",
        n_threads=max(1, int(study.resources.cpus)),
        token=run,
        inputs=inputs,
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
        stage_folder: Place,
        retry: bool,
        progress: Progress,
        audience: Audience,
        inputs: Inputs,
    ) -> None:
        self.inputs, self.values = inputs, with_values(inputs)
        self.study, self.store, self.progress = study, store, progress
        self.audience = audience
        self.stage_folder = stage_folder
        self.began = time.perf_counter()
        store.check_tables()
        self.names = names_in(study, store)
        stored = store.statuses()
        statuses = self.names.statuses(stored)
        again = {self.names.trial(k) for k in stopping.overturned(study.search, store, stored)}
        again |= {key for key, status in statuses.items() if retry and status in _RETRIED}
        done = statuses.keys() - again
        self.configurations = configurations(study)
        self.search: Search | None = None
        if study.search.kind != "grid":
            records = self.names.records(store.load("validation"))
            self.search = Search(study, records, done)
            self.configurations += self.search.known
            self.configurations += self.search.more()
        self.by_id: dict[str, Configuration] = {c.id: c for c in self.configurations}
        self.plan: Plan = stages.plan(
            study, self.configurations, done, self._in_cache, self.values
        )
        if self.search:
            self.plan.jobs[:] = self.search.barred(self.plan.jobs)
        for key in self.plan.stages_in_cache:
            cache.check(stage_folder, key)
        self.had_records = {*statuses, *stored}
        self.finished: set[str] = set()
        self.interrupted = self.terminated = False
        more = self._more if self.search else None
        jobs = suspects_last(store.directory, self.plan.jobs, retry=retry)
        self.schedule = Schedule(jobs, self._started, self._done, more)

    def run(
        self,
        context: Context | None,
        callbacks: Callbacks,
        *,
        inline: bool,
        address: str | None,
        workers: int | None,
    ) -> None:
        """Work through the plan until the user stops it; without work no context imports torch."""
        n_to_come = self._n_to_come()
        n_trials, n_done = self.plan.n_trials + n_to_come, self.plan.n_done
        self.audience.begin(
            self.study, self.store.directory, n_trials, n_done, is_upper_limit=n_to_come > 0
        )
        if context is None:
            return
        self.progress.begin(n_trials, n_done)
        try:
            with terminable(), sight.shown(context.token, context.out, context.stages):
                if inline:
                    from clsweep.inline import run_inline

                    run_inline(self.schedule, context)
                else:
                    from clsweep.connection import before_ray

                    before_ray()
                    from clsweep.on_ray import run_on_ray

                    left = partial(left_on_disk, self.store, self.stage_folder, self.had_records)
                    run_on_ray(
                        self.schedule,
                        context,
                        address=address,
                        workers=workers,
                        inside=callbacks,
                        committed=left,
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
        grown = stages.plan(self.study, new, set(), self._in_cache, self.values)
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
        if self.store.lost:
            self.schedule.abort_message = self.schedule.abort_message or self.store.lost
        if job.kind == "trial":
            self.finished.add(job.key)
            self._ensure_record(job, outcome)
            if self.search:
                self.search.told(self.store.pending(job.key, "validation"))
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
                inputs=values_of(self.inputs),
                attempts=max(1, attempts.attempts(self.store.directory, job.key)),
            )
        )

    def summary(self) -> Summary:
        """The numbers of the run, read from what was committed."""
        statuses = self.names.statuses(self.store.statuses())
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
            undrawn=self.search.undrawn if self.search else (),
        )

    def _shared(self, kind: str) -> _Sharing:
        """What the trained networks of one kind of stage were used for in this run."""
        key_of = {"source": stages.source_key, "finetuned": stages.finetuned_key}[kind]
        first = self.study.seeds[0]

        def as_first(job: Job) -> str:
            return key_of(self.study, self.by_id[job.config_id], first, self.values)

        alike = {job.key: as_first(job) for job in self.plan.jobs if job.kind == kind}
        trained = {*alike}
        left = {job.key for job in self.schedule.waiting}
        uses: Counter[str] = Counter()
        for job in self.plan.jobs:
            if job.kind == "trial" and job.key not in left:
                own = self.by_id[job.config_id]
                used = {key_of(self.study, own, job.seed, self.values)} & {*job.needs}
                uses.update(used)
                alike.update(dict.fromkeys(used, as_first(job)))
        there = [key for key in {*uses, *trained} if key and cache.exists(self.stage_folder, key)]
        spared = {key: uses[key] - (key in trained) for key in there}
        seconds = {k: float(cache.facts(self.stage_folder, k)["wall_seconds"]) for k in there}
        saved = seconds_spared(spared, seconds, alike)
        return _Sharing(len(trained.intersection(there)), sum(spared.values()), saved)
