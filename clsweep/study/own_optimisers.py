"""Optimisers of the user's own that a study names by import path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsweep.errors import StudyError
from clsweep.nets.code_files import factory_complaint
from clsweep.training.optimiser_names import OPTIMISERS

if TYPE_CHECKING:
    from clsweep.study.study_tables import StudyTables


def own_optimisers(study: StudyTables) -> tuple[str, ...]:
    """The import paths of a study's optimisers, each once, in file order.

    Args:
        study: the study.
    """
    named = [study.training.optimizer]
    for request in study.methods:
        named += request.training.axes().get("optimizer", ())
    return tuple(dict.fromkeys(name for name in named if name not in OPTIMISERS))


def check_own_optimisers(study: StudyTables) -> None:
    """Refuse an optimiser that cannot be imported, as far as it shows without importing it.

    Args:
        study: the study.

    Raises:
        StudyError: there is no such module, or no such name in it.
    """
    for path in own_optimisers(study):
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
