"""What a results folder keeps of code that is not clsweep's, so that it can be read alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from clsweep.errors import StoreError, StudyError
from clsweep.methods.declared_methods import Declared, declared_in, declared_text
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place
from clsweep.study.toml_files import file_text

if TYPE_CHECKING:
    from clsweep.study.study_tables import StudyTables

NAME = "methods.json"


def declared_of(study: StudyTables) -> Declared:
    """What a study's tables say of code that is not clsweep's.

    Args:
        study: the study.
    """
    own = {r.method_key: r.own_entry for r in study.methods if r.own_entry is not None}
    estimators = {p: c for request in study.methods for p, c in request.estimators.items()}
    return Declared(own, estimators)


def declared_beside(path: Place) -> Declared:
    """What lies beside the study of a results folder; nothing in it is run.

    Args:
        path: the folder's study file.

    Raises:
        StudyError: it is not what clsweep writes.
    """
    place = path.parent / NAME
    if not place.is_file():
        return Declared({}, {})
    return declared_in(file_text(place), str(place))


def kept_text(own: Declared, folder: Place, warnings: list[str]) -> str:
    """What a folder is to keep from a run on, with what it has kept before; '' for nothing.

    What it has kept and nobody can read is moved to `damaged/`: the study says anew what it needs.

    Args:
        own: what the study that is run says, see `declared_of`.
        folder: its results folder, held by this run.
        warnings: a sentence is added if something was moved.

    Raises:
        StoreError: what it has kept can neither be read nor moved.
    """
    try:
        before = declared_beside(folder / "study.toml")
    except StudyError as error:
        before = Declared({}, {})
        warnings.append(_set_aside(folder, error))
    kept = Declared({**before.methods, **own.methods}, {**before.estimators, **own.estimators})
    return declared_text(kept) if any(kept) else ""


def _set_aside(folder: Place, error: StudyError) -> str:
    """Move the declarations out of the way; returns what happened, as a sentence."""
    name = f"damaged/methods.{time.time_ns()}.json"
    try:
        folder_of(folder).move(NAME, name)
    except OSError as refused:
        raise StoreError(
            f"{error.found}; nor can the file be moved: {refused.strerror or refused}",
            where=str(folder / NAME),
            next_step="move it out of the results folder, and run the study again",
        ) from error
    return (
        f"{error.found}; {NAME} was moved to {name}, and written anew from the study: methods of "
        "your own that only earlier runs had are not known any more"
    )


def code_of_methods(study: StudyTables) -> dict[str, dict[str, str]]:
    """Method -> import path -> fingerprint of the code of the user's own that it needs.

    Args:
        study: the study.
    """
    found: dict[str, dict[str, str]] = {}
    for request in study.methods:
        own = {} if request.own_entry is None else {request.own_entry.path: request.own_entry.code}
        if own | request.estimators:
            found.setdefault(request.method_key, {}).update(own | request.estimators)
    return found
