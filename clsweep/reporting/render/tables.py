"""The tables of a report, made of the comparison, and what the terminal shows.

Accuracies are fractions everywhere else; here they become percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from clsweep.methods.information_needs import needs_text, task_identity_text
from clsweep.records.accuracy import mean_and_error
from clsweep.reporting.comparison import Comparison, Requirement
from clsweep.reporting.curves import Curve, Point
from clsweep.reporting.ledger import shown_text
from clsweep.reporting.render.judgement_tables import (
    crossfit_table,
    front_table,
    interval_text,
    pair_table,
    protocol_table,
    regret_table,
    source_pair_table,
)
from clsweep.reporting.render.table_formats import rich_table
from clsweep.reporting.report_table import (
    NOTHING,
    Cell,
    Column,
    ReportTable,
    Section,
    bytes_text,
    count_text,
    duration_text,
    mean_cell,
    mean_of,
    percent_cell,
    report_table,
)
from clsweep.reporting.sampling_error import sizes_text
from clsweep.search.selection_protocols import margin_text
from clsweep.text import axes_text

if TYPE_CHECKING:
    from clsweep.reporting.report_data import ReportData

_MISSED = "†"
_ROUNDING = 1e-12
_TRANSFER = {
    "backward\ntransfer": "backward_transfer",
    "forward\ntransfer": "forward_transfer",
    "forgetting": "forgetting",
    "learning\naccuracy": "learning_accuracy",
}

Row = list[Cell | str]


def tables(data: ReportData) -> tuple[ReportTable, ...]:
    """The tables of a report, in order.

    Args:
        data: what `report_building.build` computed.
    """
    comparison, judgement = data.comparison, data.judgement
    made = [] if data.protocol is None else [protocol_table(data, data.protocol)]
    made.append(_average_table(data))
    if comparison.requirements:
        made.append(_requirement_table(data))
    made.append(_luck_table(data))
    if comparison.curves:
        about = [front_table(data)]
        if judgement.selection == "cross-fitted":
            about.append(crossfit_table(data))
        # A label alone, which has no pairs, has its fronts last.
        made += about if judgement.average_pairs else reversed(about)
    if judgement.average_pairs:
        made.append(pair_table(data))
    if any(judgement.source_pairs):
        made.append(source_pair_table(data))
    if comparison.curves:
        made.append(regret_table(data))
    made += [_transfer_table(comparison), _trial_table(comparison)]
    return (*made, *data.extras.tables, _cost_table(data), _memory_table(data))


def on_terminal(data: ReportData, made: Iterable[ReportTable]) -> list[RenderableType]:
    """What the terminal shows: a heading, tables, and what to know before trusting them.

    Args:
        data: what `report_building.build` computed.
        made: its tables.
    """
    shown: list[RenderableType] = [Text(data.title, style="bold"), Text(data.method_of_reading)]
    looks = shown_text(data.shown)
    reading = data.in_words(f"Accuracies are test numbers throughout. {looks}".strip())
    about = (
        data.metric_text,
        data.training,
        data.seeds_vary,
        data.in_words(sizes_text(data.luck)),
    )
    shown += [Text(sentence) for sentence in (reading, *about) if sentence]
    for table in made:
        shown += [Text(""), rich_table(table)]
    if data.notes:
        shown += [Text(""), Text("Before trusting these numbers", style="bold yellow")]
        shown += [_bullet(data.in_words(note)) for note in data.notes]
    return shown


def _bullet(note: str) -> Table:
    """A sentence whose further lines start under the first."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    # A label that is longer than the line would be cut.
    grid.add_column(overflow="fold")
    grid.add_row(Text("•"), Text(note))
    return grid


def _average_table(data: ReportData) -> ReportTable:
    def row(curve: Curve) -> Row:
        if curve.best is None:
            return _row(curve, None, [NOTHING] * 4)
        point = curve.points[curve.best]
        average = percent_cell(point.measures["average_accuracy"])
        volume = NOTHING if curve.is_reference else mean_cell(curve.hypervolumes, 1, 3)
        return _row(curve, point, [average, *_source_target(point), volume])

    source, target = (100 * value for value in data.comparison.reference_point)
    curves, references = _curves_and_references(data.comparison, row)
    return report_table(
        "Best average accuracy (ACC, %)",
        ["average", "source", "target", "hypervolume"],
        "hypervolume: area above the point "
        f"({source:.3g} %, {target:.3g} %)"
        + (", chance" if data.chance_is_known else "; chance is not known for this data")
        + _end_text(data.comparison),
        [curves, Section([*references.rows, *_end_rows(data)])],
        key="average",
    )


