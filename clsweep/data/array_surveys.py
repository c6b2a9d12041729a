"""What a look at every value of `arrays:PATH` finds: sizes, fingerprints, what is wrong.

Values are read once, in blocks, and what is found is remembered. Without torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.data.array_sets import PARTS, ArrayLabels, ArraySet, array_labels, array_set
from clsweep.data.fingerprints import remembered
from clsweep.data.mapped_memory import drop_pages
from clsweep.data.numpy_files import StoredArray
from clsweep.errors import StudyError
from clsweep.text import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Raised when a survey says something else, so that none is remembered.
_VERSION = 3
_MIB, _GIB = 1 << 20, 1 << 30


class ArraySurvey(NamedTuple):
    """What is known of a data set of arrays.

    Attributes:
        shape: of the inputs of an example.
        dtype: of their values, such as 'float32'.
        counts: examples of every class, per part of `PARTS`.
        names: the labels as they are stored; a class is a position in this tuple.
        notes: what a reader has to know, a sentence each.
        fingerprints: of what every array holds, by its name.
        residence: what of it is in memory, a sentence.
        n_targets: numbers to predict of every example; 0 for classes.
    """

    shape: tuple[int, ...]
    dtype: str
    counts: tuple[tuple[int, ...], ...]
    names: tuple[int, ...]
    notes: tuple[str, ...]
    fingerprints: dict[str, str]
    residence: str
    n_targets: int


def survey(path: Path) -> ArraySurvey:
    """A look at every value of a data set.

    Args:
        path: its file or folder.

    Raises:
        StudyError: it cannot be used.
        OSError: a file cannot be read.
    """
    arrays = array_set(path)

    def compute() -> list[Any]:
        labels = array_labels(arrays)
        inputs = _InputFacts()
        hashes = {array.name: inputs.read(array) for array in arrays.x}
        inputs.check(path)
        rest = [*arrays.y, *([arrays.split] if arrays.split else [])]
        hashes |= {array.name: _hashed(array) for array in rest}
        counts = [labels.counts(part) for part in range(len(PARTS))]
        notes = [*labels.notes, *_shape_notes(arrays), *inputs.notes(path)]
        notes += _repeated_notes(path, labels.parts, inputs.row_hashes())
        return [counts, labels.names, notes, hashes]

    found = remembered(f"arrays {path.resolve()}", arrays.files, compute, _VERSION)
    counts, names, notes, hashes = found
    return ArraySurvey(
        arrays.row_shape,
        arrays.dtype.name,
        tuple(tuple(of_part) for of_part in counts),
        tuple(names),
        tuple(notes),
        dict(hashes),
        _residence(arrays),
        arrays.n_targets,
    )


def rows_of(labels: ArrayLabels) -> NDArray[np.int64]:
    """All rows, part after part, int64 [N]; within a part as they are stored."""
    import numpy as np

    found: NDArray[np.int64] = np.argsort(labels.parts, kind="stable")
    return found


def _hashed(array: StoredArray) -> str:
    """Fingerprint of type, shape and values, whatever the kind of file."""
    import numpy as np

    state = _started(array)
    for block in array.blocks():
        # Text as numpy and Arrow hold it differs in width.
        values = block.astype("U16") if block.dtype.kind == "U" else block
        state.update(np.ascontiguousarray(values).data)
    return str(state.hexdigest())


def _started(array: StoredArray) -> Any:
    kind = "text" if array.dtype.kind == "U" else array.dtype.str
    return hashlib.sha256(f"{kind} {list(array.shape)} ".encode())


class _InputFacts:
    """What is remembered of inputs while they are read."""

    def __init__(self) -> None:
        self.least: NDArray[Any] | None = None
        self.most: NDArray[Any] | None = None
        self._rows: list[bytes] = []  # of every block, eight bytes a row

    def row_hashes(self) -> NDArray[np.uint64]:
        """A hash of every row's inputs, in the order in which they were read, [N]."""
        import numpy as np

        return np.frombuffer(b"".join(self._rows), np.uint64)

    def read(self, array: StoredArray) -> str:
        """Read all rows of an array; returns its fingerprint.

        Args:
            array: inputs of a part.
        """
        import numpy as np

        state, first = _started(array), 0
        for block in array.blocks():
            whole = np.ascontiguousarray(block)
            state.update(whole.data)
            rows = whole.reshape(len(whole), -1).view(np.uint8)
            self._rows.append(b"".join(_row_hash(row.data) for row in rows))
            # NaN and infinities reach the extremes, so that values are looked at once more only
            # where there is something to be said.
            with np.errstate(invalid="ignore"):
                low, high = block.min(0), block.max(0)
            if block.dtype.kind == "f" and not (np.isfinite(low) & np.isfinite(high)).all():
                raise _not_finite(array, block, first)
            self.least = low if self.least is None else np.minimum(self.least, low)
            self.most = high if self.most is None else np.maximum(self.most, high)
            first += len(block)
            drop_pages(array.mapping)
        return str(state.hexdigest())

    def check(self, path: Path) -> None:
        """Refuse inputs that tell nothing.

        Args:
            path: of the data set.
        """
        assert self.least is not None
        assert self.most is not None
        if (self.least == self.most).all():
            raise StudyError(
                f"all examples of {path} have exactly the same inputs",
                expected="inputs that differ",
                where="[benchmark] dataset",
            )

    def notes(self, path: Path) -> Iterator[str]:
        """What is doubtful, a sentence each.

        Args:
            path: of the data set.
        """
        assert self.least is not None
        assert self.most is not None
        n_constant, n = int((self.least == self.most).sum()), self.least.size
        if n_constant and self.least.dtype.kind == "f":
            yield (
                f"{counted(n_constant, 'feature')} of the {n:,} in {path.name} never "
                f"{'changes' if n_constant == 1 else 'change'}, and tell nothing"
            )


