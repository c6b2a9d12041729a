"""A user's own method by import path, or by the name of an installed entry point.

    method = "my_pkg.clipped:build"      build(net, hyper) -> clsweep.methods.base.Method
    learner = "my_pkg.mine:Learner"      a class that trains by itself

Its numbers are declared beside it, by a class `Hyper`; what else is known about it, by `ENTRY`, a
`MethodEntry`, or by the attribute `entry` of the function or class where a module has several.
Importing runs the user's code: `load_study` does it, the reading side never does.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from clsweep.data.fingerprints import combined
from clsweep.errors import StudyError, closest_name
from clsweep.methods.entry import ALL_SCENARIOS, Kind, MethodEntry
from clsweep.methods.hyper_fields import Hyper, is_free_name
from clsweep.nets.code_files import check_unedited, code_files, factory_complaint
from clsweep.text import is_printable
from clsweep.user_code import UserCode, definition_place, user_code
from clsweep.versions import bridged_versions

# Groups of entry points.
GROUPS: dict[str, Kind] = {"clsweep.methods": "method", "clsweep.learners": "learner"}
FORMS = {
    "method": "package.module:build, with build(net, hyper) -> clsweep.methods.base.Method",
    "learner": "package.module:Learner, a class",
}
ESTIMATOR_FORM = "estimate(net, params, learnt, n_examples) -> importances by parameter name"
_USUAL_NAMES = ("build", "Learner", "learner", "Method")


def code_fingerprint(path: str) -> str:
    """Fingerprint of the source that an import path needs: its module and local imports.

    Of a bridge to another library, the library's installed version is part of it.

    Args:
        path: 'package.module:attribute'.

    Raises:
        StudyError: it is in no source file, or one cannot be read.
    """
    module = path.partition(":")[0]
    try:
        files = code_files(module)
    except OSError as error:
        raise StudyError(
            f"the code of '{path}' cannot be read: {error.strerror or error}",
            where=str(error.filename or ""),
        ) from error
    if not files:
        raise StudyError(
            f"'{path}' is in no source file, so that nothing would tell when it changes",
            expected="a module with a file of its own",
            next_step="move the code of a notebook into a module",
        )
    bridged = {f"package {name}": text for name, text in bridged_versions(module).items()}
    return combined({file.module: file.meaning for file in files} | bridged)


def imported(path: str, where: str, expected: str) -> UserCode:
    """What an import path leads to; importing runs the user's code.

    Args:
        path: 'package.module:attribute'.
        where: the key that asks for it, for messages.
        expected: what it should be, for messages.

    Raises:
        StudyError: there is no such thing, its module fails, or was edited after this process had
            imported it.
    """
    complaint = factory_complaint(path)
    if complaint:
        raise StudyError(
            f"'{path}' cannot be imported: {complaint}",
            expected=expected,
            where=where,
            next_step="the module must be importable here (installed, or in the current folder "
            "with PYTHONPATH=.)",
        )
    code_fingerprint(path)  # it is in a source file
    # What it prints is no part of what a command says.
    with contextlib.redirect_stdout(sys.stderr):
        found = user_code(path, where=where, expected=expected)
    check_unedited(path, where)
    return found


def own_entry(path: str, kind: Kind | None) -> MethodEntry:
    """What is known about a user's own method; imports its module.

    Args:
        path: 'package.module:attribute'.
        kind: which key of the study file names it; None for what it is.

    Raises:
        StudyError: it cannot be imported, declares no numbers, or declares them wrongly.
    """
    code = imported(path, kind or "method", FORMS[kind or "method"])
    found = code.found
    is_kind: Kind = "learner" if isinstance(found, type) else "method"
    if kind is None:
        kind = is_kind
    if kind != is_kind:
        what = "a class, which trains by itself" if is_kind == "learner" else "no class"
        raise StudyError(
            f"'{path}' is {what}",
            expected=FORMS[kind],
            where=f"{kind}: {code.place}",
            next_step=f'{is_kind} = "{path}" in the place of {kind} = "{path}"',
        )
    module = sys.modules[path.partition(":")[0]]
    where = f"{kind}: {module.__file__}"
    declared = getattr(found, "entry", None) or getattr(module, "ENTRY", None)
    if declared is not None and not isinstance(declared, MethodEntry):
        raise StudyError(
            f"ENTRY of '{path}' is a {type(declared).__name__}",
            expected="a clsweep.methods.entry.MethodEntry",
            where=where,
        )
    hyper = declared.hyper if declared else getattr(module, "Hyper", None)
    _check_hyper(hyper, path, where)
    entry = declared or _usual_entry(found, path, kind, hyper)
    _check_entry(entry, path, where)
    return replace(entry, kind=kind, path=path, code=code_fingerprint(path))


def _usual_entry(found: Any, path: str, kind: Kind, hyper: Any) -> MethodEntry:
    """What is known where nothing is declared; a learner's class may say where it starts."""
    if kind == "method":
        return MethodEntry(_title(path), hyper)
    starts = bool(getattr(found, "starts_from_source", False))
    uses = tuple(getattr(found, "uses", ()))
    return MethodEntry(_title(path), hyper, uses=uses, starts_from_source=starts)


