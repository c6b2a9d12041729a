"""`arrays:PATH`: which arrays a data set of the user's own consists of, their parts and labels.

    PATH.npz, or a folder of .npy files    train_x, train_y, test_x, test_y, maybe val_x, val_y;
                                           or x, y, maybe split
    PATH.parquet, PATH.arrow               columns x, y, maybe split

Rows are counted in the order of the arrays. Without torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.data.column_files import ARROW_ENDINGS, PARQUET_ENDING, columns
from clsweep.data.hashed_draws import random_order
from clsweep.data.numpy_files import StoredArray, npy_file, npz_members
from clsweep.errors import StudyError
from clsweep.text import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Parts of a data set, in the order in which they are numbered.
PARTS = ("train", "val", "test")
_PART_WORDS = {
    "train": 0,
    "training": 0,
    "val": 1,
    "valid": 1,
    "validation": 1,
    "test": 2,
}
_FORMS = "train_x, train_y, test_x and test_y (maybe val_x and val_y), or x and y (maybe split)"
_KINDS = "a folder of .npy files, or a file that ends in .npz, .parquet, .arrow or .feather"
# One in five of every class tests where nothing says which examples do.
_TEST_SHARE = 5
_FEW = 10


class ArraySet(NamedTuple):
    """The arrays of a data set, unread.

    Attributes:
        path: the file or folder.
        files: all files that are read.
        x: inputs, one array per part that is there, or one array of all.
        y: their labels, in the same way.
        parts: the part of each of `x`, as its number in `PARTS`; empty where `split` says it, or
            where nothing does.
        split: the part of every row of the one `x`; None where it is not there.
        unread: names of what else is there.
    """

    path: Path
    files: tuple[Path, ...]
    x: tuple[StoredArray, ...]
    y: tuple[StoredArray, ...]
    parts: tuple[int, ...]
    split: StoredArray | None
    unread: tuple[str, ...]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of the inputs of an example, as a network gets it: [H, W] is (1, H, W)."""
        shape = self.x[0].shape[1:]
        return (1, *shape) if len(shape) == 2 else shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an input's values."""
        found: np.dtype[Any] = self.x[0].dtype
        return found

    @property
    def is_mapped(self) -> bool:
        """Whether inputs stay on the disk until they are asked for."""
        return all(array.mapping is not None for array in self.x)

    @property
    def n_bytes(self) -> int:
        """Bytes of all inputs."""
        return sum(len(array) * array.row_bytes for array in self.x)

    @property
    def n_targets(self) -> int:
        """Numbers to predict of every example, where y holds floating point; 0 for classes."""
        if self.y[0].dtype.kind != "f":
            return 0
        return math.prod(self.y[0].shape[1:])


class ArrayLabels(NamedTuple):
    """What is known of the rows of a data set.

    Attributes:
        classes: class of every row, int64 [N], in 0..len(names)-1; 0 for all of a regression.
        parts: part of every row, int8 [N], a number in `PARTS`.
        names: the labels as they are stored, sorted; a class is a position in this tuple.
        notes: what a reader has to know, a sentence each.
    """

    classes: NDArray[np.int64]
    parts: NDArray[np.int8]
    names: tuple[int, ...]
    notes: tuple[str, ...]

    def counts(self, part: int) -> tuple[int, ...]:
        """Examples of every class in a part."""
        import numpy as np

        found = np.bincount(self.classes[self.parts == part], minlength=len(self.names))
        return tuple(map(int, found))


def array_set(path: Path) -> ArraySet:
    """The arrays below a path; their headers are read, not their values.

    Args:
        path: the file or folder.

    Raises:
        StudyError: arrays are missing, named twice, or not of the same kind.
        OSError: a file cannot be read.
    """
    files, found, unread = _stored(path)
    named = _by_canonical_name(path, found)
    parts = [part for part in PARTS if f"{part}_x" in named or f"{part}_y" in named]
    if parts and not {"x", "y"} & named.keys():
        _require(
            path, named, [f"{part}_{what}" for part in ("train", "test") for what in "xy"], unread
        )
        _require(path, named, [f"{part}_{what}" for part in parts for what in "xy"], unread)
        x = tuple(named[f"{part}_x"] for part in parts)
        y = tuple(named[f"{part}_y"] for part in parts)
        split, numbers = None, tuple(PARTS.index(part) for part in parts)
    else:
        _require(path, named, ["x", "y"], unread)
        if parts:
            raise _mistake(
                f"{path} holds both x and {parts[0]}_x or {parts[0]}_y", expected=_FORMS
            )
        x, y, split, numbers = (named["x"],), (named["y"],), named.get("split"), ()
    _check_kinds(path, x, y, split)
    return ArraySet(path, files, x, y, numbers, split, tuple(unread))


