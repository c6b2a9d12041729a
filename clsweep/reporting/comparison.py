"""All labels of a report beside each other: common seeds, required accuracies, choices.

Validation chooses, test is printed. Seeds are never pooled into one front. Whatever chooses gets a
`ValidationTable`, which holds no test count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsweep.records.metrics import ACCURACY, Metric
from clsweep.reporting.curves import Curve
from clsweep.search.validation_table import ValidationTable


@dataclass(frozen=True)
class Requirement:
    """A required target accuracy, and what each label keeps of the source at it.

    Attributes:
        drop: accuracy below fine-tuning's that is allowed, in [0, 1].
        target: the required test accuracy on the target, for reading only.
        chosen: label to index of the point with the best validation source accuracy among those
            whose validation target accuracy meets the requirement, with the margin; None where
            none does.
        without_margin: the same without a margin.
    """

    drop: float
    target: float
    chosen: dict[str, int | None]
    without_margin: dict[str, int | None]


@dataclass(frozen=True)
class SourceEnd:
    """What fine-tuning's networks knew before it forgot: the source end where tasks share a head.

    There the frozen trunk is none: the head that it trains is that of all tasks, which forgets.
    With two tasks this is the source model itself, as it was after its task.

    Attributes:
        label: its name in tables and figures.
        test_S2: per seed, the mean test accuracy on each source task right after it was learnt,
            and that on the target before it was learnt (NaN where that was not evaluated).
        chance: of the target, in [0, 1]; 0 where it is not known.
    """

    label: str
    test_S2: NDArray[np.float64]
    chance: float = 0.0

    @property
    def corner_S2(self) -> NDArray[np.float64]:
        """`test_S2` with chance for what was not evaluated: a place to draw and to count from."""
        return np.where(np.isnan(self.test_S2), self.chance, self.test_S2)

    @property
    def unmeasured(self) -> str:
        """What readers must know of the target's accuracy; empty where it was measured."""
        if not np.isnan(self.test_S2).any():
            return ""
        return "target: chance, not measured" if self.chance else "target: 0, not measured"


@dataclass(frozen=True)
class Comparison:
    """Everything that tables and figures are drawn from.

    Attributes:
        seeds: the seeds that every point is a mean over.
        choose_on: other seeds, whose validation accuracies choose; empty where `seeds` do.
        left_out: seeds with records on which too few trials have answered.
        unanswered: how many configurations have no answer with a seed that is left out, by what
            became of their trials: 'failed', 'oom', or '' for no record; without those that
            no study asks for.
        curves: labels that trace a curve, in the order of the study.
        references: labels that mark an end of the plot.
        requirements: one per allowed drop; empty without a fine-tuning reference.
        reference_point: (source, target) from which hypervolume is counted.
        validation: all that a choice may see.
        margin: by which a choice must exceed a required target accuracy, in standard errors.
        one_head: whether all tasks share one head.
        source_end: the source end of the plot, where they do and fine-tuning has finished.
        metric: what stands in accuracy's place.
    """

    seeds: tuple[int, ...]
    choose_on: tuple[int, ...]
    left_out: tuple[int, ...]
    unanswered: dict[str, int]
    curves: tuple[Curve, ...]
    references: tuple[Curve, ...]
    requirements: tuple[Requirement, ...]
    reference_point: tuple[float, float]
    validation: ValidationTable
    margin: float = 0.0
    one_head: bool = False
    source_end: SourceEnd | None = None
    metric: Metric = ACCURACY

    @property
    def source_name(self) -> str:
        """The source end of the plot within a sentence."""
        return f"the {self.source_end.label}" if self.source_end else "the frozen trunk"

    @property
    def all_curves(self) -> tuple[Curve, ...]:
        """Curves, then references."""
        return self.curves + self.references

    @property
    def has_numbers(self) -> bool:
        """Whether any configuration has finished with every seed."""
        return any(curve.points for curve in self.all_curves)

    @property
    def has_choice(self) -> bool:
        """Whether validation chose for a method among several configurations."""
        return any(curve.points and curve.n_configs > 1 for curve in self.curves)

    @property
    def kept_at(self) -> tuple[Requirement, ...]:
        """The requirements at which a method can be asked what it keeps: none without a point."""
        return self.requirements if any(curve.points for curve in self.curves) else ()

    @property
    def not_drawn(self) -> str:
        """What figures say of configurations that diverged; empty where none did."""
        found = [
            f"{curve.label} {len(curve.diverged):,} of {curve.n_configs:,}"
            for curve in self.all_curves
            if curve.diverged
        ]
        return f"diverged, not drawn: {', '.join(found)}" if found else ""

    @property
    def figure_notes(self) -> tuple[str, ...]:
        """What figures say of what is not drawn, or drawn without having been measured."""
        end = self.source_end
        unmeasured = f"{end.label}, {end.unmeasured}" if end and end.unmeasured else ""
        return tuple(filter(None, (self.not_drawn, unmeasured)))

    @property
    def emptiness(self) -> str:
        """Why figures show no point; only for a comparison without one."""
        if any(curve.diverged for curve in self.all_curves):
            return "every configuration has diverged with a seed, or not finished"
        return "no configuration has finished with every seed"
