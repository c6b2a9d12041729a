"""Data sets in memory: the bundled digits, torchvision's, folders of images, the user's arrays.

Arrays may lie on the disk instead, to be read as they are asked for.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsweep.data.array_sets import PARTS, ArraySet, array_labels, array_set, array_targets
from clsweep.data.array_surveys import rows_of
from clsweep.data.class_counts import digits_test_rows
from clsweep.data.data_files import (
    LOCK,
    STORED,
    check_place,
    is_legacy,
    is_there,
    missing_files,
    place_of_data,
)
from clsweep.data.data_root import folder_path
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import ARRAYS, AS_STORED, DATASETS, Framing
from clsweep.data.digits_file import read_digits
from clsweep.data.file_lock import alone
from clsweep.data.idx_files import idx_file, read_idx
from clsweep.data.image_decoding import DECODING, picture
from clsweep.data.image_folders import folder_listing, framed, survey
from clsweep.data.kept_pixels import Images, pixels_of
from clsweep.data.polynomials import N_TRAIN, N_VALIDATION, POLYNOMIALS, examples
from clsweep.data.stored_rows import Piece, StoredRows, rows_tensor
from clsweep.data.tasks import Inputs
from clsweep.errors import StudyError

# Images uint8 [N, C, H, W] and labels [N].
_Part = tuple[NDArray[Any], NDArray[Any]]
# torchvision's classes.
_TORCHVISION = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
}
# What torchvision, torch and numpy raise on damaged files.
_UNREADABLE = (
    AssertionError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    ValueError,
    pickle.UnpicklingError,
)
_ROOT_ADVICE = "copy it there, or name another data root with --data-root or CLSWEEP_DATA"


class Dataset(NamedTuple):
    """A data set: training images, then its own for validation if it has any, then test images.

    Attributes:
        images: [N, C, H, W] for images, uint8 unless they are arrays of the user's own.
        labels: int64 [N], in 0..n_classes-1.
        n_train: how many of them are for training.
        n_classes: number of classes.
        n_validation: how many of them are for validation and nothing else; 0 where validation
            images are drawn from the training images.
        targets: of a regression, whose labels are all 0: what is predicted, float32 [N, K]; None
            for classes.
    """

    images: Inputs
    labels: Tensor
    n_train: int
    n_classes: int
    n_validation: int = 0
    targets: Tensor | None = None

    @property
    def n_before_test(self) -> int:
        """Images that do not test."""
        return self.n_train + self.n_validation

    @property
    def train_images(self) -> Tensor:
        """Training images; of a tensor, a view."""
        return self._rows(0, self.n_train)

    @property
    def train_labels(self) -> Tensor:
        """Their labels, a view."""
        return self.labels[: self.n_train]

    @property
    def test_images(self) -> Tensor:
        """Test images; of a tensor, a view."""
        return self._rows(self.n_before_test, len(self.labels))

    @property
    def test_labels(self) -> Tensor:
        """Their labels, a view."""
        return self.labels[self.n_before_test :]

    def _rows(self, start: int, stop: int) -> Tensor:
        if isinstance(self.images, Tensor):
            return self.images[start:stop]
        return self.images.index_select(0, torch.arange(start, stop))


@lru_cache(maxsize=4)
def load(name: str, root: Path | None, framing: Framing = AS_STORED) -> Dataset:
    """A data set, read once per process; do not write to its tensors.

    Args:
        name: a key of `dataset_specs.DATASETS`, `folder:PATH` or `arrays:PATH`.
        root: the data root; None for the user's cache folder (torchvision's data sets) and the
            current folder (a relative PATH). torchvision's are downloaded to it if absent.
        framing: how a folder's images come to one size.

    Raises:
        StudyError: unknown name, or data that is absent or unreadable.
    """
    if name == "digits":
        return _digits()
    if name in POLYNOMIALS:
        return _polynomial(name)
    if name in _TORCHVISION:
        return _torchvision(name, place_of_data(root))
    if name.startswith("folder:"):
        return _folder(folder_path(name, root), framing)
    if name.startswith(ARRAYS):
        dataset_spec(name, root)  # refuses what cannot be used
        return array_dataset(array_set(folder_path(name, root)))
    dataset_spec(name, root)
    raise AssertionError(f"'{name}' is in the catalogue but has no loader")


def _dataset(train: _Part, test: _Part, n_classes: int, own: _Part | None = None) -> Dataset:
    """One data set of two parts, or of three with images of its own for validation."""
    parts = [train, test] if own is None else [train, own, test]
    images = torch.from_numpy(np.concatenate([part[0] for part in parts]))
    labels = torch.from_numpy(np.concatenate([part[1] for part in parts]).astype(np.int64))
    return Dataset(images, labels, len(train[0]), n_classes, 0 if own is None else len(own[0]))


def array_dataset(arrays: ArraySet) -> Dataset:
    """A data set of arrays, whose inputs stay on the disk where they can be mapped.

    Args:
        arrays: which have been looked at, see `array_surveys.survey`.
    """
    labels = array_labels(arrays)
    order = rows_of(labels)
    pieces = [
        Piece(rows_tensor(values, arrays.row_shape), array.mapping)
        for array in arrays.x
        for values in array.pieces()
        if len(values)
    ]
    in_order = bool((order[1:] > order[:-1]).all())
    images = StoredRows(pieces, None if in_order else torch.from_numpy(order))
    n_train, n_validation, _ = (sum(labels.counts(part)) for part in range(len(PARTS)))
    classes = torch.from_numpy(labels.classes[order])
    targets = torch.from_numpy(array_targets(arrays)[order]) if arrays.n_targets else None
    return Dataset(images, classes, n_train, len(labels.names), n_validation, targets)


def _polynomial(name: str) -> Dataset:
    x, y = map(torch.from_numpy, examples(name))
    labels = torch.zeros(len(x), dtype=torch.int64)
    return Dataset(x, labels, N_TRAIN, 1, N_VALIDATION, y)


def _digits() -> Dataset:
    """Scikit-learn's 8x8 digits, 0..16 stretched to 0..255; a fixed share of each class tests."""
    pixels, labels = read_digits()
    images = np.floor(pixels * (255 / 16) + 0.5).astype(np.uint8)[:, None]
    is_test = digits_test_rows(labels)
    return _dataset((images[~is_test], labels[~is_test]), (images[is_test], labels[is_test]), 10)


