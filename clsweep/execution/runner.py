"""Running a study: plan what is missing, hand it out, put the records into tables."""

from __future__ import annotations

import math
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clsweep.data.data_root import data_root as root_of
from clsweep.errors import ClsweepError, RunnerError, StoreError
from clsweep.execution import retries, shared_storage, stage_cache
from clsweep.execution.chosen_labels import chosen_labels, jobs_of, left_for_later
from clsweep.execution.code_repository import repository_versions
from clsweep.execution.forecast import form_notes
from clsweep.execution.kept_models import settle_models
from clsweep.execution.laned_jobs import LanedJobs
from clsweep.execution.listeners.base import Audience, Listener
from clsweep.execution.listeners.trackers import Callbacks
from clsweep.execution.listeners.webhook import Webhook
from clsweep.execution.outcomes import Context, Outcome, Summary, seconds_spared
from clsweep.execution.run_start import ToCome, run_start
from clsweep.execution.schedule import Schedule
from clsweep.execution.trial_record import record_of
from clsweep.execution.unstable_weights import UnstableWeights
from clsweep.records.recorded_inputs import Inputs, fingerprints_of, stage_inputs
from clsweep.records.schema import trial_id_of
from clsweep.search import stopping_rules
from clsweep.search.search import Search
from clsweep.signals import Terminated, terminable
from clsweep.storage import attempts
from clsweep.storage.loss_files import collect_losses
from clsweep.storage.remote_path import Place, place_of
from clsweep.storage.store import Store
from clsweep.study import planning
from clsweep.study.configurations import Configuration, configurations, study_identity
from clsweep.study.data_warnings import data_notes
from clsweep.study.declarations import kept_text
from clsweep.study.input_fingerprints import inputs_of
from clsweep.study.job_order import breadth_first
from clsweep.study.jobs import Job, Plan
from clsweep.study.lane_groups import lane_group, most_lanes
from clsweep.study.renamed_trials import Names, names_in
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study

if TYPE_CHECKING:
    from os import PathLike


def run(
    study: Study,
    *,
    out: Place | PathLike[str] | str | None = None,
    address: str | None = None,
    inline: bool = False,
    workers: int | None = None,
    data_root: Path | str | None = None,
    stages: Place | PathLike[str] | str | None = None,
    retry_failed: bool = False,
    only: Collection[str] = (),
    time_limit: float | None = None,
    listeners: Sequence[Listener] = (),
) -> Summary:
    """Run exactly the trials of a study that have no record yet.

    Args:
        study: what is asked for.
        out: the results folder, a path or a URI (see `remote_path.place_of`); made if it does not
            exist. None for results/NAME.
        address: an existing Ray cluster; None for Ray on this machine alone.
        inline: run in this process, without Ray; gives the same numbers.
        workers: trials at the same time; None for as many as there is room for.
        data_root: folder that holds the data sets; None for that of `CLSWEEP_DATA`.
        stages: stage cache, likewise, if it is to be shared by several studies; default
            `out`/stages.
        retry_failed: run trials again that failed, diverged or ran out of memory.
        only: labels whose trials are run, while all others are left for later; empty for all.
        time_limit: seconds from now after which no job is started any more, while those that run
            come to their end; None for no limit.
        listeners: told what happens, such as `clsweep.progress_on(sys.stderr)`; `()` to show
            nothing.

    Raises:
        ClsweepError: the folder belongs to another study, the data are missing, the disk is full,
            the cluster is too small, ... Whatever had been computed is kept.
    """
    if inline and address:
        raise RunnerError(
            "--inline and --address exclude each other", next_step="give one of them"
        )
    labels, until = chosen_labels(study, only), _end_of(time_limit)
    folder = (place_of(out) if out else study.results_folder).resolve()
    root = root.resolve() if (root := root_of(data_root)) else None
    stage_folder = (place_of(stages) if stages else folder / "stages").resolve()
    callbacks = Callbacks(study, folder, inline=inline)
    audience = Audience([*listeners, callbacks, Webhook(study)])
    try:
        with Store(folder) as store:
            inputs = _opened(study, store, root)
            began = time.perf_counter()
            work = _work_left(study, store, stage_folder, inputs, labels, retry=retry_failed)
            driver = _Driver(study, store, stage_folder, audience, work, until)
            for note in data_notes(study, root) if work.jobs else ():
                audience.warned(note)
            context = _context(study, folder, stage_folder, root, inputs) if work.jobs else None
            driver.run(context, callbacks, inline=inline, address=address, workers=workers)
            try:
                _settle(study, store, inputs, root, audience)
            except KeyboardInterrupt:  # all that has ended is stored: the run has its summary
                driver.interrupted = True
            summary = driver.summary(began)
    except ClsweepError as error:
        audience.failed(str(error))
        raise
    audience.end(summary)
    return summary._replace(warnings=(*store.warnings, *audience.warnings))