def array_labels(arrays: ArraySet) -> ArrayLabels:
    """Classes and parts of all rows; labels are read, inputs are not.

    Args:
        arrays: the data set.

    Raises:
        StudyError: labels are no classes, or a class is missing in the training or test part.
    """
    import numpy as np

    if arrays.n_targets:
        return _target_rows(arrays)
    labels = [_whole_numbers(array) for array in arrays.y]
    names, classes = np.unique(np.concatenate(labels), return_inverse=True)
    classes = classes.reshape(-1).astype(np.int64)
    notes = [*_unread_notes(arrays)]
    if arrays.parts:
        parts = np.repeat(np.array(arrays.parts, np.int8), [len(one) for one in labels])
    elif arrays.split is not None:
        parts = _split_parts(arrays.split)
    else:
        parts = _drawn_parts(classes)
        notes.append(
            f"{arrays.path.name} has no test part: one in {_TEST_SHARE} examples of every class, "
            f"{int((parts == 2).sum()):,} in all, is drawn for testing, the same ones in every "
            "study"
        )
    if len(names) and int(names[-1]) != len(names) - 1:
        listed = ", ".join(str(int(name)) for name in names[:_FEW])
        notes.append(
            f"labels of {arrays.path.name} are not 0 to {len(names) - 1}: its "
            f"{counted(len(names), 'class', 'classes')} are {listed}"
            f"{', ...' if len(names) > _FEW else ''}, in this order"
        )
    found = ArrayLabels(classes, parts, tuple(int(name) for name in names), tuple(notes))
    _check_classes(arrays, found)
    return found


def array_targets(arrays: ArraySet) -> NDArray[np.float32]:
    """Numbers to predict, float32 [N, K], in the order of the arrays.

    Args:
        arrays: a data set of a regression.

    Raises:
        StudyError: y is of no sound shape, or holds what is no finite number.
    """
    import numpy as np

    found = []
    for array in arrays.y:
        if array.dtype.kind != "f" or array.shape[1:] != arrays.y[0].shape[1:]:
            raise _mistake(
                f"{arrays.y[0].place} holds {arrays.y[0].dtype} of shape "
                f"{list(arrays.y[0].shape[1:])} a row, {array.place} {array.dtype} of shape "
                f"{list(array.shape[1:])}",
                expected="targets of one shape in floating point in all parts",
            )
        if len(array.shape) > 2:
            raise _mistake(
                f"{array.place} has shape {list(array.shape)}",
                expected="one target a row, [N], or several, [N, K]",
            )
        values = array.values().astype(np.float32).reshape(len(array), -1)
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise _mistake(
                f"{array.place} holds the target {values[row].tolist()} in row {row} (counted "
                "from 0)",
                expected="finite numbers that float32 can hold",
            )
        found.append(values)
    return np.concatenate(found)


def _target_rows(arrays: ArraySet) -> ArrayLabels:
    """What is known of the rows of a regression: their parts."""
    import numpy as np

    targets = array_targets(arrays)
    classes = np.zeros(len(targets), np.int64)
    notes = [*_unread_notes(arrays)]
    if arrays.parts:
        parts = np.repeat(np.array(arrays.parts, np.int8), [len(one) for one in arrays.y])
    elif arrays.split is not None:
        parts = _split_parts(arrays.split)
    else:
        parts = _drawn_parts(classes)
        notes.append(
            f"{arrays.path.name} has no test part: one in {_TEST_SHARE} examples, "
            f"{int((parts == 2).sum()):,} in all, is drawn for testing, the same ones in every "
            "study"
        )
    for part, what in ((0, "training"), (2, "test")):
        own = targets[parts == part]
        if len(own) < 2:
            raise _mistake(
                f"{arrays.path} has {counted(len(own), f'{what} example')}",
                expected=f"two or more; {_FORMS}",
            )
        if (own == own[0]).all():
            raise _mistake(
                f"all {what} examples of {arrays.path} have the same target",
                expected="targets that differ: errors are measured against their spread",
            )
    return ArrayLabels(classes, parts, (0,), tuple(notes))


# ------------------------------------------------------------------------------------ which arrays


