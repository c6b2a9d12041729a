"""Checks of this machine by `clsweep doctor`, without importing torch or Ray."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import stat
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clsweep.data.data_files import STORED, is_there, place_of_data
from clsweep.doctor.findings import Finding, ok, warn, wrong
from clsweep.doctor.storage_probe import check_store, nearest_folder, storage_complaint
from clsweep.errors import StoreError, StudyError
from clsweep.process_environment import usable_cores
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place, RemotePath
from clsweep.text import command, counted

_GIB = 2**30
_LEAST_FREE, _LITTLE_FREE = 100 * 2**20, 2 * _GIB
_FEW_FILES = 4096
_SMALL_SHM = 256 * 2**20
_OPTIONAL = {
    "tensorboardX": "[callbacks] tensorboard",
    "mlflow": "[callbacks] mlflow",
    "wandb": "[callbacks] wandb",
}


def python() -> Iterator[Finding]:
    """The interpreter and clsweep itself."""
    try:
        itself = f"clsweep {version('clsweep')}"
    except PackageNotFoundError:
        itself = "clsweep from a folder, not installed"
    of = os.cpu_count() or 1
    cores = counted(usable_cores(), "CPU core") + (f" of {of}" if usable_cores() < of else "")
    yield ok("python", f"{platform.python_version()}, {itself}, {cores}")


def storage(folders: Mapping[str, Place]) -> Iterator[Finding]:
    """Whether results and stages can be written.

    Args:
        folders: option -> folder.
    """
    for option, folder in folders.items():
        if isinstance(folder, RemotePath):
            yield _object_store(option, folder)
            continue
        complaint = storage_complaint(folder)
        if complaint:
            mend = f"make it writable, or name another folder with {option}"
            yield wrong("storage", f"no file can be kept in {complaint}", mend)
        else:
            yet = "" if folder.is_dir() else f", in {nearest_folder(folder)}, which exists"
            yield ok("storage", f"{folder} ({option}): a file was written, read and removed{yet}")


def _object_store(option: str, folder: RemotePath) -> Finding:
    try:
        check_store(folder)
    except StoreError as error:
        return wrong("storage", f"{folder} ({option}): {error.found}", error.next_step)
    did = "an object was written, read, listed and deleted"
    return ok("storage", f"{folder} ({option}): {did}")


def disk_space(folders: Mapping[str, Place]) -> Iterator[Finding]:
    """Free space where results and stages go; an object store has no end that can be asked for.

    Args:
        folders: option -> folder.
    """
    for option, folder in folders.items():
        path = folder_of(folder).local_path
        if path is None:
            continue
        free = shutil.disk_usage(nearest_folder(path)).free
        text = f"{free / _GIB:.1f} GiB are free for {folder}"
        mend = f"free some space, or name another folder with {option}"
        if free < _LEAST_FREE:
            yield wrong("disk space", text, mend)
        elif free < _LITTLE_FREE:
            yield warn("disk space", f"{text}; stages hold whole networks", mend)
        else:
            yield ok("disk space", text)


def open_files() -> Iterator[Finding]:
    """How many files a process may have open; Ray holds one per connection."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FEW_FILES:
        enough = hard < 0 or hard >= _FEW_FILES
        mend = "`ulimit -n 65536` before the run" + ("" if enough else ", by an administrator")
        yield warn("open files", f"a process may have {soft} files open", mend)
    else:
        yield ok("open files", f"a process may have {soft if soft >= 0 else 'any number of'} open")


def shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """Shared memory, in which Ray keeps what workers share.

    Args:
        folder: where it is mounted.
    """
    mend = "in a container: `--shm-size=1g`; elsewhere Ray uses /tmp, which is slower"
    if not folder.is_dir():
        yield warn("shared memory", f"there is no {folder}", mend)
        return
    usage = shutil.disk_usage(folder)
    text = f"{folder} has {usage.total / 2**20:,.0f} MiB, {usage.free / 2**20:,.0f} MiB free"
    small = usage.free < _SMALL_SHM
    yield warn("shared memory", text, mend) if small else ok("shared memory", text)


