"""Inputs of a study besides its file: data, weights, code of a network or an optimiser.

Each has a fingerprint of what it holds. A results folder keeps those of its results, every record
its own, and the key of a stage holds those of everything that is not published data: what was
computed from other data is neither mixed nor reused. Neither torch nor ray is imported, and no
code of the study.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsweep.data.array_surveys import survey
from clsweep.data.data_root import folder_path
from clsweep.data.dataset_specs import ARRAYS, FOLDER
from clsweep.data.factory_calls import FACTORY, factory_call
from clsweep.data.fingerprints import combined, file_hash, remembered
from clsweep.data.idx_files import idx_file
from clsweep.data.image_decoding import DECODING, decoding_of
from clsweep.data.image_folders import folder_listing
from clsweep.data.polynomials import POLYNOMIALS, examples
from clsweep.data.published_datasets import PUBLISHED, content_hash, is_published, published_files
from clsweep.errors import StudyError
from clsweep.nets.checks import weights_file
from clsweep.nets.code_files import code_files
from clsweep.records.recorded_inputs import FIRST_DECODING, Input, Inputs
from clsweep.study.own_optimisers import own_optimisers
from clsweep.text import printable

if TYPE_CHECKING:
    from clsweep.data.benchmark_specs import BenchmarkConfig
    from clsweep.nets.config import NetConfig
    from clsweep.study.study_tables import StudyTables

# Raised when a fingerprint is computed in another way, so that none is remembered.
_VERSION = 1


def inputs_of(study: StudyTables, root: Path | None) -> Inputs:
    """All that the study's results are computed from.

    Args:
        study: the study.
        root: the data root, see `dataset_lookup.dataset_spec`.

    Raises:
        StudyError: images, arrays, or a file of weights, are not there or cannot be read.
    """
    conditions = study.conditions
    data = data_inputs(conditions.benchmark, root, conditions.located_benchmark)
    net = net_inputs(conditions.net, root, conditions.located_net)
    found = (*data, *net, *optimiser_inputs(study.optimisers, conditions.net))
    return tuple({one.name: one for one in found}.values())


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
    named = dict(zip(benchmark.datasets, places, strict=True))
    uses_own = benchmark.validation == "own"
    data = tuple(
        _guarded(f"data {name}", partial(_data, name, place, root, uses_own))
        for name, place in named.items()
    )
    paths = [factory_call(name).path for name in named if name.startswith(FACTORY)]
    return data + tuple(
        _guarded(f"code {path}", partial(_code, path)) for path in dict.fromkeys(paths)
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


def optimiser_inputs(named: Iterable[str], net: NetConfig) -> Inputs:
    """The code of the optimisers of the user's own; see `inputs_of`.

    Args:
        named: `StudyTables.optimisers`.
        net: the study's network, whose code is an input already.
    """
    return tuple(
        _guarded(f"code {path}", partial(_code, path))
        for path in own_optimisers(named)
        if path != net.factory
    )


def _guarded(name: str, make: Callable[[], Input]) -> Input:
    try:
        return make()
    except OSError as error:
        raise StudyError(
            f"{printable(name)} cannot be read: {error.strerror or error}",
            expected="undamaged files that may be read",
            where=str(error.filename or ""),
        ) from error


def _data(name: str, place: str, root: Path | None, uses_own: bool) -> Input:
    if name.startswith(FOLDER):
        return _image_folder(name, folder_path(place, root), uses_own)
    if place.startswith(ARRAYS):
        path = folder_path(place, root)
        return _input(f"data {name}", survey(path).fingerprints, path)
    if name in POLYNOMIALS:
        parts = {
            part: hashlib.sha256(v.data).hexdigest()
            for part, v in zip("xy", examples(name), strict=True)
        }
        return Input(f"data {name}", combined(parts), is_published=True, where="computed")
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


def _image_folder(name: str, path: Path, uses_own: bool) -> Input:
    """A folder of images; its own validation part only where the benchmark uses it."""
    listing = folder_listing(path)
    parts = {
        f"{part}/{label}": files
        for part, classes in listing.parts.items()
        for label, files in zip(listing.classes, classes, strict=True)
        if files and (uses_own or part != listing.validation_folder)
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
