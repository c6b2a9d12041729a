"""The tables of a report for the terminal, drawn from what `comparison.py` computed.

Accuracies are fractions everywhere else; here they become percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from clsweep.caveats import axes_text
from clsweep.comparison import Comparison
from clsweep.curves import Curve, Point
from clsweep.measures import mean_and_error

if TYPE_CHECKING:
    from clsweep.report import ReportData

__all__ = ["tables"]

_NOTHING = "–"
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
        made.append(_requirement_table(comparison))
    made += [_transfer_table(comparison), _trial_table(comparison), _cost_table(data)]
    shown: list[RenderableType] = [Text(data.title, style="bold"), Text(data.method_of_reading)]
    for table in made:
        shown += [Text(""), table]
    if data.notes:
        shown += [Text(""), Text("Before trusting these numbers", style="bold yellow")]
        shown += [_bullet(note) for note in data.notes]
    return shown


def _average_table(data: ReportData) -> Table:
    source, target = (100 * value for value in data.comparison.reference_point)
    table = _table(
        "Best average accuracy (ACC, %)",
        ["average", "source", "target", "hypervolume"],
        "hypervolume: area above the point "
        f"({source:.3g} %, {target:.3g} %)"
        + (", chance" if data.chance_is_known else "; chance is not known for this data"),
    )
    for curve in _with_sections(table, data.comparison):
        if curve.best is None:
            _add(table, curve, None, [_NOTHING] * 4)
            continue
        point = curve.points[curve.best]
        volume = _NOTHING if curve.is_reference else _value(curve.hypervolumes, 1, 3)
        average = _percent(point.measures["average_accuracy"])
        _add(table, curve, point, [average, *_source_target(point), volume])
    return table


def _requirement_table(comparison: Comparison) -> Table:
    table = _table(
        "Source accuracy (%) at a required target accuracy",
        ["source", "target"],
        "required: fine-tuning's target accuracy less what is allowed; chosen among those that "
        f"meet it on validation data ({_MISSED}: not on test data)",
    )
    for requirement in comparison.requirements:
        table.add_section()
        required = f"target ≥ {100 * requirement.target:.1f} (−{100 * requirement.drop:.3g})"
        table.add_row(Text(required, style="italic"))
        for curve in comparison.curves:
            index = requirement.chosen[curve.label]
            if index is None:
                _add(table, curve, None, ["not reached", _NOTHING])
                continue
            source, target = _source_target(curve.points[index])
            missed = curve.points[index].mean("test")[1] < requirement.target - _ROUNDING
            cells = [source, f"{target} {_MISSED if missed else ' '}"]
            _add(table, curve, curve.points[index], cells)
    return table


def _transfer_table(comparison: Comparison) -> Table:
    table = _table(
        "Transfer (BWT, FWT) and forgetting at the best average (points)",
        list(_TRANSFER),
        "learning accuracy (%): on each task right after it was learned",
        with_choice=False,
    )
    for curve in _with_sections(table, comparison):
        cells = [_NOTHING] * len(_TRANSFER)
        if curve.best is not None:
            found = curve.points[curve.best].measures
            cells = [_percent(found[name], sign="transfer" in name) for name in _TRANSFER.values()]
        table.add_row(Text(curve.label), *cells)
    return table


def _trial_table(comparison: Comparison) -> Table:
    table = _table(
        "Trials",
        ["configurations", "trials", "failed", "diverged"],
        "trials: one per configuration and seed; failed: with an error or out of memory",
        with_choice=False,
    )
    for curve in _with_sections(table, comparison):
        n = curve.n_by_status
        counts = [curve.n_configs, sum(n.values()), n["failed"] + n["oom"], n["diverged"]]
        table.add_row(Text(curve.label), *(f"{count:,}" for count in counts))
    return table


def _cost_table(data: ReportData) -> Table:
    table = _table(
        "What a finished trial took (means)",
        ["steps", "time", "carries"],
        "carries: kept from task to task; needs: beyond the current data and the last network",
        with_choice=False,
    )
    table.add_column("needs", overflow="fold")
    for curve in _with_sections(table, data.comparison):
        points = curve.points
        means = [
            _count(_mean(p.n_steps for p in points)),
            _duration(_mean(p.wall_seconds for p in points)),
            _bytes(_mean(p.memory_bytes for p in points)),
        ]
        uses = ", ".join(data.uses.get(curve.label, ())) or _NOTHING
        table.add_row(Text(curve.label), *means, Text(uses))
    return table


def _table(title: str, columns: list[str], caption: str, with_choice: bool = True) -> Table:
    table = Table(
        title=Text(title, style="bold"),
        caption=Text(caption, style="dim"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        padding=(0, 1),
    )
    table.add_column("method", overflow="fold")
    if with_choice:
        table.add_column("chosen", overflow="fold")
    for column in columns:
        # Numbers are never folded: a narrow terminal folds names instead.
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _bullet(note: str) -> Table:
    """A sentence whose further lines start under the first."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    # A label that is longer than the line would be cut.
    grid.add_column(overflow="fold")
    grid.add_row(Text("•"), Text(note))
    return grid


def _with_sections(table: Table, comparison: Comparison) -> Iterator[Curve]:
    """All labels, with a line between curves and references."""
    yield from comparison.curves
    table.add_section()
    yield from comparison.references


def _add(table: Table, curve: Curve, point: Point | None, cells: list[str]) -> None:
    chosen = _NOTHING if point is None else axes_text(point.axes)
    table.add_row(Text(curve.label), Text(chosen), *cells)


def _source_target(point: Point) -> list[str]:
    return [_percent(point.test_S2[:, 0]), _percent(point.test_S2[:, 1])]


def _percent(values: NDArray[np.float64], sign: bool = False) -> str:
    return _value(values, 100, 1, sign)


def _value(values: NDArray[np.float64], factor: float, digits: int, sign: bool = False) -> str:
    """Mean ± standard error; without the error where there is one seed."""
    mean, error = (factor * number for number in mean_and_error(values))
    if np.isnan(mean):
        return _NOTHING
    # Adding zero turns a rounded "-0.0" into "0.0".
    mean = round(mean, digits) + 0.0
    text = f"{mean:+.{digits}f}" if sign else f"{mean:.{digits}f}"
    return text if np.isnan(error) else f"{text} ± {error:.{digits}f}"


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float("nan")


def _count(mean: float) -> str:
    return _NOTHING if np.isnan(mean) else f"{mean:,.0f}"


def _duration(seconds: float) -> str:
    if np.isnan(seconds):
        return _NOTHING
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _bytes(n: float) -> str:
    if np.isnan(n):
        return _NOTHING
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f} B"
