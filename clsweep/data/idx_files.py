"""The idx format of MNIST and its relatives, plain or packed with gzip, after its specification.

two zero bytes, a type (8: unsigned bytes), the number of axes, their sizes (big-endian), values
"""

from __future__ import annotations

import errno
import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UNSIGNED_BYTES = 8


def idx_file(folder: Path, name: str) -> Path | None:
    """The file of that name, or else the packed one, or None.

    Args:
        folder: where it lies.
        name: without '.gz'.
    """
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def unpacked(path: Path) -> bytes:
    """What a file packed with gzip holds.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be read, or is damaged; of the latter, gzip tells in three ways.
    """
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OSError(errno.EIO, f"damaged: {error}", str(path)) from error


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The values of a file.

    Args:
        path: the file; unpacked in memory if its name ends in '.gz'.

    Raises:
        ValueError: it is not of this format, or not whole.
        OSError: it cannot be read, or unpacked.
    """
    import numpy as np

    data = unpacked(path) if path.suffix == ".gz" else path.read_bytes()
    if len(data) < 4 or data[:3] != bytes((0, 0, _UNSIGNED_BYTES)):
        raise ValueError(f"{path.name} is no idx file of bytes")
    n_axes = data[3]
    sizes = [int.from_bytes(data[i : i + 4], "big") for i in range(4, 4 + 4 * n_axes, 4)]
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes)
    if len(values) != np.prod(sizes, dtype=np.int64):
        raise ValueError(f"{path.name} holds {len(values)} values instead of {sizes}")
    return values.reshape(sizes)
