"""What a study's results are computed from besides its file: data, weights, code of a network.

Each has a fingerprint of what it holds. A results folder keeps those of its results, every record
its own, and the key of a stage holds those of everything that is not published data: what was
computed from other data is neither mixed nor reused. Neither torch nor ray is imported, and no
code of the study.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.code_files import code_files
from clsweep.dataset_specs import (
    DATASET_FILES,
    DECODING,
    DEFAULT_ROOT,
    FIRST_DECODING,
    FOLDER,
    decoding_of,
    folder_listing,
    folder_path,
)
from clsweep.errors import StoreError, StudyError
from clsweep.fingerprints import combined, file_hash, remembered, short
from clsweep.net_files import weights_file
from clsweep.printable import printable
from clsweep.surroundings import expanded

if TYPE_CHECKING:
    from clsweep.catalog import BenchmarkConfig
    from clsweep.settings import NetConfig
    from clsweep.study import Study

__all__ = [
    "KINDS",
    "Input",
    "Inputs",
    "data_inputs",
    "difference",
    "differently_read",
    "inputs_of",
    "mixture",
    "net_inputs",
    "of_inputs",
    "refusal",
    "refuse_mixture",
    "strangers",
    "unknown_text",
    "unlike",
    "values_of",
    "with_values",
]

# First words of names, which stand in `versions` of records beside names of packages.
KINDS = ("data", "weights", "code")
# Raised when a fingerprint is computed in another way, so that none is remembered.
_VERSION = 1
# MD5 of the published files: those that torchvision checks, and of what they unpack to.
_PUBLISHED: Mapping[str, Mapping[str, str]] = {
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
_FOLDERS = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "svhn": ".",
}
# What torchvision reads instead of the files in MNIST/raw where an old release has left it.
_LEGACY = ("processed/training.pt", "processed/test.pt")
_MOST_NAMED = 4
_MEND = "put back what has changed, or choose another folder with `--out`; nothing was deleted"


class Input(NamedTuple):
    """One thing that results are computed from.

    Attributes:
        name: kind and name as in the study file: 'data mnist', 'code my_nets:factory'.
        fingerprint: of all that it holds, 24 hexadecimal digits; '' where it is not there (yet).
        is_published: a data set as it is published, or absent and so downloaded as such: keys of
            stages leave it out.
        parts: (file, class folder or module, its fingerprint), sorted.
        where: its place, for messages.
        decoding: latest change in how files are read that concerns one of them.
    """

    name: str
    fingerprint: str
    is_published: bool = False
    parts: tuple[tuple[str, str], ...] = ()
    where: str = ""
    decoding: int = FIRST_DECODING


Inputs = tuple[Input, ...]


def inputs_of(study: Study, root: Path | None) -> Inputs:
    """All that the study's results are computed from.

    Args:
        study: the study.
        root: the data root, see `dataset_specs.dataset_spec`.

    Raises:
        StudyError: a folder of images, or a file of weights, is not there or cannot be read.
    """
    return data_inputs(study.benchmark, root) + net_inputs(study.net, root)


def data_inputs(benchmark: BenchmarkConfig, root: Path | None) -> Inputs:
    """The data sets of a benchmark; see `inputs_of`."""
    names = (benchmark.dataset, *getattr(benchmark, "target", ()))
    return tuple(_guarded(f"data {name}", partial(_data, name, root)) for name in names)


def net_inputs(net: NetConfig, root: Path | None) -> Inputs:
    """Pretrained weights, or the code of a factory; see `inputs_of`."""
    found = []
    if net.weights:
        found.append(_guarded(f"weights {net.weights}", partial(_weights, net, root)))
    if net.name == "custom":
        found.append(_guarded(f"code {net.factory}", partial(_code, net.factory)))
    return tuple(found)


def values_of(inputs: Iterable[Input]) -> dict[str, str]:
    """Name to fingerprint of what is there."""
    return {one.name: one.fingerprint for one in inputs if one.fingerprint}


def with_values(inputs: Iterable[Input]) -> tuple[tuple[str, str], ...]:
    """(name, fingerprint) of what must be in the keys of stages."""
    return tuple((i.name, i.fingerprint) for i in inputs if not i.is_published and i.fingerprint)


def of_inputs(versions: Mapping[str, Any]) -> dict[str, str]:
    """Name to fingerprint of the inputs among a record's versions; empty for old records."""
    return {
        name: str(value)
        for name, value in versions.items()
        if name.partition(" ")[0] in KINDS and " " in name
    }


# ------------------------------------------------------------------------------- fingerprints


def _guarded(name: str, make: Callable[[], Input]) -> Input:
    try:
        return make()
    except OSError as error:
        raise StudyError(
            f"{printable(name)} cannot be read: {error.strerror or error}",
            expected="files that may be read",
            where=str(error.filename or ""),
        ) from error


