"""The most important caveats of a study, each in a line or two, worst first.

`caveats.py` says everything, label by label. Here labels of one trouble are named together, and
kinds of trouble have an order: what makes all numbers doubtful, who is worse than no method at
all, then what favours one method, then what a better study would show, then what only widens
intervals.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clsweep.methods.divergence import what_helps
from clsweep.records.accuracy import mean_and_error
from clsweep.reporting.caveats import (
    below_fine_tuning,
    design_of,
    grid_edges,
    hardly_learnt,
    learnt_by_fine_tuning,
    short_ends,
    stable_until,
)
from clsweep.reporting.curves import Curve
from clsweep.reporting.summary import misses_target
from clsweep.study import fairness
from clsweep.text import command, counted, key_text, number_text, printable, seeds_of

if TYPE_CHECKING:
    from clsweep.reporting.report_data import ReportData

_MOST_NAMED = 4
_LONGEST = 240
# Beside the error over seeds, an image error of this share is not small.
_NOT_SMALL = 0.5


def findings(data: ReportData) -> tuple[str, ...]:
    """What a reader must know first, worst first; empty for a sound study.

    Args:
        data: what `report_building.build` computed.
    """
    return tuple(
        finding
        for kind in (
            _about_everything,
            _about_paths,
            _about_below_fine_tuning,
            _about_absent,
            _about_seeds,
            _about_fairness,
            _about_unlearnt,
            _about_changes,
            _about_best_edges,
            _about_diverged,
            _about_unfinished,
            _about_missed_targets,
            _about_fine_tuning,
            _about_images,
            _about_ends,
            _about_source_edges,
        )
        for finding in kind(data)
    )


def _about_everything(data: ReportData) -> Iterator[str]:
    for note in data.urgent:
        yield _first_sentence(note)


def _about_paths(data: ReportData) -> Iterator[str]:
    paths = [curve.label for curve in data.comparison.curves if curve.is_path]
    if paths:
        yield (
            f"Points of paths, no independent trials: {_named(paths)}. They show where a grid "
            "should lie, and compare no methods."
        )


def _about_below_fine_tuning(data: ReportData) -> Iterator[str]:
    below = below_fine_tuning(data.comparison)
    if below is not None:
        yield below.sentence(below.labels[:_MOST_NAMED])


def _about_absent(data: ReportData) -> Iterator[str]:
    for curve in data.comparison.curves:
        if not curve.points and curve.all_failed:
            n = sum(curve.n_by_status.values())
            failed = "its one trial failed" if n == 1 else f"all {n:,} trials failed"
            folder = data.shown[0].directory if len(data.shown) == 1 else "DIR"
            why = printable(curve.failure, one_line=True).rstrip(".")
            yield f"{curve.label}: {failed}: {why}; `{command('clsweep status', folder)}`."
        elif not curve.points:
            helps = f": {_help(curve)}" if curve.diverged else ""
            nothing = "has no value that finished with every seed"
            yield f"{curve.label} {nothing} ({curve.absence}){helps}."


def _about_seeds(data: ReportData) -> Iterator[str]:
    comparison = data.comparison
    if len(comparison.seeds) == 1:
        yield "One seed: every difference may be luck, and no error can be given."
    if comparison.left_out:
        yield (
            f"{seeds_of(comparison.left_out).capitalize()} left out: more trials can be compared "
            f"over {seeds_of(comparison.seeds)} alone."
        )


def _about_fairness(data: ReportData) -> Iterator[str]:
    design = design_of(data.comparison, data.searched)
    for remark in (*fairness.budgets(design), *fairness.trainings(design)):
        yield remark.sentence


def _about_unlearnt(data: ReportData) -> Iterator[str]:
    found = hardly_learnt(data.comparison)
    if found:
        targets = [100 * float(c.points[c.best or 0].mean("test")[1]) for c in found]
        span = f"{min(targets):.0f}–{max(targets):.0f}" if len(found) > 1 else f"{targets[0]:.0f}"
        tuned = 100 * learnt_by_fine_tuning(data.comparison)
        verb = "learns" if len(found) == 1 else "learn"
        yield (
            f"At the best average {_named([c.label for c in found])} hardly {verb} the last task "
            f"({span} %, fine-tuning {tuned:.0f} %): compare the source kept."
        )


def _about_changes(data: ReportData) -> Iterator[str]:
    for note in data.late_changes:
        yield _first_sentence(note)


def _about_best_edges(data: ReportData) -> Iterator[str]:
    yield from _edges(data, of_average=True)


def _about_source_edges(data: ReportData) -> Iterator[str]:
    yield from _edges(data, of_average=False)


def _edges(data: ReportData, of_average: bool) -> Iterator[str]:
    found = [
        f"{curve.label} {key_text(edge.name)}={number_text(edge.value)} ({edge.end})"
        for curve in data.comparison.curves
        for edge in grid_edges(curve, data.comparison)
        if (None in edge.drops) == of_average
    ]
    if found:
        what = "best average" if of_average else "most source kept"
        yield f"The {what} lies at the end of the values tried, try further: {_named(found)}."


def _about_diverged(data: ReportData) -> Iterator[str]:
    for curve in data.comparison.all_curves:
        if curve.diverged and (curve.points or curve.is_reference):
            n = f"{len(curve.diverged):,} of {counted(curve.n_configs, 'configuration')}"
            until = stable_until(curve)
            yield f"{curve.label}: {n} diverged{f', {until}' if until else ''}; {_help(curve)}."


def _help(curve: Curve) -> str:
    return f"try {what_helps(curve.method, curve.diverged[0].hyper)}"


def _about_unfinished(data: ReportData) -> Iterator[str]:
    found = []
    for curve in data.comparison.all_curves:
        n_missing = curve.n_configs - len(curve.points) - len(curve.diverged)
        if n_missing and curve.points and not curve.only_seeds:
            found.append(f"{curve.label} {n_missing} of {curve.n_configs}")
    if found:
        yield f"Configurations that have not finished cannot be chosen: {_named(found)}."


def _about_missed_targets(data: ReportData) -> Iterator[str]:
    comparison = data.comparison
    missed = [
        f"{curve.label} at {100 * requirement.drop:g} point{'s' * (requirement.drop != 0.01)}"
        for requirement in comparison.requirements
        for curve in comparison.curves
        if misses_target(curve, requirement)
    ]
    if missed:
        yield (
            "† the target got is below what is required, so that the source kept looks better "
            f"than it is: {_named(missed)}."
        )


def _about_fine_tuning(data: ReportData) -> Iterator[str]:
    if not data.comparison.requirements:
        yield (
            "Without a finished fine-tuning there is no required target: add a method "
            '`name = "finetune"`.'
        )


def _about_images(data: ReportData) -> Iterator[str]:
    large = []
    for curve in data.comparison.curves:
        if curve.best is None or curve.label not in data.luck.best:
            continue
        image = data.luck.best[curve.label][0]
        seed = mean_and_error(curve.points[curve.best].measures["average_accuracy"])[1]
        if image > _NOT_SMALL * seed:
            large.append(image)
    if large:
        yield (
            f"Another test set may move an average by ±{100 * max(large):.1f} points; intervals "
            "are over seeds and leave this out."
        )


def _about_ends(data: ReportData) -> Iterator[str]:
    for word, reference in (
        ("source", "the model before the last task"),
        ("target", "fine-tuning"),
    ):
        short = {
            curve.label: ends[word]
            for curve in data.comparison.curves
            if word in (ends := short_ends(curve, data.comparison))
        }
        if short:
            named = [f"{label} −{points:.1f}" for label, points in short.items()]
            yield (
                f"Fronts that end below {reference} in {word} accuracy (points): {_named(named)}; "
                "more values may go on."
            )


def _named(found: Sequence[str]) -> str:
    more = len(found) - _MOST_NAMED
    return ", ".join(found[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _first_sentence(note: str) -> str:
    return textwrap.shorten(
        re.split(r"(?<=[.])\s", note, maxsplit=1)[0], _LONGEST, placeholder=" …"
    )
