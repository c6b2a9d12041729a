"""Running a study: plan what is missing, hand it out, put the records into tables."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clsweep.data.data_root import data_root as root_of
from clsweep.errors import ClsweepError, RunnerError, StoreError
from clsweep.execution import retries, shared_storage, stage_cache
from clsweep.execution.chosen_labels import chosen_labels, jobs_of, left_for_later, trial_labels
from clsweep.execution.code_repository import repository_versions
from clsweep.execution.forecast import form_notes
from clsweep.execution.kept_models import settle_models
from clsweep.execution.laned_jobs import LanedJobs
from clsweep.execution.listeners.base import Audience, Listener, RunStart
from clsweep.execution.listeners.trackers import Callbacks
from clsweep.execution.listeners.webhook import Webhook
from clsweep.execution.outcomes import Context, Outcome, Summary
from clsweep.execution.own_code_files import own_code_files
from clsweep.execution.run_configurations import RunConfigurations
from clsweep.execution.run_start import ToCome, run_start
from clsweep.execution.schedule import Schedule
from clsweep.execution.shared_stages import shared_stages
from clsweep.execution.unstable_weights import UnstableWeights
from clsweep.records.recorded_inputs import Inputs, fingerprints_of, stage_inputs
from clsweep.search import stopping_rules
from clsweep.search.search import Search
from clsweep.signals import Terminated, terminable
from clsweep.storage import attempts
from clsweep.storage.loss_files import collect_losses
from clsweep.storage.remote_path import Place, place_of
from clsweep.storage.store import Store
from clsweep.study import planning
from clsweep.study.configurations import configurations, study_identity
from clsweep.study.data_warnings import data_notes
from clsweep.study.declarations import declared_of, kept_text
from clsweep.study.input_fingerprints import inputs_of
from clsweep.study.job_order import breadth_first, ranks
from clsweep.study.jobs import Job, Plan
from clsweep.study.lane_groups import most_lanes
from clsweep.study.renamed_trials import Names, names_in
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study

if TYPE_CHECKING:
    from os import PathLike

    from clsweep.study.sections import Resources
    from clsweep.study.study_tables import Conditions


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
    names, fills = {one.label: one.name for one in study.methods}, study.search.kind == "fill"
    labels, until = chosen_labels(names, only, fills=fills), _end_of(time_limit)
    folder = (place_of(out) if out else study.results_folder).resolve()
    root = root.resolve() if (root := root_of(data_root)) else None
    stage_folder = (place_of(stages) if stages else folder / "stages").resolve()
    callbacks = Callbacks(study.conditions, folder, inline=inline)
    webhook = [Webhook(study)] if study.callbacks.webhook else []
    audience = Audience([*listeners, callbacks, *webhook])
    try:
        with Store(folder) as store:
            inputs = _opened(study, store, root)
            began = time.perf_counter()
            work = _work_left(study, store, stage_folder, inputs, labels, retry=retry_failed)
            driver = _Driver(study.conditions, store, stage_folder, audience, work, until)
            for note in data_notes(study, root) if work.jobs else ():
                audience.warned(note)
            context = _context(study, folder, stage_folder, root, inputs) if work.jobs else None
            start = run_start(study, store, driver.to_come(), has_work=bool(work.jobs))
            hints = form_notes(study) if work.jobs and not work.plan.n_done else []
            driver.run(
                start, hints, context, callbacks, inline=inline, address=address, workers=workers
            )
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
        study_identity(study.conditions),
        resolved_toml(study),
        study.name,
        partial(kept_text, declared_of(study), store.directory, store.warnings),
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
    if study.save.models != "none":
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
        repository=tuple(repository_versions(own_code_files(study)).items()),
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
        curves: all labels of the study, in file order.
        labels: those that the run is for; None for all.
    """

    inputs: Inputs
    names: Names
    configurations: RunConfigurations
    search: Search | None
    plan: Plan
    jobs: list[Job]
    done: frozenset[str]
    before: dict[str, retries.Ending]
    had_records: frozenset[str]
    curves: tuple[str, ...]
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
    values = stage_inputs(inputs)
    plan = planning.plan(study, asked, done, partial(stage_cache.exists, stage_folder), values)
    plan.jobs[:] = jobs_of(plan.jobs, labels)
    if search is not None:
        plan.jobs[:] = search.with_yardsticks(plan.jobs)
    elif study.search.kind == "grid":  # the points of a path come one after the other
        plan.jobs[:] = breadth_first(plan.jobs, ranks(asked))
    for key in plan.stages_in_cache:
        stage_cache.check(stage_folder, key)
    if most_lanes(study.resources) > 1:  # lanes of several seeds begin when all stages are there
        plan.jobs.sort(key=lambda job: job.kind == "trial")
    jobs = retries.suspects_last(store.directory, plan.jobs, retry=retry)
    had_records = frozenset({*statuses, *stored})
    unstable = UnstableWeights(study.conditions, stage_folder, values)
    known = RunConfigurations(study.conditions, asked, unstable, values)
    curves = tuple(request.label for request in study.methods)
    return _Work(
        inputs, names, known, search, plan, jobs, done, before, had_records, curves, labels
    )


