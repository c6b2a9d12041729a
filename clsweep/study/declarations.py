"""What a results folder keeps of code that is not clsweep's, so that it can be read alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsweep.methods.declared_methods import Declared, declared_in, declared_text
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


def kept_text(study: StudyTables, folder: Place) -> str:
    """What a folder is to keep from a run on, with what it has kept before; '' for nothing.

    Args:
        study: the study that is run.
        folder: its results folder; it need not exist.

    Raises:
        StudyError: what it has kept cannot be read.
    """
    own, before = declared_of(study), declared_beside(folder / "study.toml")
    kept = Declared({**before.methods, **own.methods}, {**before.estimators, **own.estimators})
    return declared_text(kept) if any(kept) else ""


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
