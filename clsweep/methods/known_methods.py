"""Every method by name: ours, and those of users, whose code is imported."""

from __future__ import annotations

import ast
from pathlib import Path

from clsweep.errors import StudyError, closest_name
from clsweep.methods import METHODS, register
from clsweep.methods.entry import Kind, MethodEntry
from clsweep.methods.own_methods import installed_names, installed_path, own_entry
from clsweep.nets.code_files import module_file
from clsweep.user_code import is_import_path


def entry_of(name: str, kind: Kind | None = None) -> MethodEntry:
    """What is known about a method; imports the user's code of one that is none of ours.

    Args:
        name: a name of `METHODS` or of an installed entry point, or an import path.
        kind: what an import path leads to; None for what is found there.

    Raises:
        StudyError: no method has that name, or its code cannot be imported.
    """
    if name in METHODS:
        return METHODS[name]
    path = name
    if not is_import_path(name):
        path, kind = installed_path(name)
    if not path:
        raise StudyError(
            f"unknown method '{name}'",
            expected=closest_name(name, [*METHODS, *installed_names()]),
            next_step="`clsweep methods` lists them",
        )
    entry = own_entry(path, kind)
    register(name, entry)
    return entry


def method_doc(name: str) -> str:
    """The docstring of the method's module, read from its source without importing torch."""
    entry = entry_of(name)
    file = module_file(entry.path.partition(":")[0]) if entry.path else None
    if file is None:
        file = Path(__file__).with_name(f"{name}.py")
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
