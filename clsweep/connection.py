"""The connection to a Ray cluster: nothing is stopped that was not started here."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clsweep.errors import RunnerError
from clsweep.interrupts import Terminated
from clsweep.settings import Resources

__all__ = ["before_ray", "connected"]


def before_ray() -> None:
    """Have Ray show the token of this user, where there is one and nothing else is asked for.

    Ray reads RAY_AUTH_MODE while it is imported; for a cluster that somebody else started it never
    turns to the token by itself. A cluster without tokens ignores it. Where Ray has been imported
    before, in a notebook, it is too late: what Ray starts would ask for a token that this process
    does not show.
    """
    if (
        "RAY_AUTH_MODE" not in os.environ
        and "ray" not in sys.modules
        and (os.environ.get("RAY_AUTH_TOKEN") or _token_file().is_file())
    ):
        os.environ["RAY_AUTH_MODE"] = "token"


def _token_file() -> Path:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(path) if path else Path.home() / ".ray" / "auth_token"


@contextmanager
def connected(address: str | None, resources: Resources, workers: int | None) -> Iterator[None]:
    """A Ray cluster for the length of the block; only what is started here is stopped here.

    Args:
        address: an existing cluster; None to start one on this machine.
        resources: the study's section, for the size of one that is started.
        workers: jobs at the same time; None for as many as there are cores for.

    Raises:
        RunnerError: there is no cluster at the address, or none can be started.
        Terminated: SIGTERM arrived while Ray started.
    """
    import ray

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
        with _same_sigterm():
            ray.init(**quiet)
    except (SystemExit, KeyboardInterrupt) as stop:
        with contextlib.suppress(Exception):  # of what has half started, nothing more is said
            ray.shutdown()
        if isinstance(stop, SystemExit) and stop.code == signal.SIGTERM:
            raise Terminated from stop
        raise
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
        ray.shutdown()  # of a cluster that somebody else started, this leaves it


@contextmanager
def _same_sigterm() -> Iterator[None]:
    """Afterwards SIGTERM means what it did before; Ray takes it for itself, and ends with a 15."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check_reachable(address: str) -> None:
    """Refuse a host and port where nothing listens; Ray would try for more than ten minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^\[\]/]+)\]?:(?P<port>\d+)", address)
    if found is None:  # 'auto', or something that Ray answers for itself
        return
    try:
        socket.create_connection((found["host"], int(found["port"])), timeout=10).close()
    except OSError as error:
        raise RunnerError(
            f"no connection to Ray at {address}: {error}",
            next_step="check the address, and that Ray runs there (`ray status`)",
        ) from error


def _no_connection(address: str, error: Exception) -> RunnerError:
    said = str(error).strip().splitlines()
    return RunnerError(
        f"no connection to Ray at {address}: {said[0] if said else type(error).__name__}",
        next_step="check the address; if the cluster asks for a token, bring it here as "
        "RAY_AUTH_TOKEN or as the file ~/.ray/auth_token, and where Python code imports Ray "
        "before clsweep runs, set RAY_AUTH_MODE=token first (it is "
        f"'{os.environ.get('RAY_AUTH_MODE', 'not set')}')",
    )
