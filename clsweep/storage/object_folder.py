"""A results folder in an object store, where nothing is renamed, appended to or locked."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from clsweep.storage.folder_base import Entry, Folder
from clsweep.storage.lock import Lease, LeaseWatch
from clsweep.storage.remote_path import RemotePath, Stamp, read_many


class ObjectFolder(Folder):
    """A folder behind a URI.

    Args:
        place: the folder; it exists as soon as an object lies in it.
    """

    keeps_records = True

    def __init__(self, place: RemotePath) -> None:
        self._place = place

    @property
    def place(self) -> RemotePath:
        """Where it lies."""
        return self._place

    @property
    def local_path(self) -> None:
        """None: no other program writes there."""
        return None

    def make(self) -> None:
        """Do nothing: the bucket is there, and a folder comes with its first object."""

    def clean(self, name: str) -> None:
        """Do nothing: no upload that was cut short is ever seen."""

    def lock(self) -> Lease:
        """A lease, which others may overtake."""
        return Lease(self._place)

    def lock_watch(self) -> LeaseWatch:
        """A watch on the lease; its first reading may wait."""
        return LeaseWatch(self._place)

    def write(self, name: str, data: bytes) -> None:
        """Replace an object by one upload."""
        (self._place / name).write_bytes(data)

    def append(self, name: str, line: bytes) -> bytes:
        """Upload the content with the line at its end; objects cannot be appended to."""
        path = self._place / name
        try:
            before = path.read_bytes()
        except FileNotFoundError:
            before = b""
        path.write_bytes(before + line)
        return before + line

    def add_entry(self, log: str, key: str, entry: bytes) -> None:
        """Upload an object of its own, so that two at a time are two."""
        self.write(f"{log}/{key}.json", entry)

    def shorten(self, name: str, content: bytes) -> None:
        """Upload what stays of an object."""
        if content:
            self.write(name, content)
        else:
            self.delete(name)

    def delete(self, name: str) -> None:
        """Delete an object if it exists."""
        (self._place / name).unlink(missing_ok=True)

    def move(self, name: str, target: str) -> None:
        """Upload an object anew, then delete it under its old name."""
        path = self._place / name
        self.write(target, path.read_bytes())
        path.unlink()

    def listed(self, name: str, endings: tuple[str, ...]) -> list[Entry]:
        """The objects right below a folder, by one request for a thousand of them."""
        stamped = (self._place / name).stamped("*")
        return [Entry(path.name, at, True) for path, at in stamped if path.name.endswith(endings)]

    def stamps(self, names: Iterable[str]) -> dict[str, Stamp]:
        """Stamps of those objects that exist, by one listing."""
        found = {path.name: at for path, at in self._place.stamped("*")}
        return {name: found[name] for name in names if name in found}

    def stamp(self, name: str) -> Stamp:
        """Size and time of change in ns, to the second in some stores."""
        return (self._place / name).stamp()

    def reads(self, names: Sequence[str]) -> Sequence[Callable[[], bytes]]:
        """Functions that give what has been fetched now, several objects at once."""
        paths = [self._place / name for name in names]
        contents = read_many(paths)
        return [partial(_given, path, data) for path, data in zip(paths, contents, strict=True)]


def _given(path: RemotePath, data: bytes | None) -> bytes:
    if data is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return data
