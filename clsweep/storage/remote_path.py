"""Places of results: a local path, or one behind a URI (`s3://…`, `gs://…`) through pyarrow.

A `RemotePath` has those of pathlib's methods that clsweep calls. What it writes appears whole or
not at all, since an object store shows an object when its upload has ended. What the store
refuses is a `StoreError` that says why and where, without the credentials of the URI; only what
does not exist is a `FileNotFoundError`, as it is for a local path.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

from clsweep.errors import StoreError
from clsweep.uris import shown_uri, without_secrets

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

# Those whose uploads are atomic. Where a file grows in sight of readers, a record could be torn.
_SCHEMES = ("s3", "gs", "gcs")
# One PUT instead of three requests per small object; and no retries for the fifteen minutes that
# pyarrow grants Google's store.
_DEFAULTS = {"s3": "allow_delayed_open=true", "gs": "retry_limit_seconds=20"}
_N_AT_ONCE = 16
_N_TRIES = 20

Stamp: TypeAlias = "tuple[int, ...]"
_Arg = TypeVar("_Arg")
_Result = TypeVar("_Result")


@dataclass(frozen=True, repr=False)
class RemotePath:
    """A file or folder in an object store; pickled as its URI, opened when first used.

    Attributes:
        uri: the folder that the user named, credentials included: never to be shown.
        below: names from there on.
    """

    uri: str = field(repr=False)
    below: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown, question, query = shown_uri(self.uri).partition("?")
        if not self.below:
            return shown + question + query
        return "/".join((shown.rstrip("/"), *self.below))

    def __repr__(self) -> str:
        return f"RemotePath('{self}')"

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.uri, (*self.below, *name.split("/")))

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self.below[-1] if self.below else _names(self.uri)[-1]

    @property
    def stem(self) -> str:
        """The last name without its ending."""
        return Path(self.name).stem

    @property
    def parent(self) -> RemotePath:
        """The folder that holds it; a folder that the user named has none but itself."""
        return RemotePath(self.uri, self.below[:-1])

    def resolve(self) -> RemotePath:
        """Itself: a URI is absolute."""
        return self

    def absolute(self) -> RemotePath:
        """Itself, likewise."""
        return self

    def open(self, mode: Literal["rb"]) -> io.BytesIO:
        """The content as a file to read from; it is fetched as a whole."""
        return io.BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        """The content: of one upload, even if there is another while it is read.

        pyarrow asks for the size and then for so many bytes: of a longer content that has come in
        between it would give the beginning.
        """
        with self._answers("read") as (store, path):
            for _ in range(_N_TRIES):
                with store.open_input_file(path) as file:
                    size, version = file.size(), file.metadata()
                    data = bytes(file.read(size))
                with store.open_input_file(path) as file:
                    if len(data) == size and file.metadata() == version:
                        return data
            raise OSError(errno.EAGAIN, f"it changed {_N_TRIES} times while it was read")

    def read_text(self, encoding: str) -> str:
        """The content as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> None:
        """Replace the content as a whole.

        Args:
            data: the new content.

        Raises:
            StoreError: the store refuses it; the old content is untouched.
        """
        failures: list[BaseException] = []

        def upload() -> None:
            try:
                with self._answers("written") as (store, path):
                    stream = store.open_output_stream(path)
                    stream.write(data)
                    stream.close()
            except BaseException as error:  # a thread's own would be lost
                failures.append(error)

        # In a thread of its own, where no signal can stop it between opening and writing: a
        # stream that is dropped half-written is uploaded as it is.
        thread = Thread(target=upload)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        with self._answers("read") as (store, path):
            return bool(store.get_file_info(path).is_file)

    def stamp(self) -> Stamp:
        """Size and time of change, as `stamped` has them, to the second in some stores."""
        with self._answers("read") as (store, path):
            info = store.get_file_info(path)
            if not info.is_file:
                raise FileNotFoundError
            return info.size, info.mtime_ns or 0

    def is_dir(self) -> bool:
        """Whether there is an object below this name."""
        from pyarrow.fs import FileType

        with self._answers("read") as (store, path):
            return bool(store.get_file_info(path).type == FileType.Directory)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        try:
            with self._answers("deleted") as (store, path):
                store.delete_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def iterdir(self) -> Iterator[RemotePath]:
        """Whatever lies right below."""
        return (self / info.base_name for info in self._listed())

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """The objects right below whose names match."""
        return (path for path, _ in self.stamped(pattern))

    def stamped(self, pattern: str) -> list[tuple[RemotePath, Stamp]]:
        """The same, sorted, each with size and time of change, by which a change is noticed."""
        return sorted(
            (self / info.base_name, (info.size, info.mtime_ns or 0))
            for info in self._listed()
            if info.is_file and fnmatchcase(info.base_name, pattern)
        )

    def __lt__(self, other: RemotePath) -> bool:
        return (self.uri, self.below) < (other.uri, other.below)

    def _listed(self) -> list[FileInfo]:
        from pyarrow.fs import FileSelector

        with self._answers("listed") as (store, path):
            return list(store.get_file_info(FileSelector(path, allow_not_found=True)))

    @contextmanager
    def _answers(self, doing: str) -> Iterator[tuple[FileSystem, str]]:
        """The store and the path in it; what goes wrong in the block becomes ours."""
        import pyarrow as pa

        try:
            store, base = _opened(self.uri)
            yield store, "/".join((base.rstrip("/"), *self.below))
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from None
        except (OSError, pa.ArrowException) as error:
            # Not chained: the text of the cause may hold what must not be shown.
            raise _refusal(self, doing, error) from None


