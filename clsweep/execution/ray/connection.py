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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from errno import EMFILE, ENFILE
from pathlib import Path
from typing import Any

from clsweep.errors import RunnerError
from clsweep.execution.ray.internals import AUTOSCALER, WORKER_PATH, differences
from clsweep.process_environment import (
    ensure_home,
    home,
    open_file_limit,
    search_path,
    usable_cores,
)
from clsweep.signals import Terminated
from clsweep.study.sections import Resources

_FILES_FEW, _FILES_WANTED = 1024, 65536


def before_ray() -> None:
    """Have Ray show the token of this user, where there is one and nothing else is asked for.

    Ray reads RAY_AUTH_MODE while it is imported; for a cluster that somebody else started it never
    turns to the token by itself. A cluster without tokens ignores it. Where Ray has been imported
    before, in a notebook, it is too late: what Ray starts would ask for a token that this process
    does not show. Without a home folder Ray cannot be imported: then there is one for the run.
    """
    ensure_home()
    if (
        "RAY_AUTH_MODE" not in os.environ
        and "ray" not in sys.modules
        and (os.environ.get("RAY_AUTH_TOKEN") or _has_token_file())
    ):
        os.environ["RAY_AUTH_MODE"] = "token"


def _has_token_file() -> bool:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if path:
        return Path(path).is_file()
    folder = home()
    return folder is not None and (folder / ".ray" / "auth_token").is_file()


class _OwnPath(list[str]):
    """Folders that Ray's workers look for modules in before all others.

    Ray adds the driver's current folder, where a file `torch.py` would then stand for torch.
    Workers get it where the driver itself looks for modules there.
    """

    def extend(self, folders: Iterable[str]) -> None:
        """Take those that the driver has."""
        known = search_path()
        super().extend(folder for folder in folders if folder in known)

    def __bool__(self) -> bool:
        return True  # Ray would take a list of its own in the place of one that is empty


def worker_path() -> list[str]:
    """What Ray puts the driver's folders into, for its workers."""
    return _OwnPath()


@contextmanager
def connected(
    address: str | None,
    resources: Resources,
    workers: int | None,
    *,
    imports_from_folder: bool = False,
    environment: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """A Ray cluster for the length of the block; only what is started here is stopped here.

    Args:
        address: an existing cluster; None to start one on this machine.
        resources: the study's section, for the size of one that is started.
        workers: jobs at the same time; None for as many as there are cores for.
        imports_from_folder: whether workers of an existing cluster look for modules in the
            driver's current folder, as Ray has it, where a study has a network of its own.
        environment: what is sent to the workers of an existing cluster, see `shipped_code`.

    Raises:
        RunnerError: there is no cluster at the address, or none can be started.
        Terminated: SIGTERM arrived while Ray started.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    if address is None:
        open_file_limit(_FILES_WANTED)
    else:
        _check_reachable(address)
    options = _options(
        address,
        resources,
        workers,
        imports_from_folder=imports_from_folder,
        environment=environment,
    )
    try:
        with _same_sigterm():
            ray.init(**options)
    except (SystemExit, KeyboardInterrupt) as stop:
        with contextlib.suppress(Exception):  # of what has half started, nothing more is said
            ray.shutdown()
        if isinstance(stop, SystemExit) and stop.code == signal.SIGTERM:
            raise Terminated from stop
        raise
    except Exception as error:  # on a machine that is too busy, Ray raises nothing more special
        if address is not None:
            raise _no_connection(address, error) from error
        raise _no_start(error) from error
    try:
        yield
    finally:
        try:
            if address is None:
                _end_autoscaler()
        finally:
            ray.shutdown()  # of a cluster that somebody else started, this leaves it


def _options(
    address: str | None,
    resources: Resources,
    workers: int | None,
    *,
    imports_from_folder: bool,
    environment: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What `ray.init` is given, by the arguments of `connected`."""
    from ray.job_config import JobConfig

    found: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        found |= {
            "address": "local",
            "num_cpus": max(usable_cores(), math.ceil((workers or 0) * resources.cpus)),
            "include_dashboard": False,
            "object_store_memory": 100 * 2**20,
        }
    else:
        found["address"] = address
        if environment:
            found["runtime_env"] = dict(environment)
    is_wanted = address is None or not imports_from_folder
    if is_wanted and not differences(WORKER_PATH):
        found["job_config"] = JobConfig(_py_driver_sys_path=worker_path())
    return found


def _end_autoscaler() -> None:
    """End the autoscaler of a cluster of ours.

    Asked to end, it takes the whole second that Ray gives it before it is killed.
    """
    from ray._private import ray_constants, worker

    node = worker._global_node
    if node is None or differences(AUTOSCALER):
        return
    for info in node.all_processes.get(ray_constants.PROCESS_TYPE_MONITOR, ()):
        info.process.kill()


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


def _no_start(error: Exception) -> RunnerError:
    """What hinders Ray on this machine, and the way out that fits."""
    said = " ".join(str(error).split()) or type(error).__name__
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), "")
    folder = os.environ[variable] if variable else "/tmp"
    where = f"{folder} ({variable})" if variable else folder
    if "AF_UNIX" in said:
        return RunnerError(
            f"Ray does not start here: its sockets lie below {folder}, and their paths are longer "
            "than the system allows",
            expected="paths of at most 107 bytes, some 40 of which are the folder's",
            where=where,
            next_step="`export RAY_TMPDIR=/tmp`, or another folder on a local disk with a short "
            "path; or add --inline, which needs no Ray",
        )
    limit = open_file_limit(_FILES_WANTED)
    is_full = "Too many open files" in said or getattr(error, "errno", None) in (EMFILE, ENFILE)
    if is_full or (limit is not None and limit < _FILES_FEW):
        return RunnerError(
            f"Ray does not start here: {said}",
            expected=f"some {_FILES_FEW} files that a process may have open; here it may have "
            f"{limit}, and Ray holds one per connection between its processes",
            where="`ulimit -n`",
            next_step=f"`ulimit -n {_FILES_WANTED}` before the run, by an administrator where "
            "that is refused; or add --inline, which needs no Ray",
        )
    if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
        return RunnerError(
            f"Ray does not start here: {said}",
            expected="a folder for its files that exists, can be written, and has free space",
            where=where,
            next_step="`export RAY_TMPDIR=FOLDER` with such a folder on a local disk; or add "
            "--inline, which needs no Ray",
        )
    return RunnerError(
        f"Ray does not start here: {error}",
        next_step="run the same command again when the machine is less busy, or add "
        "--inline, which needs no Ray",
    )


def _no_connection(address: str, error: Exception) -> RunnerError:
    said = str(error).strip().splitlines()
    return RunnerError(
        f"no connection to Ray at {address}: {said[0] if said else type(error).__name__}",
        next_step="check the address; if the cluster asks for a token, bring it here as "
        "RAY_AUTH_TOKEN or as the file ~/.ray/auth_token, and where Python code imports Ray "
        "before clsweep runs, set RAY_AUTH_MODE=token first (it is "
        f"'{os.environ.get('RAY_AUTH_MODE', 'not set')}')",
    )
