"""The executor on Ray: Tune hands the schedule's jobs to workers that are reused.

Tune is used as an executor only. What is done is what has a record or a stage on disk; Ray's own
experiment state is written to a scratch folder and never read.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
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
from ray.exceptions import OutOfMemoryError
from ray.tune.search import Searcher

from clsweep import worker
from clsweep.errors import ClsweepError, RunnerError
from clsweep.interrupts import terminable
from clsweep.node_probes import probe_nodes
from clsweep.schedule import Schedule
from clsweep.stages import Job
from clsweep.study import Resources

__all__ = ["run_on_ray"]

# Tune lists the trials that it gave up; the study says which of its own failed, and why.
logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)

# Trials per Tuner: its state is one file of 10 KB per trial, rewritten whole.
_SEGMENT = 2000


def run_on_ray(
    schedule: Schedule,
    context: worker.Context,
    *,
    address: str | None,
    workers: int | None,
    inside: AbstractContextManager[object] | None = None,
) -> None:
    """Do every job of the schedule on a Ray cluster.

    Args:
        schedule: what to do.
        context: what all jobs share; its device is decided here.
        address: an existing cluster; None to start one on this machine for this run.
        workers: jobs at the same time; None for as many as there is room for.
        inside: entered when Ray is there, left before it is shut down.

    Raises:
        RunnerError: the cluster cannot be reached, or no node has what one trial asks for.
    """
    resources = context.study.resources
    is_joined = address is not None or ray.is_initialized()
    if address is None:
        worker.probe(context)
    # Ray has its own answer to SIGTERM, from the moment that it starts.
    with _connected(address, resources, workers), terminable(), inside or nullcontext():
        request = _request(resources)
        n_slots = _n_slots(resources, request)
        if workers or resources.max_concurrent:
            n_slots = min(n_slots, workers or n_slots, resources.max_concurrent or n_slots)
        on_gpu = request.get("gpu", 0) > 0
        context = replace(
            context,
            device="cuda" if on_gpu else "cpu",
            memory_fraction=min(1.0, request.get("gpu", 1.0)),
        )
        if is_joined:
            probe_nodes(context, [node for node in _nodes() if _slots_on(node, request)])
        if address is not None:
            _probe_remotely(context, request)
        lost: dict[str, int] = {}
        while not schedule.finished:
            _run_segment(schedule, context, request, n_slots, lost)


def _run_segment(
    schedule: Schedule,
    context: worker.Context,
    request: dict[str, float],
    n_slots: int,
    lost: dict[str, int],
) -> None:
    """One Tuner. Ray's memory monitor can end it early; what ran is then tried again."""
    scratch = _scratch(context)
    most = context.study.resources.max_attempts
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_run_job, context=context), request),
        tune_config=tune.TuneConfig(
            search_alg=_ScheduleSearcher(schedule, lost, most),
            num_samples=-1,
            max_concurrent_trials=n_slots,
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
        tuner.fit()
    except RuntimeError as error:
        if not _is_memory_kill(error):
            raise
        for job in list(schedule.running.values()):
            message = f"Ray's memory monitor ended the worker {most} times"
            _try_again(schedule, job, lost, most, worker.Outcome("oom", message))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch(context: worker.Context) -> Path:
    """Where Tune may write; only this process reads it."""
    if isinstance(context.out, Path):
        return context.out / ".tune"
    return Path(tempfile.mkdtemp(prefix="clsweep-tune-"))


def _try_again(
    schedule: Schedule, job: Job, lost: dict[str, int], most: int, outcome: worker.Outcome
) -> None:
    """Queue a job again whose worker was lost; the `most`-th time, it ends with `outcome`."""
    lost[job.key] = lost.get(job.key, 0) + 1
    if lost[job.key] < most:
        schedule.requeue(job)
    else:
        schedule.done(job, outcome)


def _is_memory_kill(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OutOfMemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _run_job(config: dict[str, Any], context: worker.Context) -> dict[str, Any]:
    """The trainable."""
    fields = dict(config["job"])
    job = Job(**{**fields, "needs": tuple(fields["needs"])})
    return {"outcome": list(worker.execute(context, job))}


class _ScheduleSearcher(Searcher):
    """Tune's view of the schedule: asked for work, told how it ended."""

    def __init__(self, schedule: Schedule, lost: dict[str, int], max_attempts: int) -> None:
        super().__init__()
        self.schedule, self.lost, self.max_attempts = schedule, lost, max_attempts
        self.jobs: dict[str, Job] = {}
        self.n_suggested = 0

    def suggest(self, trial_id: str) -> Any:
        """The next job; None while all others wait for a stage; FINISHED for no more."""
        if self.schedule.exhausted or self.n_suggested >= _SEGMENT:
            return Searcher.FINISHED
        job = self.schedule.next()
        if job is None:  # until a job that runs has made a stage, or led to more work
            return None
        self.n_suggested += 1
        self.jobs[trial_id] = job
        return {"job": asdict(job)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass the outcome on; there is none if the process died."""
        job = self.jobs.pop(trial_id, None)
        if job is None:
            return
        if error or not result or "outcome" not in result:
            message = f"the worker process died {self.max_attempts} times"
            outcome = worker.Outcome("failed", message)
            _try_again(self.schedule, job, self.lost, self.max_attempts, outcome)
        else:
            try:
                self.schedule.done(job, worker.Outcome(*result["outcome"]))
            except ClsweepError as stop:  # Tune would make a traceback of it
                self.schedule.abort_message = self.schedule.abort_message or str(stop)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its Tuner, and the progress display may hold a terminal."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for a file; the truth is elsewhere."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


@contextmanager
def _connected(address: str | None, resources: Resources, workers: int | None) -> Iterator[None]:
    """A Ray cluster for the length of the block; only what is started here is stopped here."""
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        cores = len(os.sched_getaffinity(0))
        n_cpus = max(cores, math.ceil((workers or 0) * resources.cpus))
        quiet |= {
            "address": "local",
            "num_cpus": n_cpus,
            "include_dashboard": False,
            "object_store_memory": 100 * 2**20,
        }
    else:
        quiet["address"] = address
        _check_reachable(address)
    try:
        ray.init(**quiet)
    except Exception as error:  # on a machine that is too busy, Ray raises nothing more special
        if address is not None:
            raise _no_connection(address, error) from error
        raise RunnerError(
            f"Ray does not start here: {error}",
            next_step="run the same command again when the machine is less busy, or add "
            "--inline, which needs no Ray",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse a host and port where nothing listens; Ray would try for more than ten minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^\[\]/]+)\]?:(?P<port>\d+)", address)
    if found is None:  # 'auto', or something that Ray answers for itself
        return
    try:
        socket.create_connection((found["host"], int(found["port"])), timeout=10).close()
    except OSError as error:
        raise _no_connection(address, error) from error


def _no_connection(address: str, error: Exception) -> RunnerError:
    return RunnerError(
        f"no connection to Ray at {address}: {error}",
        next_step="check the address; if the cluster asks for a token, set "
        "RAY_AUTH_MODE=token in the environment before starting clsweep",
    )


def _request(resources: Resources) -> dict[str, float]:
    """What one job asks Ray for: a share of a GPU where there is one."""
    request = {"cpu": resources.cpus}
    if resources.memory_mb:
        request["memory"] = resources.memory_mb * 2**20
    n_gpus = ray.cluster_resources().get("GPU", 0)
    if resources.device == "cuda" and not n_gpus:
        raise RunnerError(
            "the study asks for device = 'cuda', and the cluster has no GPU",
            where="[resources] device",
            next_step="write device = 'auto', or start Ray where the GPUs are",
        )
    if n_gpus and resources.device != "cpu" and resources.gpu_fraction > 0:
        request["gpu"] = resources.gpu_fraction
    return request


def _n_slots(resources: Resources, request: dict[str, float]) -> int:
    """Jobs that fit on the cluster at the same time, node by node."""
    nodes = _nodes()
    n_slots = sum(_slots_on(node, request) for node in nodes)
    if n_slots == 0:
        largest = {
            key: max((node["Resources"].get(name, 0) for node in nodes), default=0)
            for key, name in _KINDS.items()
        }
        raise RunnerError(
            "no node of the cluster has what one trial asks for: "
            + ", ".join(f"{amount:g} {kind}" for kind, amount in request.items()),
            expected="at most, on one node, "
            + ", ".join(f"{largest[kind]:g} {kind}" for kind in request),
            where="[resources]",
            next_step="ask for less, or add a larger node",
        )
    return n_slots


_KINDS = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _slots_on(node: dict[str, Any], request: dict[str, float]) -> int:
    has = node["Resources"]
    return min(_fits(has.get(_KINDS[kind], 0), amount, kind) for kind, amount in request.items())


def _fits(available: float, amount: float, kind: str) -> int:
    """How many requests of `amount` fit; shares of a GPU cannot straddle two."""
    if kind == "gpu" and amount < 1:
        return int(available) * math.floor(1 / amount + 1e-9)
    return math.floor(available / amount + 1e-9)


def _probe_remotely(context: worker.Context, request: dict[str, float]) -> None:
    """Load the data on a worker before handing out work."""
    remote = ray.remote(num_cpus=request["cpu"], num_gpus=request.get("gpu", 0))(worker.probe)
    try:
        ray.get(remote.remote(context))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ClsweepError):
            raise error.cause from None
        raise
