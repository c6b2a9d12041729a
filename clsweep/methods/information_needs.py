"""Needs of methods besides the last network, and whether they are told the task, in words."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING_MORE = "nothing but the last network and the current data"


def needs_text(uses: Sequence[str]) -> str:
    """What a method needs, in words.

    Args:
        uses: as `METHODS` declares it.
    """
    return " and ".join(uses) or NOTHING_MORE


def task_identity_text(scenario: str) -> str:
    """Who knows which task an example belongs to; equal for all methods of a study.

    Args:
        scenario: 'task', 'domain' or 'class'; anything else is not known.
    """
    tested = {
        "task": "every method is told the task of a test example",
        "domain": "no method is told the task of a test example",
        "class": "no method is told the task of a test example",
    }.get(scenario)
    trained = "Every method is told where a task ends and the next begins"
    return f"{trained}; {tested}." if tested else f"{trained}."