Place: TypeAlias = "Path | RemotePath"


def place_of(text: str | os.PathLike[str] | RemotePath) -> Place:
    """The place that a path or a URI names.

    Args:
        text: a local path, `file://…`, `s3://BUCKET/PATH…` or `gs://BUCKET/PATH…`, with the
            options in its query that pyarrow's `FileSystem.from_uri` takes.

    Raises:
        StoreError: a URI of another kind, or without a bucket.
    """
    if isinstance(text, RemotePath):
        return text
    scheme, slashes, _ = (found := os.fspath(text)).partition(":/")
    known = (*_SCHEMES, "file")
    if not isinstance(text, str) and slashes and scheme in known:
        raise StoreError(
            f"{shown_uri(found.replace(':/', '://', 1))} as a Path has lost a slash",
            next_step="give the URI as a string",
        )
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", found):
        return Path(text)
    parts = urlsplit(found)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and not parts.query:
        return Path(unquote(parts.path))
    if parts.scheme not in _SCHEMES or not parts.netloc.rpartition("@")[2] or parts.fragment:
        raise _no_place(found)
    if ":" in parts.netloc.rpartition("@")[2]:  # what was meant as a password ended too early
        raise _no_place(found)
    return RemotePath(found)


def read_many(paths: Sequence[RemotePath]) -> list[bytes | None]:
    """The contents, several at a time; None for what does not exist.

    Args:
        paths: objects.

    Raises:
        StoreError: the store refuses one.
    """

    def read(path: RemotePath) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    return at_once(read, paths)


def at_once(do: Callable[[_Arg], _Result], arguments: Sequence[_Arg]) -> list[_Result]:
    """`do` of every argument, in order, several at a time: a store takes its time for each.

    Args:
        do: what is to be done; safe to be done at the same time.
        arguments: of each call.
    """
    if len(arguments) < 2:
        return [do(one) for one in arguments]
    with ThreadPoolExecutor(min(_N_AT_ONCE, len(arguments))) as pool:
        return list(pool.map(do, arguments))


@lru_cache(maxsize=16)
def _opened(uri: str) -> tuple[FileSystem, str]:
    """The file system of a URI, and the path in it."""
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem

    default = _DEFAULTS["s3" if uri.startswith("s3:") else "gs"]
    if default.partition("=")[0] not in uri:
        joint = "&" if "?" in uri else "?"
        try:
            opened: tuple[FileSystem, str] = FileSystem.from_uri(f"{uri}{joint}{default}")
            return opened
        except ArrowInvalid:  # a pyarrow that is older than the option, or the URI itself
            pass
    opened = FileSystem.from_uri(uri)
    return opened


def _names(uri: str) -> list[str]:
    parts = urlsplit(uri)
    below = [unquote(name) for name in parts.path.split("/") if name]
    return [parts.netloc.rpartition("@")[2], *below]


def _no_place(uri: str) -> StoreError:
    return StoreError(
        f"{shown_uri(uri)} names no place that results can be kept in",
        expected="a path, file:///PATH, s3://BUCKET/PATH or gs://BUCKET/PATH; '/', '?', '#' and "
        "'@' in names and passwords as %2F, %3F, %23 and %40",
        next_step="see docs/storage.md; credentials are better kept in the environment",
    )


_TRY_AGAIN = (
    "check that the store answers, then run the same command again: everything that was "
    "written before is kept"
)
# What a reason holds, and what to do then; the first that fits. Numbers stand alone, since ports
# hold them too.
_WAYS_OUT = (
    (r"NETWORK_CONNECTION|curlCode", _TRY_AGAIN),
    (
        r"NO_SUCH_BUCKET|bucket.* not (found|exist)",
        "make the bucket, or correct its name: clsweep makes none",
    ),
    (
        r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|TOKEN|CREDENTIALS|permission|\b40[13]\b",
        "check the credentials in the environment, and that they may list, read, write and "
        "delete there (docs/storage.md)",
    ),
    (r"Unexpected query parameter|parse URI|Invalid", "correct the URI (docs/storage.md)"),
    (r"", _TRY_AGAIN),
)


def _refusal(path: RemotePath, doing: str, error: Exception) -> StoreError:
    text = without_secrets(" ".join(str(error).split()), path.uri)
    short = re.search(r"AWS Error (.*?)(?: \(Request ID: .*\))?$", text)
    reason = short[1] if short else text
    steps = (step for pattern, step in _WAYS_OUT if re.search(pattern, reason, re.IGNORECASE))
    return StoreError(
        f"the object store does not let this be {doing}: {reason}",
        where=str(path),
        next_step=next(steps),
    )
