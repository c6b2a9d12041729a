"""Content-addressed store of stages: what is expensive is computed once and found by its key.

A stage is a folder named by the hash of its inputs: `tensors.safetensors` and, written last,
`stage.json` with what the stage is and the checksum of the tensors. The folder is made under a
temporary name and renamed, so it either exists whole or not at all. In an object store, which
renames nothing, the tensors' name has their checksum in it, and the marker names them: two workers
who make the same stage never mix. Nothing is unpickled.

    {"key": KEY, "facts": {...}, "sha256": of the tensors, "facts_sha256": of key and facts}

Stages of releases that wrote neither `key` nor `facts_sha256` are read without comparing them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.errors import CacheError
from clsweep.records.checksums import checksum_of
from clsweep.records.schema import is_number
from clsweep.storage.remote_path import Place, RemotePath

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clsweep.nets.parameter_trees import Params

_TENSORS, _MARKER = "tensors.safetensors", "stage.json"


class Entry(NamedTuple):
    """A stage as read back.

    Attributes:
        tensors: flat dict of tensors, on the CPU.
        facts: everything else, as JSON values.
    """

    tensors: Params
    facts: dict[str, Any]


def exists(folder: Place, key: str) -> bool:
    """Whether the stage has been committed."""
    return (folder / key / _MARKER).is_file()


def commit(folder: Place, key: str, tensors: Params, facts: Mapping[str, Any]) -> None:
    """Write a stage; a second commit of the same key changes nothing.

    Args:
        folder: the cache.
        key: hash of the stage's inputs.
        tensors: flat dict of tensors.
        facts: JSON values.

    Raises:
        CacheError: the disk is full or read-only.
        StoreError: the object store refuses.
    """
    from safetensors.torch import save

    if isinstance(folder, RemotePath):
        if not exists(folder, key):
            _upload(folder, key, save(_plain(tensors)), facts)
        return
    temporary = folder / f".{key}-{socket.gethostname()}-{os.getpid()}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        data = save(_plain(tensors))
        _write(temporary / _TENSORS, data)
        marker = _new_marker(key, data, facts)
        _write(temporary / _MARKER, json.dumps(marker).encode())
        _rename(temporary, folder, key)
    except OSError as error:
        raise CacheError(
            f"the stage {key} cannot be written: {error.strerror or error}",
            where=str(folder),
            next_step="free space, or choose another folder with --stages; nothing that was "
            "committed is lost",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _plain(tensors: Params) -> Params:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _new_marker(key: str, data: bytes, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": key,
        "facts": dict(facts),
        "sha256": hashlib.sha256(data).hexdigest(),
        "facts_sha256": checksum_of([key, dict(facts)]),
    }


def _upload(folder: RemotePath, key: str, data: bytes, facts: Mapping[str, Any]) -> None:
    marker = _new_marker(key, data, facts)
    marker["tensors"] = f"tensors-{marker['sha256'][:16]}.safetensors"
    (folder / key / marker["tensors"]).write_bytes(data)
    (folder / key / _MARKER).write_bytes(json.dumps(marker).encode())


def _rename(temporary: Path, folder: Path, key: str) -> None:
    try:
        temporary.rename(folder / key)
    except OSError:
        if exists(folder, key):
            return  # another worker was first, with the same content
        # Without its marker it is no stage, but what somebody left of one.
        shutil.rmtree(folder / key, ignore_errors=True)
        temporary.rename(folder / key)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(folder: Place, key: str) -> tuple[bytes, dict[str, Any]]:
    """Tensors' bytes and facts of a stage, checked against each other."""
    path = folder / key
    try:
        marker = _marker(path, key)
        # Its own name only: a marker is no reason to read another folder.
        data = (path / Path(str(marker.get("tensors", _TENSORS))).name).read_bytes()
    except OSError as error:
        raise _damaged(path, str(error)) from error
    if hashlib.sha256(data).hexdigest() != marker.get("sha256"):
        raise _damaged(path, "its checksum differs from the one written with it")
    return data, marker["facts"]


def _marker(path: Place, key: str) -> dict[str, Any]:
    """What a stage says of itself, checked as far as it can be without the tensors."""
    try:
        marker = json.loads((path / _MARKER).read_text(encoding="utf-8"))
        facts = marker["facts"]
        written = marker.get("facts_sha256")
        intact = written is None or written == checksum_of([key, facts])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(facts, dict) or not is_number(facts.get("wall_seconds", 0.0)):
        raise _damaged(path, f"its {_MARKER} does not say what it is")
    if marker.get("key", key) != key:
        raise _damaged(path, f"it is the stage {marker['key']}")
    if not intact:
        raise _damaged(path, f"the checksum of its {_MARKER} differs from what it says")
    return dict(marker)


def _damaged(path: Place, cause: str) -> CacheError:
    return CacheError(
        f"a stored stage is damaged: {cause}",
        where=str(path),
        next_step="delete that folder and run the same command again; only this stage is "
        "computed anew",
    )


def check(folder: Place, key: str) -> None:
    """Read a stage and compare its checksum, without building tensors.

    Raises:
        CacheError: it is damaged.
    """
    _read(folder, key)


def facts(folder: Place, key: str) -> dict[str, Any]:
    """What a stage says of itself, without its tensors.

    Raises:
        CacheError: it is missing or damaged.
    """
    found: dict[str, Any] = _marker(folder / key, key)["facts"]
    return found


def arrays(folder: Place, key: str) -> dict[str, NDArray[Any]]:
    """The tensors of a stage as arrays, without torch.

    Raises:
        CacheError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as parsed

    data, _ = _read(folder, key)
    try:
        return parsed(data)
    except (SafetensorError, ValueError, KeyError) as error:  # an unknown type is a KeyError
        raise _damaged(folder / key, f"{type(error).__name__}: {error}") from error


def load(folder: Place, key: str) -> Entry:
    """Read a stage.

    Raises:
        CacheError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as parsed

    data, facts = _read(folder, key)
    try:
        return Entry(parsed(data), facts)
    except (SafetensorError, ValueError, KeyError) as error:  # an unknown type is a KeyError
        raise _damaged(folder / key, f"{type(error).__name__}: {error}") from error
