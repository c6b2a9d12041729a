"""Files that survive a crash: atomic replacement, and errors of a disk that say why."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from clsweep.errors import StoreError


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content as a whole: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: the file; its folder is made when missing.
        data: its new content.

    Raises:
        StoreError: the disk refuses it; the old content is untouched.
    """
    # Host and process in the name: workers of several machines may share the folder.
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb", opener=through_no_link) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a file by one write, and sync it; several processes may do so at once.

    Args:
        path: the file, in a folder that exists; it is made when missing.
        line: without its end.

    Raises:
        OSError: the disk refuses it.
    """
    # What was cut short by a crash has no end of line; a second line must not vanish in it.
    torn = path.exists() and path.read_bytes()[-1:] not in (b"\n", b"")
    data = (b"\n" if torn else b"") + line + b"\n"
    descriptor = through_no_link(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def through_no_link(path: str, flags: int) -> int:
    """For `open`: fails where the file is a symbolic link.

    In a folder that others may write to, a link that waits under the name of our file would lead
    what we write into any file of ours.

    Args:
        path: the file to write to.
        flags: of `os.open`.
    """
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def make_clean(folder: Path) -> None:
    """Make a folder, or take away what killed processes have left of files in it.

    Nothing asks how old that is, since clocks differ between machines, and jump: whoever calls
    this holds the lock, and no other run writes.

    Args:
        folder: whose parent exists.

    Raises:
        StoreError: the disk refuses it.
    """
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a sentence with the path and the free space.

    Args:
        path: the file or folder that is being written.

    Raises:
        StoreError: in place of any OSError of the block.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write to the results folder: {error.strerror or error}",
            expected=f"a writable folder with free space; {_free_space(path)}",
            where=str(path),
            next_step="free some space or choose another folder with `--out`, then run again: "
            "everything written before is kept",
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_space(path: Path) -> str:
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return f"{shutil.disk_usage(folder).free / 2**20:,.0f} MiB are free"
    return "its free space is unknown"
