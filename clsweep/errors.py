"""Errors written for people: what was found, what was expected, where, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from clsweep.redaction import without_secrets
from clsweep.text import printable, shortened


class ClsweepError(Exception):
    """A condition that the user can mend; the command line prints it without a traceback.

    Args:
        found: what is wrong, as a sentence.
        expected: what would have been right.
        where: file, key or folder.
        next_step: what to do now.
    """

    def __init__(
        self, found: str, *, expected: str = "", where: str = "", next_step: str = ""
    ) -> None:
        # Whatever a file, a library or a user said may be among it.
        found, expected, where, next_step = (
            shortened(printable(without_secrets(part)))
            for part in (found, expected, where, next_step)
        )
        lines = [found]
        if expected:
            lines.append(f"  expected: {expected}")
        if where:
            lines.append(f"  where: {where}")
        if next_step:
            lines.append(f"  next: {next_step}")
        super().__init__("\n".join(lines))
        self.found, self.expected = found, expected
        self.where, self.next_step = where, next_step

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders by pickle; the default would drop the keyword arguments.
        parts = (self.found, self.expected, self.where, self.next_step)
        return (_rebuilt, (type(self), self.args[0], parts))


def _rebuilt(
    cls: type[ClsweepError], message: str, parts: tuple[str, str, str, str]
) -> ClsweepError:
    found, expected, where, next_step = parts
    error = cls(found, expected=expected, where=where, next_step=next_step)
    error.args = (message,)
    return error


class StudyError(ClsweepError):
    """The study file, or a command-line argument, asks for something that does not exist."""


class MethodError(ClsweepError):
    """A method broke its contract while training: a NaN, a changed shape, a missing tensor."""


class CacheError(ClsweepError):
    """The stage cache holds something that cannot be read."""


class StoreError(ClsweepError):
    """The results folder cannot be read or written, or belongs to something else."""


class RunnerError(ClsweepError):
    """The executor cannot run the study: too few resources, no cluster, no token."""


def closest_name(name: str, known: Iterable[str]) -> str:
    """A "did you mean" sentence for `name`, or the list of known names when none is close.

    Args:
        name: what the user typed.
        known: the names that exist.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:  # LWF is lwf, or LwF
        folded = {one.casefold(): one for one in names}
        alike = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
        close = [folded[one] for one in alike]
    if close:
        return f"did you mean '{close[0]}'?"
    return "one of " + ", ".join(f"'{n}'" for n in names)
