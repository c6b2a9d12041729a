"""The files of the named data sets in a data root: what is there, and what lies there wrongly.

A data root that holds a data set is only read. What is there and is not what was expected is named
and left as it is; nobody is advised to delete anything. Without torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clsweep.data.data_root import DEFAULT_ROOT
from clsweep.errors import StudyError
from clsweep.process_environment import expanded

LOCK = ".download.lock"
# What old releases of torchvision wrote, and newer ones read instead of the files in raw/.
LEGACY = ("processed/training.pt", "processed/test.pt")
_IDX = tuple(
    f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
)


class StoredFiles(NamedTuple):
    """How a data set lies in the data root.

    Attributes:
        folder: below the root.
        files: in that folder; those of the idx format may be packed as '.gz'.
        archive: the packed form in which it is downloaded, if that is one file.
        megabytes: of a download.
    """

    folder: str
    files: tuple[str, ...]
    archive: str
    megabytes: int

    @property
    def is_idx(self) -> bool:
        """Whether the files may be packed one by one."""
        return self.files == _IDX


STORED = {
    "mnist": StoredFiles("MNIST/raw", _IDX, "", 12),
    "fashion_mnist": StoredFiles("FashionMNIST/raw", _IDX, "", 31),
    "kmnist": StoredFiles("KMNIST/raw", _IDX, "", 21),
    "cifar10": StoredFiles(
        "cifar-10-batches-py",
        (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        "cifar-10-python.tar.gz",
        171,
    ),
    "cifar100": StoredFiles(
        "cifar-100-python", ("train", "test", "meta"), "cifar-100-python.tar.gz", 169
    ),
    "svhn": StoredFiles(".", ("train_32x32.mat", "test_32x32.mat"), "", 246),
}


def place_of_data(root: Path | None) -> Path:
    """The folder in which named data sets are looked for.

    Args:
        root: the data root, or None for the user's cache folder.
    """
    return expanded(root or DEFAULT_ROOT)


def legacy_folder(name: str, root: Path | None) -> Path:
    """Where `LEGACY` lies, if it is there.

    Args:
        name: a key of `STORED`.
        root: the data root.
    """
    return (place_of_data(root) / STORED[name].folder).parent


def is_legacy(name: str, root: Path | None) -> bool:
    """Whether torchvision reads what an old release of it has left, whatever else is there.

    Args:
        name: a key of `STORED`.
        root: the data root.
    """
    folder = legacy_folder(name, root)
    return STORED[name].is_idx and all((folder / file).is_file() for file in LEGACY)


def missing_files(name: str, root: Path | None) -> tuple[str, ...]:
    """The files of a data set that are not there, below the data root; none for built-in data.

    Args:
        name: a key of `dataset_specs.DATASETS`.
        root: the data root.
    """
    stored = STORED.get(name)
    if stored is None:
        return ()
    if is_legacy(name, root):
        return ()
    folder = place_of_data(root) / stored.folder
    return tuple(
        str(Path(stored.folder) / file)
        for file in stored.files
        if not _is_there(folder, file, stored)
    )


def is_there(name: str, root: Path | None) -> bool:
    """Whether a data set is whole; False where a run would download it.

    Args:
        name: a key of `dataset_specs.DATASETS`.
        root: the data root.

    Raises:
        StudyError: something of it is there, in another place or form, or incomplete.
    """
    if not missing_files(name, root):
        return True
    if not (place_of_data(root) / LOCK).exists():  # else it is just being downloaded
        check_place(name, root)
    return False


def check_place(name: str, root: Path | None) -> None:
    """Refuse to download over what a user has put there for the same purpose.

    Args:
        name: a data set that is not whole.
        root: the data root.

    Raises:
        StudyError: some of its files, all of them elsewhere, or its archive are there.
    """
    stored, place = STORED[name], place_of_data(root)
    missing = missing_files(name, root)
    expected = f"{_listed(stored.files)} in {place / stored.folder}"
    other = next((f for f in _other_places(stored, place) if _is_whole(f, stored)), None)
    if other is not None:
        above = _root_above(other, stored)
        raise StudyError(
            f"data set '{name}' lies in {other}, where it is not looked for",
            expected=expected,
            where=str(place),
            next_step=f"`--data-root {above}`"
            if above
            else f"move the files, or `ln -s {other} {place / stored.folder}`",
        )
    if len(missing) < len(stored.files):
        raise StudyError(
            f"data set '{name}' is incomplete: {_listed(missing)} missing",
            expected=expected,
            where=str(place),
            next_step="add what is missing, or name another data root with --data-root or "
            "CLSWEEP_DATA, to which the whole is downloaded; nothing was changed",
        )
    if stored.archive:
        found = next(
            (p for p in (place, *place.glob("*/")) if (p / stored.archive).is_file()), None
        )
        if found is not None:
            raise StudyError(
                f"data set '{name}' is packed: {found / stored.archive}",
                expected=expected,
                where=str(place),
                next_step=f"`tar -xzf {found / stored.archive} -C {place}`",
            )


def _other_places(stored: StoredFiles, place: Path) -> Iterator[Path]:
    """Where people put the files instead: one folder too deep, too high, or without raw/."""
    top = stored.folder.partition("/")[0]
    names = [top, f"{top}/raw", "raw", ".", f"{top}/{top}/raw", f"{top}/{top}"]
    names += [f"{folder}/{stored.folder}" for folder in ("data", "raw", "datasets")]
    yield from (place / name for name in names)
    if place.name in (top, "raw"):
        yield place.parent / stored.folder
    if place.name == "raw":
        yield place.parent.parent / stored.folder


def _root_above(folder: Path, stored: StoredFiles) -> Path | None:
    """The data root for which a folder is where it should be."""
    wanted = Path(stored.folder).parts
    parts = folder.absolute().parts
    if not wanted:
        return folder
    return Path(*parts[: -len(wanted)]) if parts[-len(wanted) :] == wanted else None


def _is_whole(folder: Path, stored: StoredFiles) -> bool:
    return all(_is_there(folder, file, stored) for file in stored.files)


def _is_there(folder: Path, file: str, stored: StoredFiles) -> bool:
    packed = stored.is_idx and (folder / f"{file}.gz").is_file()
    return packed or (folder / file).is_file()


def _listed(files: tuple[str, ...]) -> str:
    return ", ".join(files)
