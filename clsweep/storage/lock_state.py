"""The holder of a results folder, found out without asking for its lock."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import sys
from pathlib import Path
from typing import NamedTuple

# A lock that is held: `1: FLOCK  ADVISORY  WRITE 7451 fe:00:5624019 0 EOF`.
_KERNEL_LOCK = re.compile(
    r"^\d+: (?:FLOCK|POSIX|OFDLCK)\s.*\s(?P<pid>-?\d+) "
    r"(?P<major>\w+):(?P<minor>\w+):(?P<inode>\d+) "
)
_HOLDER = re.compile(r"^process (?P<pid>\d+) on (?P<host>.+)$")
_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, process


class LockState(NamedTuple):
    """The lock of a results folder.

    Attributes:
        state: 'held' by a run at work, 'free', or 'unknown': taken on another machine, which
            cannot be asked from here.
        holder: 'process 12 on host', who holds it or took it last; '' if nobody ever has, and of
            a lease that was released.
        taken_at: when it was taken last, by file times or the store's clock, seconds; None where
            there is no holder.
    """

    state: str
    holder: str
    taken_at: float | None


def lock_state(directory: Path) -> LockState:
    """Who holds a results folder.

    The kernel's own list is read, and a lock that a file server knows of is asked about; the lock
    itself is never tried, since a run that starts at that instant would be turned away.

    Args:
        directory: the results folder.
    """
    path = directory / ".lock"
    try:
        stat = path.stat()
    except OSError:
        return LockState("free", "", None)
    holder = ""
    with contextlib.suppress(OSError):
        holder = path.read_text(encoding="utf-8", errors="replace").strip()
    found = _HOLDER.match(holder)
    is_ours = found is None or found["host"] == socket.gethostname()
    process = int(found["pid"]) if found else 0
    if _in_kernel_list(stat, process) or _on_file_server(path):
        state = "held"
    elif is_ours and os.path.exists("/proc/locks"):
        state = "free"
    else:
        state = "unknown" if holder else "free"
    return LockState(state, holder, stat.st_mtime)


def _in_kernel_list(stat: os.stat_result, process: int) -> bool:
    """Whether this machine's kernel knows of a lock; layered file systems hide the device."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    return any(
        int(found["inode"]) == stat.st_ino
        and (
            os.makedev(int(found["major"], 16), int(found["minor"], 16)) == stat.st_dev
            or int(found["pid"]) == process
        )
        for found in map(_KERNEL_LOCK.match, lines)
        if found
    )


def _on_file_server(path: Path) -> bool:
    """Whether NFS, which keeps such locks as those of byte ranges, knows of one by anybody."""
    if sys.platform != "linux":
        return False
    import fcntl

    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        with path.open("rb") as file:
            answer = fcntl.fcntl(file, fcntl.F_GETLK, asked)
    except OSError:  # a file system without such locks
        return False
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
