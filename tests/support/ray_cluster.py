"""A Ray cluster of several nodes on this machine, each of which can be killed or stopped.

The nodes are raylets of one host process that belongs to nobody who connects, as on a cluster of
machines. A token keeps everybody else out.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).parents[2]
_LIMITS = {"include_dashboard": False, "object_store_memory": 80 * 2**20}


class RayNode(NamedTuple):
    """One node: the process of its raylet, and Ray's name for it."""

    pid: int
    node_id: str

    def processes(self) -> list[psutil.Process]:
        """The raylet and all that it has started."""
        try:
            raylet = psutil.Process(self.pid)
            return [raylet, *raylet.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """The processes that run jobs of Tune."""
        return [p for p in self.processes() if _title(p).startswith("ray::ImplicitFunc")]

    def send(self, number: signal.Signals) -> None:
        """A signal to every process of the node at once, as if the machine had failed."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def is_alive(self) -> bool:
        """Whether the raylet runs."""
        processes = self.processes()
        return bool(processes) and processes[0].status() != psutil.STATUS_ZOMBIE

    def kill(self) -> None:
        """Switch the machine off."""
        self.send(signal.SIGKILL)


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


class RayCluster:
    """The cluster as a test sees it.

    Attributes:
        address: for --address.
        environment: what a driver needs to be let in.
        nodes: the nodes that were added, in order; the head has no cores and is not among them.
    """

    def __init__(self, **environment: str) -> None:
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            **environment,
        }
        self.nodes: list[RayNode] = []
        self._host = subprocess.Popen(
            [sys.executable, "-m", "tests.support.ray_cluster"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
            start_new_session=True,
        )
        self.head = RayNode(*self._told()["node"])
        self.address = self._told()["address"]

    def add(self, cpus: float = 1, gpus: float = 0) -> RayNode:
        """A new node; returns when the cluster knows it."""
        assert self._host.stdin is not None
        print(json.dumps({"num_cpus": cpus, "num_gpus": gpus}), file=self._host.stdin, flush=True)
        self.nodes.append(RayNode(*self._told()["node"]))
        return self.nodes[-1]

    def close(self) -> None:
        """End every process of the cluster, stopped ones included."""
        for node in (*self.nodes, self.head):
            node.kill()
        host = psutil.Process(self._host.pid)
        for process in (*host.children(recursive=True), host):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._host.communicate()

    def _told(self) -> dict[str, Any]:
        assert self._host.stdout is not None
        for line in self._host.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise AssertionError(f"the cluster has ended with code {self._host.wait()}")


@contextlib.contextmanager
def ray_cluster(*cpus: float, **environment: str) -> Iterator[RayCluster]:
    """A cluster with a node for each number of cores, ended with the block."""
    cluster = RayCluster(**environment)
    try:
        for n in cpus:
            cluster.add(n)
        yield cluster
    finally:
        cluster.close()


def _serve() -> None:
    """The host: a head without cores, then a node for each line of standard input."""
    from ray.cluster_utils import Cluster

    def tell(**said: object) -> None:
        print(json.dumps(said), flush=True)

    def add(**options: object) -> None:
        node = cluster.add_node(**_LIMITS, **options)
        tell(node=[node.all_processes["raylet"][0].process.pid, node.node_id])

    cluster = Cluster()
    add(num_cpus=0)
    tell(address=cluster.address)
    for line in sys.stdin:
        add(**json.loads(line))


if __name__ == "__main__":
    _serve()
