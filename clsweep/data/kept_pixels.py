"""Pixels of a folder of images, decoded once and then mapped by every process of the machine.

They lie below `$XDG_CACHE_HOME/clsweep/pixels`, or `~/.cache`, one file per folder and framing,
named by what they were decoded from and by their own hash. Pages of a mapped file are shared by
all who map it, so that ten workers hold one copy. What cannot be kept is decoded into memory. The
folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsweep.data.file_lock import alone
from clsweep.data.fingerprints import SETTLED_SECONDS, cache_file, combined, file_hash, stamp_of

# Fewer images are decoded in less time than it takes to say that they are kept.
_FEW_IMAGES = 1000
# Of the free space of the disk: the user has other plans for it.
_MOST_OF_FREE_SPACE = 0.25
_DIGITS = 24


class Images(NamedTuple):
    """Images that are to be decoded.

    Attributes:
        name: of the folder and its framing; unique on this machine.
        files: in the order of their rows.
        shape: (C, H, W) of every one.
        version: of what decoding does.
        decoded: a file -> its pixels, uint8 [C, H, W].
    """

    name: str
    files: Sequence[Path]
    shape: tuple[int, int, int]
    version: int
    decoded: Callable[[Path], NDArray[np.uint8]]

    @property
    def n_bytes(self) -> int:
        """Of all pixels."""
        return len(self.files) * int(np.prod(self.shape))


def pixels_of(images: Images) -> NDArray[np.uint8]:
    """The pixels of all images, uint8 [N, C, H, W]; a write to them is this process's own.

    Args:
        images: what to decode.

    Raises:
        StudyError: what `decoded` raises.
    """
    cache = cache_file()
    if cache is None or len(images.files) < _FEW_IMAGES:
        return _in_memory(images)
    stamp, latest = _stamp(images)
    if latest > time.time() - SETTLED_SECONDS:
        return _in_memory(images)
    # Machines may share the folder: one must not remove what another has mapped.
    folder, own = cache.parent / "pixels", combined([socket.gethostname(), images.name])
    start = f"{own}.{stamp[:_DIGITS]}."
    found = _mapped(folder, start, images)
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a file system without locks: each for itself
                stack.enter_context(alone(folder / f"{own}.lock"))
                for half in folder.glob(f".making-{own}-*"):  # of a process that was killed
                    half.unlink(missing_ok=True)
            found = _mapped(folder, start, images)  # another process may have been faster
            if found is None and _has_room(folder, images.n_bytes):
                _keep(folder, own, start, images, stamp)
                found = _mapped(folder, start, images)
    except OSError:  # read-only or full: every process holds its own
        found = None
    return _in_memory(images) if found is None else found


def _stamp(images: Images) -> tuple[str, float]:
    return stamp_of(images.files, [images.version, images.shape])


def _in_memory(images: Images) -> NDArray[np.uint8]:
    pixels = np.empty((len(images.files), *images.shape), dtype=np.uint8)
    for row, file in enumerate(images.files):
        pixels[row] = images.decoded(file)
    return pixels


def _mapped(folder: Path, start: str, images: Images) -> NDArray[np.uint8] | None:
    """What is kept; None where nothing is, or not what was written."""
    wanted = (len(images.files), *images.shape)
    for path in folder.glob(f"{start}*.npy"):
        try:
            if file_hash(path)[:_DIGITS] != path.name.split(".")[2]:
                continue
            # Private to whoever writes to it; all that nobody writes to is shared.
            pixels: NDArray[np.uint8] = np.load(path, mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError):
            continue
        if pixels.shape == wanted and pixels.dtype == np.uint8:
            return pixels
    return None


def _has_room(folder: Path, n_bytes: int) -> bool:
    return n_bytes <= _MOST_OF_FREE_SPACE * shutil.disk_usage(folder).free


def _keep(folder: Path, own: str, start: str, images: Images, stamp: str) -> None:
    """Decode all images into a file, image by image, and remove those of earlier versions.

    Images that have changed meanwhile, so that their stamp is another, are not kept.
    """
    with _beside(folder, own) as (path, file):
        # By plain writes: one to a mapping of a full disk would end the process.
        shape = (len(images.files), *images.shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for image in images.files:
            file.write(np.ascontiguousarray(images.decoded(image)).tobytes())
        file.flush()
        os.fsync(file.fileno())
        if _stamp(images)[0] != stamp:
            return
        name = f"{start}{file_hash(path)[:_DIGITS]}.npy"
        os.replace(path, folder / name)
    for other in folder.glob(f"{own}.*.npy"):
        if other.name != name:
            other.unlink(missing_ok=True)


@contextlib.contextmanager
def _beside(folder: Path, own: str) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file of the folder, removed unless it is given another name."""
    handle, name = tempfile.mkstemp(prefix=f".making-{own}-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            yield Path(name), file
    finally:
        Path(name).unlink(missing_ok=True)
