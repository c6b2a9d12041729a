"""What is known about data sets without loading an image or importing torch.

Seven data sets by name, with the exact size of every class, and folders of images, whose files
are listed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clsweep.errors import StudyError, closest_name

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "DATASETS",
    "DATASET_FILES",
    "DEFAULT_ROOT",
    "FOLDER",
    "DatasetSpec",
    "FolderListing",
    "data_root",
    "dataset_spec",
    "folder_listing",
    "folder_path",
    "image_shape",
    "n_image_channels",
    "opened_image",
]

FOLDER = "folder:"
# What torchvision keeps in the data root.
DATASET_FILES = {
    "mnist": ("MNIST/raw",),
    "fashion_mnist": ("FashionMNIST/raw",),
    "kmnist": ("KMNIST/raw",),
    "cifar10": ("cifar-10-batches-py",),
    "cifar100": ("cifar-100-python",),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
}
DEFAULT_ROOT = Path("~/.cache/clsweep/data")
_IMAGE_ENDINGS = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_GREY_MODES = frozenset(("1", "L", "LA"))
_DEEP_MODES = frozenset(("I", "F", "I;16", "I;16B", "I;16L", "I;16N"))


class DatasetSpec(NamedTuple):
    """What is known about a data set before it is loaded.

    Attributes:
        name: as in the study file.
        shape: (C, H, W) of every image.
        train_counts: training images of each class.
        test_counts: test images of each class.
    """

    name: str
    shape: tuple[int, int, int]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]

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


class FolderListing(NamedTuple):
    """The images of a folder, one tuple of files per class and part, in the order of their names.

    Attributes:
        classes: names of the classes, sorted; a label is a position in this tuple.
        train: files of `train/CLASS`, per class.
        test: files of `test/CLASS`, per class.
    """

    classes: tuple[str, ...]
    train: tuple[tuple[Path, ...], ...]
    test: tuple[tuple[Path, ...], ...]


def data_root(cli_value: str | None) -> Path | None:
    """The folder that holds data sets: the flag, else `CLSWEEP_DATA`, else None.

    Args:
        cli_value: what `--data-root` was given, if anything.
    """
    value = cli_value or os.environ.get("CLSWEEP_DATA", "")
    return Path(value).expanduser() if value else None


def dataset_spec(name: str, root: Path | None) -> DatasetSpec:
    """Sizes of a data set. Counts the files of a `folder:PATH` and opens one of its images.

    Args:
        name: a key of `DATASETS`, or `folder:PATH`.
        root: the data root; a relative PATH is looked up there, or in the current folder if None.

    Raises:
        StudyError: no data set has that name, or the folder is not laid out as expected.
    """
    if name in DATASETS:
        return DATASETS[name]
    if not name.startswith(FOLDER):
        raise StudyError(
            f"unknown data set '{name}'",
            expected=closest_name(name, [*DATASETS, "folder:PATH"]),
            where="[benchmark]",
            next_step="`clsweep benchmarks` lists them; folder:PATH reads PATH/train/CLASS/*.png",
        )
    listing = folder_listing(folder_path(name, root))
    return DatasetSpec(
        name,
        image_shape(listing.train[0][0]),
        tuple(len(files) for files in listing.train),
        tuple(len(files) for files in listing.test),
    )


def folder_path(name: str, root: Path | None) -> Path:
    """Where the images of `folder:PATH` lie; see `dataset_spec` for the arguments."""
    path = Path(name.removeprefix(FOLDER)).expanduser()
    return path if root is None else root / path


def folder_listing(path: Path) -> FolderListing:
    """All image files below `path`; files with other endings, and hidden ones, are passed over.

    Args:
        path: a folder with `train/CLASS/*` and `test/CLASS/*`.

    Raises:
        StudyError: a part or an image is missing, or the classes of the parts differ.
    """
    parts = {part: _class_files(path / part) for part in ("train", "test")}
    train, test = parts["train"], parts["test"]
    if train.keys() != test.keys():
        only = {part: sorted(parts[part].keys() - (train.keys() & test.keys())) for part in parts}
        raise StudyError(
            f"train/ and test/ hold different classes: only in train: {only['train']}, "
            f"only in test: {only['test']}",
            expected="the same class folders in both",
            where=str(path),
        )
    return FolderListing(tuple(train), tuple(train.values()), tuple(test.values()))


def _class_files(part: Path) -> dict[str, tuple[Path, ...]]:
    expected = "train/CLASS/*.png and test/CLASS/*.png (or another image format)"
    if not part.is_dir():
        raise StudyError(f"there is no folder '{part}'", expected=expected, where="[benchmark]")
    classes = sorted(p.name for p in part.iterdir() if p.is_dir() and p.name[0] != ".")
    if not classes:
        raise StudyError("no class folders", expected=expected, where=str(part))
    files = {
        name: tuple(
            sorted(
                file
                for file in (part / name).iterdir()
                if file.suffix.lower() in _IMAGE_ENDINGS and file.name[0] != "."
            )
        )
        for name in classes
    }
    for name, found in files.items():
        if not found:
            endings = " ".join(sorted(_IMAGE_ENDINGS))
            raise StudyError(
                "no images", expected=f"files ending in one of {endings}", where=str(part / name)
            )
    return files


def image_shape(file: Path) -> tuple[int, int, int]:
    """(C, H, W) that an image file is loaded with.

    Raises:
        StudyError: Pillow cannot read it, or it has more than 8 bits per channel.
    """
    with opened_image(file) as image:
        return n_image_channels(image.mode, file), image.height, image.width


@contextlib.contextmanager
def opened_image(file: Path) -> Iterator[Image]:
    """A Pillow image within the block, whose pixels may still have to be decoded.

    Args:
        file: an image file.

    Raises:
        StudyError: Pillow cannot read it, or cannot decode it in the block.
    """
    from PIL import Image as pillow

    try:
        with pillow.open(file) as image:
            yield image
    except (pillow.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise StudyError(
            f"unreadable image: {error}",
            expected="an image that Pillow reads",
            where=str(file),
            next_step="replace or delete the file",
        ) from error


def n_image_channels(mode: str, file: Path) -> int:
    """Channels that an image of a Pillow mode is loaded with: 1 for grey, 3 for everything else.

    Raises:
        StudyError: more than 8 bits per channel, which uint8 cannot hold.
    """
    if mode in _DEEP_MODES:
        raise StudyError(
            f"an image of Pillow mode '{mode}'",
            expected="8 bits per channel",
            where=str(file),
            next_step="convert the images to 8 bits",
        )
    return 1 if mode in _GREY_MODES else 3