def _end_rows(data: ReportData) -> Iterator[Row]:
    """The source model, where it is known."""
    end = data.comparison.source_end
    if end is not None:
        source_S, target_S = end.test_S2.T
        average_S = ((data.n_tasks - 1) * source_S + target_S) / data.n_tasks
        cells = (percent_cell(values) for values in (average_S, source_S, target_S))
        yield [end.label, NOTHING, *cells, NOTHING]


def _end_text(comparison: Comparison) -> str:
    if comparison.source_end is None:
        return ""
    what = "each source task right after it was learnt, by fine-tuning, and the target before"
    end = comparison.source_end
    unmeasured = f" ({end.unmeasured})" if end.unmeasured else ""
    return f"; {end.label}: {what}{unmeasured}"


def _requirement_table(data: ReportData) -> ReportTable:
    comparison, margin = data.comparison, data.comparison.margin
    return report_table(
        "Source accuracy (%) at a required target accuracy",
        ["source", "worst\nseed", "target", "source, CI"],
        "required: fine-tuning's target accuracy less what is allowed; chosen among those that "
        "meet it on validation data"
        + (f" by a margin of {margin_text(margin)}" if margin else "")
        + f" ({_MISSED}: not on test data); worst seed, CI (95 % interval): of the source; "
        + _met_text(comparison),
        [
            Section(
                list(_requirement_rows(data, place, requirement)),
                f"target ≥ {100 * requirement.target:.1f} (−{100 * requirement.drop:.3g})",
            )
            for place, requirement in enumerate(comparison.requirements)
        ],
        key="required",
    )


def _requirement_rows(data: ReportData, place: int, requirement: Requirement) -> Iterator[Row]:
    qualities = {quality.label: quality for quality in data.judgement.fronts}
    for curve in data.comparison.curves:
        index = requirement.chosen[curve.label]
        if index is None:
            outcome = "not reached" if curve.points else NOTHING
            yield _row(curve, None, [outcome, NOTHING, NOTHING, NOTHING])
            continue
        point = curve.points[index]
        missed = point.mean("test")[1] < requirement.target - _ROUNDING
        source = percent_cell(point.test_S2[:, 0])
        worst = _percent(point.test_S2[:, 0].min())
        target = percent_cell(point.test_S2[:, 1], mark=_MISSED if missed else " ")
        ends = interval_text(qualities[curve.label].source_at[place], 100, 1)
        yield _row(curve, point, [source, worst, target, ends])


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


def _luck_table(data: ReportData) -> ReportTable:
    def row(curve: Curve) -> Row:
        if curve.best is None:
            return [curve.label, *[NOTHING] * 6]
        average_S = curve.points[curve.best].measures["average_accuracy"]
        ends = (average_S.min(), average_S.max(), mean_and_error(average_S)[1])
        return [curve.label, *map(_percent, (*ends, *data.luck.best[curve.label]))]

    return report_table(
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
        _curves_and_references(data.comparison, row),
        with_choice=False,
        key="luck",
    )


def _percent(value: float) -> Cell:
    return Cell(float(100 * value))


def _transfer_table(comparison: Comparison) -> ReportTable:
    def row(curve: Curve) -> Row:
        if curve.best is None:
            return [curve.label, curve.absence or NOTHING, *[NOTHING] * (len(_TRANSFER) - 1)]
        found = curve.points[curve.best].measures
        cells = (percent_cell(found[n], sign="transfer" in n) for n in _TRANSFER.values())
        return [curve.label, *cells]

    return report_table(
        "Transfer (BWT, FWT) and forgetting at the best average (points)",
        _TRANSFER,
        "learning accuracy (%): on each task right after it was learned",
        _curves_and_references(comparison, row),
        with_choice=False,
        key="transfer",
    )