def _data(name: str, root: Path | None) -> Input:
    if name.startswith(FOLDER):
        return _image_folder(name, folder_path(name, root))
    label, folder, files = f"data {name}", *_published_files(name, root)
    paths = {part: folder / part for part in files}
    if not all(path.is_file() for path in paths.values()):
        return Input(label, "", is_published=True, where=str(folder))
    packed = [folder / file for file in _PUBLISHED[name] if (folder / file).is_file()]
    known = remembered(
        f"data {name} {folder.resolve()}",
        sorted({*paths.values(), *packed}),
        lambda: {
            "parts": {part: file_hash(path) for part, path in paths.items()},
            "is_published": _is_published(name, folder, paths),
        },
        _VERSION,
    )
    return _input(label, known["parts"], folder, is_published=known["is_published"])


def _published_files(name: str, root: Path | None) -> tuple[Path, list[str]]:
    """The folder of a data set, and the files in it that are read."""
    names = [file.removesuffix(".gz") for file in _PUBLISHED[name]]
    if name == "digits":
        spec = importlib.util.find_spec("sklearn")
        places = spec.submodule_search_locations if spec else None
        folder = Path(next(iter(places or ["."]))) / "datasets" / "data"
        return folder, ["digits.csv.gz"]
    folder = expanded(root or DEFAULT_ROOT) / _FOLDERS[name]
    if DATASET_FILES[name][0].endswith("/raw"):
        if all((folder / file).is_file() for file in _LEGACY):
            return folder, [*_LEGACY]
        folder = folder / "raw"
    return folder, names


def _is_published(name: str, folder: Path, paths: Mapping[str, Path]) -> bool:
    """Whether the files are those that everybody has; unpacked ones are compared with packed."""
    known = _PUBLISHED[name]
    if not paths.keys() <= {*known, *(file.removesuffix(".gz") for file in known)}:
        return False
    return all(
        file_hash(folder / file, "md5") == digest
        if file in paths
        else _unpacks_to(folder / file, digest, paths[file.removesuffix(".gz")])
        for file, digest in known.items()
    )


def _unpacks_to(packed: Path, digest: str, plain: Path) -> bool:
    import gzip

    if not packed.is_file() or file_hash(packed, "md5") != digest:
        return False
    with gzip.open(packed) as unpacked, plain.open("rb") as file:
        while chunk := unpacked.read(1 << 20):
            if file.read(len(chunk)) != chunk:
                return False
        return not file.read(1)


def _image_folder(name: str, path: Path) -> Input:
    listing = folder_listing(path)
    parts = {
        f"{part}/{label}": files
        for part, classes in (("train", listing.train), ("test", listing.test))
        for label, files in zip(listing.classes, classes, strict=True)
    }

    def compute() -> dict[str, Any]:
        found, latest = {}, FIRST_DECODING
        for part, files in parts.items():
            rows = [(file.name, file_hash(file), decoding_of(file)) for file in files]
            found[part] = combined(rows)
            latest = max(latest, *(row[2] for row in rows))
        return {"parts": found, "decoding": latest}

    files = [file for listed in parts.values() for file in listed]
    known = remembered(f"data {path.resolve()}", files, compute, [_VERSION, DECODING])
    return _input(f"data {name}", known["parts"], path, decoding=known["decoding"])


def _weights(net: NetConfig, root: Path | None) -> Input:
    path = weights_file(net, root)
    assert path is not None
    known = remembered(f"weights {path.resolve()}", [path], lambda: file_hash(path), _VERSION)
    return _input(f"weights {net.weights}", {path.name: known}, path)


def _code(factory: str) -> Input:
    files = code_files(factory.partition(":")[0])
    name = f"code {factory}"
    if not files:
        return Input(name, "", where=factory)
    return _input(name, {file.module: file.meaning for file in files}, files[0].path.parent)


def _input(
    name: str,
    parts: Mapping[str, str],
    where: Path,
    *,
    is_published: bool = False,
    decoding: int = FIRST_DECODING,
) -> Input:
    return Input(
        printable(name),
        combined(parts),
        is_published,
        tuple(sorted((printable(part), value[:24]) for part, value in parts.items())),
        str(where),
        decoding,
    )


# ------------------------------------------------------------------------------- comparison


def difference(one: Input, fingerprint: str, parts: Mapping[str, str] | None = None) -> str:
    """What has changed, as a sentence without its end; '' where nothing has, or is not there.

    Args:
        one: what is there now.
        fingerprint: what results were computed from.
        parts: the same in parts, where they are known.
    """
    if fingerprint in ("", one.fingerprint) or not one.fingerprint:
        return ""
    kind, _, name = one.name.partition(" ")
    return (
        f"{kind} '{name}': {short(fingerprint)} then, {short(one.fingerprint)} now"
        f"{_changed(dict(one.parts), parts)} ({one.where})"
    )


