"""One driver per results folder: a lock of the kernel on a disk, a lease in an object store.

A lease is the object `.lock`: who holds it, a random nonce, a count that a thread raises every
`RENEWED_EVERY` seconds, and when the store's clock says that it was taken, with which the times of
other objects can be compared. Whoever wants the folder watches an existing lease for
`WATCHED_FOR` seconds of its own monotonic clock and refuses if it changes: clocks that jump, and
clocks that differ, do not matter. Otherwise it writes a lease of its own, waits, and goes on only
if that is the one that is there. A lease that somebody else's has replaced is lost: its holder
stops.

The lease spares work; no result rests on it. Where two drivers work in one folder all the same,
because one of them had stood still for longer than it was watched, both write whole records
under the names of the same trials, and no record is ever deleted: see `compaction`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from clsweep.errors import StoreError
from clsweep.storage.disk import disk_errors, through_no_link
from clsweep.storage.lock_state import LockState
from clsweep.storage.remote_path import Place, RemotePath
from clsweep.text import printable

LOCK = ".lock"
RENEWED_EVERY = 2.5
# A thread may wait for the processor, and a request for a retry.
WATCHED_FOR = 4 * RENEWED_EVERY
# Longer than a request usually takes; what arrives later is found by the next renewal.
SETTLED_AFTER = 1.0
_LAST_SECOND = 253_402_300_799  # of the year 9999: no later time can be written


class FolderLock:
    """Exclusive use of a folder by one process, released by the kernel when the process dies.

    Args:
        directory: an existing folder; the lock is its file `.lock`.

    Raises:
        StoreError: another process holds it, or the disk refuses.
    """

    def __init__(self, directory: Path) -> None:
        # Imported here so that reading results works where the module does not exist.
        import fcntl

        path = directory / LOCK
        with disk_errors(path):
            self._file: IO[str] = open(path, "a+", encoding="utf-8", opener=through_no_link)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "an unknown process"
            self._file.close()
            raise _held(directory, holder) from error
        except OSError as error:
            self._file.close()
            raise StoreError(
                f"the file system of the results folder has no locks: {error.strerror or error}",
                expected="a file system with flock, so that two runs cannot mix",
                where=str(directory),
                next_step="choose a folder on another file system with `--out`",
            ) from error
        with disk_errors(path):
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._file.flush()

    @property
    def lost(self) -> str:
        """Never anything: while the file is open the kernel lets nobody else in."""
        return ""

    def check(self) -> None:
        """Nothing to look at, for the same reason."""

    def release(self) -> None:
        """Let others in."""
        self._file.close()


class Lease:
    """Exclusive use of a folder in an object store, until it is released or overtaken.

    Args:
        directory: the folder.

    Raises:
        StoreError: another process holds it, or the store refuses.
    """

    def __init__(self, directory: RemotePath) -> None:
        self._directory, self._path = directory, directory / LOCK
        self._nonce, self._count = uuid.uuid4().hex, 0
        self._taken_at: float | None = None
        self._is_over = threading.Event()
        self._overtaken_by = ""
        self._is_in_reach = True
        found = LeaseWatch(directory).read()
        if found.state == "held":
            raise _held(directory, found.holder)
        self._renew()
        time.sleep(SETTLED_AFTER)
        self.check()
        self._renew()  # with the time that the first one was given
        self._renewal = threading.Thread(target=self._keep, daemon=True)
        self._renewal.start()

    @property
    def lost(self) -> str:
        """Why the folder is no longer ours; '' while it is, as far as the last renewal knows."""
        return str(_held(self._directory, self._overtaken_by)) if self._overtaken_by else ""

    def check(self) -> None:
        """Look at the lease now.

        Raises:
            StoreError: another process has it, or the store refuses.
        """
        found = _lease_in(self._directory)
        if found is not None and found.get("nonce") != self._nonce:
            self._overtaken_by = _holder(found)
        if self._overtaken_by:
            raise _held(self._directory, self._overtaken_by)

    def release(self) -> None:
        """Let others in."""
        self._is_over.set()
        self._renewal.join()
        if not self._is_in_reach:
            # A lease that nobody renews ends by itself; asking again would take its time.
            return
        try:
            self.check()
            self._path.unlink(missing_ok=True)
        except StoreError:
            return  # overtaken, or out of reach since

    def _renew(self) -> None:
        self._count += 1
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        lease = {
            "holder": holder,
            "nonce": self._nonce,
            "count": self._count,
            "taken_at": self._taken_at,
        }
        self._path.write_bytes(json.dumps(lease).encode())
        if self._taken_at is None:
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile; written anew later
                self._taken_at = self._path.stamp()[1] / 1e9

    def _keep(self) -> None:
        """Renew until it is over. One that was deleted is written anew: nobody else has it."""
        while not self._is_over.wait(RENEWED_EVERY):
            try:
                self.check()
                self._renew()
                self._is_in_reach = True
            except StoreError:
                if self._overtaken_by:
                    return
                # Whoever works in the folder hears of it without us.
                self._is_in_reach = False


class LeaseWatch:
    """Says who holds a folder in an object store, as often as asked; writes nothing.

    A lease that is there is held if it changes within `WATCHED_FOR` seconds, and else was left
    behind by a process that is gone. The first reading waits for that; later ones compare with
    what those before have found, without waiting.

    Args:
        directory: the folder.
    """

    def __init__(self, directory: RemotePath) -> None:
        self._directory = directory
        self._lease: Mapping[str, object] | None = None
        self._since = time.monotonic()
        self._is_held: bool | None = None

    def read(self) -> LockState:
        """Who holds the folder now; 'held' or 'free'.

        Raises:
            StoreError: the store refuses.
        """
        self._read()
        while self._is_held is None:
            time.sleep(min(1.0, WATCHED_FOR / 10))
            self._read()
        if self._lease is None:
            return LockState("free", "", None)
        state = "held" if self._is_held else "free"
        return LockState(state, _holder(self._lease), _taken_at(self._lease))

    def _read(self) -> None:
        before, asked_at = self._lease, time.monotonic()
        self._lease = _lease_in(self._directory)
        if self._lease is None:
            self._is_held = False
        elif self._lease != before:
            # The first that is seen may be old; one that appears later is somebody's at work.
            is_first = before is None and self._is_held is None
            self._is_held = None if is_first else True
            self._since = time.monotonic()
        elif asked_at - self._since >= WATCHED_FOR:
            self._is_held = False


def _lease_in(directory: RemotePath) -> Mapping[str, object] | None:
    """What the lease of a folder says; None where there is none."""
    try:
        data = (directory / LOCK).read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _holder(lease: Mapping[str, object]) -> str:
    return printable(str(lease.get("holder") or "an unknown process"))


def _taken_at(lease: Mapping[str, object]) -> float | None:
    found = lease.get("taken_at")
    if isinstance(found, (int, float)) and 0 <= found <= _LAST_SECOND:
        return float(found)
    return None


def _held(directory: Place, holder: str) -> StoreError:
    return StoreError(
        f"another run is writing to this results folder: {holder}",
        expected="one run per results folder",
        where=str(directory),
        next_step="wait until it ends, or choose another folder with `--out`",
    )
