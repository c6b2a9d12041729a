"""Whether every process of a run sees the same results folder and the same stage cache.

A path may name another disk on another machine, and a URI may need credentials that are missing
there: what a worker writes would then be lost, silently. So the driver keeps a file of a unique
name in both folders for as long as it runs, and nobody writes who does not find it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from functools import lru_cache

from clsweep.errors import CacheError, ClsweepError, StoreError
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place

_PREFIX = ".run-"
_SHARED = (
    "the same storage under the same name on every node: a file system that all of them mount at "
    "this path, or a URI and its credentials in the environment of every node"
)
_MEND = (
    "mount the storage there or set the credentials, take the node out of the cluster, or choose "
    "another place with `--out` and `--stages` (docs/storage.md)"
)


@contextlib.contextmanager
def driver_file(token: str, out: Place, stages: Place) -> Iterator[None]:
    """Keep the driver's file in both folders for the length of the block.

    Args:
        token: a name that no other run has.
        out: the results folder, which no other driver writes to.
        stages: the stage cache, which others may share.

    Raises:
        StoreError: the results folder cannot be written, or does not give back what is written.
        CacheError: the same of the stage cache.
    """
    # Those of runs that were killed; the same name lies in the stage cache that they used.
    left_overs: list[Place] = list(out.glob(f"{_PREFIX}*"))
    for left in left_overs:
        _remove(stages / left.name, left)
    folder_of(out).write(f"{_PREFIX}{token}", b"")
    try:
        try:
            folder_of(stages).write(f"{_PREFIX}{token}", b"")
        except StoreError as error:
            raise _no_cache(stages, error) from error
        check_driver_file(token, out, stages)
        yield
    finally:
        _remove(stages / f"{_PREFIX}{token}", out / f"{_PREFIX}{token}")


def check_driver_file(token: str, out: Place, stages: Place) -> None:
    """Refuse to work where the driver's files are not to be seen.

    Args:
        token: that of `driver_file`.
        out: the results folder.
        stages: the stage cache.

    Raises:
        StoreError: they are not, or the storage refuses.
    """
    for what, folder in (("results folder", out), ("stage cache", stages)):
        if not _finds(folder, token):
            raise StoreError(
                f"{socket.gethostname()} does not see the run's {what}: it does not find there "
                "what the driver has written",
                expected=_SHARED,
                where=str(folder),
                next_step=_MEND,
            )


@lru_cache(maxsize=1)
def hindrance(token: str, out: Place, stages: Place) -> str:
    """Why this process must not work; '' if it may. Its node may have joined after the probe.

    Args:
        token: that of `driver_file`; '' to check nothing.
        out: the results folder.
        stages: the stage cache.
    """
    try:
        if token:  # looked for once per process and run
            check_driver_file(token, out, stages)
    except StoreError as error:
        return str(error)
    return ""


def leave_node_file(token: str, out: Place, stages: Place, name: str) -> str:
    """Leave a file in both folders, on a node; returns what hinders that, or ''.

    Args:
        token: that of `driver_file`.
        out: the results folder.
        stages: the stage cache.
        name: of this node alone.
    """
    for what, folder in (("results folder", out), ("stage cache", stages)):
        try:
            if not _finds(folder, token):
                return f"does not find in the {what} what the driver has written"
            folder_of(folder).write(f"{_PREFIX}{token}-{name}", b"")
        except ClsweepError as error:
            return f"{what}: {error.found}"
        except OSError as error:
            return f"{what}: {error.strerror or error}"
    return ""


def collect_node_file(token: str, out: Place, stages: Place, name: str) -> str:
    """Take away what `leave_node_file` left, on the driver; returns what is missing, or ''.

    Args:
        token: that of `driver_file`.
        out: the results folder.
        stages: the stage cache.
        name: that of the node.
    """
    for what, folder in (("results folder", out), ("stage cache", stages)):
        try:
            (folder / f"{_PREFIX}{token}-{name}").unlink()
        except FileNotFoundError:
            return f"has written to the {what}, and it did not arrive here"
    return ""


def not_shared_error(complaints: list[str], out: Place, stages: Place) -> StoreError:
    """One message for all nodes that do not see the storage.

    Args:
        complaints: a sentence per node, with its address.
        out: the results folder.
        stages: the stage cache.
    """
    return StoreError(
        "nodes of the cluster do not share the storage:\n"
        + "\n".join(f"    {complaint}" for complaint in complaints),
        expected=_SHARED,
        where=f"{out} and {stages}",
        next_step=_MEND,
    )


def _remove(*paths: Place) -> None:
    """Delete what can be deleted: an empty file of a name of its own misleads nobody."""
    with contextlib.suppress(ClsweepError):  # out of reach; the next would wait as long
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _finds(folder: Place, token: str) -> bool:
    return (folder / f"{_PREFIX}{token}").is_file()


def _no_cache(stages: Place, error: StoreError) -> CacheError:
    cause = error.__cause__
    reason = cause.strerror or cause if isinstance(cause, OSError) else error.found
    return CacheError(
        f"the stage cache cannot be written: {reason}",
        where=str(stages),
        next_step="free space, or choose another folder with --stages; nothing that was "
        "committed is lost",
    )
