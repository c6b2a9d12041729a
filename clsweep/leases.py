"""One driver per results folder: flock on a file system, a lease where there is no flock.

A lease is the object `.lock`: who holds it, a random nonce, and a count that a thread raises every
`RENEWED_EVERY` seconds. Whoever wants the folder watches an existing lease for `WATCHED_FOR`
seconds of its own monotonic clock and refuses if it changes: clocks that jump, and clocks that
differ, do not matter. Otherwise it writes a lease of its own, waits, and goes on only if that is
the one that is there. A lease that somebody else's has replaced is lost: its holder stops.

The lease spares work; no result rests on it. Where two drivers work in one folder all the same,
because one of them had stood still for longer than it was watched, both write whole records
under the names of the same trials, and no record is ever deleted: see `folds`.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from typing import TypeAlias

from clsweep.disk import FolderLock
from clsweep.errors import StoreError
from clsweep.folders import Place, RemotePath

__all__ = ["Lease", "Lock", "lock_of"]

LOCK = ".lock"
RENEWED_EVERY = 2.5
# A thread may wait for the processor, and a request for a retry.
WATCHED_FOR = 4 * RENEWED_EVERY
# Longer than a request usually takes; what arrives later is found by the next renewal.
SETTLED_AFTER = 1.0


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
        self._is_over = threading.Event()
        self._overtaken_by = ""
        self._is_in_reach = True
        self._refuse_if_held()
        self._renew()
        time.sleep(SETTLED_AFTER)
        self.check()
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
        found = self._found()
        if found is not None and found.get("nonce") != self._nonce:
            self._overtaken_by = str(found.get("holder", "an unknown process"))
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

    def _refuse_if_held(self) -> None:
        before = self._found()
        until = time.monotonic() + WATCHED_FOR
        while before is not None and time.monotonic() < until:
            time.sleep(min(1.0, WATCHED_FOR / 10))
            now = self._found()
            if now is not None and now != before:
                raise _held(self._directory, str(now.get("holder", "an unknown process")))
            before = now

    def _found(self) -> dict[str, object] | None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {"holder": "an unknown process"}

    def _renew(self) -> None:
        self._count += 1
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        lease = {"holder": holder, "nonce": self._nonce, "count": self._count}
        self._path.write_bytes(json.dumps(lease).encode())

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


Lock: TypeAlias = "FolderLock | Lease"


def lock_of(directory: Place) -> Lock:
    """Exclusive use of a results folder.

    Args:
        directory: a local folder that exists, or one in an object store.

    Raises:
        StoreError: another process has it, or it cannot be had.
    """
    return Lease(directory) if isinstance(directory, RemotePath) else FolderLock(directory)


def _held(directory: RemotePath, holder: str) -> StoreError:
    return StoreError(
        f"another run is writing to this results folder: {holder}",
        expected="one run per results folder",
        where=str(directory),
        next_step="wait until it ends, or choose another folder with `--out`",
    )
