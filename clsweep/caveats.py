"""What a reader must know before trusting a report, as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clsweep.comparison import Comparison
from clsweep.curves import Curve
from clsweep.methods import METHODS
from clsweep.wording import counted

__all__ = ["axes_text", "caveats", "number_text"]


def caveats(comparison: Comparison) -> tuple[str, ...]:
    """Everything unequal, missing or at the end of a grid.

    Args:
        comparison: what the report says.
    """
    return (
        *_about_seeds(comparison),
        *_about_unfinished(comparison.all_curves),
        *_about_budgets(comparison.curves),
        *_about_starts(comparison.curves),
        *_about_references(comparison),
        *(note for curve in comparison.curves for note in _about_edges(curve, comparison)),
    )


def axes_text(axes: Mapping[str, Any]) -> str:
    """The numbers that set a configuration apart: `lam=1e+04, lr=0.1`."""
    return ", ".join(f"{name}={number_text(value)}" for name, value in axes.items()) or "–"


def number_text(value: Any) -> str:
    """A setting's value in at most four significant digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) and abs(value) < 10**6:
        return str(value)
    return f"{value:.4g}"


def _about_seeds(comparison: Comparison) -> Iterator[str]:
    if len(comparison.seeds) == 1:
        yield "One seed only: differences may be luck, and no error can be given."
    if comparison.left_out:
        yield (
            f"Left out {_seeds(comparison.left_out)}: more finished trials can be compared over "
            f"{_seeds(comparison.seeds)} alone. `clsweep run` finishes the rest."
        )


def _seeds(seeds: Sequence[int]) -> str:
    names = ", ".join(map(str, seeds[:8])) + (", …" if len(seeds) > 8 else "")
    return f"seed {names}" if len(seeds) == 1 else f"seeds {names}"


def _about_unfinished(curves: Sequence[Curve]) -> Iterator[str]:
    for curve in curves:
        n_missing = curve.n_configs - len(curve.points)
        if n_missing:
            bad = [f"{n} {s}" for s, n in curve.n_by_status.items() if n and s != "ok"]
            yield (
                f"{curve.label}: {n_missing} of {counted(curve.n_configs, 'configuration')} did "
                "not finish with every seed and cannot be chosen"
                + (f" (trials: {', '.join(bad)})." if bad else ".")
            )


def _about_budgets(curves: Sequence[Curve]) -> Iterator[str]:
    sizes = {curve.label: curve.n_configs for curve in curves}
    if len(set(sizes.values())) > 1:
        yield (
            "Unequal numbers of configurations, and the best of more is better by luck alone: "
            + ", ".join(f"{label} {n}" for label, n in sizes.items())
            + "."
        )
    steps = {c.label: [round(p.n_steps) for p in c.points] for c in curves if c.points}
    if len({n for values in steps.values() for n in values}) > 1:
        spans = (f"{label} {_span(values)}" for label, values in steps.items())
        yield f"Unequal steps of training per trial: {', '.join(spans)}."
    names = sorted({name for curve in curves for name in curve.training})
    for name in names:
        values = {curve.training.get(name, frozenset()) for curve in curves}
        if len(values) > 1 and name not in ("epochs", "steps"):
            found = (f"{c.label} {'/'.join(sorted(c.training.get(name, ())))}" for c in curves)
            yield f"Training differs between methods in '{name}': {', '.join(found)}."


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _about_starts(curves: Sequence[Curve]) -> Iterator[str]:
    for curve in curves:
        entry = METHODS.get(curve.method)
        if entry is not None and entry.start_note:
            yield f"{curve.label}: {entry.start_note}."


def _about_references(comparison: Comparison) -> Iterator[str]:
    if not comparison.requirements:
        is_asked_for = any(curve.method == "finetune" for curve in comparison.references)
        advice = "" if is_asked_for else ': add a method `name = "finetune"` to the study'
        yield f"No finished fine-tuning reference, so no required target accuracy{advice}."
    if not any(curve.method == "joint" for curve in comparison.references):
        yield "No joint reference: how far all methods are from their upper end is not shown."


def _about_edges(curve: Curve, comparison: Comparison) -> Iterator[str]:
    picks = {"the best average": curve.best}
    for requirement in comparison.requirements:
        goal = f"the best source at {-100 * requirement.drop:+.3g} points of target"
        picks[goal] = requirement.chosen[curve.label]
    found: dict[str, list[str]] = {}
    for goal, index in picks.items():
        if index is None:
            continue
        for name, value in curve.points[index].axes.items():
            numbers = [v for v in curve.grid[name] if isinstance(v, (int, float))]
            if len(numbers) < len(curve.grid[name]) or isinstance(value, bool):
                continue
            end = {max(numbers): "highest", min(numbers): "lowest"}.get(value)
            if end is not None:
                at = f"{name} = {number_text(value)}, the {end} of its grid"
                found.setdefault(at, []).append(goal)
    for at, goals in found.items():
        yield f"{curve.label}: {' and '.join(goals)} is at {at}; a wider grid may do better."
