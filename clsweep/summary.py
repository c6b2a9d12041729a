"""The tables of a report for the terminal, drawn from what `comparison.py` computed.

Accuracies are fractions everywhere else; here they become percent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from clsweep.caveats import axes_text
from clsweep.cells import (
    NOTHING,
    bullet,
    bytes_text,
    count_text,
    duration_text,
    mean_of,
    mean_text,
    percent_text,
    plain_table,
)
from clsweep.comparison import Comparison
from clsweep.curves import Curve, Point
from clsweep.information import grouped_by_needs, task_identity_text
from clsweep.ledger import shown_text
from clsweep.luck import sizes_text
from clsweep.measures import mean_and_error
from clsweep.protocols import margin_text
from clsweep.verdicts import (
    crossfit_table,
    front_table,
    interval_text,
    pair_table,
    protocol_table,
    regret_table,
    source_pair_table,
)

if TYPE_CHECKING:
    from clsweep.report import ReportData

__all__ = ["tables"]

_MISSED = "†"
_ROUNDING = 1e-12
_TRANSFER = {
    "backward\ntransfer": "backward_transfer",
    "forward\ntransfer": "forward_transfer",
    "forgetting": "forgetting",
    "learning\naccuracy": "learning_accuracy",
}


def tables(data: ReportData) -> list[RenderableType]:
    """What the terminal shows: a heading, tables, and what to know before trusting them.

    Args:
        data: what `report.build` computed.
    """
    comparison = data.comparison
    made = [_average_table(data)]
    if comparison.requirements:
        made.append(_requirement_table(data))
    if data.protocol is not None:
        made.insert(0, protocol_table(data, data.protocol))
    made.append(_luck_table(data))
    if comparison.curves:
        made.append(front_table(data))
    if data.judgement.average_pairs:
        made.append(pair_table(data))
    if comparison.curves and data.judgement.selection == "cross-fitted":
        made.insert(-1, crossfit_table(data))
    if any(data.judgement.source_pairs):
        made.append(source_pair_table(data))
    if comparison.curves:
        made.append(regret_table(data))
    made += [_transfer_table(comparison), _trial_table(comparison)]
    made += [_cost_table(data), _memory_table(data)]
    shown: list[RenderableType] = [Text(data.title, style="bold"), Text(data.method_of_reading)]
    looks = shown_text(data.shown)
    shown.append(Text(f"Accuracies are test numbers throughout. {looks}".strip()))
    about = (data.training, data.seeds_vary, sizes_text(data.luck))
    shown += [Text(sentence) for sentence in about if sentence]
    for table in made:
        shown += [Text(""), table]
    if data.notes:
        shown += [Text(""), Text("Before trusting these numbers", style="bold yellow")]
        shown += [bullet(note) for note in data.notes]
    return shown


def _average_table(data: ReportData) -> Table:
    source, target = (100 * value for value in data.comparison.reference_point)
    table = plain_table(
        "Best average accuracy (ACC, %)",
        ["average", "source", "target", "hypervolume"],
        "hypervolume: area above the point "
        f"({source:.3g} %, {target:.3g} %)"
        + (", chance" if data.chance_is_known else "; chance is not known for this data")
        + _end_text(data.comparison),
    )
    for curve in _with_sections(table, data.comparison):
        if curve.best is None:
            _add(table, curve, None, [NOTHING] * 4)
            continue
        point = curve.points[curve.best]
        volume = NOTHING if curve.is_reference else mean_text(curve.hypervolumes, 1, 3)
        average = percent_text(point.measures["average_accuracy"])
        _add(table, curve, point, [average, *_source_target(point), volume])
    end = data.comparison.source_end
    if end is not None:
        source_S, target_S = end.test_S2.T
        average_S = ((data.n_tasks - 1) * source_S + target_S) / data.n_tasks
        cells = [percent_text(values) for values in (average_S, source_S, target_S)]
        table.add_row(Text(end.label), Text(NOTHING), *cells, NOTHING)
    return table


def _end_text(comparison: Comparison) -> str:
    if comparison.source_end is None:
        return ""
    what = "each source task right after it was learnt, by fine-tuning, and the target before"
    end = comparison.source_end
    unmeasured = f" ({end.unmeasured})" if end.unmeasured else ""
    return f"; {end.label}: {what}{unmeasured}"


def _requirement_table(data: ReportData) -> Table:
    comparison, margin = data.comparison, data.comparison.margin
    table = plain_table(
        "Source accuracy (%) at a required target accuracy",
        ["source", "worst\nseed", "target", "source, CI"],
        "required: fine-tuning's target accuracy less what is allowed; chosen among those that "
        "meet it on validation data"
        + (f" by a margin of {margin_text(margin)}" if margin else "")
        + f" ({_MISSED}: not on test data); worst seed, CI (95 % interval): of the source; "
        + _met_text(comparison),
    )
    qualities = {quality.label: quality for quality in data.judgement.fronts}
    for place, requirement in enumerate(comparison.requirements):
        table.add_section()
        required = f"target ≥ {100 * requirement.target:.1f} (−{100 * requirement.drop:.3g})"
        table.add_row(Text(required, style="italic"))
        for curve in comparison.curves:
            index = requirement.chosen[curve.label]
            if index is None:
                outcome = "not reached" if curve.points else NOTHING
                _add(table, curve, None, [outcome, NOTHING, NOTHING, NOTHING])
                continue
            source, target = _source_target(curve.points[index])
            missed = curve.points[index].mean("test")[1] < requirement.target - _ROUNDING
            ends = interval_text(qualities[curve.label].source_at[place], 100, 1)
            worst = _percent(curve.points[index].test_S2[:, 0].min())
            cells = [source, worst, f"{target} {_MISSED if missed else ' '}", ends]
            _add(table, curve, curve.points[index], cells)
    return table


def _met_text(comparison: Comparison) -> str:
    """How many choices meet their required target on test data, with the margin and without."""

    def n_met(name: str) -> str:
        met = [
            curve.points[index].mean("test")[1] >= requirement.target - _ROUNDING
            for requirement in comparison.requirements
            for curve in comparison.curves
            if (index := getattr(requirement, name)[curve.label]) is not None
        ]
        return f"{sum(map(int, met))} of {len(met)}"

    said = f"met on test data by {n_met('chosen')}"
    return said + (f", without a margin {n_met('without_margin')}" if comparison.margin else "")


def _luck_table(data: ReportData) -> Table:
    table = plain_table(
        "Luck of seeds and of test images at the best average (%)",
        [
            "worst\nseed",
            "best\nseed",
            "seeds\n±",
            "images\n±",
            "source,\nimages ±",
            "target,\nimages ±",
        ],
        "worst, best seed: average accuracy of the chosen configuration with one seed; seeds ±: "
        "standard error of its mean; images ±: what another draw of as many test images may "
        "change, at most (as if all seeds erred on the same images); of a difference between "
        "methods a part cancels, since they share the images",
        with_choice=False,
    )
    for curve in _with_sections(table, data.comparison):
        if curve.best is None:
            table.add_row(Text(curve.label), *[NOTHING] * 6)
            continue
        average_S = curve.points[curve.best].measures["average_accuracy"]
        ends = (average_S.min(), average_S.max(), mean_and_error(average_S)[1])
        table.add_row(
            Text(curve.label), *map(_percent, ends), *map(_percent, data.luck.best[curve.label])
        )
    return table


def _percent(value: float) -> str:
    return NOTHING if np.isnan(value) else f"{100 * value:.1f}"


def _transfer_table(comparison: Comparison) -> Table:
    table = plain_table(
        "Transfer (BWT, FWT) and forgetting at the best average (points)",
        list(_TRANSFER),
        "learning accuracy (%): on each task right after it was learned",
        with_choice=False,
    )
    for curve in _with_sections(table, comparison):
        cells = [curve.absence or NOTHING, *[NOTHING] * (len(_TRANSFER) - 1)]
        if curve.best is not None:
            found = curve.points[curve.best].measures
            cells = [
                percent_text(found[name], sign="transfer" in name) for name in _TRANSFER.values()
            ]
        table.add_row(Text(curve.label), *cells)
    return table


def _trial_table(comparison: Comparison) -> Table:
    stops = any(curve.n_by_status["stopped"] for curve in comparison.all_curves)
    diverges = any(curve.diverged for curve in comparison.all_curves)
    table = plain_table(
        "Trials",
        ["configu-\nrations", "trials", "failed", "diverged"]
        + ["con-\nfigs", "seeds"] * diverges
        + ["stopped"] * stops
        + ["steps", "time"],
        "trials: one per configuration and seed; failed: with an error or out of memory; "
        + "diverged: trials, of so many configurations (configs), which none can choose, in so "
        "many seeds; "
        * diverges
        + "stopped: early, behind another configuration of the curve; " * stops
        + "steps, time: of all of them, shared stages apart",
        with_choice=False,
    )
    for curve in _with_sections(table, comparison):
        n = curve.n_by_status
        counts = [curve.n_configs, sum(n.values()), n["failed"] + n["oom"], n["diverged"]]
        counts += [len(curve.diverged), len(curve.diverged_seeds)] * diverges
        counts += [n["stopped"]] * stops
        cells = [*(f"{count:,}" for count in counts), count_text(curve.n_steps)]
        table.add_row(Text(curve.label), *cells, duration_text(curve.wall_seconds))
    return table


def _cost_table(data: ReportData) -> Table:
    devices = {device for curve in data.comparison.all_curves for device in curve.devices}
    table = plain_table(
        "What a finished trial took (means), by what the method needs",
        ["steps", "time", "CPU", "GPU"],
        f"time: by the clock, on {' and '.join(sorted(devices)) or 'an unknown device'}; CPU: "
        f"processor time; GPU: its share of one, times the time; {NOTHING} where there is none, "
        "or it was not recorded; compare methods of one group. "
        f"{task_identity_text(data.scenario)}",
        with_choice=False,
    )
    for curve, points in _by_needs(table, data):
        table.add_row(
            Text(curve.label),
            count_text(mean_of(p.n_steps for p in points)),
            duration_text(mean_of(p.wall_seconds for p in points)),
            duration_text(mean_of(p.cpu_seconds for p in points)),
            duration_text(mean_of(p.gpu_seconds for p in points)),
        )
    return table


def _memory_table(data: ReportData) -> Table:
    table = plain_table(
        "What a method keeps (means), by what it needs",
        ["data", "importances", "models", "in all", "parameters"],
        "data: examples of earlier tasks; models: teachers, anchors, generators, generated "
        f"weights; {NOTHING} where they were not told apart; in all: carried from task to task; "
        "parameters: of the network that is evaluated",
        with_choice=False,
    )
    for curve, points in _by_needs(table, data):
        table.add_row(
            Text(curve.label),
            *(bytes_text(mean_of(p.carried[kind] for p in points)) for kind in range(3)),
            bytes_text(mean_of(p.memory_bytes for p in points)),
            count_text(mean_of(p.n_params for p in points)),
        )
    return table


def _by_needs(table: Table, data: ReportData) -> Iterator[tuple[Curve, tuple[Point, ...]]]:
    """All labels and their points; methods of equal needs under one heading."""
    for needs, curves in grouped_by_needs(data.comparison.all_curves, data.uses):
        table.add_section()
        table.add_row(Text(f"needs {needs}", style="italic"))
        yield from ((curve, curve.points) for curve in curves)


def _with_sections(table: Table, comparison: Comparison) -> Iterator[Curve]:
    """All labels, with a line between curves and references."""
    yield from comparison.curves
    table.add_section()
    yield from comparison.references


def _add(table: Table, curve: Curve, point: Point | None, cells: list[str]) -> None:
    chosen = axes_text(point.axes) if point is not None else curve.absence or NOTHING
    table.add_row(Text(curve.label), Text(chosen), *cells)


def _source_target(point: Point) -> list[str]:
    return [percent_text(point.test_S2[:, 0]), percent_text(point.test_S2[:, 1])]
