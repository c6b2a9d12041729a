"""What a study's results are computed from besides its file: data, weights, code of a network.

Each has a fingerprint of what it holds. A results folder keeps those of its results, every record
its own, and the key of a stage holds those of everything that is not published data: what was
computed from other data is neither mixed nor reused. Neither torch nor ray is imported, and no
code of the study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.code_files import code_files
from clsweep.dataset_specs import (
    DECODING,
    FIRST_DECODING,
    FOLDER,
    decoding_of,
    folder_listing,
    folder_path,
)
from clsweep.errors import StoreError, StudyError
from clsweep.fingerprints import combined, file_hash, remembered, short
from clsweep.idx_files import idx_file
from clsweep.net_files import weights_file
from clsweep.printable import printable
from clsweep.published_files import PUBLISHED, content_hash, is_published, published_files

if TYPE_CHECKING:
    from clsweep.catalog import BenchmarkConfig
    from clsweep.schema import Record
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
    data = data_inputs(study.benchmark, root, study.located_benchmark)
    return data + net_inputs(study.net, root, study.located_net)


def data_inputs(
    benchmark: BenchmarkConfig, root: Path | None, located: BenchmarkConfig | None = None
) -> Inputs:
    """The data sets of a benchmark; see `inputs_of`.

    Args:
        benchmark: as the study names it.
        root: the data root.
        located: the same with full paths, see `Study.located_benchmark`.
    """
    places = (located or benchmark).datasets
    return tuple(
        _guarded(f"data {name}", partial(_data, name, place, root))
        for name, place in zip(benchmark.datasets, places, strict=True)
    )


def net_inputs(net: NetConfig, root: Path | None, located: NetConfig | None = None) -> Inputs:
    """Pretrained weights, or the code of a factory; see `inputs_of`.

    Args:
        net: as the study names it.
        root: the data root.
        located: the same with full paths, see `Study.located_net`.
    """
    found = []
    if net.weights:
        name = f"weights {net.weights}"
        found.append(_guarded(name, partial(_weights, name, located or net, root)))
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
            expected="undamaged files that may be read",
            where=str(error.filename or ""),
        ) from error


def _data(name: str, place: str, root: Path | None) -> Input:
    if name.startswith(FOLDER):
        return _image_folder(name, folder_path(place, root))
    label, folder, files = f"data {name}", *published_files(name, root)
    # One that is there in its packed form alone counts as what it unpacks to.
    paths = {part: idx_file(folder, part) or folder / part for part in files}
    if not all(path.is_file() for path in paths.values()):
        return Input(label, "", is_published=True, where=str(folder))
    packed = [folder / file for file in PUBLISHED[name] if (folder / file).is_file()]
    known = remembered(
        f"data {name} {folder.resolve()}",
        sorted({*paths.values(), *packed}),
        lambda: {
            "parts": {part: content_hash(part, path) for part, path in paths.items()},
            "is_published": is_published(name, folder, paths),
        },
        _VERSION,
    )
    return _input(label, known["parts"], folder, is_published=known["is_published"])


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


def _weights(name: str, net: NetConfig, root: Path | None) -> Input:
    path = weights_file(net, root)
    assert path is not None
    known = remembered(f"weights {path.resolve()}", [path], lambda: file_hash(path), _VERSION)
    return _input(name, {path.name: known}, path)


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


def refuse_mixture(records: Iterable[Record], where: str) -> None:
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


def _counts(records: Iterable[Record]) -> tuple[int, dict[str, dict[str, int]]]:
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


def mixture(records: Iterable[Record]) -> Iterator[str]:
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
