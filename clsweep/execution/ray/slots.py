"""Slots of a cluster: what a job asks a node for, and how many fit at the same time.

Three kinds of slots. 'gpu': a share of a GPU. 'cpu': cores; where the study leaves the choice of
the device open, only on nodes without a GPU, whose cores the GPUs need. 'whole': a GPU to itself,
for a job that ran out of memory on its share. Functions of what Ray says of its nodes; counted
anew whenever the cluster may have changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from clsweep.errors import RunnerError
from clsweep.study.sections import Resources

Node = dict[str, Any]
_KEYS = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}


class Slot(NamedTuple):
    """One kind of slot on the cluster as it is now.

    Attributes:
        name: 'gpu', 'cpu' or 'whole'.
        request: what a job asks of one node: cpu (cores), gpu, memory (bytes).
        n_slots: jobs that fit at the same time, node by node.
        node_ids: the only nodes that may be used; () for any that has what is asked for.
    """

    name: str
    request: dict[str, float]
    n_slots: int
    node_ids: tuple[str, ...] = ()


def slots_of(resources: Resources, nodes: Sequence[Node]) -> dict[str, Slot]:
    """The slots of a cluster, by name; those that have no room are left out.

    Args:
        resources: the study's section.
        nodes: as `ray.nodes()` gives them; dead ones count nothing.
    """
    alive = [node for node in nodes if node["Alive"]]
    with_gpu = [node for node in alive if node["Resources"].get("GPU", 0) > 0]
    cores = {"cpu": resources.cpus}
    if resources.memory_mb:
        cores["memory"] = resources.memory_mb * 2**20
    found = []
    share = resources.gpu_fraction
    if resources.device != "cpu" and share > 0:
        found.append(_slot("gpu", {**cores, "gpu": share}, with_gpu))
        if share < 1 and resources.oom_retry:
            found.append(_slot("whole", {**cores, "gpu": 1.0}, with_gpu))
    if resources.device == "cpu" or share == 0:
        found.append(_slot("cpu", cores, alive))
    elif resources.device == "auto":
        others = [node for node in alive if node not in with_gpu]
        ids = tuple(sorted(node["NodeID"] for node in others)) if with_gpu else ()
        found.append(_slot("cpu", cores, others)._replace(node_ids=ids))
    return {slot.name: slot for slot in found if slot.n_slots}


def check_room(resources: Resources, nodes: Sequence[Node]) -> None:
    """Refuse what Ray would wait for for ever.

    Args:
        resources: the study's section.
        nodes: as `ray.nodes()` gives them.

    Raises:
        RunnerError: the study asks for a GPU and there is none, or no node has what a trial needs.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    has_gpu = any(node.get("GPU", 0) > 0 for node in alive)
    if resources.device == "cuda" and not has_gpu:
        raise RunnerError(
            "the study asks for device = 'cuda', and the cluster has no GPU",
            where="[resources] device",
            next_step="write device = 'auto', or start Ray where the GPUs are",
        )
    if slots_of(resources, nodes):
        return
    request = {"cpu": resources.cpus, "gpu": 0.0, "memory": resources.memory_mb * 2.0**20}
    if has_gpu and resources.device != "cpu":
        request["gpu"] = resources.gpu_fraction
    asked = {kind: amount for kind, amount in request.items() if amount}
    listed = [
        ", ".join(f"{node.get(_KEYS[kind], 0):g} {kind}" for kind in asked) for node in alive
    ]
    raise RunnerError(
        "no node of the cluster has what one trial asks for: "
        + ", ".join(f"{amount:g} {kind}" for kind, amount in asked.items()),
        expected=f"as much on one node; the largest of {len(alive)} have "
        + "; ".join(sorted(set(listed), reverse=True)[:3]),
        where="[resources]",
        next_step="ask for less, or add a larger node",
    )


def node_selector(node_ids: tuple[str, ...]) -> dict[str, str]:
    """Ray's label selector for these nodes.

    Args:
        node_ids: as in `Slot.node_ids`, at least one.
    """
    return {"ray.io/node-id": f"in({','.join(node_ids)})"}


def _slot(name: str, request: dict[str, float], nodes: Sequence[Node]) -> Slot:
    n_slots = sum(
        min(_fits(node["Resources"].get(_KEYS[kind], 0), a, kind) for kind, a in request.items())
        for node in nodes
    )
    return Slot(name, request, n_slots)


def _fits(available: float, amount: float, kind: str) -> int:
    """How many requests of `amount` fit; shares of a GPU cannot straddle two."""
    if kind == "gpu" and amount < 1:
        return int(available) * math.floor(1 / amount + 1e-9)
    return math.floor(available / amount + 1e-9)
