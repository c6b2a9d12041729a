"""Facts about data sets that need no image loaded and no torch imported.

Seven data sets by name, with the exact size of every class; folders of images, whose files are
listed; arrays of the user's own, whose values are looked at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from clsweep.data import array_surveys
from clsweep.data.array_sets import ARRAYS
from clsweep.data.image_folders import Framing, folder_listing, survey
from clsweep.errors import StudyError, closest_name
from clsweep.process_environment import expanded

FOLDER = "folder:"
DEFAULT_ROOT = Path("~/.cache/clsweep/data")
AS_STORED = Framing()


class DatasetSpec(NamedTuple):
    """What is known about a data set before it is loaded.

    Attributes:
        name: as in the study file.
        shape: of every input, (C, H, W) for images.
        train_counts: training images of each class.
        test_counts: test images of each class.
        notes: what is doubtful about a folder of images, or arrays, a sentence each.
        validation_counts: validation images of each class; empty where they are drawn from the
            training images.
        dtype: of stored values.
        class_names: of the classes; empty for their numbers.
        residence: what of arrays is in memory, a sentence; '' for other data, which are.
    """

    name: str
    shape: tuple[int, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    notes: tuple[str, ...] = ()
    validation_counts: tuple[int, ...] = ()
    dtype: str = "uint8"
    class_names: tuple[str, ...] = ()
    residence: str = ""

    @property
    def n_train(self) -> int:
        """Training images in all."""
        return sum(self.train_counts)

    @property
    def n_test(self) -> int:
        """Test images in all."""
        return sum(self.test_counts)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.train_counts)


_SPECS = (
    DatasetSpec(
        "digits",
        (1, 8, 8),
        (128, 131, 128, 132, 131, 131, 131, 129, 126, 130),
        (50, 51, 49, 51, 50, 51, 50, 50, 48, 50),
    ),
    DatasetSpec(
        "mnist",
        (1, 28, 28),
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    DatasetSpec("fashion_mnist", (1, 28, 28), (6000,) * 10, (1000,) * 10),
    DatasetSpec("kmnist", (1, 28, 28), (6000,) * 10, (1000,) * 10),
    DatasetSpec("cifar10", (3, 32, 32), (5000,) * 10, (1000,) * 10),
    DatasetSpec("cifar100", (3, 32, 32), (500,) * 100, (100,) * 100),
    DatasetSpec(
        "svhn",
        (3, 32, 32),
        (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
        (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
    ),
)
DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in _SPECS}


def data_root(named: Path | str | None) -> Path | None:
    """The folder that holds data sets: the one that is named, else `CLSWEEP_DATA`, else None.

    Args:
        named: what `--data-root`, or a caller in Python, has given, if anything.
    """
    value = named or os.environ.get("CLSWEEP_DATA", "")
    return expanded(Path(value), "--data-root, or CLSWEEP_DATA") if value else None


def dataset_spec(name: str, root: Path | None, framing: Framing = AS_STORED) -> DatasetSpec:
    """Sizes of a data set. Looks at every image of a `folder:PATH`, every value of `arrays:PATH`.

    Args:
        name: a key of `DATASETS`, `folder:PATH` or `arrays:PATH`.
        root: the data root; a relative PATH is looked up there, or in the current folder if None.
            What lies beside the study file comes before, see `Study.located_benchmark`.
        framing: how a folder's images come to one size.

    Raises:
        StudyError: no data set has that name, the folder is not laid out as expected, or its
            images, or the arrays, cannot be used.
    """
    if name in DATASETS:
        return DATASETS[name]
    if name.startswith(ARRAYS):
        return _arrays_spec(name, root)
    if not name.startswith(FOLDER):
        raise StudyError(
            f"unknown data set '{name}'",
            expected=closest_name(name, [*DATASETS, "folder:PATH", "arrays:PATH"]),
            where="[benchmark]",
            next_step="`clsweep benchmarks` lists them; folder:PATH reads PATH/train/CLASS/*.png, "
            "arrays:PATH a file or folder of arrays",
        )
    path = folder_path(name, root)
    listing = folder_listing(path)
    found = survey(path, framing, listing)
    return DatasetSpec(
        name,
        found.shape,
        tuple(len(files) for files in listing.train),
        tuple(len(files) for files in listing.test),
        (*listing.notes, *found.notes),
        tuple(len(files) for files in listing.validation),
    )


def _arrays_spec(name: str, root: Path | None) -> DatasetSpec:
    path = folder_path(name, root)
    try:
        found = array_surveys.survey(path)
    except OSError as error:
        raise StudyError(
            f"{error.filename or path} cannot be read: {error.strerror or error}",
            expected="undamaged files that may be read",
            where="[benchmark] dataset",
        ) from error
    train, validation, test = found.counts
    return DatasetSpec(
        name,
        found.shape,
        train,
        test,
        found.notes,
        validation if any(validation) else (),
        found.dtype,
        tuple(map(str, found.names)),
        found.residence,
    )


def folder_path(name: str, root: Path | None) -> Path:
    """Where the files of `folder:PATH` or `arrays:PATH` lie; see `dataset_spec`."""
    path = expanded(Path(name.removeprefix(FOLDER).removeprefix(ARRAYS)), "[benchmark]")
    return path if root is None else root / path
