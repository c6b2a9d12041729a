"""Code of the user's own: found by import path or entry point, and called with care.

A mistake in it is told as one message that names the user's file and line. What it imports is run:
whoever asks for it here has been asked for it by a study file or on the command line.
"""

from __future__ import annotations

import importlib
import linecache
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

from clsweep.errors import StudyError, closest_name
from clsweep.imported_sources import is_of_installed_package
from clsweep.signals import contained

_OWN = Path(__file__).parent


class UserCode(NamedTuple):
    """Something that a user has written.

    Attributes:
        name: as it was asked for: an import path, or the name of an entry point.
        path: 'package.module:attribute'.
        found: what stands there.
        where: the key that asked for it, for messages.
        expected: what it has to be, for messages.
    """

    name: str
    path: str
    found: Any
    where: str
    expected: str

    @property
    def place(self) -> str:
        """File and line of its definition; '' where neither is known."""
        return definition_place(self.found)

    def called(self, *args: Any, **kwargs: Any) -> Any:
        """What a call returns.

        Raises:
            StudyError: it raised; file and line of the user's that did stand in the message.
        """
        try:
            with contained():
                return self.found(*args, **kwargs)
        except Exception as error:
            raise self.mistake(f"'{self.name}' raised {described(error)}", error) from error

    def mistake(self, found: str, error: BaseException | None = None) -> StudyError:
        """What is raised for a mistake in it, with its file and line.

        Args:
            found: what is wrong.
            error: what it raised, if anything.
        """
        at = (raising_place(error) if error is not None else "") or self.place
        return StudyError(
            found, expected=self.expected, where=f"{self.where}: {at}" if at else self.where
        )


def is_import_path(text: str) -> bool:
    """Whether a name is one of the user's own: 'package.module:attribute'.

    Args:
        text: what stands in the study file.
    """
    module, colon, attribute = text.partition(":")
    names = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(name.isidentifier() for name in names)


def user_code(name: str, *, where: str, expected: str, group: str = "") -> UserCode:
    """Import what an import path, or an installed entry point, names.

    Args:
        name: 'package.module:attribute', or the name of an entry point.
        where: the key that asks for it, for messages.
        expected: what it has to be, for messages.
        group: of entry points, such as 'clsweep.measures'; '' where only import paths count.

    Raises:
        StudyError: there is no such thing, it cannot be imported, or it cannot be called.
    """
    path = code_path(name, where=where, group=group)
    module, _, attribute = path.partition(":")
    try:
        with contained():
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
    except Exception as error:  # importing runs the user's code
        at = raising_place(error)
        raise StudyError(
            f"'{name}' cannot be imported: {described(error)}",
            where=f"{where}: {at}" if at else where,
            next_step="the module must be importable on every worker (installed, or in the "
            "current folder with PYTHONPATH=.)",
        ) from error
    code = UserCode(name, path, found, where, expected)
    if not callable(found):
        raise code.mistake(f"'{name}' is a {type(found).__name__}, which cannot be called")
    return code


def code_path(name: str, *, where: str, group: str = "", known: Iterable[str] = ()) -> str:
    """The import path behind a name; nothing is imported.

    Args:
        name: an import path, or the name of an entry point.
        where: the key that asks for it, for messages.
        group: of entry points; '' where only import paths count.
        known: names of clsweep's own that would have been right as well, for the message.

    Raises:
        StudyError: it is neither.
    """
    if is_import_path(name):
        return name
    installed = _entry_points(group) if group else {}
    if name not in installed:
        names = [*known, *installed]
        raise StudyError(
            f"'{name}' is no import path"
            + (f", and no installed entry point of the group '{group}'" if group else ""),
            expected="package.module:name" + (f"; {closest_name(name, names)}" if names else ""),
            where=where,
        )
    return installed[name].value.partition("[")[0].strip()


def installed_names(group: str) -> tuple[str, ...]:
    """Names of the entry points that installed packages offer, in order.

    Args:
        group: of entry points, such as 'clsweep.measures'.
    """
    return tuple(sorted(_entry_points(group)))


def is_installed(name: str, group: str) -> bool:
    """Whether an installed package offers an entry point of this name.

    Args:
        name: of the entry point.
        group: of entry points, such as 'clsweep.measures'.
    """
    return name in _entry_points(group)


def described(error: BaseException) -> str:
    """An error in one line, with its kind where the text alone would not tell.

    Args:
        error: what the user's code raised.
    """
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, ImportError | AttributeError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def raising_place(error: BaseException) -> str:
    """'FILE, line N' of the innermost line of the user's that raised; '' without one.

    The user's is what belongs to neither clsweep, Python, nor an installed package.

    Args:
        error: as it was caught.
    """
    cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
    if isinstance(cause, SyntaxError) and cause.filename and is_users(cause.filename):
        return f"{cause.filename}, line {cause.lineno}"
    frames = [f for f in traceback.extract_tb(cause.__traceback__) if is_users(f.filename)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def with_place(error: BaseException) -> str:
    """An error with its kind, and the line where it was raised.

    That is the user's own, where torch or clsweep complains of what it was given there.

    Args:
        error: as it was caught.
    """
    last = traceback.extract_tb(error.__traceback__)[-1]
    at = raising_place(error) or f"{last.filename}, line {last.lineno}"
    return f"{type(error).__name__}: {error} ({at.rpartition('/')[2]})"


def definition_place(found: Any) -> str:
    """'FILE, line N' of the definition of a function or class; '' where it is not known.

    Args:
        found: a function, a class, or an object of the user's.
    """
    code = getattr(getattr(found, "__wrapped__", found), "__code__", None)
    if code is not None:
        return f"{code.co_filename}, line {code.co_firstlineno}"
    kind = found if isinstance(found, type) else type(found)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if not file or not is_users(file):
        return ""
    for number, line in enumerate(linecache.getlines(file), 1):
        if line.split("(")[0].split(":")[0].split() == ["class", kind.__name__]:
            return f"{file}, line {number}"
    return str(file)


def checked_call(code: UserCode, check: Callable[[Any], str], *args: Any, **kwargs: Any) -> Any:
    """What a call returns, if it is what was to be returned.

    Args:
        code: what is called.
        check: (what it returned) -> what is wrong with that; '' for nothing.
        args: of the call.
        kwargs: of the call.

    Raises:
        StudyError: it raised, or returned something else.
    """
    returned = code.called(*args, **kwargs)
    if wrong := check(returned):
        raise code.mistake(f"'{code.name}' {wrong}")
    return returned


def is_users(file: str) -> bool:
    """Whether a file belongs to neither clsweep, Python, nor an installed package.

    Args:
        file: as a frame names it.
    """
    path = Path(file)
    if file.startswith("<") or path.is_relative_to(_OWN):
        return False
    if is_of_installed_package(path):
        return False
    return not path.is_relative_to(sysconfig.get_path("stdlib"))


def _entry_points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}
