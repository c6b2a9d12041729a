"""The interface of a folder in which results are kept, whatever kind of storage it lies in.

`local_folder.LocalFolder` and `object_folder.ObjectFolder` implement it; `folder_kinds.folder_of`
says which of them a place has. What paths and objects do alike (`read_bytes`, `glob`, …) is asked
of the place itself. Names are relative to the folder, with slashes.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from clsweep.storage.lock_state import LockState
from clsweep.storage.remote_path import Place, Stamp


class Entry(NamedTuple):
    """A name in a folder.

    Attributes:
        name: the last name alone.
        stamp: by which a change is noticed; the time of change, in ns, comes last.
        is_file: False for a pipe, a device or a folder, which are never opened.
    """

    name: str
    stamp: Stamp
    is_file: bool

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return os.path.splitext(self.name)[0]


class Lock(Protocol):
    """Exclusive use of a folder by one driver."""

    @property
    def lost(self) -> str:
        """Why the folder is no longer ours; '' while it is, as far as is known."""

    def check(self) -> None:
        """Raise a `StoreError` if another process has the folder by now."""

    def release(self) -> None:
        """Let others in."""


class LockWatch(Protocol):
    """Says who holds a folder, as often as asked; takes nothing, writes nothing."""

    def read(self) -> LockState:
        """Who holds the folder now."""


class Folder(ABC):
    """A results folder, or one of stages.

    Attributes:
        keeps_records: whether a record stays when it has been put into the tables, see
            `compaction`.
    """

    keeps_records: ClassVar[bool]

    @property
    @abstractmethod
    def place(self) -> Place:
        """Where it lies."""

    @property
    @abstractmethod
    def local_path(self) -> Path | None:
        """Its path, for files that only a file system takes; None in an object store."""

    @abstractmethod
    def make(self) -> None:
        """Make the folder if there is none.

        Raises:
            StoreError: the disk refuses.
        """

    @abstractmethod
    def clean(self, name: str) -> None:
        """Take away what killed processes have left half-written; the caller holds the lock.

        Args:
            name: a folder in this one; it is made when missing.

        Raises:
            StoreError: the disk refuses.
        """

    @abstractmethod
    def lock(self) -> Lock:
        """Take the folder, which exists.

        Raises:
            StoreError: another process has it, or it cannot be had.
        """

    @abstractmethod
    def lock_watch(self) -> LockWatch:
        """A watch on its lock."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Replace a file's content as a whole, durably.

        Args:
            name: the file; the folder that holds it is made when missing.
            data: its new content.

        Raises:
            StoreError: the storage refuses; the old content is untouched.
        """

    @abstractmethod
    def append(self, name: str, line: bytes) -> bytes:
        """Add to the end of a file, durably; returns all that it holds then.

        Args:
            name: the file; it is made when missing. One process at a time adds to it.
            line: what is added.

        Raises:
            StoreError: the storage refuses.
        """

    @abstractmethod
    def add_entry(self, log: str, key: str, entry: bytes) -> None:
        """Add an entry to a log, durably, whoever else adds to it at the same time.

        On a disk it is a line of `LOG.jsonl`, in an object store an object `LOG/KEY.json`.

        Args:
            log: its name, without an ending.
            key: unlike that of any other entry.
            entry: one line, without its end.

        Raises:
            StoreError: the storage refuses.
        """

    @abstractmethod
    def shorten(self, name: str, content: bytes) -> None:
        """Take away the end of a file.

        Args:
            name: the file, which exists.
            content: what stays: its beginning; a file of which nothing stays is deleted.

        Raises:
            StoreError: the storage refuses.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file if it exists.

        Raises:
            StoreError: the storage refuses.
        """

    @abstractmethod
    def move(self, name: str, target: str) -> None:
        """Give a file another name, in a folder that is made when missing.

        Raises:
            OSError: the disk refuses, or the file does not exist.
            StoreError: the object store refuses.
        """

    @abstractmethod
    def listed(self, name: str, endings: tuple[str, ...]) -> list[Entry]:
        """The files in a folder, sorted by name; none without the folder.

        Args:
            name: a folder in this one.
            endings: of the names that are wanted; a file server takes its time for each file.

        Raises:
            StoreError: it cannot be listed, or the storage does not tell of a file.
        """

    @abstractmethod
    def stamps(self, names: Iterable[str]) -> dict[str, Stamp]:
        """Stamps, as `listed` has them, of those of the names that exist right in this folder."""

    @abstractmethod
    def stamp(self, name: str) -> Stamp:
        """A file's stamp, as `listed` has it.

        Raises:
            FileNotFoundError: it does not exist.
            StoreError: the storage does not tell.
        """

    @abstractmethod
    def reads(self, names: Sequence[str]) -> Sequence[Callable[[], bytes]]:
        """Functions that give the contents of files, or raise what reading them raises.

        From a disk each is read when it is asked for. An object store takes its time for each, so
        that several are fetched at once, now; only what does not exist is told by the function.

        Args:
            names: the files.

        Raises:
            StoreError: the object store refuses one.
        """