def _trial_table(comparison: Comparison) -> ReportTable:
    stops = any(curve.n_by_status["stopped"] for curve in comparison.all_curves)
    diverges = any(curve.diverged for curve in comparison.all_curves)

    def row(curve: Curve) -> Row:
        n = curve.n_by_status
        counts = [curve.n_configs, sum(n.values()), n["failed"] + n["oom"], n["diverged"]]
        counts += [len(curve.diverged), len(curve.diverged_seeds)] * diverges
        counts += [n["stopped"]] * stops
        took = [count_text(curve.n_steps), duration_text(curve.wall_seconds)]
        return [curve.label, *(f"{count:,}" for count in counts), *took]

    return report_table(
        "Trials",
        [
            Column("configurations", "configu-\nrations"),
            "trials",
            "failed",
            "diverged",
            *(Column("configs", "con-\nfigs"), "seeds") * diverges,
            *("stopped",) * stops,
            "steps",
            "time",
        ],
        "trials: one per configuration and seed; failed: with an error or out of memory; "
        + "diverged: trials, of so many configurations (configs), which none can choose, in so "
        "many seeds; "
        * diverges
        + "stopped: early, behind another configuration of the curve; " * stops
        + "steps, time: of all of them, shared stages apart",
        _curves_and_references(comparison, row),
        with_choice=False,
        key="trials",
    )


def _cost_table(data: ReportData) -> ReportTable:
    def row(label: str, points: Sequence[Point]) -> Row:
        return [
            label,
            count_text(mean_of(p.n_steps for p in points)),
            duration_text(mean_of(p.wall_seconds for p in points)),
            duration_text(mean_of(p.cpu_seconds for p in points)),
            duration_text(mean_of(p.gpu_seconds for p in points)),
        ]

    devices = {device for curve in data.comparison.all_curves for device in curve.devices}
    return report_table(
        "What a finished trial took (means), by what the method needs",
        ["steps", "time", "CPU", "GPU"],
        f"time: by the clock, on {' and '.join(sorted(devices)) or 'an unknown device'}; CPU: "
        f"processor time; GPU: its share of one, times the time; {NOTHING} where there is none, "
        "or it was not recorded; compare methods of one group. "
        f"{task_identity_text(data.scenario)}",
        _by_needs(data, row),
        with_choice=False,
        key="costs",
    )


def _memory_table(data: ReportData) -> ReportTable:
    def row(label: str, points: Sequence[Point]) -> Row:
        return [
            label,
            *(bytes_text(mean_of(p.carried[kind] for p in points)) for kind in range(3)),
            bytes_text(mean_of(p.memory_bytes for p in points)),
            count_text(mean_of(p.n_params for p in points)),
        ]

    return report_table(
        "What a method keeps (means), by what it needs",
        ["data", "importances", "models", "in all", "parameters"],
        "data: examples of earlier tasks; models: teachers, anchors, generators, generated "
        f"weights; {NOTHING} where they were not told apart; in all: carried from task to task; "
        "parameters: of the network that is evaluated",
        _by_needs(data, row),
        with_choice=False,
        key="memory",
    )


def _by_needs(data: ReportData, row: Callable[[str, Sequence[Point]], Row]) -> list[Section]:
    """Rows of all labels and their points; methods of equal needs under one heading."""
    return [
        Section([row(curve.label, curve.points) for curve in curves], f"needs {needs}")
        for needs, curves in grouped_by_needs(data.comparison.all_curves, data.uses)
    ]


def _curves_and_references(
    comparison: Comparison, row: Callable[[Curve], Row]
) -> tuple[Section, Section]:
    """Rows of all labels, with a line between curves and references."""
    curves, references = comparison.curves, comparison.references
    return Section([row(curve) for curve in curves]), Section([row(curve) for curve in references])


def _row(curve: Curve, point: Point | None, cells: Iterable[Cell | str]) -> Row:
    chosen = axes_text(point.axes) if point is not None else curve.absence or NOTHING
    return [curve.label, chosen, *cells]


def _source_target(point: Point) -> tuple[Cell, Cell]:
    return percent_cell(point.test_S2[:, 0]), percent_cell(point.test_S2[:, 1])


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
