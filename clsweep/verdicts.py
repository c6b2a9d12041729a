"""Tables of the terminal that judge: what the protocols chose, and how sure a difference is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from clsweep.caveats import axes_text
from clsweep.cells import NOTHING, mean_of, percent_text, plain_table
from clsweep.inference import Difference, Interval, ends_text, fewest_seeds

if TYPE_CHECKING:
    from clsweep.protocols import Protocol
    from clsweep.report import ReportData

__all__ = ["front_table", "interval_text", "pair_table", "protocol_table", "regret_table"]

_MOST_PAIRS = 28


def protocol_table(data: ReportData, protocol: Protocol) -> Table:
    """What one protocol chose for every label, with its test accuracies.

    Args:
        data: what `report.build` computed.
        protocol: one of `data.protocols`.
    """
    table = plain_table(
        f"Chosen by '{protocol.name}' on validation data (test accuracies, %)",
        ["average", "source", "target", "regret"],
        f"{protocol.name}: {protocol.meaning}; regret: points of average accuracy below the "
        "label's best on TEST data, the only number for which test data choose",
    )
    points = {curve.label: curve.points for curve in data.comparison.curves}
    for score in data.scores[protocol.name]:
        label = score.pick.label
        if score.index is None:
            table.add_row(Text(label), Text(score.pick.remark), *[NOTHING] * 4)
            continue
        point = points[label][score.index]
        remark = f" ({score.pick.remark})" if score.pick.remark else ""
        table.add_row(
            Text(label),
            Text(axes_text(point.axes) + remark),
            percent_text(point.measures["average_accuracy"]),
            percent_text(point.test_S2[:, 0]),
            percent_text(point.test_S2[:, 1]),
            _regret(score.regret_S.tolist()),
        )
    return table


def regret_table(data: ReportData) -> Table:
    """The regret of every protocol for every label.

    Args:
        data: what `report.build` computed.
    """
    without_source = [p.name for p in data.protocols if not p.needs_source]
    table = plain_table(
        "Regret of each protocol (points of average accuracy)",
        [_stacked(protocol.name) for protocol in data.protocols],
        "below the label's best on TEST data, the only number for which test data choose; "
        f"{' and '.join(without_source)} need no data of earlier tasks; "
        f"{NOTHING}: chooses nothing; `--protocol NAME` shows the choices",
        with_choice=False,
    )
    for curve in data.comparison.curves:
        cells = [NOTHING] * len(data.protocols)
        for i, protocol in enumerate(data.protocols):
            for score in data.scores[protocol.name]:
                if score.pick.label == curve.label and score.index is not None:
                    cells[i] = _regret(score.regret_S.tolist())
        table.add_row(Text(curve.label), *cells)
    return table


def front_table(data: ReportData) -> Table:
    """Intervals of every front's measures, and the width of the good region.

    Args:
        data: what `report.build` computed.
    """
    judgement = data.judgement
    area = "normalised" if judgement.is_normalised else "hypervolume"
    table = plain_table(
        "Fronts: 95 % intervals over seeds (%; hypervolume as a fraction)",
        ["best average", area, "decades"],
        _front_caption(data),
        with_choice=False,
    )
    absence = {curve.label: curve.absence for curve in data.comparison.curves}
    for quality in judgement.fronts:
        volume = quality.normalised if judgement.is_normalised else quality.hypervolume
        region = quality.region
        width = NOTHING if region is None else f"{'≥ ' * region.at_edge}{region.decades:.1f}"
        average = absence[quality.label] or interval_text(quality.best_average, 100, 1)
        table.add_row(Text(quality.label), average, interval_text(volume, 1, 3), width)
    return table


def pair_table(data: ReportData) -> Table:
    """Every pair of labels: which is above, by how much, how sure.

    Args:
        data: what `report.build` computed.
    """
    judgement = data.judgement
    areas = {frozenset((d.above, d.below)): d for d in judgement.hypervolume_pairs}
    n, n_pairs = len(data.comparison.seeds), len(judgement.average_pairs)
    table = plain_table(
        "Pairs of methods: difference and 95 % interval, the same seeds of both",
        ["average\n(points)", "hypervolume"],
        "* above with a 95 % interval that holds for all "
        f"{n_pairs} pairs at once ({_correction(n)}); hypervolume "
        + ("between the references" if judgement.is_normalised else "beyond the point above")
        + ("" if n_pairs <= _MOST_PAIRS else f"; the first {_MOST_PAIRS}, all in pairs.parquet"),
        with_choice=False,
    )
    for d in judgement.average_pairs[:_MOST_PAIRS]:
        area = areas.get(frozenset((d.above, d.below)))
        sign = 1 if area is None or area.above == d.above else -1
        cells = [_difference(d, 100, 1), _difference(area, sign, 2)]
        table.add_row(Text(f"{d.above} – {d.below}"), *cells)
    return table


def _front_caption(data: ReportData) -> str:
    judgement = data.judgement
    said = "best average: of validation's choice; nothing is interpolated between configurations; "
    if judgement.is_normalised:
        said += "normalised: hypervolume between fine-tuning and the frozen trunk, per seed; "
    else:
        said += f"hypervolume is not normalised ({judgement.remark}); "
    return said + "decades: of the knob within 1 point of the best average, on validation data"


def _correction(n: int) -> str:
    rule = "Student's t with Bonferroni"
    return rule if n >= fewest_seeds() else f"{rule}; no claim below six seeds"


def interval_text(interval: Interval | None, factor: float, digits: int) -> str:
    """Both ends, or why there are none.

    Args:
        interval: what to show.
        factor: from a fraction to the unit.
        digits: after the point.
    """
    if interval is None:
        return NOTHING
    if interval.absence:
        return interval.absence
    low, high = (
        f"{round(factor * v, digits) + 0.0:.{digits}f}" for v in (interval.low, interval.high)
    )
    return f"[{low}, {high}]"


def _difference(difference: Difference | None, factor: float, digits: int) -> str:
    if difference is None:
        return NOTHING
    found = difference.interval
    mark = "*" if difference.is_claim else " "
    mean = f"{round(factor * found.mean, digits) + 0.0:+.{digits}f}"
    if found.kind == "none":
        return f"{mean} {mark}"
    low, high = ends_text(found, factor, digits)
    return f"{mean} [{low}, {high}] {mark}"


def _stacked(name: str) -> str:
    """The name with its number below, so that seven columns fit."""
    return name.replace("-", "\n")


def _regret(regret_S: list[float]) -> str:
    # Adding zero turns a rounded "-0.0" into "0.0".
    return f"{round(100 * mean_of(regret_S), 1) + 0.0:.1f}" if regret_S else NOTHING