def _opened(study: Study, store: Store, root: Path | None) -> Inputs:
    """Bind a results folder to the study and its inputs, and read what a run has left there."""
    store.open_for_run(
        study_identity(study),
        resolved_toml(study),
        study.name,
        partial(kept_text, study, store.directory, store.warnings),
    )
    store.compact()  # what a killed run has left is read once, and then from the tables
    inputs = inputs_of(study, root)
    store.bind_inputs(inputs)
    return inputs


def _settle(
    study: Study, store: Store, inputs: Inputs, root: Path | None, audience: Audience
) -> None:
    """Put what the trials have left where it stays."""
    store.compact()
    if any(not one.fingerprint for one in inputs):  # downloaded meanwhile
        store.bind_inputs(inputs_of(study, root))
    if study.save.losses:
        collect_losses(store.directory)
    try:
        store.warnings += settle_models(study, store)
    except StoreError as error:  # all trials are stored: the run has its summary
        audience.warned(f"[save] models: not settled: {error}")
    audience.collect()


def _context(
    study: Study, out: Place, stage_folder: Place, data_root: Path | None, inputs: Inputs
) -> Context:
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
        repository=tuple(repository_versions(study).items()),
    )


def _end_of(time_limit: float | None) -> float:
    """When no job is started any more, by `time.monotonic`."""
    if time_limit is None:
        return math.inf
    if not time_limit > 0:
        raise RunnerError(
            f"a time limit of {time_limit:g} s leaves no time", expected="more than 0 seconds"
        )
    return time.monotonic() + time_limit


_RETRIED = ("failed", "diverged", "oom")


class _Work(NamedTuple):
    """What is stored, and what is left to do.

    Attributes:
        inputs: what trials are computed from.
        names: of stored trials in the study.
        configurations: those of the study; with a search, those that it has asked for.
        search: what asks for more; None for a grid.
        plan: jobs, and what is done.
        jobs: those of the plan, in the order in which they are to start.
        done: ids of the trials that need no run.
        before: how the stored trials ended, under the names in the folder.
        had_records: trials that have a record already, under both of their names.
        labels: those that the run is for; None for all.
    """

    inputs: Inputs
    names: Names
    configurations: list[Configuration]
    search: Search | None
    plan: Plan
    jobs: list[Job]
    done: frozenset[str]
    before: dict[str, retries.Ending]
    had_records: frozenset[str]
    labels: frozenset[str] | None


