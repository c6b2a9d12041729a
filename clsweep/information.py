"""What methods are told: what they need besides the last network, and whether they know the task.

Fronts are compared fairly among methods of equal information: replay keeps source examples, EWC
statistics of the source, LwF nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clsweep.curves import Curve

__all__ = ["NOTHING_MORE", "UNKNOWN", "grouped_by_needs", "needs_text", "task_identity_text"]

UNKNOWN = ("what this clsweep does not know",)
NOTHING_MORE = "nothing but the last network and the current data"


def needs_text(uses: Sequence[str]) -> str:
    """What a method needs, in words.

    Args:
        uses: as `METHODS` declares it.
    """
    return " and ".join(uses) or NOTHING_MORE


def grouped_by_needs(
    curves: Sequence[Curve], uses: Mapping[str, tuple[str, ...]]
) -> list[tuple[str, tuple[Curve, ...]]]:
    """Curves of equal needs together, those that need least first, else in order.

    Args:
        curves: labels, references among them.
        uses: label to what its method needs.
    """
    groups: dict[tuple[str, ...], list[Curve]] = {}
    for curve in curves:
        groups.setdefault(uses.get(curve.label, ()), []).append(curve)
    # Sorting is stable: groups of as many needs stay in the order of their first label.
    return [(needs_text(n), tuple(groups[n])) for n in sorted(groups, key=len)]


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