def token(
    environment: Mapping[str, str], home: Path | None, address: str | None
) -> Iterator[Finding]:
    """The token by which Ray knows its own, without reading it.

    Args:
        environment: variables.
        home: whose `.ray/auth_token` is Ray's default; None for a user without one.
        address: of a cluster, if one is to be joined.
    """
    mode = environment.get("RAY_AUTH_MODE", "")
    named = environment.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named) if named else home / ".ray" / "auth_token" if home else None
    if mode.lower() == "disabled":
        yield wrong(
            "token",
            "RAY_AUTH_MODE=disabled: whoever reaches Ray's ports runs code here",
            "`unset RAY_AUTH_MODE`, or RAY_AUTH_MODE=token",
        )
    elif address and not mode:
        yield warn(
            "token",
            "RAY_AUTH_MODE is not set: a cluster that asks for a token refuses this machine",
            "if it asks for one: `export RAY_AUTH_MODE=token`, before starting clsweep",
        )
    else:
        yield ok(
            "token",
            f"RAY_AUTH_MODE={mode}"
            if mode
            else "RAY_AUTH_MODE is not set; Ray on this machine asks for a token by itself",
        )
    if path is not None:
        yield from _token_file(path, mode, bool(environment.get("RAY_AUTH_TOKEN")))


def _token_file(path: Path, mode: str, in_environment: bool) -> Iterator[Finding]:
    try:
        bits = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        if mode.lower() == "token" and not in_environment:
            mend = "`(umask 077; ray get-auth-token --generate)`, and copy it to every machine"
            yield wrong("token", f"there is no token in {path}", mend)
        return
    except OSError as error:
        yield wrong("token", f"{path}: {error.strerror or error}", "make it readable for you")
        return
    if bits & 0o077:
        hidden = any(not p.stat().st_mode & 0o011 for p in path.absolute().parents)
        text = f"{path} has mode {bits:04o}: " + (
            "only a folder above it keeps others out"
            if hidden
            else "others on this machine can use your clusters, which is to run code as you"
        )
        yield (warn if hidden else wrong)("token", text, f"`{command('chmod 600', path)}`")
    else:
        yield ok("token", f"{path} has mode {bits:04o}")


def threads(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether every process takes all cores for itself.

    Args:
        environment: variables.
    """
    value = environment.get("OMP_NUM_THREADS", "")
    if value == "1":
        yield ok("threads", "OMP_NUM_THREADS=1")
    else:
        text = f"OMP_NUM_THREADS={value}" if value else "OMP_NUM_THREADS is not set"
        mend = "`export OMP_NUM_THREADS=1`: one thread per trial, one trial per core"
        yield warn("threads", text, mend)


def data(root: Path | None) -> Iterator[Finding]:
    """Which data sets lie in the data root.

    Args:
        root: as given; None for the user's cache folder.
    """
    place = place_of_data(root)
    if root is not None and not place.is_dir():
        mend = "correct --data-root or CLSWEEP_DATA, or make the folder: data sets are then loaded"
        yield wrong("data", f"the data root {place} is no folder", mend)
        return
    names = []
    for name in STORED:
        try:
            names += [name] if is_there(name, root) else []
        except StudyError as error:
            yield warn("data", error.found, error.next_step)
    found = ", ".join(["digits (built in)", *names])
    yield ok("data", f"{found}; in {place}" if names else f"{found}; none in {place}")


def optional_packages(asked: tuple[str, ...] = ()) -> Iterator[Finding]:
    """Packages that only some studies need.

    Args:
        asked: trackers that the study's `[callbacks]` name.
    """
    specs = {name: importlib.util.find_spec(name) for name in _OPTIONAL}
    there = [name for name, spec in specs.items() if spec is not None and spec.origin]
    for name, purpose in _OPTIONAL.items():
        if name not in there and purpose.removeprefix("[callbacks] ") in asked:
            text = f"{name} is not installed, and the study asks for it"
            yield wrong("packages", text, f"`pip install {name}`, or leave {purpose} out")
    absent = ", ".join(f"{name} ({_OPTIONAL[name]})" for name in _OPTIONAL if name not in there)
    text = f"installed: {', '.join(there) or 'none'}"
    yield ok("packages", text + (f"; only needed for some studies: {absent}" if absent else ""))