def _title(path: str) -> str:
    """A readable name: that of the attribute, or of the module where the attribute's is usual."""
    module, _, attribute = path.partition(":")
    return module.rpartition(".")[2] if attribute in _USUAL_NAMES else attribute


def _check_hyper(hyper: Any, path: str, where: str) -> None:
    if isinstance(hyper, type):
        where = f"{where.partition(':')[0]}: {definition_place(hyper)}"
    if not (isinstance(hyper, type) and issubclass(hyper, Hyper)):
        raise StudyError(
            f"there is no declaration of the numbers of '{path}'"
            if hyper is None
            else f"Hyper of '{path}' is no class of numbers",
            expected="class Hyper(clsweep.methods.hyper_fields.Hyper) beside it, with a line such "
            'as lam: float = knob(1.0, 1e-3, 1e3, log=True, doc="λ, weight of the penalty")',
            where=where,
            next_step="without numbers: from clsweep.methods.hypers import NoHyper as Hyper",
        )
    for key, field in hyper.model_fields.items():
        complaint = _complaint(key, field)
        if complaint:
            raise StudyError(
                f"the number '{key}' of '{path}' {complaint[0]}",
                expected=complaint[1],
                where=where,
            )


def _complaint(key: str, field: FieldInfo) -> tuple[str, str] | None:
    """(what is wrong with a number, what would be right)."""
    if not is_free_name(key):
        return "has a name that is taken", "another name"
    if field.is_required():
        return "has no default", "a default, such as knob(1.0, ...) or fixed(0, ...)"
    if field.annotation not in (bool, int, float, str) and not _is_choice(field.annotation):
        return f"is a {field.annotation}", "float, int, bool, str, or Literal of one of these"
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or extra.get("role") not in ("knob", "nuisance", "fixed"):
        return "says nothing of its role", "knob(...), nuisance(...) or fixed(...)"
    return None


def _is_choice(annotation: Any) -> bool:
    if get_origin(annotation) is not Literal:
        return False
    kinds = {type(value) for value in get_args(annotation)}
    return len(kinds) == 1 and kinds <= {bool, int, str}


def _check_entry(entry: MethodEntry, path: str, where: str) -> None:
    texts = {"title": entry.title, "citation": entry.citation, "own_start": entry.own_start}
    texts |= {"uses": " ".join(entry.uses), "statistics": entry.statistics}
    for key, text in texts.items():
        if not (isinstance(text, str) and is_printable(text)) or (key == "title" and not text):
            raise StudyError(
                f"{key} of '{path}' is {text!r}", expected="a text that can be shown", where=where
            )
    unknown = [name for name in entry.scenarios if name not in ALL_SCENARIOS]
    if unknown or not entry.scenarios:
        raise StudyError(
            f"scenarios of '{path}' are {entry.scenarios!r}",
            expected=f"some of {', '.join(ALL_SCENARIOS)}",
            where=where,
        )
    for name in entry.statistics_read:
        if name not in entry.hyper.model_fields:
            raise StudyError(
                f"statistics_read of '{path}' names '{name}', which is none of its numbers",
                expected=closest_name(name, entry.hyper.model_fields),
                where=where,
            )


@lru_cache(maxsize=1)
def _installed() -> Mapping[str, tuple[EntryPoint, Kind]]:
    return {
        point.name: (point, kind)
        for group, kind in GROUPS.items()
        for point in entry_points(group=group)
    }


def installed_names() -> tuple[str, ...]:
    """Names of methods that installed packages bring, by entry points of the groups `GROUPS`."""
    return tuple(sorted(_installed()))


def installed_path(name: str) -> tuple[str, Kind]:
    """Import path and kind of a method that an installed package brings; '' where none has it.

    Args:
        name: of the entry point.
    """
    found = _installed().get(name)
    if found is None:
        return "", "method"
    point, kind = found
    return point.value.replace(" ", ""), kind
