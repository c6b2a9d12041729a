"""The private parts of Ray that are replaced, overridden or read: all of them, in one table.

Ray may change them in any release. `differences` compares the table with the installed Ray: where
something no longer fits, a test fails, and a run that needs the patch says so and goes on without
it. Ray is imported when the table is compared, since `connection.before_ray` has to come first.
"""

from __future__ import annotations

import importlib
import inspect
from operator import attrgetter
from typing import Any, NamedTuple


class Part(NamedTuple):
    """A function of Ray's that a patch counts on.

    Attributes:
        where: 'module:Class.method'.
        takes: its parameters, all of them and in order; None where they do not matter.
        names: parameters that it has among others, or attributes that it reads or sets.
    """

    where: str
    takes: tuple[str, ...] | None = None
    names: tuple[str, ...] = ()


class Patch(NamedTuple):
    """What is changed in Ray, or read from it, beside its public interface.

    Attributes:
        parts: what the patch counts on.
        otherwise: what happens without it.
    """

    parts: tuple[Part, ...]
    otherwise: str


_MANAGER = "ray.tune.execution.tune_controller:RayActorManager"
_CACHE = "ray.tune.utils.object_cache:_ObjectCache"
_ORDER = "ray.tune.schedulers:FIFOScheduler"

# `tune_patches.memory_kills`: a subclass stands in for the class while a Tuner is made.
MEMORY_KILLS = Patch(
    (
        Part(f"{_MANAGER}._actor_task_failed", ("self", "tracked_actor_task", "exception")),
        Part(f"{_MANAGER}._actor_start_failed", ("self", "tracked_actor", "exception")),
        Part(
            "ray.tune.execution.tune_controller:TuneController.__init__",
            None,
            ("RayActorManager",),
        ),
    ),
    "a worker that Ray's memory monitor ends takes the others along, whose jobs are then tried "
    "again, and nothing tells why a worker was lost",
)
# `tune_patches.NewestFirst`: a scheduler of our own.
START_ORDER = Patch(
    (
        Part(f"{_ORDER}.on_trial_add", ("self", "tune_controller", "trial")),
        Part(f"{_ORDER}.choose_trial_to_run", ("self", "tune_controller")),
        Part("ray.tune.experiment:Trial.is_finished", ("self",)),
    ),
    "trials that are shorter than the start of a worker all run on one worker, in turn",
)
# `tune_patches.NewestFirst`: how many workers Tune keeps that have nothing to do.
IDLE_WORKERS = Patch(
    (
        Part(
            "ray.tune.execution.tune_controller:TuneController.__init__", None, ("_actor_cache",)
        ),
        Part(f"{_CACHE}.increase_max", ("self", "key", "by")),
        Part(f"{_CACHE}.decrease_max", ("self", "key", "by")),
    ),
    "of the workers that are made ready while stages are computed, one is kept",
)
# `connection`: a list of our own, which Ray extends by the driver's folders.
WORKER_PATH = Patch(
    (
        Part("ray.job_config:JobConfig.__init__", None, ("_py_driver_sys_path",)),
        Part("ray._private.worker:connect", None, ("_py_driver_sys_path", "extend")),
    ),
    "workers look for modules in the driver's current folder first, where a file may have the "
    "name of a package",
)
# `connection`: the autoscaler of a cluster of ours, which has no more nodes to ask for.
AUTOSCALER = Patch(
    (
        Part("ray._private.worker:shutdown", None, ("_global_node", "kill_all_processes")),
        Part(
            "ray._private.node:Node.start_monitor",
            None,
            ("PROCESS_TYPE_MONITOR", "all_processes", "process_info"),
        ),
    ),
    "the end of a run takes a second longer, in which Ray's autoscaler is asked to end",
)
# `listeners.trackers`: the uploads of Ray's callback for W&B, which are waited for.
UPLOADS = Patch(
    (
        Part(
            "ray.air.integrations.wandb:WandbLoggerCallback.__init__",
            None,
            ("_trial_logging_futures", "_upload_timeout"),
        ),
    ),
    "an upload to W&B that fails is not told",
)
PATCHES = (MEMORY_KILLS, START_ORDER, IDLE_WORKERS, WORKER_PATH, AUTOSCALER, UPLOADS)


def differences(patch: Patch) -> list[str]:
    """What of the installed Ray is not as a patch counts on; empty where it can be applied.

    Args:
        patch: one of `PATCHES`.
    """
    return [said for said in map(_difference, patch.parts) if said]


def doubt(patch: Patch) -> str:
    """What a run says of a patch that does not fit the installed Ray; '' of one that does.

    Args:
        patch: one of `PATCHES`.
    """
    import ray

    said = differences(patch)
    if not said:
        return ""
    return (
        f"clsweep does not know this Ray, {ray.__version__}: {said[0]}; therefore "
        f"{patch.otherwise}"
    )


def doubts() -> list[str]:
    """The doubts about the patches that every run needs."""
    needed = (MEMORY_KILLS, START_ORDER, IDLE_WORKERS, WORKER_PATH, AUTOSCALER)
    return [said for said in map(doubt, needed) if said]


def _difference(part: Part) -> str:
    module, _, path = part.where.partition(":")
    try:
        function: Any = attrgetter(path)(importlib.import_module(module))
    except (ImportError, AttributeError):
        return f"there is no {part.where}"
    function = inspect.unwrap(function)
    if not inspect.isfunction(function):  # a property, or compiled: nothing tells what is in it
        return f"{part.where} is no Python function"
    has = tuple(inspect.signature(function).parameters)
    if part.takes is not None and has != part.takes:
        return f"{part.where} takes ({', '.join(has)}) instead of ({', '.join(part.takes)})"
    code = function.__code__
    missing = [name for name in part.names if name not in (*code.co_names, *code.co_varnames)]
    return f"{part.where} knows no {' and no '.join(missing)}" if missing else ""