def _changed(now: Mapping[str, str], then: Mapping[str, str] | None) -> str:
    if not then:
        return ""
    groups = {
        "changed": [part for part in now if part in then and now[part] != then[part]],
        "new": [part for part in now if part not in then],
        "gone": [part for part in then if part not in now],
    }
    return "".join(f"; {word}: {_listed(names)}" for word, names in groups.items() if names)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(sorted(names)[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def unlike(expected: Iterable[Input], here: Iterable[Input]) -> list[str]:
    """In what a process would compute from something else than its driver plans with.

    Args:
        expected: what is there for the driver.
        here: what is there for the process; a data set that is not there will be downloaded.

    Returns:
        A sentence per difference, without its end.
    """
    own = {one.name: one for one in here}
    found = []
    for one in expected:
        mine = own[one.name]
        kind, _, name = one.name.partition(" ")
        is_to_come = mine.is_published and one.is_published
        if one.fingerprint == mine.fingerprint or (
            is_to_come and "" in (one.fingerprint, mine.fingerprint)
        ):
            continue
        there = _said(one.fingerprint, one.where)
        changed = _changed(dict(mine.parts), dict(one.parts))
        mine_is = _said(mine.fingerprint, mine.where)
        found.append(f"{kind} '{name}': {mine_is}, for the driver {there}{changed}")
    return found


def _said(fingerprint: str, where: str) -> str:
    return f"{short(fingerprint)} ({where})" if fingerprint else f"not found ({where})"


def strangers(complaints: Sequence[str]) -> StoreError:
    """What is raised where processes of a run do not find the same data, weights and code.

    Args:
        complaints: one per node, with its name.
    """
    return StoreError(
        "not every node finds the data, weights and code that the run is planned with:\n"
        + "\n".join(f"    {text}" for text in complaints),
        expected="the same files for the driver and on every node, and no change during a run",
        next_step="copy the driver's files to that node, or take the node out of the cluster, and "
        "run the same command again",
    )


def refusal(differences: Sequence[str], where: str) -> StoreError:
    """What is raised where results and inputs do not belong together.

    Args:
        differences: of `difference`.
        where: the results folder.
    """
    return StoreError(
        "the folder holds results of other data, weights or code, which cannot be mixed with new "
        "ones:\n" + "\n".join(f"    {text}" for text in differences),
        expected="what its results were computed from",
        where=where,
        next_step=_MEND,
    )


def differently_read(one: Input) -> str:
    """Why results of a release that recorded no inputs cannot go on with these; '' if they can.

    Args:
        one: what is there now.
    """
    if one.decoding == FIRST_DECODING:
        return ""
    kind, _, name = one.name.partition(" ")
    return (
        f"{kind} '{name}': some files are read as other pixels than by the clsweep that computed "
        f"these results ({one.where})"
    )


def unknown_text(inputs: Sequence[Input]) -> str:
    """What is said once of a folder whose results do not say what they were computed from.

    Args:
        inputs: what is there now.
    """
    listed = ", ".join(f"{i.name} = {short(i.fingerprint)}" for i in inputs)
    return (
        "an earlier clsweep computed the results in this folder and did not record from what; "
        f"they are taken to be of what is there now ({listed}), which is recorded from here on. "
        "If that has changed since, start anew with another `--out`"
    )


def refuse_mixture(records: Iterable[Mapping[str, Any]], where: str) -> None:
    """Refuse to choose among trials that are not comparable.

    Args:
        records: of one results folder.
        where: the folder, for the message.

    Raises:
        StoreError: they were computed from different data, weights or code of one name.
    """
    for name, found in _counts(records)[1].items():
        if len(found) > 1:
            kind, _, label = name.partition(" ")
            raise StoreError(
                f"the folder mixes trials of different {kind} under the name '{label}' "
                f"({_how_many(found)})",
                expected="trials whose accuracies can be compared",
                where=where,
                next_step="run the study anew with another `--out`",
            )


def _counts(records: Iterable[Mapping[str, Any]]) -> tuple[int, dict[str, dict[str, int]]]:
    """Number of records, and of those per name and fingerprint of an input."""
    n, counts = 0, dict[str, dict[str, int]]()
    for record in records:
        n += 1
        for name, value in of_inputs(record["trial"]["versions"]).items():
            of_name = counts.setdefault(name, {})
            of_name[value] = of_name.get(value, 0) + 1
    return n, counts


def _how_many(found: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} with {short(value)}" for value, n in sorted(found.items()))


def mixture(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Sentences about what the trials of one folder were computed from, where they differ.

    Args:
        records: of one results folder.
    """
    n, counts = _counts(records)
    for name, found in counts.items():
        kind, _, label = name.partition(" ")
        if len(found) > 1:
            yield (
                f"The folder mixes trials of different {kind} under the name '{label}' "
                f"({_how_many(found)}): their accuracies cannot be compared, so that nothing in "
                "this report can be relied on."
            )
        if unknown := n - sum(found.values()):
            yield (
                f"{unknown:,} of {n:,} trials are of a clsweep that did not record what its "
                f"{kind} '{label}' was; whether it was that of the others ("
                f"{short(min(found))}) is not known."
            )
