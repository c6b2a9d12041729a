"""A results folder on a file system: temporary files and renames, append, the kernel's locks."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from clsweep.errors import StoreError
from clsweep.storage.disk import (
    append_line,
    disk_errors,
    make_clean,
    through_no_link,
    write_atomically,
)
from clsweep.storage.folder_base import Entry, Folder
from clsweep.storage.lock import FolderLock
from clsweep.storage.lock_state import LockState, lock_state
from clsweep.storage.remote_path import Stamp


class LocalFolder(Folder):
    """A folder on a disk or a file server.

    Args:
        place: the folder.
    """

    keeps_records = False

    def __init__(self, place: Path) -> None:
        self._place = place

    @property
    def place(self) -> Path:
        """Where it lies."""
        return self._place

    @property
    def local_path(self) -> Path:
        """The same."""
        return self._place

    def make(self) -> None:
        """Make the folder, and those above it, if there is none."""
        with disk_errors(self._place):
            self._place.mkdir(parents=True, exist_ok=True)

    def clean(self, name: str) -> None:
        """Take away temporary files; see `disk.make_clean`."""
        make_clean(self._place / name)

    def lock(self) -> FolderLock:
        """The kernel's lock on the file `.lock`."""
        return FolderLock(self._place)

    def lock_watch(self) -> _LockWatch:
        """A watch that reads the kernel's list of locks."""
        return _LockWatch(self._place)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file through a temporary file and a rename."""
        write_atomically(self._place / name, data)

    def append(self, name: str, line: bytes) -> bytes:
        """Add to the end of a file; an earlier end stays whole whatever happens."""
        path = self._place / name
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a+b", opener=through_no_link) as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                return file.read()

    def add_entry(self, log: str, key: str, entry: bytes) -> None:
        """Append a line, by one write; see `disk.append_line`."""
        path = self._place / f"{log}.jsonl"
        with disk_errors(path):
            append_line(path, entry)

    def shorten(self, name: str, content: bytes) -> None:
        """Cut a file short; it is not written anew, since a disk that is full allows that."""
        path = self._place / name
        with disk_errors(path):
            if content:
                with open(path, "r+b", opener=through_no_link) as file:
                    file.truncate(len(content))
            else:
                path.unlink()

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        path = self._place / name
        with disk_errors(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def move(self, name: str, target: str) -> None:
        """Rename a file."""
        (self._place / target).parent.mkdir(exist_ok=True)
        os.replace(self._place / name, self._place / target)

    def listed(self, name: str, endings: tuple[str, ...]) -> list[Entry]:
        """The files in a folder; those that vanish while they are listed are left out."""
        found = []
        for path in self._paths(self._place / name):
            if not path.endswith(endings):
                continue
            with contextlib.suppress(FileNotFoundError):
                status = _status(path)
                is_file = stat.S_ISREG(status.st_mode)
                found.append(Entry(os.path.basename(path), _stamp_of(status), is_file))
        return sorted(found)

    def stamps(self, names: Iterable[str]) -> dict[str, Stamp]:
        """Stamps of those files that exist."""
        found = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found[name] = self.stamp(name)
        return found

    def stamp(self, name: str) -> Stamp:
        """Inode, size and time of change in ns."""
        return _stamp_of(_status(str(self._place / name)))

    def reads(self, names: Sequence[str]) -> Sequence[Callable[[], bytes]]:
        """Functions that read the files; nothing is read before it is asked for."""
        return [partial(_content, self._place / name) for name in names]

    def _paths(self, folder: Path) -> Iterator[str]:
        try:
            with os.scandir(folder) as entries:
                yield from (entry.path for entry in entries)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"a folder cannot be listed: {error.strerror or error}", where=str(folder)
            ) from error


class _LockWatch:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self) -> LockState:
        return lock_state(self._directory)


def _status(path: str) -> os.stat_result:
    """What the disk tells of a file, which another node may replace or take away meanwhile.

    Raises:
        FileNotFoundError: it does not exist.
        StoreError: the disk does not tell.
    """
    for _ in range(2):
        try:
            return os.stat(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            # Stale, says NFS, where the file that had the name is gone; another may have it now.
            if error.errno != errno.ESTALE:
                raise StoreError(
                    f"a file of the folder cannot be read: {error.strerror or error}", where=path
                ) from error
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _stamp_of(status: os.stat_result) -> Stamp:
    """By which a change of a local file is noticed: inode, size, time of change in ns."""
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _content(path: Path) -> bytes:
    return path.read_bytes()
