"""The executor on Ray: Tune hands the schedule's jobs to workers that are reused.

Tune is used as an executor only. What is done is what has a record or a stage on disk; Ray's own
experiment state is written to a scratch folder and never read.

Why Tune, when it is no more than a queue here: sweeps are to be what users of Ray expect, Tune
trials, one per job. And a loop over actors of our own would have to do what Tune does well:
reserve what each trial asks for, also shares of a GPU, start workers before they are needed, give
the worker of a trial that has ended to the next, clean up after one that died. Whatever Tune
could decide is decided elsewhere, so that a run without Ray does the same: what comes next
(`schedule`, `search`), when a trial is stopped (`stopping_rules`), how often it is tried
(`retries`), what is kept (`store`). Tune is known to this module, `tune_patches` and
`listeners.trackers`; which of Ray's private parts they touch, `internals` lists.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

# Read by ray.tune when it is imported, or when a Tuner is made.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C is ours: see runner.run
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import tune
from ray.exceptions import OutOfMemoryError, RayError
from ray.tune.search import Searcher

from clsweep.errors import ClsweepError
from clsweep.execution import outcomes, worker
from clsweep.execution.error_kinds import BrokenProcess
from clsweep.execution.ray.connection import connected
from clsweep.execution.ray.internals import START_ORDER, differences
from clsweep.execution.ray.node_probes import probe_data, probe_inputs, probe_nodes
from clsweep.execution.ray.shipped_code import runtime_environment
from clsweep.execution.ray.slots import Slot, check_room, node_selector, slots_of
from clsweep.execution.ray.tune_patches import NewestFirst, in_one_line, memory_kills
from clsweep.execution.retries import Committed, LostJobs
from clsweep.execution.schedule import Schedule
from clsweep.storage.folder_kinds import folder_of
from clsweep.study.planning import Job
from clsweep.study.sections import Resources
from clsweep.text import counted

Execute = Callable[[outcomes.Context, Job], outcomes.Outcome]
WarmUp = Callable[[outcomes.Context], None]

# Tune lists the trials that it gave up; the study says which of its own failed, and why.
logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
# That it cannot write its state, which nobody reads, to a full disk; our own writes say so.
logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)

# Trials per Tuner: of each it keeps 28 KB, which go when it does.
_SEGMENT = 2000
# How long what Ray said of its nodes is taken for true, in seconds.
_NODES_SECONDS = 1.0
# How long a worker that is broken has to end in order.
_SECONDS_TO_END = 10.0


def run_on_ray(
    schedule: Schedule,
    context: outcomes.Context,
    *,
    address: str | None,
    workers: int | None,
    inside: AbstractContextManager[object] | None = None,
    committed: Committed = lambda job: None,
    execute: Execute = worker.execute,
    preparing: Callable[[str], None] = lambda what: None,
    warm_up: WarmUp = worker.warm_up,
) -> None:
    """Do every job of the schedule on a Ray cluster.

    While a stage that trials wait for is computed, the slots that are left get their workers,
    which import what they need and load the data: when it is there, all of them begin at once.

    Args:
        schedule: what to do.
        context: what all jobs share; each worker decides its device by what it was given.
        address: an existing cluster; None to start one on this machine for this run.
        workers: jobs at the same time; None for as many as there is room for.
        inside: entered when Ray is there, left before it is shut down.
        committed: what a job whose worker was lost has left on disk.
        execute: what a worker does with a job.
        preparing: told what is done before the first job, and when the run is stopped.
        warm_up: what a worker does before there is one.

    Raises:
        RunnerError: the cluster cannot be reached, or no node has what one trial asks for.
    """
    resources = context.study.resources
    is_joined = address is not None or ray.is_initialized()
    if address is None:
        worker.probe(context)
    is_custom = context.study.net.name == "custom"
    environment = runtime_environment(context.study)
    if not is_joined:
        preparing("starting Ray on this machine")
    elif address is not None:
        preparing(f"connecting to Ray at {address}")
    with (
        connected(
            address,
            resources,
            workers,
            imports_from_folder=is_custom,
            environment=environment,
        ),
        inside or nullcontext(),
    ):
        check_room(resources, ray.nodes())
        if is_joined:
            preparing("looking at the nodes of the cluster")
            nodes = [node for node in ray.nodes() if slots_of(resources, [node])]
            probe_nodes(context, nodes)
            probe_inputs(context, nodes)
        if address is not None:
            probe_data(context, slots_of(resources, ray.nodes()))
        lost_jobs = LostJobs(schedule, resources.max_attempts, committed)
        slots = _Slots(resources, workers)
        preparing("starting workers, which load torch and the data")
        try:
            while not schedule.finished:
                searcher = _ScheduleSearcher(schedule, lost_jobs, slots)
                _run_segment(searcher, context, execute, warm_up)
        except KeyboardInterrupt:
            preparing("stopping; what has ended is kept")  # Ray takes seconds to end
            raise


def _run_segment(
    searcher: _ScheduleSearcher, context: outcomes.Context, execute: Execute, warm_up: WarmUp
) -> None:
    """One Tuner."""
    scratch = _scratch(context)
    trainable = tune.with_parameters(_run_job, context=context, execute=execute, warm_up=warm_up)
    tuner = tune.Tuner(
        tune.with_resources(trainable, _resources_of),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=None if differences(START_ORDER) else NewestFirst(searcher.keeps_idle),
            num_samples=-1,
            # How many run at the same time is up to the searcher, which knows the nodes.
            max_concurrent_trials=_SEGMENT,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="jobs",
            storage_path=str(scratch),
            verbose=0,
            # Attempts are counted here: Tune gives a trial up at once whose worker dies while it
            # is being reset for that trial, whatever number is allowed.
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        with memory_kills(searcher.note), _settings(searcher.slots.n_slots()):
            tuner.fit()
    except RuntimeError as error:
        cause = _ray_error(error)
        if cause is None:
            raise
        # Ray has ended one worker in a way that Tune does not know. It may have been any of
        # those that ran, and all of them are gone; one counts, so that this comes to an end.
        searcher.note(cause)
        running = list(searcher.schedule.running.values())
        for job in running[:1]:
            searcher.lost(job)
        for job in running[1:]:
            searcher.lost_jobs.stranded(job)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _settings(n_slots: int) -> Iterator[None]:
    """What Tune reads from the environment alone.

    It writes its own state, which nobody reads, at its beginning and its end alone; and it starts
    the workers of all slots side by side, where it would wait for each before the next.
    """
    wanted = {
        "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
        "TUNE_MAX_PENDING_TRIALS_PG": str(max(1, n_slots)),
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:  # Tuners of a notebook's own may need theirs
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _scratch(context: outcomes.Context) -> Path:
    """Where Tune may write; only this process reads it."""
    out = folder_of(context.out).local_path
    if out is not None:
        return out / ".tune"
    return Path(tempfile.mkdtemp(prefix="clsweep-tune-"))


def _ray_error(error: BaseException | None) -> RayError | None:
    while error is not None:
        if isinstance(error, RayError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _resources_of(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What one trial asks Ray for."""
    place = config["place"]
    names = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}
    bundle = {names[kind]: amount for kind, amount in place["request"].items()}
    if not place["node_ids"]:
        return tune.PlacementGroupFactory([bundle])
    return tune.PlacementGroupFactory(
        [bundle], bundle_label_selector=[node_selector(place["node_ids"])]
    )


