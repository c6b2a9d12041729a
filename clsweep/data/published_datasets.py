"""The named data sets as they are published: which files everybody has, and by which hash."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from clsweep.data.data_files import LEGACY, STORED, is_legacy, legacy_folder, place_of_data
from clsweep.data.fingerprints import file_hash
from clsweep.data.idx_files import unpacked

# MD5 of the published files: those that torchvision checks, and of what they unpack to.
PUBLISHED: dict[str, Mapping[str, str]] = {
    "digits": {"digits.csv.gz": "9b335364a7bfd63947c7480a5bd51f2d"},
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    "kmnist": {
        "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    },
    "cifar10": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    "cifar100": {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    },
    "svhn": {
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    },
}


def published_files(name: str, root: Path | None) -> tuple[Path, list[str]]:
    """The folder of a data set, and the files in it that are read.

    Args:
        name: a key of `PUBLISHED`.
        root: the data root.
    """
    names = [file.removesuffix(".gz") for file in PUBLISHED[name]]
    if name == "digits":
        spec = importlib.util.find_spec("sklearn")
        places = spec.submodule_search_locations if spec else None
        folder = Path(next(iter(places or ["."]))) / "datasets" / "data"
        return folder, ["digits.csv.gz"]
    if is_legacy(name, root):
        return legacy_folder(name, root), [*LEGACY]
    return place_of_data(root) / STORED[name].folder, names


def is_published(name: str, folder: Path, paths: Mapping[str, Path]) -> bool:
    """Whether the files are those that everybody has; unpacked ones are compared with packed.

    Args:
        name: a key of `PUBLISHED`.
        folder: where they lie.
        paths: file as it is read -> where it is, maybe packed.
    """
    known = PUBLISHED[name]
    if not paths.keys() <= {*known, *(file.removesuffix(".gz") for file in known)}:
        return False
    return all(
        content_hash(file, paths[file], "md5") == digest
        if file in paths
        else _unpacks_to(folder / file, digest, paths[file.removesuffix(".gz")])
        for file, digest in known.items()
    )


def content_hash(name: str, path: Path, algorithm: str = "sha256") -> str:
    """Hash of what a file of that name holds, where only its packed form may be there.

    Args:
        name: of the file, unpacked.
        path: the file, or its packed form.
        algorithm: of `hashlib`.

    Raises:
        OSError: it cannot be read, or unpacked.
    """
    if path.name == Path(name).name:
        return file_hash(path, algorithm)
    return hashlib.new(algorithm, unpacked(path), usedforsecurity=False).hexdigest()


def _unpacks_to(packed: Path, digest: str, plain: Path) -> bool:
    if not packed.is_file() or file_hash(packed, "md5") != digest:
        return False
    if packed == plain:
        return True
    with gzip.open(packed) as content, plain.open("rb") as file:
        while chunk := content.read(1 << 20):
            if file.read(len(chunk)) != chunk:
                return False
        return not file.read(1)
