"""A Ray cluster on this machine, each node a tree of processes that can be killed as a whole.

Nodes are started by `ray start`, as on a real cluster. The cluster asks for a token of its own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import psutil

__all__ = ["Cluster"]

_START_SECONDS = 120


class Cluster:
    """A head node, which also works, and further nodes, with one core each.

    Args:
        n_nodes: nodes in all.

    Attributes:
        address: where a driver connects.
        environment: what a driver needs to be let in.
    """

    def __init__(self, n_nodes: int) -> None:
        # Short: the paths of Ray's sockets must fit into 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="nodes"))
        self.address = f"127.0.0.1:{_free_port()}"
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            # Ray's workers stand back behind everything else; here they are what is waited for.
            "RAY_worker_niceness": "0",
        }
        self._nodes: list[psutil.Process] = []
        self._n_started = 0
        try:
            for _ in range(n_nodes):
                self.add_node()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add_node(self) -> None:
        """Start a node, and wait until it belongs to the cluster."""
        port = self.address.rpartition(":")[2]
        role = (
            ["--head", "--port", port, "--include-dashboard", "false", "--temp-dir"]
            + [str(self.folder)]
            if not self._nodes
            else ["--address", self.address]
        )
        # Ports are Ray's choice: several nodes share this machine.
        ports = ["--min-worker-port", "0", "--max-worker-port", "0"]
        ports += ["--dashboard-agent-listen-port", "0"]
        resources = ["--num-cpus", "1", "--num-gpus", "0", "--object-store-memory", str(10**8)]
        log = self.folder / f"node{self._n_started}.log"
        self._n_started += 1
        with log.open("wb") as file:
            started = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start"]
                + [*role, *ports, *resources, "--block"],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        self._nodes.append(psutil.Process(started.pid))
        deadline = time.monotonic() + _START_SECONDS
        while "Ray runtime started" not in log.read_text(encoding="utf-8", errors="replace"):
            if started.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"a Ray node does not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill_node(self, share: float) -> str:
        """SIGKILL to every process of a node that is not the head; returns which.

        Args:
            share: chooses the node, in [0, 1).
        """
        index = 1 + int(share * (len(self._nodes) - 1))
        _kill_tree(self._nodes.pop(index))
        return f"node {index} of {len(self._nodes) + 1}"

    def workers(self) -> list[psutil.Process]:
        """Processes that hold a trial, node by node; Ray's own helpers are named otherwise."""
        found = []
        for node in self._nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in node.children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if process.name().startswith("ray::ImplicitFunc"):
                            found.append(process)
        return found

    def close(self) -> None:
        """End every process of every node."""
        for node in reversed(self._nodes):
            _kill_tree(node)
        self._nodes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill_tree(root: psutil.Process) -> None:
    tree = []
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = [root, *root.children(recursive=True)]
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(tree, timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