def _run_job(
    config: dict[str, Any], context: outcomes.Context, execute: Execute, warm_up: WarmUp
) -> dict[str, Any]:
    """The trainable."""
    here = _as_given(context, config["place"]["request"].get("gpu", 0.0))
    if config["job"] is None:
        warm_up(here)
        return {"outcome": []}  # of None, Tune would print a line
    fields = dict(config["job"])
    job = Job(**{**fields, "needs": tuple(fields["needs"])})
    outcome = execute(here, job)
    if outcome.status in ("broken", "doubtful"):
        # Tune gives a worker whose trial raised no other trial. It asks it to end, which what is
        # broken may never do.
        threading.Timer(_SECONDS_TO_END, os._exit, [1]).start()
        raise BrokenProcess(outcome.message)
    return {"outcome": list(outcome)}


def _as_given(context: outcomes.Context, gpu_share: float) -> outcomes.Context:
    """The context with the device that Ray has given to this process."""
    if not ray.get_runtime_context().get_accelerator_ids().get("GPU"):
        return replace(context, device="cpu", memory_fraction=1.0)
    return replace(context, device="cuda", memory_fraction=min(1.0, gpu_share))


class _Slots:
    """The slots of the cluster as it is now; nodes come and go during a run."""

    def __init__(self, resources: Resources, workers: int | None) -> None:
        self._resources = resources
        limits = [n for n in (workers, resources.max_concurrent) if n]
        self.limit = min(limits, default=_SEGMENT)
        self.crowded: set[str] = set()
        # The most that each kind has held at the same time: so many workers have been started.
        self.filled: Counter[str] = Counter()
        self._found: dict[str, Slot] = {}
        self._read_at = float("-inf")

    def n_slots(self) -> int:
        """How many jobs there is room for at the same time."""
        return min(self.limit, sum(slot.n_slots for slot in self.current().values()))

    def current(self) -> dict[str, Slot]:
        """Where there is room, counted anew once a second."""
        if time.monotonic() - self._read_at > _NODES_SECONDS:
            self._found = slots_of(self._resources, ray.nodes())
            self._read_at = time.monotonic()
        return self._found