def _stored(path: Path) -> tuple[tuple[Path, ...], dict[str, StoredArray], list[str]]:
    """Files, arrays by name, and names of what is not read."""
    ending = path.suffix.lower()
    if path.is_dir():
        files = sorted(file for file in path.glob("*.npy") if file.name[0] != ".")
        kept = [file for file in files if is_array_name(file.stem)]
        other = [file.name for file in files if not is_array_name(file.stem)]
        return tuple(kept), {file.stem: npy_file(file.stem, file) for file in kept}, other
    if not path.exists():
        raise StudyError(
            f"there is no '{path}'",
            expected=_KINDS,
            where="[benchmark] dataset",
            next_step="a relative PATH is looked up beside the study file, then below the data "
            "root (--data-root DIR or CLSWEEP_DATA), or in the current folder where there is none",
        )
    if ending == ".npz":
        found = npz_members(path)
        kept_names = [name for name in found if is_array_name(name)]
        rest = [name for name in found if not is_array_name(name)]
        return (path,), {name: found[name] for name in kept_names}, rest
    if ending in (PARQUET_ENDING, *ARROW_ENDINGS):
        by_name, rest = columns(path, ("x", "y", "split"))
        return (path,), by_name, rest
    raise _mistake(f"'{path}' is no file of arrays that is read", expected=_KINDS)


def _canonical(name: str) -> str:
    """`x_train`, as some write it, is `train_x`."""
    first, _, second = name.partition("_")
    return f"{second}_{first}" if first in ("x", "y") and second in PARTS else name


