"""All labels of a report beside each other: common seeds, required accuracies, choices.

Validation chooses, test is printed. Seeds are never pooled into one front.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clsweep.curves import Curve, curve_of
from clsweep.rows import n_tasks_of
from clsweep.schema import Record

__all__ = ["Comparison", "Requirement", "compare"]

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Requirement:
    """A required target accuracy, and what each label keeps of the source at it.

    Attributes:
        drop: accuracy below fine-tuning's that is allowed, in [0, 1].
        target: the required test accuracy on the target, for reading only.
        chosen: label to index of the point with the best validation source accuracy among those
            whose validation target accuracy meets the requirement; None where none does.
    """

    drop: float
    target: float
    chosen: dict[str, int | None]


@dataclass(frozen=True)
class Comparison:
    """Everything that tables and figures are drawn from.

    Attributes:
        seeds: the seeds that every point is a mean over.
        left_out: seeds with records on which too few configurations have finished.
        curves: labels that trace a curve, in the order of the study.
        references: labels that mark an end of the plot.
        requirements: one per allowed drop; empty without a fine-tuning reference.
        reference_point: (source, target) from which hypervolume is counted.
    """

    seeds: tuple[int, ...]
    left_out: tuple[int, ...]
    curves: tuple[Curve, ...]
    references: tuple[Curve, ...]
    requirements: tuple[Requirement, ...]
    reference_point: tuple[float, float]

    @property
    def all_curves(self) -> tuple[Curve, ...]:
        """Curves, then references."""
        return self.curves + self.references


def compare(
    records: Sequence[Record],
    labels: Sequence[str] = (),
    drops: Sequence[float] = (),
    reference_point: tuple[float, float] = (0.0, 0.0),
) -> Comparison:
    """Points, fronts and choices of all labels.

    Args:
        records: of one study, at least one.
        labels: the order of the labels; others follow by name.
        drops: accuracies below fine-tuning's that are allowed, in [0, 1].
        reference_point: (source, target) from which hypervolume is counted.
    """
    n_tasks = n_tasks_of(records)
    seeds = _common_seeds(records)
    by_label: dict[str, list[Record]] = {}
    names = _latest_labels(records)
    for record in records:
        by_label.setdefault(names[record["trial"]["config_id"]], []).append(record)
    order = [name for name in labels if name in by_label]
    order += sorted(set(by_label) - set(order))
    built = [curve_of(name, by_label[name], seeds, n_tasks, reference_point) for name in order]
    curves = tuple(curve for curve in built if not curve.is_reference)
    references = tuple(curve for curve in built if curve.is_reference)
    return Comparison(
        seeds=seeds,
        left_out=tuple(sorted({r["trial"]["seed"] for r in records} - set(seeds))),
        curves=curves,
        references=references,
        requirements=_requirements(curves, references, drops),
        reference_point=reference_point,
    )


def _common_seeds(records: Iterable[Record]) -> tuple[int, ...]:
    """The seeds that use the most finished trials when every point must have all of them.

    With all trials done these are all seeds. While a further seed is being run, they are the
    seeds that were complete before, until the further one has caught up.
    """
    done: dict[int, set[str]] = {}
    for record in records:
        trial = record["trial"]
        finished = done.setdefault(trial["seed"], set())
        if trial["status"] == "ok":
            finished.add(trial["config_id"])
    ranked = sorted(done, key=lambda seed: (-len(done[seed]), seed))

    def n_used(n: int) -> tuple[int, int]:
        # Of equal counts the one with more seeds.
        return n * len(set.intersection(*(done[s] for s in ranked[:n]))), n

    return tuple(sorted(ranked[: max(range(1, len(ranked) + 1), key=n_used)]))


def _latest_labels(records: Iterable[Record]) -> dict[str, str]:
    """One label per configuration: the one it finished last under."""
    in_time = sorted(records, key=lambda r: (r["trial"]["finished_at"], r["trial"]["seed"]))
    return {r["trial"]["config_id"]: r["config"]["label"] for r in in_time}


def _requirements(
    curves: Sequence[Curve], references: Sequence[Curve], drops: Sequence[float]
) -> tuple[Requirement, ...]:
    tuned = [
        curve.points[curve.best]
        for curve in references
        if curve.method == "finetune" and curve.best is not None
    ]
    if not tuned:
        return ()
    finetuned = max(tuned, key=lambda point: float(point.mean("validation")[1]))
    required, shown = finetuned.mean("validation")[1], finetuned.mean("test")[1]
    found = []
    for drop in sorted(drops):
        chosen = {curve.label: _keeps_most(curve, required - drop) for curve in curves}
        found.append(Requirement(drop, float(shown - drop), chosen))
    return tuple(found)


def _keeps_most(curve: Curve, required: float) -> int | None:
    means = [point.mean("validation") for point in curve.points]
    met = [i for i, (_, target) in enumerate(means) if target >= required - _ROUNDING]
    return max(met, key=lambda i: float(means[i][0]), default=None)
