"""What a module's file said when this process imported the module.

A process of a notebook lives on while files are edited, and Python imports a module once: what
runs may be older than what the file says. `watch`, called when `clsweep` is imported, keeps the
source of every local module from then on; those of before count as they stand at that moment.
Local is what lies outside of the folders of Python and of installed packages.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from weakref import WeakKeyDictionary

_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = sysconfig.get_path("stdlib") + os.sep
# Name of the attribute of a module's spec that holds the source: a module that is imported anew,
# or reloaded, has a new spec.
_SOURCE = "_clsweep_source"
# Of modules without a spec, such as a script.
_WITHOUT_SPEC: WeakKeyDictionary[ModuleType, bytes] = WeakKeyDictionary()
# In the place of a source that is lost; no file that can be imported says this.
_LOST = b"\0"


def is_of_installed_package(path: Path) -> bool:
    """Whether a file belongs to an installed package.

    Args:
        path: the file.
    """
    return any(part in _INSTALLED for part in path.parts)


class _Watcher:
    """Finds a module as those after it on `sys.meta_path` do, and keeps its source."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What Python asks for before it imports a module.

        Args:
            name: full name of the module.
            path: folders of its package.
            target: the module, where it is loaded anew.
        """
        if name.partition(".")[0] in sys.stdlib_module_names or self not in sys.meta_path:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if isinstance(spec, ModuleSpec):
                source = _source(name, spec.origin)
                if source is not None:
                    setattr(spec, _SOURCE, source)
                return spec
        return None


def watch() -> None:
    """Keep the sources of local modules that are imported, and of those that are by now."""
    if any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Watcher())
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType):
            continue
        spec = getattr(module, "__spec__", None)
        source = _source(name, getattr(module, "__file__", None))
        if source is None:
            continue
        if spec is None:
            _WITHOUT_SPEC[module] = source
        else:
            setattr(spec, _SOURCE, _LOST if _is_newer(spec) else source)


def imported_source(module: ModuleType) -> bytes | None:
    """What a module's file said when it was imported; None where that is not known.

    Args:
        module: as `sys.modules` holds it.
    """
    spec = getattr(module, "__spec__", None)
    source: bytes | None = getattr(spec, _SOURCE, None)
    return _WITHOUT_SPEC.get(module) if source is None else source


def _source(name: str, file: object) -> bytes | None:
    if name.partition(".")[0] == "clsweep" or not isinstance(file, str):
        return None
    if not file.endswith(".py") or file.startswith(_STANDARD):
        return None
    if is_of_installed_package(Path(file)):
        return None
    try:
        return Path(file).read_bytes()
    except OSError:  # Python says what is wrong with it
        return None


def _is_newer(spec: ModuleSpec) -> bool:
    """Whether a file was edited after its import: Python keeps what it compiled beside it."""
    loader, compiled = spec.loader, spec.cached
    if sys.dont_write_bytecode or type(loader) is not SourceFileLoader or not compiled:
        return False
    try:
        head = Path(compiled).read_bytes()[:16]
        status = os.stat(loader.path)
    except OSError:
        return False
    if len(head) < 16 or head[4:8] != bytes(4) or not os.access(compiled, os.W_OK):
        return False
    if not os.access(Path(compiled).parent, os.W_OK):
        return False
    of_source = (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    return of_source != (int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:], "little"))
