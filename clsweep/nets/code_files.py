"""The source files behind a factory: its module, and the local modules that these import.

They are found and read, never imported: `plan` runs no code of a study. Local is what belongs to
the factory's own package, or lies outside of the interpreter's folders of installed packages. Of a
module within clsweep, such as a bridge, the own package is its room: what it needs of the others
has versions of its own, which are raised when numbers change.
What counts is what a file means: comments, docstrings and layout are no part of it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import os
import pkgutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from clsweep.errors import StudyError
from clsweep.imported_sources import imported_source, is_of_installed_package

# Their versions stand in every record.
_KNOWN_PACKAGES = frozenset(
    ("clsweep", "numpy", "pyarrow", "ray", "sklearn", "torch", "torchvision")
)
# What a module's file said when it was first looked at, where more is not known.
_FIRST_SEEN: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
_DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class CodeFile(NamedTuple):
    """A module that a factory needs.

    Attributes:
        module: its full name.
        path: its file.
        meaning: hash of what it says, 64 hexadecimal digits.
    """

    module: str
    path: Path
    meaning: str


class _Parsed(NamedTuple):
    meaning: str
    # (level, module, names) of every import.
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


def code_files(module: str) -> list[CodeFile]:
    """The modules that make what a factory makes, by name; empty where its own is not found.

    Args:
        module: full name of the module that the factory is in.

    Raises:
        OSError: a file cannot be read.
    """
    importlib.invalidate_caches()  # a file may be new
    own = _own_package(module)
    found: dict[str, CodeFile] = {}
    looked_at: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        # Importing a module runs the packages that it is in.
        names = [name.rsplit(".", n)[0] for n in range(name.count("."), -1, -1)]
        for one in names:
            if one in looked_at or _is_known(one, own):
                continue
            looked_at.add(one)
            spec = _spec(one)
            path = _file_of(spec)
            if spec is None or path is None or not _is_local(one, path, own):
                continue
            read = _parsed(path, *_stamp(path))
            found[one] = CodeFile(one, path, read.meaning)
            package = (
                one if spec.submodule_search_locations is not None else one.rpartition(".")[0]
            )
            waiting += _imported(read, package)
    return [found[name] for name in sorted(found)] if module in found else []


def edited_file(path: str) -> Path | None:
    """A file that says something else than what this process imported from it; None without one.

    Args:
        path: 'package.module:attribute'; the module and its local imports are looked at.

    Raises:
        OSError: a file cannot be read.
    """
    for file in code_files(path.partition(":")[0]):
        loaded = sys.modules.get(file.module)
        if loaded is None:
            continue
        source = imported_source(loaded)
        if source is None:
            meaning = _FIRST_SEEN.setdefault(loaded, file.meaning)
        else:
            meaning = _read(source).meaning
        if meaning != file.meaning:
            return file.path
    return None


def check_unedited(path: str, where: str) -> None:
    """Refuse code of the user's that runs otherwise than its files say.

    Args:
        path: 'package.module:attribute'.
        where: the key that asks for it, for messages.

    Raises:
        StudyError: it was edited after this process had imported it, or cannot be read.
    """
    try:
        file = edited_file(path)
    except OSError as error:
        raise StudyError(
            f"the code of '{path}' cannot be read: {error.strerror or error}",
            where=str(error.filename or ""),
        ) from error
    if file is not None:
        raise StudyError(
            f"the code of '{path}' was edited after this process had imported it",
            expected="the code that is imported and its files to be the same",
            where=f"{where}: {file}",
            next_step="start a new process; in a notebook, restart the kernel",
        )


def module_file(module: str) -> Path | None:
    """The file of a module, found without importing it; None where it has none.

    Args:
        module: its full name.
    """
    return _file_of(_spec(module))


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _spec(name: str) -> ModuleSpec | None:
    """Where a module lies, found without running the packages that it is in."""
    loaded = sys.modules.get(name)
    spec: ModuleSpec | None
    if loaded is not None:
        spec = getattr(loaded, "__spec__", None)
        file = getattr(loaded, "__file__", None)
        if spec is None and file:  # a script
            return ModuleSpec(name, None, origin=file)
        return spec
    parent, _, _ = name.rpartition(".")
    if parent:
        above = _spec(parent)
        return _spec_in(name, (above and above.submodule_search_locations) or ())
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, None) if find else None
        if isinstance(spec, ModuleSpec):
            return spec
    return None


def _spec_in(name: str, folders: Iterable[str]) -> ModuleSpec | None:
    """A module of a package; Python's own search wants the package imported."""
    parts: list[str] = []
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        spec = finder.find_spec(name) if finder else None
        if isinstance(spec, ModuleSpec) and spec.loader is not None:
            return spec
        parts += (spec and spec.submodule_search_locations) or []
    if not parts:
        return None
    without_file = ModuleSpec(name, None, is_package=True)
    without_file.submodule_search_locations = parts
    return without_file


