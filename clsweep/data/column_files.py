"""Arrays of Parquet and Arrow files: a column of numbers, or of lists of equal length.

Columns of an uncompressed Arrow file are mapped; those of other files are read into memory, one
group of rows after another. Without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsweep.data.numpy_files import StoredArray, mapped_file
from clsweep.errors import StudyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARROW_ENDINGS = (".arrow", ".feather", ".ipc")
PARQUET_ENDING = ".parquet"
_MAGIC = b"ARROW1"


def columns(path: Path, wanted: Collection[str]) -> tuple[dict[str, StoredArray], list[str]]:
    """Columns of a Parquet or Arrow file by name, and the names of its other columns.

    Args:
        path: the file.
        wanted: names of columns.

    Raises:
        StudyError: it is none.
        OSError: it cannot be read.
    """
    if path.suffix.lower() == PARQUET_ENDING:
        return _parquet_columns(path, wanted)
    return _arrow_columns(path, wanted)


class _Column(StoredArray):
    """A column; `read` gives its rows, some at a time."""

    def __init__(
        self, name: str, path: Path, n_rows: int, read: Callable[[int], Iterator[Any]]
    ) -> None:
        place = f"column {name} of {path}"
        self.path, self.read = path, read
        super().__init__(name, place, (n_rows,), None)
        first = next(self._arrays(1), None)
        if first is None:
            raise StudyError(
                f"{path} has no rows", expected="an example a row", where="[benchmark] dataset"
            )
        self.shape, self.dtype = (n_rows, *first.shape[1:]), first.dtype

    def _arrays(self, at_once: int) -> Iterator[NDArray[Any]]:
        with _as_study_errors(self.path):
            for part in self.read(at_once):
                if len(part):
                    yield self._checked(dense(part, self.place))

    def _checked(self, block: NDArray[Any]) -> NDArray[Any]:
        if self.dtype is not None and block.shape[1:] != self.shape[1:]:
            raise _unequal(self.place)
        return block

    def blocks(self) -> Iterator[NDArray[Any]]:
        for found in self._arrays(self.rows_at_once):
            for first in range(0, len(found), self.rows_at_once):
                yield found[first : first + self.rows_at_once]

    def pieces(self) -> list[NDArray[Any]]:
        if self.mapping is not None:
            return [*self._arrays(self.rows_at_once)]
        import numpy as np

        whole, first = np.empty(self.shape, self.dtype), 0
        for block in self.blocks():
            whole[first : first + len(block)] = block
            first += len(block)
        return [whole]


def _parquet_columns(
    path: Path, wanted: Collection[str]
) -> tuple[dict[str, StoredArray], list[str]]:
    import pyarrow.parquet as pq

    with _as_study_errors(path), pq.ParquetFile(path) as file:
        names, n_rows = file.schema_arrow.names, file.metadata.num_rows

    def reader(name: str) -> Callable[[int], Iterator[Any]]:
        def read(at_once: int) -> Iterator[Any]:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=at_once, columns=[name]):
                    yield batch.column(0)

        return read

    found: dict[str, StoredArray] = {
        name: _Column(name, path, n_rows, reader(name)) for name in names if name in wanted
    }
    return found, [name for name in names if name not in wanted]


def _arrow_columns(
    path: Path, wanted: Collection[str]
) -> tuple[dict[str, StoredArray], list[str]]:
    import pyarrow as pa

    with _as_study_errors(path):
        mapping = mapped_file(path)
        whole = pa.py_buffer(mapping)
        source = pa.BufferReader(whole)
        is_file = whole.slice(0, len(_MAGIC)).to_pybytes() == _MAGIC
        opener = pa.ipc.open_file if is_file else pa.ipc.open_stream
        with opener(source) as opened:
            names = opened.schema.names
            n_batches = opened.num_record_batches if is_file else None
            batches = (
                [opened.get_batch(i) for i in range(n_batches)]
                if n_batches is not None
                else [*opened]
            )
    n_rows = sum(batch.num_rows for batch in batches)

    def reader(index: int) -> Callable[[int], Iterator[Any]]:
        return lambda at_once: (batch.column(index) for batch in batches)

    found: dict[str, StoredArray] = {}
    start, stop = whole.address, whole.address + whole.size
    for index, name in enumerate(names):
        if name not in wanted:
            continue
        column = found[name] = _Column(name, path, n_rows, reader(index))
        numbers = [_innermost(batch.column(index)) for batch in batches if batch.num_rows]
        held = [buffer for part in numbers for buffer in part.buffers() if buffer is not None]
        if all(start <= buffer.address < stop for buffer in held):
            column.mapping = mapping
    return found, [name for name in names if name not in wanted]


def _innermost(column: Any) -> Any:
    """The numbers of a column of lists, one after another; a column of numbers itself."""
    import pyarrow as pa

    while True:
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        elif isinstance(column, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
            column = column.flatten()
        else:
            return column


def dense(column: Any, place: str) -> NDArray[Any]:
    """A column as an array [n, ...], without a copy where Arrow has the numbers in a row.

    Args:
        column: of numbers, text, or lists of equal length of numbers.
        place: for messages.

    Raises:
        StudyError: values are missing, or lists are of unequal length.
    """
    import pyarrow as pa

    shape = [len(column)]
    while True:
        if column.null_count:
            raise StudyError(
                f"{place} lacks {column.null_count:,} of its values",
                expected="a value in every row",
                where="[benchmark] dataset",
            )
        if isinstance(column, pa.FixedShapeTensorArray):
            if column.type.permutation not in (None, [*range(len(column.type.shape))]):
                raise _unequal(place, "tensors whose axes are permuted")
            return dense(column.storage, place).reshape(len(column), *column.type.shape)
        if isinstance(column, pa.FixedSizeListArray):
            shape.append(column.type.list_size)
        elif isinstance(column, pa.ListArray | pa.LargeListArray):
            lengths = column.value_lengths().unique().to_pylist()
            if len(lengths) > 1:
                raise _unequal(place)
            shape.append(lengths[0] if lengths else 0)
        else:
            break
        column = column.flatten()
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    return _numbers(column, place).reshape(shape)


def _numbers(column: Any, place: str) -> NDArray[Any]:
    import numpy as np
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(column.to_pylist(), dtype=np.str_)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        found: NDArray[Any] = column.to_numpy(zero_copy_only=True)
        return found
    raise StudyError(
        f"{place} holds values of type {kind}",
        expected="numbers, or lists of equally many numbers",
        where="[benchmark] dataset",
    )


def _unequal(place: str, what: str = "lists of unequal length") -> StudyError:
    return StudyError(
        f"{place} holds {what}",
        expected="equally many numbers in every row",
        where="[benchmark] dataset",
    )


@contextmanager
def _as_study_errors(path: Path) -> Iterator[None]:
    """What pyarrow raises on damaged files, as a message."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, ValueError) as error:
        text = " ".join(str(error).split())
        raise StudyError(
            f"{path} cannot be read: {text}",
            expected="an undamaged Parquet or Arrow file",
            where="[benchmark] dataset",
        ) from error