class _Driver:
    """One run: the plan, what came of it, and the numbers for the summary."""

    def __init__(
        self,
        conditions: Conditions,
        store: Store,
        stage_folder: Place,
        audience: Audience,
        work: _Work,
        until: float,
    ) -> None:
        self.seeds, self.store, self.stage_folder = conditions.seeds, store, stage_folder
        self.audience = audience
        self.inputs, self.values = work.inputs, stage_inputs(work.inputs)
        self.names, self.search, self.plan = work.names, work.search, work.plan
        self.configurations, self.curves = work.configurations, work.curves
        self.before = work.before
        self.done, self.had_records, self.labels = work.done, work.had_records, work.labels
        self.finished: set[str] = set()
        self.interrupted = self.terminated = False
        more = self._more if self.search else None
        self.schedule = Schedule(
            work.jobs,
            audience.started,
            self._done,
            more,
            lambda: time.monotonic() > until,
            self._laned(conditions.resources),
        )

    def run(
        self,
        start: RunStart,
        hints: Iterable[str],
        context: Context | None,
        callbacks: Callbacks,
        *,
        inline: bool,
        address: str | None,
        workers: int | None,
    ) -> None:
        """Work through the plan until the user stops it; without a context there is no work."""
        self.audience.begin(start)
        for note in hints:
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

    def _laned(self, resources: Resources) -> LanedJobs | None:
        """How trials are grouped into programs; None where each is trained by itself."""
        most, group_of = most_lanes(resources), self.configurations.lane_group
        if most == 1:
            return None
        lanes = LanedJobs(group_of, most, self.audience.announce, self.audience.noted)
        # A process may have gone down with one of them.
        lanes.separate(attempts.started(self.store.directory))
        return lanes

    def to_come(self) -> ToCome:
        """What the run is for."""
        more = self._more_trials(self.labels)
        labels = self.configurations.labels
        return ToCome(self.plan, self.curves, labels, self.done, self.names, more)

    def _more_trials(self, labels: frozenset[str] | None = None) -> dict[str, int]:
        """Label -> trials that a search may still ask for, at most; of some labels or of all."""
        n_more = self.search.n_to_come if self.search else {}
        n_seeds = len(self.seeds)
        return {k: n * n_seeds for k, n in n_more.items() if labels is None or k in labels}

    def _more(self) -> list[Job]:
        """What the search asks for now that a job has ended."""
        new = self.search.more() if self.search else []
        if not self.search or not new:
            return []
        self.configurations.add(new)
        planned = {job.key for job in self.plan.jobs}
        in_cache = partial(stage_cache.exists, self.stage_folder)
        grown = planning.plan(self.search.study, new, set(), in_cache, self.values)
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
        self.audience.finished(job, outcome, self.configurations.of(job), record)
        if job.kind != "trial" and outcome.status == "ok":
            self._warn_of_divergence(self.schedule.waiting)

    def _warn_of_divergence(self, jobs: Iterable[Job]) -> None:
        """Say which values that are to come will diverge, once that is known."""
        for note in self.configurations.divergence_notes(jobs):
            self.audience.announce(note)

    def _ensure_record(self, job: Job, outcome: Outcome) -> None:
        """A trial that never ran, or whose process died, has no record of its own yet."""
        if outcome.status == "ok" or outcome.wall_seconds > 0:
            return
        inputs = fingerprints_of(self.inputs)
        n_attempts = max(1, attempts.attempts(self.store.directory, job.key))
        self.store.commit(self.configurations.record_of(job, outcome, inputs, n_attempts))

    def summary(self, began: float) -> Summary:
        """The numbers of the run, read from what was committed.

        Args:
            began: when, by `time.perf_counter`.
        """
        statuses = self.names.statuses(self.store.statuses())
        wanted = trial_labels(self.configurations.labels, self.seeds)
        more = self._more_trials()
        here = [statuses[name] for name in wanted if name in statuses]
        # A worker may have committed a trial of which a stopped driver did not hear any more.
        new = self.finished | ({*wanted} & {*statuses} - self.had_records)
        left = {job.key for job in self.schedule.waiting}
        jobs = [job for job in self.plan.jobs if job.kind != "trial" or job.key not in left]
        known = (jobs, self.configurations.stage_key, self.seeds[0], self.stage_folder)
        sources, tuned = (shared_stages(kind, *known) for kind in ("source", "finetuned"))
        return Summary(
            n_trials=len(wanted) + sum(more.values()),
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
            later=left_for_later(self.curves, wanted, statuses, more, self.labels),
        )