def _work_left(
    study: Study,
    store: Store,
    stage_folder: Place,
    inputs: Inputs,
    labels: frozenset[str] | None,
    *,
    retry: bool,
) -> _Work:
    """Read what is stored and plan what is missing.

    Raises:
        StoreError: a table is damaged.
        CacheError: a stage that will be used is damaged.
    """
    store.check_tables()
    names = names_in(study, store)
    before = retries.endings(store)
    stored = {key: ending.status for key, ending in before.items()}
    statuses = names.statuses(stored)
    again = {names.trial(key) for key in stopping_rules.invalid_stops(study.search, store, stored)}
    again |= {key for key, status in statuses.items() if retry and status in _RETRIED}
    done = frozenset(statuses.keys() - again)
    asked = configurations(study)
    search: Search | None = None
    if study.search.asks:
        search = Search(study, names.records(store.load("validation")), done, labels)
        asked += [*search.known, *search.more()]
    plan = planning.plan(
        study, asked, done, partial(stage_cache.exists, stage_folder), stage_inputs(inputs)
    )
    plan.jobs[:] = jobs_of(plan.jobs, labels)
    if search is not None:
        plan.jobs[:] = search.with_yardsticks(plan.jobs)
    elif study.search.kind == "grid":  # the points of a path come one after the other
        plan.jobs[:] = breadth_first(plan.jobs, asked)
    for key in plan.stages_in_cache:
        stage_cache.check(stage_folder, key)
    if most_lanes(study) > 1:  # lanes of several seeds begin when all of their stages are there
        plan.jobs.sort(key=lambda job: job.kind == "trial")
    jobs = retries.suspects_last(store.directory, plan.jobs, retry=retry)
    had_records = frozenset({*statuses, *stored})
    return _Work(inputs, names, asked, search, plan, jobs, done, before, had_records, labels)


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
        audience: Audience,
        work: _Work,
        until: float,
    ) -> None:
        self.study, self.store, self.stage_folder = study, store, stage_folder
        self.audience = audience
        self.inputs, self.values = work.inputs, stage_inputs(work.inputs)
        self.names, self.search, self.plan = work.names, work.search, work.plan
        self.configurations = work.configurations
        self.by_id: dict[str, Configuration] = {c.id: c for c in work.configurations}
        self.before = work.before
        self.done, self.had_records, self.labels = work.done, work.had_records, work.labels
        self.unstable = UnstableWeights(study, stage_folder, self.values)
        self.finished: set[str] = set()
        self.interrupted = self.terminated = False
        more = self._more if self.search else None
        self.schedule = Schedule(
            work.jobs,
            audience.started,
            self._done,
            more,
            lambda: time.monotonic() > until,
            self._laned(work.jobs),
        )

    def run(
        self,
        context: Context | None,
        callbacks: Callbacks,
        *,
        inline: bool,
        address: str | None,
        workers: int | None,
    ) -> None:
        """Work through the plan until the user stops it; without a context there is no work."""
        more = self._to_come(self.labels)
        to_come = ToCome(self.plan, self.configurations, self.done, self.names, more)
        start = run_start(self.study, self.store, to_come, has_work=context is not None)
        self.audience.begin(start)
        for note in form_notes(self.study) if not (self.plan.n_done or context is None) else ():
            self.audience.announce(note)
        self._warn_of_divergence(self.plan.jobs)
        if context is None:
            return
        try:
            with (
                terminable(),
                shared_storage.driver_file(context.token, context.out, context.stages),
            ):
                preparing = self.audience.preparing
                if inline:
                    preparing("loading torch and the data")
                    from clsweep.execution.inline import run_inline

                    run_inline(self.schedule, context, preparing)
                else:
                    preparing("loading Ray")
                    from clsweep.execution.ray.connection import before_ray

                    before_ray()
                    from clsweep.execution.ray.executor import run_on_ray
                    from clsweep.execution.ray.internals import doubts

                    for sentence in doubts():
                        self.audience.warned(sentence)
                    left = partial(
                        retries.left_on_disk, self.store, self.stage_folder, self.before
                    )
                    run_on_ray(
                        self.schedule,
                        context,
                        address=address,
                        workers=workers,
                        inside=callbacks,
                        committed=left,
                        preparing=preparing,
                    )
        except Terminated:
            self.terminated = True
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self.audience.jobs_ended()
            retries.forgive_cut_short(self.store.directory, self.schedule, context.run)
        if self.schedule.abort_message:
            raise ClsweepError(self.schedule.abort_message)

    def _laned(self, jobs: list[Job]) -> LanedJobs | None:
        """How trials are grouped into programs; None where each is trained by itself."""
        most = most_lanes(self.study)
        if most == 1:
            return None
        lanes = LanedJobs(self._group_of, most, self.audience.announce, self.audience.noted)
        started = attempts.started(self.store.directory)
        for job in jobs:
            if job.key in started:  # a process may have gone down with it
                lanes.separate(job)
        return lanes

    def _group_of(self, job: Job) -> str:
        """Which other trials a trial may be trained with."""
        return lane_group(self.study, self.by_id[job.config_id], job.seed)

    def _to_come(self, labels: frozenset[str] | None = None) -> dict[str, int]:
        """Label -> trials that a search may still ask for, at most; of some labels or of all."""
        to_come = self.search.n_to_come if self.search else {}
        n_seeds = len(self.study.seeds)
        return {k: n * n_seeds for k, n in to_come.items() if labels is None or k in labels}

    def _more(self) -> list[Job]:
        """What the search asks for now that a job has ended."""
        new = self.search.more() if self.search else []
        if not self.search or not new:
            return []
        self.configurations += new
        self.by_id |= {c.id: c for c in new}
        planned = {job.key for job in self.plan.jobs}
        in_cache = partial(stage_cache.exists, self.stage_folder)
        grown = planning.plan(self.study, new, set(), in_cache, self.values)
        for key in grown.stages_in_cache:
            if key not in planned:  # what this run has made needs no check
                stage_cache.check(self.stage_folder, key)
        jobs = self.search.with_yardsticks([job for job in grown.jobs if job.key not in planned])
        self.plan.jobs.extend(jobs)
        return jobs

    def _done(self, job: Job, outcome: Outcome) -> None:
        if self.store.lost:
            self.schedule.abort_message = self.schedule.abort_message or self.store.lost
        # Read when somebody asks for it, and once for all who do; none of them needs test rows.
        record = lru_cache(maxsize=1)(partial(self.store.pending, job.key, "validation"))
        if job.kind == "trial":
            self.finished.add(job.key)
            self._ensure_record(job, outcome)
            if self.search:
                self.search.tell(record())
        self.audience.finished(job, outcome, self.by_id[job.config_id], record)
        if job.kind != "trial" and outcome.status == "ok":
            self._warn_of_divergence(self.schedule.waiting)

    def _warn_of_divergence(self, jobs: Iterable[Job]) -> None:
        """Say which values that are to come will diverge, once that is known."""
        to_come = dict.fromkeys(job.config_id for job in jobs if job.kind == "trial")
        for note in self.unstable.notes(self.by_id[key] for key in to_come):
            self.audience.announce(note)

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
                inputs=fingerprints_of(self.inputs),
                attempts=max(1, attempts.attempts(self.store.directory, job.key)),
            )
        )

    def summary(self, began: float) -> Summary:
        """The numbers of the run, read from what was committed.

        Args:
            began: when, by `time.perf_counter`.
        """
        statuses = self.names.statuses(self.store.statuses())
        wanted = [
            trial_id_of(c.id, seed) for c in self.configurations for seed in self.study.seeds
        ]
        here = [statuses[name] for name in wanted if name in statuses]
        # A worker may have committed a trial of which a stopped driver did not hear any more.
        new = self.finished | ({*wanted} & {*statuses} - self.had_records)
        sources, tuned = self._shared("source"), self._shared("finetuned")
        return Summary(
            n_trials=len(wanted) + sum(self._to_come().values()),
            n_done=len(here),
            n_new=len(new),
            n_failed=here.count("failed"),
            n_diverged=here.count("diverged"),
            n_oom=here.count("oom"),
            n_sources_trained=sources.n_trained,
            n_sources_reused=sources.n_reused,
            seconds_saved=sources.seconds_saved + tuned.seconds_saved,
            wall_seconds=time.perf_counter() - began,
            interrupted=self.interrupted,
            terminated=self.terminated,
            warnings=(*self.store.warnings, *self.audience.warnings),
            n_finetuned_trained=tuned.n_trained,
            n_finetuned_reused=tuned.n_reused,
            n_stopped=here.count("stopped"),
            undrawn=self.search.undrawn if self.search else (),
            out_of_time=self.schedule.expired,
            later=left_for_later(
                self.study,
                self.configurations,
                statuses,
                self.search.n_to_come if self.search else {},
                self.labels,
            ),
        )

    def _shared(self, kind: str) -> _Sharing:
        """What the trained networks of one kind of stage were used for in this run."""
        key_of = {"source": planning.source_key, "finetuned": planning.finetuned_key}[kind]
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
        there = [
            key for key in {*uses, *trained} if key and stage_cache.exists(self.stage_folder, key)
        ]
        # A run that was cut short may have trained what none of its trials came to use.
        spared = {key: max(0, uses[key] - (key in trained)) for key in there}
        seconds = {
            k: float(stage_cache.facts(self.stage_folder, k)["wall_seconds"]) for k in there
        }
        saved = seconds_spared(spared, seconds, alike)
        return _Sharing(len(trained.intersection(there)), sum(spared.values()), saved)