def fetch(name: str, root: Path | None) -> None:
    """Download a data set that torchvision knows, unless it is there; others are left alone.

    Args:
        name: see `load`.
        root: the data root; see `load`.

    Raises:
        StudyError: it cannot be downloaded, or something of it is there in another form.
    """
    place = place_of_data(root)
    if name not in _TORCHVISION or is_there(name, place):
        return
    try:
        _download(name, place)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(
            f"data set '{name}' is not in the data root and cannot be downloaded: {reason}",
            expected=" and ".join(missing_files(name, place)),
            where=str(place),
            next_step=_ROOT_ADVICE,
        ) from error


def _torchvision(name: str, root: Path) -> Dataset:
    class_name = _TORCHVISION[name]
    fetch(name, root)
    try:
        if STORED[name].is_idx and not is_legacy(name, root):  # torchvision takes seconds to load
            parts = [_idx_part(root / STORED[name].folder, part) for part in ("train", "t10k")]
        else:
            parts = [
                _part(class_name, root, is_train, download=False) for is_train in (True, False)
            ]
    except _UNREADABLE as error:
        raise StudyError(
            f"data set '{name}' cannot be read: {type(error).__name__}: {error}",
            expected=f"undamaged {', '.join(STORED[name].files)} in {STORED[name].folder}",
            where=str(root),
            next_step="put back undamaged files, or name another data root with --data-root or "
            "CLSWEEP_DATA, to which the whole is downloaded; nothing was changed",
        ) from error
    return _dataset(parts[0], parts[1], DATASETS[name].n_classes)


def _idx_part(folder: Path, part: str) -> _Part:
    """One part of MNIST or a relative of it, plain or packed: the data root is only read."""
    names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    images, labels = (read_idx(idx_file(folder, name) or folder / name) for name in names)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(f"images {images.shape} and labels {labels.shape} do not belong together")
    return images[:, None], labels


def _part(class_name: str, root: Path, is_train: bool, *, download: bool) -> _Part:
    import torchvision

    opener = getattr(torchvision.datasets, class_name)
    if class_name == "SVHN":
        part = opener(root, split="train" if is_train else "test", download=download)
        return part.data, part.labels
    part = opener(root, train=is_train, download=download)
    images, labels = np.asarray(part.data), np.asarray(part.targets)
    return (images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)), labels


def _download(name: str, root: Path) -> None:
    """Download both parts beside their place and move them in whole.

    Many workers may start at once: one downloads, the others wait for the lock, and none ever
    sees half a file. What is there already stays.
    """
    is_new = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    try:
        with alone(root / LOCK):
            if not missing_files(name, root):
                return
            check_place(name, root)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as folder:
                beside = Path(folder)
                _part(_TORCHVISION[name], beside, True, download=True)
                _part(_TORCHVISION[name], beside, False, download=True)
                for entry in beside.iterdir():
                    _move(entry, root / entry.name)
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # another worker has put something there
                root.rmdir()
        raise


def _move(entry: Path, target: Path) -> None:
    """Move a file or folder; of a folder that exists, what is new."""
    if entry.is_dir() and target.is_dir():
        for child in entry.iterdir():
            _move(child, target / child.name)
    elif not target.exists():
        os.replace(entry, target)


def _folder(path: Path, framing: Framing) -> Dataset:
    """Every image of a folder; see `image_folders` for what is refused."""
    listing = folder_listing(path)
    shape, _, shows_nothing = survey(path, framing, listing)
    if shows_nothing:
        raise StudyError(
            "all images show exactly the same",
            expected="images that differ",
            where=str(path),
            next_step="look at them in a viewer: what it shows is what is read",
        )
    parts = [*listing.parts.values()]
    files = [file for classes in parts for label in classes for file in label]
    name = f"{path.resolve()} {framing.resize} {framing.crop}"
    decoded = partial(_pixels, shape=shape, framing=framing)
    images = pixels_of(Images(name, files, shape, DECODING, decoded))
    n_parts = [sum(map(len, classes)) for classes in parts]
    labels = [
        np.repeat(np.arange(len(classes)), [len(label) for label in classes]) for classes in parts
    ]
    return Dataset(
        torch.from_numpy(images),
        torch.from_numpy(np.concatenate(labels)),
        n_parts[0],
        len(listing.classes),
        n_parts[1] if listing.validation else 0,
    )


def _pixels(file: Path, shape: tuple[int, int, int], framing: Framing) -> NDArray[np.uint8]:
    """One image, uint8 [C, H, W]; a grey one among colour images is repeated in every channel."""
    pixels = framed(picture(file), framing)
    if pixels.shape[1:] != shape[1:]:
        raise StudyError(
            "an image that changed its size while its folder was read",
            where=str(file),
            next_step="run again when nobody writes to the folder",
        )
    return pixels[: shape[0]]
