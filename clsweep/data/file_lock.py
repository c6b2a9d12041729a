"""A lock that lies in a file for as long as somebody holds it, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the only one who holds the lock; others wait for it.

    Args:
        path: of the lock, in a folder that is there.

    Raises:
        OSError: it cannot be written, or the file system has no locks.
    """
    while True:
        lock = path.open("w", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                break
        except FileNotFoundError:
            pass  # whoever held it has removed it: what we hold is no longer the lock
        except OSError:
            lock.close()
            raise
        lock.close()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()
