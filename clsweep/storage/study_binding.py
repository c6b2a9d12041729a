"""Which study a results folder belongs to: `versions.json` and `study.toml`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

from clsweep.errors import StoreError
from clsweep.records.recorded_inputs import Input
from clsweep.records.schema import SCHEMA_VERSION, check_version
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place
from clsweep.versions import versions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_IDENTITY_SECTIONS = ("benchmark", "net", "training")


def bind(
    directory: Place,
    study_identity: str,
    resolved_toml: str,
    name: str,
    declared: Callable[[], str] = str,
) -> None:
    """Write what makes the folder this study's; the caller holds the folder's lock.

    Args:
        directory: an existing results folder.
        study_identity: hash of what all trials of the study share.
        resolved_toml: the study with every default written out.
        name: the study's name, for messages.
        declared: gives what it says of code that is not clsweep's; '' for nothing.

    Raises:
        StoreError: see `check_binding`; or the disk refuses.
    """
    # Once more under the lock: another driver may have bound the folder meanwhile.
    check_binding(directory, study_identity, resolved_toml)
    bound = {
        "schema": SCHEMA_VERSION,
        "study": study_identity,
        "name": name,
        "packages": versions(),
    }
    if (known := _inputs_kept(directory, study_identity)) is not None:
        bound["inputs"] = known
    # The identity first: with it, a folder that was cut short here is known as ours.
    _write_bound(directory, bound)
    if text := declared():  # before the study, which cannot be read without it
        folder_of(directory).write("methods.json", text.encode())
    folder_of(directory).write("study.toml", resolved_toml.encode())


def _write_bound(directory: Place, bound: dict[str, Any]) -> None:
    content = (json.dumps(bound, indent=2) + "\n").encode()
    folder_of(directory).write("versions.json", content)


def _inputs_kept(directory: Place, study_identity: str) -> Any:
    """What the folder knows of the inputs of its results, if it is this study's already."""
    try:
        before = json.loads((directory / "versions.json").read_bytes())
        return before.get("inputs") if before.get("study") == study_identity else None
    except FileNotFoundError:
        return None


def bound_inputs(directory: Place) -> dict[str, tuple[str, dict[str, str], int]]:
    """What the folder's results were computed from: name to fingerprint, parts and decoding.

    Empty for folders of releases that did not record it; see `recorded_inputs.Input`.

    Args:
        directory: a results folder.

    Raises:
        StoreError: it says that in no way that is known.
    """
    path = directory / "versions.json"
    try:
        found = json.loads(path.read_bytes()).get("inputs", {})
        return {
            name: (
                str(entry["fingerprint"]),
                {part: str(value) for part, value in entry["parts"].items()},
                int(entry["decoding"]),
            )
            for name, entry in found.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"cannot tell what the results were computed from: {type(error).__name__}: {error}",
            where=str(path),
            next_step="put back a copy of the file, or choose another folder with `--out`",
        ) from error


def bind_inputs(directory: Place, inputs: Iterable[Input]) -> None:
    """Write down what the folder's results are computed from; the caller holds its lock.

    Args:
        directory: a bound results folder.
        inputs: those that are not there are left as they were.

    Raises:
        StoreError: the disk refuses.
    """
    bound = json.loads((directory / "versions.json").read_bytes())
    before = bound.get("inputs") or {}
    now = {
        one.name: {
            "fingerprint": one.fingerprint,
            "decoding": one.decoding,
            "parts": dict(one.parts),
        }
        for one in inputs
        if one.fingerprint
    }
    if {**before, **now} != before:
        bound["inputs"] = {**before, **now}
        _write_bound(directory, bound)


def forget_inputs(directory: Place) -> None:
    """Nothing has come of what a start that failed had bound the folder to."""
    bound = json.loads((directory / "versions.json").read_bytes())
    if bound.pop("inputs", None) is not None:
        _write_bound(directory, bound)


def check_binding(directory: Place, study_identity: str, resolved_toml: str) -> None:
    """Refuse a folder that holds something else than this study's results; writes nothing.

    Args:
        directory: the results folder; it need not exist.
        study_identity: hash of what all trials of the study share.
        resolved_toml: the study with every default written out.

    Raises:
        StoreError: the folder is another study's, a newer clsweep's, or no results folder.
    """
    path = directory / "versions.json"
    try:
        bound = json.loads(path.read_bytes())
        found, name = bound["study"], bound["name"]
    except FileNotFoundError:
        try:
            _check_empty(directory)
        except StoreError:
            # Unless another driver has bound it this very moment; whoever binds looks again.
            if not path.is_file():
                raise
        return
    except NotADirectoryError as error:
        raise StoreError("the results folder is a file", where=str(directory)) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"cannot tell which study the results belong to: {type(error).__name__}: {error}",
            where=str(path),
            next_step="put back a copy of the file, or choose another folder with `--out`",
        ) from error
    check_version(bound.get("schema"), str(path))
    if found != study_identity and holds_trials(directory):
        changed = _differences(study_table(directory), tomllib.loads(resolved_toml))
        raise StoreError(
            f"the folder holds the results of study '{name}', whose trials cannot be mixed "
            f"with this study's: {changed}",
            expected="the same [benchmark], [net] and [training]; methods, seeds and grids "
            "may change",
            where=str(directory),
            next_step="choose another folder with `--out`",
        )


def study_table(directory: Place) -> dict[str, Any]:
    """What the folder's `study.toml` says, as plain values; empty when there is none.

    Raises:
        StoreError: the file cannot be read as TOML.
    """
    path = directory / "study.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot read the study: {error}",
            where=str(path),
            next_step="`clsweep run` with the study's file writes it anew",
        ) from error


def holds_trials(directory: Place) -> bool:
    """Whether anything has come of the study yet; a start that failed leaves an empty folder."""
    return any(directory.glob("*.parquet")) or any((directory / "records").glob("*.json"))


def check_there(directory: Place) -> None:
    """Refuse to go on in a folder that somebody has removed, or emptied, since it was bound.

    What is committed there would make a new folder, of which nobody knows the study.

    Args:
        directory: the results folder of a run that is at work.

    Raises:
        StoreError: it is no results folder any more.
    """
    if not (directory / "versions.json").is_file():
        raise StoreError(
            "the results folder was removed while the run was at work",
            where=str(directory),
            next_step="run the same command again; what was in the folder is computed anew",
        )


def _check_empty(directory: Place) -> None:
    if not directory.is_dir():
        return
    others = sorted(p.name for p in directory.iterdir() if not p.name.startswith("."))
    if set(others) <= {"records", "stages"} and not any((directory / "records").glob("*.json")):
        return  # what the last jobs of a run have left whose folder was removed
    if others:
        raise StoreError(
            f"the folder is not empty and holds no clsweep results: {', '.join(others[:5])}",
            expected="a new folder, or one that `clsweep run` made",
            where=str(directory),
            next_step="choose another folder with `--out`",
        )


def _differences(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The first few values that differ, as `net.hidden was [100], now [200]`."""
    changes = []
    for section in _IDENTITY_SECTIONS:
        old, new = before.get(section, {}), after.get(section, {})
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                changes.append(f"{section}.{key} was {old.get(key)!r}, now {new.get(key)!r}")
    return "; ".join(changes[:4]) or "its benchmark, net or training differ"
