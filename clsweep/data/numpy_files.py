"""Arrays of numpy's files: shapes from their headers, rows in blocks. Nothing is unpickled.

A `.npy` file is mapped, a member of an `.npz` archive is read into memory. Without torch.
"""

from __future__ import annotations

import mmap
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from clsweep.errors import StudyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK_BYTES = 1 << 25
_VERSIONS = ((1, 0), (2, 0))


class StoredArray(ABC):
    """An array where it lies; what is known of it without reading its values.

    Attributes:
        name: of the array in its data set, such as 'train_x'.
        place: the file, and the array in it, for messages.
        shape: of the whole.
        dtype: of a value.
        mapping: what its pieces lie in, if they are read from the disk when asked for a row; None
            where they are in memory.
    """

    def __init__(self, name: str, place: str, shape: tuple[int, ...], dtype: Any) -> None:
        self.name, self.place, self.shape, self.dtype = name, place, shape, dtype
        self.mapping: mmap.mmap | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, at least 1."""
        size: int = self.dtype.itemsize
        for n in self.shape[1:]:
            size *= n
        return max(1, size)

    @property
    def rows_at_once(self) -> int:
        """Rows of a block."""
        return max(1, BLOCK_BYTES // self.row_bytes)

    @abstractmethod
    def blocks(self) -> Iterator[NDArray[Any]]:
        """All rows in turn, some at a time, so that little is in memory."""

    @abstractmethod
    def pieces(self) -> list[NDArray[Any]]:
        """All rows as one array or several, mapped or in memory."""

    def values(self) -> NDArray[Any]:
        """The whole in memory; for labels."""
        import numpy as np

        found = [*self.blocks()]
        return np.concatenate(found) if found else np.empty(self.shape, self.dtype)


class _Header(NamedTuple):
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]


def mapped_file(path: Path) -> mmap.mmap:
    """A file mapped for reading.

    Raises:
        OSError, ValueError: it cannot be, or is empty.
    """
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def npy_file(name: str, path: Path) -> StoredArray:
    """The array of a `.npy` file.

    Args:
        name: of the array in its data set.
        path: the file.

    Raises:
        StudyError: it holds no array that is read.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = _header(file, str(path))
        start = file.tell()
    array = _NpyFile(name, path, header, start)
    needed = start + len(array) * array.row_bytes if array.shape else start
    if path.stat().st_size < needed:
        raise _broken(str(path), f"it holds {path.stat().st_size:,} of {needed:,} bytes")
    return array


def npz_members(path: Path) -> dict[str, StoredArray]:
    """The arrays of an `.npz` archive by name.

    Args:
        path: the archive.

    Raises:
        StudyError: it is none, holds an array twice, or a member is no array that is read.
        OSError: it cannot be read.
    """
    found: dict[str, StoredArray] = {}
    with _as_study_errors(str(path)), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            name, place = member.removesuffix(".npy"), f"{member} in {path}"
            if name in found:
                raise _broken(str(path), f"it holds the array '{name}' twice")
            with archive.open(member) as file:
                found[name] = _NpzMember(name, place, path, member, _header(file, place))
    return found


class _NpyFile(StoredArray):
    def __init__(self, name: str, path: Path, header: _Header, start: int) -> None:
        super().__init__(name, str(path), header.shape, header.dtype)
        self.path, self.is_fortran, self.start = path, header.is_fortran, start
        if all(self.shape):
            self.mapping = mapped_file(path)

    def blocks(self) -> Iterator[NDArray[Any]]:
        import numpy as np

        if self.is_fortran:
            (whole,) = self.pieces()
            for first in range(0, len(self), self.rows_at_once):
                yield np.ascontiguousarray(whole[first : first + self.rows_at_once])
            return
        with self.path.open("rb") as file:
            file.seek(self.start)
            yield from _read_blocks(file, self)

    def pieces(self) -> list[NDArray[Any]]:
        import numpy as np

        if self.mapping is None:
            return [np.empty(self.shape, self.dtype)]
        order: Any = "F" if self.is_fortran else "C"
        return [np.ndarray(self.shape, self.dtype, self.mapping, self.start, order=order)]


class _NpzMember(StoredArray):
    def __init__(self, name: str, place: str, path: Path, member: str, header: _Header) -> None:
        super().__init__(name, place, header.shape, header.dtype)
        self.path, self.member, self.is_fortran = path, member, header.is_fortran

    def blocks(self) -> Iterator[NDArray[Any]]:
        import numpy as np

        with (
            _as_study_errors(self.place),
            zipfile.ZipFile(self.path) as archive,
            archive.open(self.member) as file,
        ):
            _header(file, self.place)
            if self.is_fortran:
                data = file.read()
                yield np.ascontiguousarray(np.ndarray(self.shape, self.dtype, data, order="F"))
            else:
                yield from _read_blocks(file, self)

    def pieces(self) -> list[NDArray[Any]]:
        import numpy as np

        whole, first = np.empty(self.shape, self.dtype), 0
        for block in self.blocks():
            whole[first : first + len(block)] = block
            first += len(block)
        return [whole]


def _read_blocks(file: IO[bytes], array: StoredArray) -> Iterator[NDArray[Any]]:
    """Blocks of rows that lie one after another."""
    import numpy as np

    left = len(array)
    while left:
        n = min(left, array.rows_at_once)
        data = file.read(n * array.row_bytes)
        if len(data) < n * array.row_bytes:
            raise _broken(array.place, "it ends too early")
        yield np.frombuffer(data, array.dtype).reshape(n, *array.shape[1:])
        left -= n


def _header(file: IO[bytes], place: str) -> _Header:
    """What the header of an array says."""
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(file)
        if version not in _VERSIONS:
            raise ValueError(f"version {version} of the format, of arrays with named fields")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
    except (ValueError, EOFError) as error:
        raise _broken(place, " ".join(str(error).split())) from error
    if dtype.hasobject:
        raise StudyError(
            f"{place} holds Python objects, which are pickled: nothing is unpickled",
            expected="an array of numbers",
            where="[benchmark] dataset",
            next_step="save it as np.asarray(x, dtype=np.float32); lists of unequal length have "
            "no such array",
        )
    return _Header(tuple(map(int, shape)), bool(is_fortran), dtype)


@contextmanager
def _as_study_errors(place: str) -> Iterator[None]:
    """What the readers of archives raise on damaged ones, as a message."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _broken(place, " ".join(str(error).split())) from error


def _broken(place: str, why: str) -> StudyError:
    return StudyError(
        f"{place} is no whole array of numpy's: {why}",
        expected="a file that np.save or np.savez has written",
        where="[benchmark] dataset",
    )