def _file_of(spec: ModuleSpec | None) -> Path | None:
    if spec is None or not spec.origin or spec.origin in ("built-in", "frozen", "namespace"):
        return None
    path = Path(spec.origin)
    return path if path.is_file() else None


def _own_package(module: str) -> str:
    """The package whose modules all count as the code of `module`."""
    top, _, rest = module.partition(".")
    return f"{top}.{rest.partition('.')[0]}" if top == "clsweep" and rest else top


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _is_known(name: str, own: str) -> bool:
    top = name.partition(".")[0]
    is_known = top in _KNOWN_PACKAGES or top in sys.stdlib_module_names
    return is_known and not _is_within(name, own)


def _is_local(name: str, path: Path, own: str) -> bool:
    if _is_within(name, own):
        return True
    standard = sysconfig.get_path("stdlib")
    return not is_of_installed_package(path) and not path.is_relative_to(standard)


def _imported(read: _Parsed, package: str) -> Iterator[str]:
    """Full names of all that may be a module among a file's imports."""
    for level, module, names in read.imports:
        parts = package.split(".") if level else []
        parts = parts[: len(parts) - (level - 1)] if level else []
        base = ".".join([*parts, module]) if module else ".".join(parts)
        if base:
            yield base
        yield from (f"{base}.{name}" for name in names if base and name != "*")


@lru_cache(maxsize=4096)
def _parsed(path: Path, size: int, mtime_ns: int) -> _Parsed:
    """A file's meaning and imports; size and time say which version of it."""
    return _read(path.read_bytes())


@lru_cache(maxsize=256)
def _read(data: bytes) -> _Parsed:
    """What a source means, and its imports."""
    try:
        tree = ast.parse(data)
        text = json.dumps(_plain(tree), separators=(",", ":"))
    except (SyntaxError, ValueError, RecursionError):
        # No source, or one that Python refuses when it is imported: every byte counts.
        return _Parsed(hashlib.sha256(data).hexdigest(), ())
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            imports.append((node.level, node.module or "", names))
        elif isinstance(node, ast.Call) and _imports_by_name(node):
            imports.append((0, node.args[0].value, ()))  # type: ignore[attr-defined]
    return _Parsed(hashlib.sha256(text.encode()).hexdigest(), tuple(imports))


def _imports_by_name(node: ast.Call) -> bool:
    """Whether a call is `import_module("name")`, or `__import__("name")`."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    name = node.func.id if isinstance(node.func, ast.Name) else name
    first = node.args[0] if node.args else None
    is_name = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return name in ("import_module", "__import__") and is_name


def _plain(node: Any) -> Any:
    """A syntax tree as JSON, without positions, docstrings and empty fields.

    Not `ast.dump`, whose text differs between releases of Python: a field that a newer one adds
    is empty for what an older one can parse.
    """
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields: dict[str, Any] = {}
    for name, value in ast.iter_fields(node):
        if name in ("ctx", "kind", "type_comment", "type_ignores"):
            continue
        if name == "body" and isinstance(node, _DEFINITIONS):
            value = _without_docstring(value)
        if value is None and not isinstance(node, ast.Constant):
            continue
        if value != []:
            fields[name] = _plain(value)
    return [type(node).__name__, fields]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_docstring = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return body[1:] if is_docstring else body


def factory_complaint(factory: str) -> str:
    """Why a factory cannot be imported, as far as it shows without running anything; else ''.

    Args:
        factory: 'package.module:callable'.
    """
    module, _, attribute = factory.partition(":")
    if module in sys.modules:  # a notebook's has no file; what it holds shows when it is called
        return ""
    importlib.invalidate_caches()
    names = module.split(".")
    spec: ModuleSpec | None = None
    for n in range(1, len(names) + 1):
        name = ".".join(names[:n])
        spec = _spec(name)
        if spec is None:
            here = n == 1 and _spec_in(name, [os.curdir]) is not None
            hint = "; it lies in the current folder, which is on the path with PYTHONPATH=."
            return f"No module named '{name}'" + hint * here
    path = _file_of(spec)
    if spec is None or path is None or path.suffix != ".py":
        return ""
    try:
        bound = _bound(ast.parse(path.read_bytes()).body)
    except SyntaxError as error:
        return f"{path}, line {error.lineno} is no Python: {error.msg}"
    except ValueError as error:
        return f"{path} is no Python: {error}"
    if bound is None or attribute in bound or spec.submodule_search_locations is not None:
        return ""
    return f"module '{module}' has no attribute '{attribute}'"


def _bound(body: list[ast.stmt]) -> set[str] | None:
    """Names that a module's statements bind; None where that does not show."""
    bound: set[str] = set()
    for statement in body:
        if isinstance(statement, ast.Raise):
            return None
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(statement.name)
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
                bound |= names
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                bound.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.add(node.id)
            elif isinstance(node, ast.Call) and _writes_names(node):
                return None
    return None if bound & {"*", "__getattr__"} else bound


def _writes_names(node: ast.Call) -> bool:
    """Whether a call may bind names that nobody reads in the source."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    return name in ("globals", "vars", "exec", "setattr")
