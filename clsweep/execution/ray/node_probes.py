"""Before the first trial: every node of a Ray cluster shows that it sees storage and data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from clsweep.errors import ClsweepError, RunnerError
from clsweep.execution import shared_storage, worker_entry
from clsweep.execution.outcomes import Context
from clsweep.execution.ray.ray_errors import in_one_line
from clsweep.execution.ray.slots import Slot, node_selector
from clsweep.records.recorded_inputs import input_differences, unlike_nodes_error
from clsweep.study.input_fingerprints import inputs_of

# A mount that hangs does not fail; it answers never.
PATIENCE_SECONDS = 120.0


def probe_nodes(context: Context, nodes: Sequence[dict[str, Any]]) -> None:
    """Let each node write into results folder and stage cache, and read it here.

    The tasks ask for no CPU: a node whose CPUs are all busy answers at once.

    Args:
        context: names the folders.
        nodes: those of `ray.nodes()` that can run a trial; others write nothing.

    Raises:
        StoreError: a node does not see the storage; all such nodes are named.
    """
    remote = ray.remote(num_cpus=0, max_retries=0)(shared_storage.leave_node_file)
    places = (context.token, context.out, context.stages)
    tasks = {}
    for node in nodes:
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = remote.options(scheduling_strategy=here).remote(*places, node["NodeID"])
        tasks[task] = node
    _, late = ray.wait([*tasks], num_returns=len(tasks), timeout=PATIENCE_SECONDS)
    complaints = []
    for task, node in tasks.items():
        complaint = (
            f"has not answered for {PATIENCE_SECONDS:.0f} s" if task in late else _answer(task)
        ) or shared_storage.collect_node_file(*places, node["NodeID"])
        if complaint and _is_alive(node):
            address = node["NodeManagerAddress"]
            complaints.append(f"{address} ({node['NodeManagerHostname']}) {complaint}")
    if complaints:
        raise shared_storage.not_shared_error(complaints, context.out, context.stages)


def probe_inputs(context: Context, nodes: Sequence[dict[str, Any]]) -> None:
    """Let each node look at its data, weights and code, and compare them with the driver's.

    A node that takes longer is not waited for: each process compares what it has loaded.

    Args:
        context: names the data, and what the driver found.
        nodes: those that can run a trial.

    Raises:
        StoreError: a node has others; all such nodes are named.
    """
    remote = ray.remote(num_cpus=0, max_retries=0)(_unlike)
    tasks = {}
    for node in nodes:
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        tasks[remote.options(scheduling_strategy=here).remote(context)] = node
    ready, _ = ray.wait([*tasks], num_returns=len(tasks), timeout=PATIENCE_SECONDS)
    complaints = []
    for task in ready:
        node = tasks[task]
        name = f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"
        try:
            complaints += [f"{name}: {text}" for text in ray.get(task)]
        except RayError as error:
            if _is_alive(node):
                complaints.append(f"{name} fails: {in_one_line(error)}")
    if complaints:
        raise unlike_nodes_error(complaints)


def _unlike(context: Context) -> list[str]:
    """What a node would compute from that the driver does not, as sentences."""
    try:
        return input_differences(context.inputs or (), inputs_of(context.study, context.data_root))
    except ClsweepError as error:
        return [error.found]


def probe_data(context: Context, there: dict[str, Slot]) -> None:
    """Load the data on a worker of each kind before handing out work.

    Args:
        context: names the data and the benchmark.
        there: where there is room for jobs.

    Raises:
        RunnerError: a worker died meanwhile.
        ClsweepError: as the worker's own loading does, for example for data that are not there.
    """
    for place in there.values():
        if place.name == "whole":
            continue
        probe = ray.remote(worker_entry.probe).options(
            num_cpus=place.request["cpu"],
            num_gpus=place.request.get("gpu", 0),
            label_selector=node_selector(place.node_ids) if place.node_ids else None,
        )
        try:
            ray.get(probe.remote(context))  # whose device is the processor until a job has one
        except RayTaskError as error:
            if isinstance(error.cause, ClsweepError):
                raise error.cause from None
            raise
        except RayError as error:
            raise RunnerError(
                f"a worker of the cluster died while it loaded the data: {in_one_line(error)}",
                next_step="look at that node's memory and disk, then run the same command again",
            ) from error


def _answer(task: Any) -> str:
    try:
        return str(ray.get(task))
    except RayError as error:
        return f"fails: {in_one_line(error)}"


def _is_alive(node: dict[str, Any]) -> bool:
    return any(one["NodeID"] == node["NodeID"] and one["Alive"] for one in ray.nodes())
