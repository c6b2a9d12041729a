"""Whether a folder takes files, and whether others see them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["beacon", "nearest_folder", "storage_complaint"]

_CONTENT = b"clsweep was here"


def storage_complaint(folder: Path, lit: Path | None = None) -> str:
    """Why a folder cannot hold results; '' if a file can be written, read and removed in it.

    Args:
        folder: of those that do not exist yet, the nearest that does is tried.
        lit: a `beacon` that another machine has lit there, and that must be seen here.
    """
    place = nearest_folder(folder)
    try:
        with beacon(place) as path:
            if path.read_bytes() != _CONTENT:
                return f"{place} gives back something else than was written"
        if lit is not None and lit.read_bytes() != _CONTENT:
            return f"{lit} holds something else than was written"
    except FileNotFoundError:
        return f"{place} is another folder here than where the run is started"
    except OSError as error:
        return f"{place}: {error.strerror or error}"
    return ""


@contextmanager
def beacon(folder: Path) -> Iterator[Path]:
    """A file in the folder for the length of the block.

    Args:
        folder: an existing folder.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clsweep-probe-") as file:
        file.write(_CONTENT)
        file.flush()
        yield Path(file.name)


def nearest_folder(folder: Path) -> Path:
    """The folder, or the nearest above it that exists.

    Args:
        folder: any.
    """
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())
