"""Needs of methods besides the last network, and whether they are told the task, in words."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING_MORE = "nothing but the last network and the current data"


# What a table has room for.
_SHORT = {
    "source statistics": "statistics",
    "source trajectory": "trajectory",
    "source examples": "examples",
    "a trajectory with a start of its own": "own trajectory",
    "gates with a start of their own": "own gates",
    "a generator with a start of its own": "own generator",
    "weights with a start of their own": "own weights",
    "a start of its own": "own start",
    "weights and generator with a start of their own": "own weights, generator",
}


def short_needs(uses: Sequence[str]) -> str:
    """What a method needs of earlier tasks, in a word or two.

    Args:
        uses: as `METHODS` declares it.
    """
    return " and ".join(_SHORT.get(need, need) for need in uses) or "nothing"


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
