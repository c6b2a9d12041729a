"""The executor on Ray: Tune hands the schedule's jobs to workers that are reused.

Tune is used as an executor only. What is done is what has a record or a stage on disk; Ray's own
experiment state is written to a scratch folder and never read.

Why Tune, when it is no more than a queue here: sweeps are to be what users of Ray expect, Tune
trials, one per job, or per bundle of short ones (`hand_overs`). And a loop over actors of our own
would have to do what Tune does well: reserve what each trial asks for, also shares of a GPU, start
workers before they are needed, give the worker of a trial that has ended to the next, clean up
after one that died. Whatever Tune could decide is decided elsewhere, so that a run without Ray
does the same: what comes next (`schedule`, `search`), when a trial is stopped (`stopping_rules`),
how often it is tried (`retries`), what is kept (`store`). Tune is known to `tuner`, `searcher`,
`tune_patches` and `listeners.trackers`; `internals` lists which of Ray's private parts they touch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

# Read by ray.tune when it is imported, or when a Tuner is made.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C is ours: see runner.run
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from clsweep.data.data_files import missing_files
from clsweep.execution import outcomes
from clsweep.execution.ray.connection import connected
from clsweep.execution.ray.job_trials import WORK, Work
from clsweep.execution.ray.node_probes import probe_data, probe_inputs, probe_nodes
from clsweep.execution.ray.shipped_code import runtime_environment
from clsweep.execution.ray.slots import check_room, slots_of
from clsweep.execution.retries import Committed, LostJobs
from clsweep.execution.schedule import Schedule
from clsweep.storage import attempts
from clsweep.study.jobs import Job
from clsweep.study.made_arrays import make_arrays


def run_on_ray(
    schedule: Schedule,
    context: outcomes.Context,
    *,
    address: str | None,
    workers: int | None,
    inside: AbstractContextManager[object] | None = None,
    committed: Committed = lambda job: None,
    work: Work = WORK,
    preparing: Callable[[str], None] = lambda what: None,
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
        work: what workers do.
        preparing: told what is done before the first job, and when the run is stopped.

    Raises:
        RunnerError: the cluster cannot be reached, or no node has what one trial asks for.
    """
    resources = context.study.resources
    is_joined = address is not None or ray.is_initialized()
    if address is None:
        _fetch(context, preparing)
    is_custom = context.study.net.name == "custom"
    environment = runtime_environment(context.study)
    if not is_joined:
        preparing("starting Ray on this machine")
    elif address is not None:
        preparing(f"connecting to Ray at {address}")
    loading = threading.Thread(target=_load_for_tune, daemon=True)
    loading.start()
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
        work = _looked_over(context, address, work, preparing, is_joined=is_joined)
        loading.join()
        try:
            _work_through(schedule, context, workers, committed, work, preparing)
        except KeyboardInterrupt:
            preparing("stopping; what has ended is kept")  # Ray takes seconds to end
            raise


def _looked_over(
    context: outcomes.Context,
    address: str | None,
    work: Work,
    preparing: Callable[[str], None],
    *,
    is_joined: bool,
) -> Work:
    """Find out what the cluster lacks; the work without the checks that need no second time."""
    resources = context.study.resources
    check_room(resources, ray.nodes())
    if is_joined:
        preparing("looking at the nodes of the cluster")
        nodes = [node for node in ray.nodes() if slots_of(resources, [node])]
        probe_nodes(context, nodes)
        probe_inputs(context, nodes)
    if address is None:
        return work
    probe_data(context, slots_of(resources, ray.nodes()))
    return work._replace(check=None)


def _work_through(
    schedule: Schedule,
    context: outcomes.Context,
    workers: int | None,
    committed: Committed,
    work: Work,
    preparing: Callable[[str], None],
) -> None:
    """Hand out the jobs, to one Tuner after the other where workers are lost."""
    # Only now: Ray imports parts of itself while it starts, and Tune most of the rest.
    from clsweep.execution.ray.searcher import ClusterSlots, ScheduleSearcher
    from clsweep.execution.ray.tuner import run_segment

    def forgive(job: Job) -> None:
        attempts.forgive(context.out, job.key, context.run)

    resources = context.study.resources
    lost_jobs = LostJobs(schedule, resources.max_attempts, committed, forgive)
    slots = ClusterSlots(resources, workers)
    preparing("starting workers, which load torch and the data")
    # Where a run is to stop, jobs that a Tuner was given may be left without an end.
    while not (schedule.finished or schedule.abort_message):
        run_segment(ScheduleSearcher(schedule, lost_jobs, slots), context, work)


def _load_for_tune() -> None:
    """Import what Tune imports of others, while Ray starts, of which most is waiting."""
    import pandas  # noqa: F401
    import pyarrow.fs  # noqa: F401


def _fetch(context: outcomes.Context, preparing: Callable[[str], None]) -> None:
    """Make or download here what workers would all ask for at once; they look at the rest.

    Raises:
        StudyError: it cannot be made or downloaded.
    """
    benchmark = context.study.benchmark
    make_arrays(benchmark)
    for name in dict.fromkeys(benchmark.datasets):
        if missing_files(name, context.data_root):
            preparing(f"looking for the data set {name}")
            from clsweep.data.datasets import fetch

            fetch(name, context.data_root)
