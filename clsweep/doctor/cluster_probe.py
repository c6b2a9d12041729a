"""Probe of a Ray cluster and each of its nodes, run in a process of its own.

`python -m clsweep.doctor.cluster_probe ADDRESS OUT STAGES` prints JSON; `-` among the
folders stands for those that the standard input names in a JSON list: URIs, which may hold
credentials. Ray tries for many minutes to reach what does not answer; `clsweep doctor` waits for
this program only so long.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


_PATIENCE = 40.0


def answer(address: str, folders: list[str]) -> dict[str, Any]:
    """The cluster's resources, dashboard and nodes; under 'error' why it cannot be reached.

    Args:
        address: of the cluster.
        folders: results and stages, paths or URIs; each node writes there.
    """
    import ray

    try:
        context = ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # whatever Ray raises is what is to be said
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())}
    try:
        return {
            "dashboard": getattr(context, "dashboard_url", "") or "",
            "ray": ray.__version__,
            "resources": ray.cluster_resources(),
            "nodes": _nodes(folders),
        }
    finally:
        ray.shutdown()


def _nodes(folders: list[str]) -> list[dict[str, Any]]:
    import contextlib

    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from clsweep.doctor.storage_probe import nearest_probe_file
    from clsweep.errors import StoreError
    from clsweep.storage.remote_path import place_of

    nodes, tasks = ray.nodes(), {}
    visit = ray.remote(num_cpus=0, max_retries=0)(_visit)
    with contextlib.ExitStack() as stack:
        places = []
        for folder in folders:
            try:
                place = stack.enter_context(nearest_probe_file(place_of(folder)))
                # A place in a store that is written out has lost its credentials.
                probe = str(place) if isinstance(place, Path) else place.name
            except (OSError, StoreError):  # which the check of this machine says
                probe = ""
            places.append((folder, probe))
        for node in nodes:
            if node["Alive"]:
                here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                task = visit.options(scheduling_strategy=here).remote(places)
                tasks[node["NodeID"]] = task
        ray.wait([*tasks.values()], num_returns=len(tasks), timeout=_PATIENCE)
        return [_described(node, tasks.get(node["NodeID"])) for node in nodes]


def _described(node: dict[str, Any], task: Any) -> dict[str, Any]:
    import ray

    resources = node["Resources"]
    found = {
        "address": node["NodeManagerAddress"],
        "host": node["NodeManagerHostname"],
        "is_alive": node["Alive"],
        "cpus": resources.get("CPU", 0),
        "gpus": resources.get("GPU", 0),
        "memory_bytes": resources.get("memory", 0),
    }
    if task is None:
        return found
    try:
        return {**found, **ray.get(task, timeout=1)}
    except ray.exceptions.GetTimeoutError:
        return {**found, "error": f"no answer within {_PATIENCE:.0f} s"}
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines()
        return {**found, "error": lines[-1] if lines else type(error).__name__}


def _visit(places: list[tuple[str, str]]) -> dict[str, Any]:
    """On a node: its versions, and what is wrong with the folders."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": platform.python_version()}
    for package in ("clsweep", "ray", "torch", "torchvision"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = ""
    try:
        from clsweep.doctor.storage_probe import storage_complaint
        from clsweep.storage.remote_path import place_of
    except ImportError as error:
        return {"versions": versions, "error": f"clsweep cannot be imported: {error}"}
    said = []
    for folder, probe in places:
        place = place_of(folder)
        # Of a local folder `probe` is an absolute path, which stays what it is.
        said.append(storage_complaint(place, place / probe if probe else None))
    return {"versions": versions, "storage": [*filter(None, said)]}


if __name__ == "__main__":
    _, asked, *told = sys.argv
    uris = json.load(sys.stdin) if "-" in told else []
    told = [word for word in told if word != "-"]
    sys.stdout.write("\n" + json.dumps(answer(asked, [*told, *uris])) + "\n")
