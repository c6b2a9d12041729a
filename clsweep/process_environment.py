"""The environment of a process: cores, a home folder, open files, where modules come from.

None of it may be taken for granted in a container: its cores are what a quota leaves, and a user
id may be nobody's.
"""

from __future__ import annotations

import atexit
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from clsweep.errors import StudyError

_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """How many cores this process may keep busy, at least 1.

    The least of the machine's cores, those that the process is bound to, and the processor time
    that the groups it belongs to may use: a container with `--cpus=2` has 2 of 64.

    Args:
        cgroups: where Linux shows control groups.
        own: what says to which of them the process belongs.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cores, *map(math.floor, _quotas(cgroups, own))]))


def home() -> Path | None:
    """The user's home folder; None where there is none, as under a user id without a name."""
    try:
        found = Path.home()
    except RuntimeError:
        return None
    return found if found.is_absolute() else None


def ensure_home() -> None:
    """Give a process whose user has no home folder one of its own, until it ends.

    Ray and others cannot be imported without; what they keep there is not worth keeping.
    """
    if home() is not None:
        return
    folder = tempfile.mkdtemp(prefix="clsweep-home-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["HOME"] = folder


def expanded(path: Path, where: str = "") -> Path:
    """A path with a leading `~` resolved.

    Args:
        path: as it was written.
        where: what it was written in.

    Raises:
        StudyError: there is no home folder to resolve it by.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise StudyError(
            f"'{path}' begins with a home folder that this machine does not know",
            expected="an absolute path, or HOME in the environment",
            where=where,
        ) from error


def open_file_limit(least: int) -> int | None:
    """Files that the process may have open, after the limit was raised as far as is allowed.

    Args:
        least: how many are enough: a limit that is not lower is left as it is.

    Returns:
        The limit; None for none.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited:
        return None
    wanted = least if hard == unlimited else min(least, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def search_path() -> list[str]:
    """Where this process looks for modules, as absolute paths."""
    return [os.path.abspath(entry) for entry in sys.path]


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """Cores' worth of processor time of each group above the process that has a limit."""
    try:
        lines = own.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield from _along(cgroups, path, _unified)
            yield from _along(cgroups / "unified", path, _unified)
        elif "cpu" in controllers.split(","):
            for folder in {controllers, "cpu", "cpu,cpuacct"}:
                yield from _along(cgroups / folder, path, _divided)


def _along(root: Path, path: str, quota_of: Callable[[Path], float | None]) -> Iterator[float]:
    """The limits from the root to a group; inside of a container its own group is the root."""
    names = [name for name in path.split("/") if name not in ("", "..", ".")]
    for depth in range(len(names) + 1):
        quota = quota_of(root.joinpath(*names[:depth]))
        if quota is not None:
            yield quota


def _unified(group: Path) -> float | None:
    """Of version 2: `cpu.max` holds the time per period, or 'max', and the period."""
    return _ratio(_word(group / "cpu.max", 0), _word(group / "cpu.max", 1))


def _divided(group: Path) -> float | None:
    """Of version 1: a quota of −1 is none."""
    return _ratio(_word(group / "cpu.cfs_quota_us", 0), _word(group / "cpu.cfs_period_us", 0))


def _word(file: Path, index: int) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").split()[index]
    except (OSError, IndexError):
        return ""


def _ratio(quota: str, period: str) -> float | None:
    if not (quota.isdigit() and period.isdigit() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)
