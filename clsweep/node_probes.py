"""Before the first trial: every node of a Ray cluster shows that it sees the storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from clsweep import sight
from clsweep.worker import Context

__all__ = ["probe_nodes"]

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
    remote = ray.remote(num_cpus=0, max_retries=0)(sight.visit)
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
        ) or sight.seen(*places, node["NodeID"])
        if complaint and _is_alive(node):
            address = node["NodeManagerAddress"]
            complaints.append(f"{address} ({node['NodeManagerHostname']}) {complaint}")
    if complaints:
        raise sight.refusal(complaints, context.out, context.stages)


def _answer(task: Any) -> str:
    try:
        return str(ray.get(task))
    except RayError as error:
        lines = str(error).strip().splitlines()
        return f"fails: {lines[-1] if lines else type(error).__name__}"


def _is_alive(node: dict[str, Any]) -> bool:
    return any(one["NodeID"] == node["NodeID"] and one["Alive"] for one in ray.nodes())
