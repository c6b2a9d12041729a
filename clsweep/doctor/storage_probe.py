"""Whether a folder, or one in an object store, takes files, and whether others see them."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clsweep.errors import StoreError
from clsweep.storage.remote_path import Place, RemotePath

_CONTENT = b"clsweep was here"
_PREFIX = ".clsweep-probe-"
_NO_STORE = (
    "check which store this is, and that it shows at once what was written: results cannot be "
    "kept in one that does not"
)


def storage_complaint(folder: Place, probe: Place | None = None) -> str:
    """Why a folder cannot hold results; '' if a file can be written, read and removed in it.

    Args:
        folder: of those that do not exist yet, the nearest that does is tried.
        probe: a probe file that another machine has written there, and that must be seen here.
    """
    if isinstance(folder, RemotePath):
        try:
            check_store(folder, probe)
        except StoreError as error:
            return f"{folder}: {error.found}"
        return ""
    place = nearest_folder(folder)
    try:
        with probe_file(place) as path:
            if path.read_bytes() != _CONTENT:
                return f"{place} gives back something else than was written"
        if probe is not None and probe.read_bytes() != _CONTENT:
            return f"{probe} holds something else than was written"
    except FileNotFoundError:
        return f"{place} is another folder here than where the run is started"
    except OSError as error:
        return f"{place}: {error.strerror or error}"
    return ""


def check_store(folder: RemotePath, probe: Place | None = None) -> None:
    """Refuse a folder in an object store that does not keep an object, and give it up again.

    Args:
        folder: it need not exist; the bucket must.
        probe: a probe file that another machine has written there, and that must be seen here.

    Raises:
        StoreError: an object cannot be written, read, listed or deleted, or the other machine's
            cannot be seen.
    """
    with _object_in(folder) as path:
        if _content(path) != _CONTENT:
            raise _unfit(folder, "it does not give back what was written")
        if path not in folder.glob(f"{_PREFIX}*"):
            raise _unfit(folder, "it does not list what was written")
    if path.is_file():
        raise _unfit(folder, "what was deleted is still there")
    if probe is not None and _content(probe) != _CONTENT:
        raise _unfit(folder, "it is another store here than where the run is started")


@contextmanager
def probe_file(folder: Path) -> Iterator[Path]:
    """A file in the folder for the length of the block.

    Args:
        folder: an existing folder.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=_PREFIX) as file:
        file.write(_CONTENT)
        file.flush()
        yield Path(file.name)


@contextmanager
def nearest_probe_file(folder: Place) -> Iterator[Place]:
    """The same in the nearest folder that exists, or in an object store.

    Args:
        folder: any.

    Raises:
        OSError: the folder does not take the file.
        StoreError: the store does not.
    """
    probe = (
        _object_in(folder)
        if isinstance(folder, RemotePath)
        else probe_file(nearest_folder(folder))
    )
    with probe as path:
        yield path


def nearest_folder(folder: Path) -> Path:
    """The folder, or the nearest above it that exists.

    Args:
        folder: any.
    """
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())


@contextmanager
def _object_in(folder: RemotePath) -> Iterator[RemotePath]:
    path = folder / f"{_PREFIX}{uuid.uuid4().hex}"
    path.write_bytes(_CONTENT)
    try:
        yield path
    except BaseException:
        with contextlib.suppress(StoreError):  # the first reason is the one to be told
            path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


def _content(path: Place) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _unfit(folder: RemotePath, found: str) -> StoreError:
    return StoreError(found, where=str(folder), next_step=_NO_STORE)