def _row_hash(row: memoryview) -> bytes:
    return hashlib.blake2b(row, digest_size=8).digest()


def _repeated_notes(
    path: Path, parts: NDArray[np.int8], hashes: NDArray[np.uint64]
) -> Iterator[str]:
    """Test and validation examples whose inputs are those of a training example."""
    import numpy as np

    known = np.unique(hashes[parts == PARTS.index("train")])
    for part, word, so in (
        ("test", "test", "test nothing"),
        ("val", "validation", "choose what is learnt by heart"),
    ):
        own = hashes[parts == PARTS.index(part)]
        n = int(np.isin(own, known).sum())
        if n:
            yield (
                f"{n:,} of {len(own):,} {word} examples of {path.name} have the inputs of a "
                f"training example, and {so}"
            )


def _not_finite(array: StoredArray, block: NDArray[Any], first: int) -> StudyError:
    import numpy as np

    odd = ~np.isfinite(block.reshape(len(block), -1))
    row, column = (int(i) for i in np.argwhere(odd)[0])
    value = block.reshape(len(block), -1)[row, column]
    return StudyError(
        f"{array.place} holds the value {value} in row {first + row} (counted from 0), "
        f"position {list(map(int, np.unravel_index(column, block.shape[1:])))}",
        expected="finite numbers",
        where="[benchmark] dataset",
        next_step="leave out such rows, or fill in numbers, before the array is saved",
    )


def _shape_notes(arrays: ArraySet) -> Iterator[str]:
    shape = arrays.row_shape
    if len(shape) == 3 and shape[2] in (1, 3, 4) and shape[0] == shape[1] > shape[2]:
        yield (
            f"images of {arrays.path.name} are read as {shape[0]} channels of "
            f"{shape[1]}x{shape[2]} pixels; if the last axis is the channel, save "
            "x.transpose(0, 3, 1, 2)"
        )


def _residence(arrays: ArraySet) -> str:
    n = arrays.n_bytes
    size = f"{n / _MIB:.2g} MiB" if n < _MIB else f"{n / _MIB:,.0f} MiB"
    size = size if n < _GIB else f"{n / _GIB:.2f} GiB"
    if arrays.is_mapped:
        return (
            f"{arrays.path.name} stays on the disk ({size} of inputs) and is read batch by batch; "
            "labels are in memory"
        )
    return f"{arrays.path.name} is read into memory, {size} of inputs in every process"
