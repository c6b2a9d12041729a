"""Optimisers of the user's own that a study names by import path."""

from __future__ import annotations

from collections.abc import Iterable

from clsweep.errors import StudyError
from clsweep.nets.code_files import factory_complaint
from clsweep.training.optimiser_names import OPTIMISERS


def own_optimisers(named: Iterable[str]) -> tuple[str, ...]:
    """The import paths among optimisers, each once, in their order.

    Args:
        named: `StudyTables.optimisers`.
    """
    return tuple(dict.fromkeys(name for name in named if name not in OPTIMISERS))


def check_own_optimisers(named: Iterable[str]) -> None:
    """Refuse an optimiser that cannot be imported, as far as it shows without importing it.

    Args:
        named: `StudyTables.optimisers`.

    Raises:
        StudyError: there is no such module, or no such name in it.
    """
    for path in own_optimisers(named):
        module, _, attribute = path.partition(":")
        complaint = factory_complaint(f"{module}:{attribute.partition('.')[0]}")
        if complaint:
            raise StudyError(
                f"'{path}' cannot be imported: {complaint}",
                expected="package.module:Optimizer",
                where="[training] optimizer",
                next_step="the module must be importable here and on every worker (installed, or "
                "in the current folder with PYTHONPATH=.)",
            )