class _ScheduleSearcher(Searcher):
    """Tune's view of the schedule: asked for work, told how it ended."""

    def __init__(self, schedule: Schedule, lost_jobs: LostJobs, slots: _Slots) -> None:
        super().__init__()
        self.schedule, self.lost_jobs, self.slots = schedule, lost_jobs, slots
        # By trial of Tune's: a job, or None for a worker that gets ready; and the kind of slot.
        self.jobs: dict[str, tuple[Job | None, str]] = {}
        self.n_suggested = 0
        self._cause: Exception | None = None

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Whether the searcher minds the number that run; it does."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next job; None while all others wait; FINISHED for no more."""
        if self.schedule.exhausted or self.n_suggested >= _SEGMENT:
            return Searcher.FINISHED
        found = self._next() if len(self.jobs) < self.slots.limit else None
        slot: Slot | None
        job, slot = found or (None, self._cold_slot())
        if slot is None:  # until a job that runs has ended, or a node has come
            return None
        self.n_suggested += job is not None
        self.jobs[trial_id] = (job, slot.name)
        n_running = sum(name == slot.name for _, name in self.jobs.values())
        is_cold = n_running > self.slots.filled[slot.name]
        self.slots.filled[slot.name] += is_cold
        where = {"request": slot.request, "node_ids": slot.node_ids}
        return {"job": None if job is None else asdict(job), "place": where, "is_cold": is_cold}

    def _cold_slot(self) -> Slot | None:
        """A free slot that has had no worker yet, where there will be a job for one."""
        running = Counter(name for _, name in self.jobs.values())
        n_trials = sum(job is not None and job.kind == "trial" for job, _ in self.jobs.values())
        n_ready = self.slots.filled.total() - n_trials  # also those that compute a stage now
        if len(self.jobs) >= self.slots.limit or len(self.schedule.waiting) <= n_ready:
            return None
        there = self.slots.current()
        for name in ("gpu", "cpu"):
            if name in there and self.slots.filled[name] == running[name] < there[name].n_slots:
                return there[name]
        return None

    def keeps_idle(self) -> bool:
        """Whether workers that have nothing to do are kept for the jobs that wait.

        Not while a job needs a GPU to itself, which is free when nobody holds a share of it.
        """
        return bool(self.schedule.waiting) and not self.slots.crowded

    def _next(self) -> tuple[Job, Slot] | None:
        """A job that is ready, and a free slot for it: GPUs first."""
        there = self.slots.current()
        running = Counter(name for _, name in self.jobs.values())
        crowded = self.slots.crowded if "whole" in there else set()
        if "gpu" in there and running["whole"]:
            per_gpu = there["gpu"].n_slots // there["whole"].n_slots if "whole" in there else 1
            running["gpu"] += running["whole"] * per_gpu
        for name in ("gpu", "cpu"):
            if name in there and running[name] < there[name].n_slots:
                job = self.schedule.next(lambda job: job.key not in crowded)
                if job is not None:
                    return job, there[name]
        # A whole GPU is free at last when no share of one is in use or asked for.
        shares = any(name == "gpu" for _, name in self.jobs.values())
        if crowded and not shares and running["whole"] < there["whole"].n_slots:
            job = self.schedule.next(lambda job: job.key in crowded)
            if job is not None:
                return job, there["whole"]
        return None

    def note(self, cause: Exception) -> None:
        """Remember why a worker is lost; Tune says of a trial only that it is."""
        self._cause = cause

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass the outcome on; there is none if the process died."""
        job, _ = self.jobs.pop(trial_id, (None, ""))
        if job is None:  # a worker that got ready; where it was lost, the jobs' own will say why
            self._cause = None
            return
        try:
            if error or not result or "outcome" not in result:
                self.lost(job)
            else:
                self._done(job, outcomes.Outcome(*result["outcome"]))
        except ClsweepError as stop:  # Tune would make a traceback of it
            self.schedule.abort_message = self.schedule.abort_message or str(stop)

    def _done(self, job: Job, outcome: outcomes.Outcome) -> None:
        if outcome.status == "crowded":
            self.slots.crowded.add(job.key)
            self.schedule.requeue(job)
        else:
            self.schedule.done(job, outcome)

    def lost(self, job: Job) -> None:
        """Have a job tried again, or ended with the reason for the last loss."""
        cause, self._cause = self._cause, None
        reason = getattr(cause, "cause", cause)  # Ray wraps what a job raised
        n = self.lost_jobs.max_attempts
        if isinstance(cause, OutOfMemoryError):
            message = f"Ray's memory monitor ended the worker {counted(n, 'time')}"
        elif isinstance(reason, BrokenProcess):
            places = counted(n, "process", "processes")
            message = f"failed in {places}; the last time: {reason}"
        else:
            said = f"; the last time: {in_one_line(cause)}" if cause else ""
            message = f"the worker process died {counted(n, 'time')}{said}"
        status = "oom" if isinstance(cause, OutOfMemoryError) else "failed"
        outcome = outcomes.Outcome(status, message)
        self.lost_jobs.lost(job, outcome)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its Tuner, and the progress display may hold a terminal."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for a file; the truth is elsewhere."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""