def _by_canonical_name(path: Path, found: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
    """Arrays by canonical name; two names of one array would leave one of them unread."""
    names: dict[str, str] = {}
    for name in sorted(found):
        other = names.setdefault(_canonical(name), name)
        if other != name:
            raise _mistake(
                f"{path} holds both {other} and {name}, two names of the same array",
                expected="each array once",
                next_step="remove or rename the one that is not meant",
            )
    return {canonical: found[name] for canonical, name in names.items()}


def is_array_name(name: str) -> bool:
    """Whether an array of that name is read: 'train_x', 'x_train', 'split', ...

    Args:
        name: of an array.
    """
    name = _canonical(name)
    return name in ("x", "y", "split") or name in {f"{p}_{w}" for p in PARTS for w in "xy"}


def _require(
    path: Path, named: Mapping[str, StoredArray], names: Iterable[str], unread: Iterable[str]
) -> None:
    missing = [name for name in names if name not in named]
    if missing:
        there = ", ".join(sorted([*named, *unread])) or "none of these"
        raise _mistake(
            f"{path} lacks {', '.join(missing)}",
            expected=_FORMS,
            next_step=f"it has {there}",
        )


def _check_kinds(
    path: Path,
    x: tuple[StoredArray, ...],
    y: tuple[StoredArray, ...],
    split: StoredArray | None,
) -> None:
    for inputs, labels in zip(x, y, strict=True):
        _check_inputs(inputs)
        if not labels.shape or not len(labels) or not len(inputs):
            which = inputs if not len(inputs) else labels
            raise _mistake(f"{which.place} is empty", expected="one example or more")
        if len(inputs) != len(labels):
            raise _mistake(
                f"{inputs.place} has {len(inputs):,} rows, {labels.place} {len(labels):,}",
                expected="a label for every row",
            )
    for inputs in x[1:]:
        if inputs.shape[1:] != x[0].shape[1:] or inputs.dtype != x[0].dtype:
            raise _mistake(
                f"{x[0].place} holds rows of shape {list(x[0].shape[1:])} and type {x[0].dtype}, "
                f"{inputs.place} of shape {list(inputs.shape[1:])} and type {inputs.dtype}",
                expected="one shape and one type in all parts",
            )
    if split is not None and (len(split.shape) != 1 or len(split) != len(x[0])):
        raise _mistake(
            f"{split.place} has shape {list(split.shape)} for {len(x[0]):,} rows of x",
            expected="the part of every row: 'train', 'val' or 'test'",
        )


def _check_inputs(array: StoredArray) -> None:
    if len(array.shape) < 2 or not all(array.shape[1:]):
        raise StudyError(
            f"{array.place} has shape {list(array.shape)}",
            expected="images [N, C, H, W] or [N, H, W], or vectors [N, D]",
            where="[benchmark] dataset",
            next_step="x[:, None] makes vectors of one number each"
            if len(array.shape) == 1
            else "",
        )
    kind, size = array.dtype.kind, array.dtype.itemsize
    if not array.dtype.isnative and kind == "f":
        raise StudyError(
            f"{array.place} holds numbers in the byte order of another machine ({array.dtype})",
            expected="the order of this machine",
            where="[benchmark] dataset",
            next_step=f"save x.astype('{array.dtype.newbyteorder('=').name}')",
        )
    if (kind, size) not in (("u", 1), ("f", 2), ("f", 4), ("f", 8)):
        raise StudyError(
            f"{array.place} holds values of type {array.dtype}",
            expected="float32, float16 or float64, or uint8 for images of bytes",
            where="[benchmark] dataset",
            next_step="save x.astype(np.float32)",
        )


# ------------------------------------------------------------------------------- labels and parts


def _whole_numbers(array: StoredArray) -> NDArray[np.int64]:
    """Labels as stored, int64 [n]."""
    import numpy as np

    kind = array.dtype.kind
    if kind == "f":
        raise StudyError(
            f"{array.place} holds numbers of type {array.dtype}, and another part whole numbers",
            expected="classes in all parts, or targets in floating point",
            where="[benchmark] dataset",
            next_step="if they are classes, save y.astype(np.int64)",
        )
    if kind not in "iu":
        raise StudyError(
            f"{array.place} holds labels of type {array.dtype}",
            expected="whole numbers, the class of every row",
            where="[benchmark] dataset",
            next_step="names, y = np.unique(y, return_inverse=True) numbers classes",
        )
    if len(array.shape) == 2 and array.shape[1] == 1:
        pass  # a column
    elif len(array.shape) != 1:
        raise StudyError(
            f"{array.place} has shape {list(array.shape)}",
            expected="one label a row, [N]",
            where="[benchmark] dataset",
            next_step="of one-hot rows, save y.argmax(1)" if len(array.shape) == 2 else "",
        )
    values = array.values().reshape(-1)
    if kind == "i" and values.min() < 0:
        n = int((values < 0).sum())
        raise StudyError(
            f"{array.place} holds {counted(n, 'label')} below 0, the least is {int(values.min())}",
            expected="classes from 0",
            where="[benchmark] dataset",
            next_step="leave out rows without a label, or number the classes from 0",
        )
    found: NDArray[np.int64] = values.astype(np.int64)
    if kind == "u" and found.min() < 0:
        raise StudyError(
            f"{array.place} holds labels beyond 2^63",
            expected="classes from 0",
            where="[benchmark] dataset",
        )
    return found


def _split_parts(array: StoredArray) -> NDArray[np.int8]:
    """Part of every row, from its words."""
    import numpy as np

    words, index = np.unique(array.values(), return_inverse=True)
    unknown = [str(word) for word in words if str(word) not in _PART_WORDS]
    if unknown:
        raise StudyError(
            f"{array.place} holds {', '.join(map(repr, unknown[:_FEW]))}",
            expected="'train', 'val' or 'test' in every row",
            where="[benchmark] dataset",
        )
    numbers = np.array([_PART_WORDS[str(word)] for word in words], np.int8)
    found: NDArray[np.int8] = numbers[index.reshape(-1)]
    return found


def _drawn_parts(classes: NDArray[np.int64]) -> NDArray[np.int8]:
    """The part of every row where nothing says it: a fixed share of every class tests."""
    import numpy as np

    parts = np.zeros(len(classes), np.int8)
    for label in range(int(classes.max()) + 1):
        (rows,) = np.nonzero(classes == label)
        n_test = (len(rows) + _TEST_SHARE - 1) // _TEST_SHARE
        parts[rows[random_order(len(rows), "arrays", "test", label)[:n_test]]] = 2
    return parts


def _unread_notes(arrays: ArraySet) -> Iterable[str]:
    if arrays.unread:
        more = "; ..." if len(arrays.unread) > _FEW else ""
        yield f"of {arrays.path.name} are not read: {', '.join(arrays.unread[:_FEW])}{more}"


def _check_classes(arrays: ArraySet, labels: ArrayLabels) -> None:
    """Refuse a data set in which a class cannot be learnt, or not be tested."""
    if len(labels.names) < 2:
        raise _mistake(
            f"all examples of {arrays.path} have the label {labels.names[0]}",
            expected="two classes or more",
        )
    for part, what in ((0, "training"), (2, "test")):
        counts = labels.counts(part)
        absent = [str(name) for name, n in zip(labels.names, counts, strict=True) if not n]
        if len(absent) == len(counts):
            raise _mistake(f"{arrays.path} has no {what} examples", expected=_FORMS)
        if absent:
            more = f" and {len(absent) - _FEW} more" if len(absent) > _FEW else ""
            raise _mistake(
                f"{arrays.path} has no {what} example of class {', '.join(absent[:_FEW])}{more}",
                expected="one or more of every class in the training and in the test part",
            )


def _mistake(found: str, *, expected: str, next_step: str = "") -> StudyError:
    return StudyError(found, expected=expected, where="[benchmark] dataset", next_step=next_step)
