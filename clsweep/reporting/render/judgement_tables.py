"""Tables that judge: what the protocols chose, and how sure a difference is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clsweep.reporting.inference import Difference, Interval, ends_text, fewest_seeds
from clsweep.reporting.judgement import FrontQuality, GoodRegion, Judgement
from clsweep.reporting.report_table import (
    NOTHING,
    Cell,
    Column,
    ReportTable,
    Section,
    mean_of,
    percent_cell,
    report_table,
)
from clsweep.text import axes_text

if TYPE_CHECKING:
    from clsweep.reporting.protocol_scores import Score
    from clsweep.reporting.report_data import ReportData
    from clsweep.search.selection_protocols import Protocol

_CROSSFIT = Column("cross-fitted", "cross-\nfitted")
_MOST_PAIRS = 28
_TOO_FEW = "too few seeds"
_NO_STEP = "< 1 step"


def protocol_table(data: ReportData, protocol: Protocol) -> ReportTable:
    """What one protocol chose for every label, with its test accuracies.

    Args:
        data: what `report_building.build` computed.
        protocol: one of `data.protocols`.
    """
    is_fitted = data.judgement.selection == "cross-fitted"
    points = {curve.label: curve.points for curve in data.comparison.curves}

    def row(score: Score) -> list[Cell | str]:
        label, remark = score.pick.label, score.pick.remark
        if score.index is None:
            return [label, remark, *[NOTHING] * (4 + is_fitted)]
        point = points[label][score.index]
        fitted = percent_cell(score.crossfit.average_S) if score.crossfit else NOTHING
        return [
            label,
            axes_text(point.axes) + (f" ({remark})" if remark else ""),
            percent_cell(point.measures["average_accuracy"]),
            *[fitted] * is_fitted,
            percent_cell(point.test_S2[:, 0]),
            percent_cell(point.test_S2[:, 1]),
            _regret(score),
        ]

    return report_table(
        f"Chosen by '{protocol.name}' on validation data (test accuracies, %)",
        ["average", *[_CROSSFIT] * is_fitted, "source", "target", "regret"],
        f"{protocol.name}: {protocol.meaning}; "
        + "cross-fitted: the average of each seed under the choice of all others; " * is_fitted
        + "regret: points of average accuracy below the label's best on TEST data, the only "
        f"number for which test data choose{_shared_text(data)}",
        [Section([row(score) for score in data.scores[protocol.name]])],
        key="protocol",
    )


def regret_table(data: ReportData) -> ReportTable:
    """The regret of every protocol for every label.

    Args:
        data: what `report_building.build` computed.
    """
    without_source = [p.name for p in data.protocols if not p.needs_source]
    regrets = {
        (protocol.name, score.pick.label): _regret(score)
        for protocol in data.protocols
        for score in data.scores[protocol.name]
    }
    rows = [
        [curve.label, *(regrets.get((p.name, curve.label), NOTHING) for p in data.protocols)]
        for curve in data.comparison.curves
    ]
    return report_table(
        "Regret of each protocol (points of average accuracy)",
        # The terminal has the number below, so that seven columns fit.
        [protocol.name.replace("-", "\n") for protocol in data.protocols],
        "below the label's best on TEST data, the only number for which test data choose"
        f"{_shared_text(data)}; {' and '.join(without_source)} need no data of earlier tasks; "
        f"{NOTHING}: chooses nothing; `--protocol NAME` shows the choices",
        [Section(rows)],
        with_choice=False,
        key="regret",
    )


def front_table(data: ReportData) -> ReportTable:
    """Intervals of every front's measures, and the width of the good region.

    Args:
        data: what `report_building.build` computed.
    """
    judgement = data.judgement
    absence = {curve.label: curve.absence for curve in data.comparison.curves}

    def row(quality: FrontQuality) -> list[Cell | str]:
        average = absence[quality.label] or interval_text(quality.best_average, 100, 1)
        volume = quality.normalised if judgement.is_normalised else quality.hypervolume
        width = NOTHING if quality.region is None else _width(quality.region)
        return [quality.label, average, interval_text(volume, 1, 3), width]

    return report_table(
        "Fronts: 95 % intervals over seeds (%; hypervolume as a fraction)",
        ["best average", _area_name(judgement, "\n"), "decades"],
        _front_caption(data),
        [Section([row(quality) for quality in judgement.fronts])],
        with_choice=False,
        key="fronts",
    )


def crossfit_table(data: ReportData) -> ReportTable:
    """What choices owe to their seeds: plain and cross-fitted means beside each other.

    Args:
        data: what `report_building.build` computed.
    """
    n = len(data.comparison.seeds)
    rests = "; with two seeds, each choice rests on a single one" if n == 2 else ""
    drops = [100 * requirement.drop for requirement in data.comparison.requirements]
    groups = {"average": "average accuracy"}
    groups |= {f"required-{drop:g}": f"source at target −{drop:g}" for drop in drops}
    return report_table(
        "What choices owe to their seeds (test accuracies, %)",
        ["plain", _CROSSFIT, "other\nchoices"],
        "plain: all seeds choose and are read; cross-fitted: each seed is read under the choice "
        f"of all others, which is the method tuned with {n - 1} of {n} seeds, without the luck of "
        "the best; other choices: without one seed, another configuration is chosen, or none "
        f"({NOTHING}){rests}",
        [Section(list(_crossfit_rows(data, name)), text) for name, text in groups.items()],
        with_choice=False,
        key="choices",
    )


def _crossfit_rows(data: ReportData, name: str) -> Iterator[list[Cell | str]]:
    """What a protocol chose for each label, read plainly and cross-fitted."""
    curves = {curve.label: curve for curve in data.comparison.curves}
    for score in data.scores[name]:
        label, fit = score.pick.label, score.crossfit
        if score.index is None or fit is None:
            yield [label, *[NOTHING] * 3]
            continue
        point = curves[label].points[score.index]
        plain, fitted = point.test_S2[:, 0], fit.source_S
        if name == "average":
            plain, fitted = point.measures["average_accuracy"], fit.average_S
        other = f"{fit.n_other} of {len(data.comparison.seeds)}"
        yield [label, percent_cell(plain), percent_cell(fitted), other]


def pair_table(data: ReportData) -> ReportTable:
    """Every pair of labels: which is above, by how much, how sure.

    Args:
        data: what `report_building.build` computed.
    """
    judgement = data.judgement
    areas = {frozenset((d.above, d.below)): d for d in judgement.hypervolume_pairs}
    n, n_pairs = len(data.comparison.seeds), len(judgement.average_pairs)
    area_name = _area_name(judgement, " ")

    def row(found: Difference) -> list[Cell | str]:
        area = areas.get(frozenset((found.above, found.below)))
        sign = 1 if area is None or area.above == found.above else -1
        cells = (_difference(found, 100, 1), _difference(area, sign, 2))
        return [f"{found.above} – {found.below}", *cells]

    return report_table(
        "Pairs of methods: difference and 95 % interval, the same seeds of both",
        ["average\n(points)", area_name],
        f"* above with a 95 % interval; those of averages hold for all {_family(data)} at once, "
        f"those of {area_name} for its {len(areas)} pairs ({_correction(n)})"
        f"{_selection_text(data, 'intervals of averages')}; {area_name}: the area "
        + ("between the references" if judgement.is_normalised else "beyond the point above")
        + ", of the points that "
        + ("other seeds pick" if data.comparison.choose_on else "each seed itself picks")
        + _no_interval_text([*judgement.average_pairs, *judgement.hypervolume_pairs])
        + _left_out(n_pairs),
        [Section([row(found) for found in judgement.average_pairs[:_MOST_PAIRS]])],
        with_choice=False,
        key="pairs",
    )


def source_pair_table(data: ReportData) -> ReportTable:
    """Every pair of labels by the source accuracy that they keep at each required target.

    Args:
        data: what `report_building.build` computed.
    """
    judgement = data.judgement
    by_drop = [{frozenset((d.above, d.below)): d for d in p} for p in judgement.source_pairs]
    pairs = list(dict.fromkeys(key for found in by_drop for key in found))

    def row(key: frozenset[str]) -> list[Cell | str]:
        first = next(found[key] for found in by_drop if key in found)
        signs = [found[key].above == first.above if key in found else True for found in by_drop]
        cells = (
            _difference(found.get(key), 100 if sign else -100, 1)
            for found, sign in zip(by_drop, signs, strict=True)
        )
        return [f"{first.above} – {first.below}", *cells]

    return report_table(
        "Pairs of methods: source accuracy kept at a required target (points)",
        [f"target\n−{100 * drop:g}" for drop in judgement.drops],
        f"the choices of the table above; * above with a 95 % interval; all {_family(data)} hold "
        f"at once{_selection_text(data)}; {NOTHING}: one of the two does not reach it"
        + _no_interval_text([d for found in judgement.source_pairs for d in found])
        + _left_out(len(pairs)),
        [Section([row(key) for key in pairs[:_MOST_PAIRS]])],
        with_choice=False,
        key="source-pairs",
    )


def _family(data: ReportData) -> str:
    """What the intervals of averages and sources hold for, all at once."""
    judgement = data.judgement
    n_average, n_source = len(judgement.average_pairs), sum(map(len, judgement.source_pairs))
    if not n_source:
        return f"{n_average} pairs"
    return f"{n_average} pairs of averages and {n_source} of sources at a required target"


def _selection_text(data: ReportData, intervals: str = "intervals") -> str:
    """How intervals hold the choice of the configurations."""
    if data.judgement.selection == "cross-fitted":
        if len(data.comparison.seeds) == 2:
            return "; two seeds have no interval"
        return (
            f"; {intervals} enclose those of the chosen configurations and of choices by half of "
            "the seeds, read on the other half"
        )
    if data.judgement.selection == "other seeds":
        return "; other seeds have chosen"
    return "; the seed that is read has chosen"


def _shared_text(data: ReportData) -> str:
    """What the regret shares with its choice."""
    if data.comparison.choose_on:
        return " (here of seeds that did not choose)"
    return (
        "; choice and best share their seeds and so their luck, most of all under 'average': "
        "the true regret is larger"
    )


def _area_name(judgement: Judgement, blank: str) -> str:
    """What the area under a front is called, by what it is measured against."""
    return f"normalised{blank}hypervolume" if judgement.is_normalised else "hypervolume"


def _left_out(n_pairs: int) -> str:
    return "" if n_pairs <= _MOST_PAIRS else f"; the first {_MOST_PAIRS}, all in pairs.parquet"


def _front_caption(data: ReportData) -> str:
    judgement = data.judgement
    said = f"best average: of validation's choice{_selection_text(data)}; "
    said += "nothing is interpolated between configurations; "
    if judgement.is_normalised:
        end = data.comparison.source_end
        between = f"fine-tuning and {data.comparison.source_name}"
        between += f" ({end.unmeasured})" if end and end.unmeasured else ""
        said += f"normalised hypervolume: share of the area between {between}, per seed; "
    else:
        said += f"hypervolume is not normalised ({judgement.remark}); "
    return (
        said + "decades: of the knob within 1 point of the best average, on validation data, from "
        f"grid value to grid value ({_NO_STEP}: no neighbour of the best is; ≥: up to an end)"
    )


def _width(region: GoodRegion) -> str:
    if region.low == region.high:
        return f"{_NO_STEP}{', at end' * region.at_edge}"
    return f"{'≥ ' * region.at_edge}{region.decades:.1f}"


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


def _no_interval(found: Interval) -> str:
    """Why a table shows no interval of a difference; empty where it does."""
    # From end to end of what is possible an interval says nothing.
    return found.absence or _TOO_FEW * (found.low <= -1 and found.high >= 1)


def _no_interval_text(pairs: Sequence[Difference]) -> str:
    """What the reasons mean that stand in place of intervals."""
    reasons = {_no_interval(d.interval) for d in pairs}
    meanings = {
        _TOO_FEW: "fewer than three, or the interval is as wide as all that is possible",
        "seeds all equal": "they do not say how large the spread is",
    }
    return "".join(f"; {why}: {what}" for why, what in meanings.items() if why in reasons)


def _difference(difference: Difference | None, factor: float, digits: int) -> str:
    if difference is None:
        return NOTHING
    found = difference.interval
    mark = "*" if difference.is_claim else " "
    mean = f"{round(factor * found.mean, digits) + 0.0:+.{digits}f}"
    if reason := _no_interval(found):
        return f"{mean} ({reason})"
    low, high = ends_text(found, factor, digits)
    return f"{mean} [{low}, {high}] {mark}"


def _regret(score: Score) -> Cell | str:
    """In points; nothing where the protocol chose nothing."""
    regret_S = score.regret_S.tolist()
    return Cell(100 * mean_of(regret_S)) if score.index is not None and regret_S else NOTHING
