"""Fingerprints of files: computed once, and remembered by path, size and times.

What is remembered lies in the user's cache folder (`$XDG_CACHE_HOME/clsweep/fingerprints.json`, or
below `~/.cache`) and saves time alone: it is used where names, sizes and times of all files are
those for which it was computed, and where it cannot be read or written the files are read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from clsweep.errors import ClsweepError
from clsweep.storage.disk import write_atomically

_CHUNK = 1 << 20
_DIGITS = 24
_FORMAT = 1
_MOST_ENTRIES = 64

# A file that was written a moment ago may be written again with the same size and the same time.
SETTLED_SECONDS = 2.0

# What this process knows: key -> (stamp, value).
_KNOWN: dict[str, tuple[str, Any]] = {}


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Hash of a file's content, hexadecimal.

    Args:
        path: the file.
        algorithm: of `hashlib`.

    Raises:
        OSError: it cannot be read.
    """
    found = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def combined(parts: Mapping[str, str] | Iterable[Any]) -> str:
    """One fingerprint of several, and of their names: 24 hexadecimal digits.

    Args:
        parts: JSON values; the order of a mapping does not matter.
    """
    plain = dict(parts) if isinstance(parts, Mapping) else list(parts)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def stamp_of(files: Iterable[Path], version: object = "") -> tuple[str, float]:
    """By which a change of files is noticed without reading them, and when the last one changed.

    Args:
        files: in an order that stays.
        version: of what is computed from them.

    Returns:
        A hash of the version and of names, sizes and times; the latest time, in seconds.

    Raises:
        OSError: a file is not there.
    """
    rows, latest = [], 0
    for file in files:
        found = os.stat(file)
        # A tool that puts back the time of an edit (rsync, cp -p) cannot put back that of the
        # change of the file's own entry.
        rows.append([str(file), found.st_size, found.st_mtime_ns, found.st_ctime_ns])
        latest = max(latest, found.st_mtime_ns)
    text = json.dumps([str(version), rows])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), latest / 1e9


def remembered(
    key: str, files: Iterable[Path], compute: Callable[[], Any], version: object = ""
) -> Any:
    """What was computed from files, again only where one of them has changed.

    Args:
        key: says what is computed from what; unique on this machine.
        files: all that it is computed from.
        compute: reads them; returns JSON values.
        version: of what is computed.

    Raises:
        OSError: a file cannot be read.
    """
    listed = [*files]
    stamp, latest = stamp_of(listed, version)
    known = _KNOWN.get(key) or _stored(key)
    if known is not None and known[0] == stamp:
        _KNOWN[key] = known
        return known[1]
    value = compute()
    if stamp_of(listed, version)[0] == stamp and latest < time.time() - SETTLED_SECONDS:
        _KNOWN[key] = (stamp, value)
        _store(key, stamp, value)
    return value


def cache_file() -> Path | None:
    """Where fingerprints are remembered; None for a user without a home."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return folder / "clsweep" / "fingerprints.json"


def _stored(key: str) -> tuple[str, Any] | None:
    entry = _entries().get(key)
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
        return None
    return entry[0], entry[1]


def _entries() -> dict[str, Any]:
    """What the cache file holds; nothing where it cannot be read, which costs time alone."""
    path = cache_file()
    try:
        found = json.loads(path.read_bytes()) if path else {}
        entries = found["entries"] if found.get("format") == _FORMAT else {}
    except (OSError, ValueError, KeyError, AttributeError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _store(key: str, stamp: str, value: Any) -> None:
    path = cache_file()
    if path is None:
        return
    entries = _entries()
    entries.pop(key, None)
    entries[key] = [stamp, value]
    kept = dict([*entries.items()][-_MOST_ENTRIES:])
    data = json.dumps({"format": _FORMAT, "entries": kept}).encode()
    try:
        write_atomically(path, data)
    except (ClsweepError, OSError):
        return  # read-only or full: the files are read again next time
