"""The answer of a report in one screen: methods ranked, and what can be said of their order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clsweep.methods.information_needs import short_needs
from clsweep.reporting.comparison import Requirement
from clsweep.reporting.curves import Curve
from clsweep.reporting.inference import (
    FEWEST_FOR_INTERVALS,
    LEVEL,
    Difference,
    Interval,
    fewest_seeds,
    student_quantile,
)
from clsweep.reporting.report_data import ReportData
from clsweep.text import counted

_MOST_SEEDS = 100
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Kept:
    """The source accuracy that a method keeps at a required target accuracy.

    Attributes:
        source: mean over seeds, in [0, 1].
        target: the target accuracy that was got with it.
        is_missed: whether that is below what is required.
    """

    source: float
    target: float
    is_missed: bool


@dataclass(frozen=True)
class RankedMethod:
    """One line of the ranking, by the best average accuracy.

    Attributes:
        label: the method's.
        mean: average accuracy over seeds in [0, 1]; NaN where validation chose nothing.
        lowest: with the worst seed.
        highest: with the best seed.
        behind: its difference to the first, where both have one.
        kept: one per requirement; None where no value reaches it.
        needs: of earlier tasks, in a word or two.
        memory_bytes: what it carries from task to task; NaN without a choice.
        chosen: the numbers that validation chose.
        absence: why there is no choice; empty where there is.
    """

    label: str
    mean: float
    lowest: float
    highest: float
    behind: Difference | None
    kept: tuple[Kept | None, ...]
    needs: str
    memory_bytes: float
    chosen: dict[str, Any]
    absence: str


def ranking(data: ReportData) -> tuple[RankedMethod, ...]:
    """The methods by their best average accuracy, best first; those without one at the end.

    Validation has chosen, and test accuracies rank.

    Args:
        data: what `report_building.build` computed.
    """
    curves = sorted(data.comparison.curves, key=lambda curve: -_mean(curve, -math.inf))
    first = curves[0].label if curves and curves[0].best is not None else None
    return tuple(_ranked(curve, data, first) for curve in curves)


def _ranked(curve: Curve, data: ReportData, first: str | None) -> RankedMethod:
    point = None if curve.best is None else curve.points[curve.best]
    average_S = None if point is None else point.measures["average_accuracy"]
    return RankedMethod(
        label=curve.label,
        mean=_mean(curve, math.nan),
        lowest=math.nan if average_S is None else float(average_S.min()),
        highest=math.nan if average_S is None else float(average_S.max()),
        behind=pair_of(data.judgement.average_pairs, first, curve.label),
        kept=tuple(_kept(curve, requirement) for requirement in data.comparison.requirements),
        needs=short_needs(data.uses.get(curve.label, ())),
        memory_bytes=math.nan if point is None else point.memory_bytes,
        chosen={} if point is None else point.axes,
        absence=curve.absence,
    )


def _mean(curve: Curve, otherwise: float) -> float:
    if curve.best is None:
        return otherwise
    return float(curve.points[curve.best].measures["average_accuracy"].mean())


def _kept(curve: Curve, requirement: Requirement) -> Kept | None:
    index = requirement.chosen[curve.label]
    if index is None:
        return None
    source, target = (float(value) for value in curve.points[index].mean("test"))
    return Kept(source, target, misses_target(curve, requirement))


def misses_target(curve: Curve, requirement: Requirement) -> bool:
    """Whether a choice that meets a required target on validation data misses it on test data.

    Args:
        curve: whose choice.
        requirement: the target.
    """
    index = requirement.chosen[curve.label]
    if index is None:
        return False
    return float(curve.points[index].mean("test")[1]) < requirement.target - _ROUNDING


def pair_of(pairs: Sequence[Difference], first: str | None, second: str) -> Difference | None:
    """The difference first − second, whichever is above; None where there is none.

    Args:
        pairs: of all labels, by one measure.
        first: a label.
        second: another.
    """
    for found in pairs:
        if (found.above, found.below) == (first, second):
            return found
        if (found.above, found.below) == (second, first):
            own = found.interval
            turned = Interval(-own.mean, -own.high, -own.low, own.n, own.kind)
            return Difference(str(first), second, turned, own.n - found.n_above, False)
    return None


def what_can_be_said(data: ReportData) -> tuple[str, ...]:
    """The claims in sentences, or why there are none and what it takes.

    Args:
        data: what `report_building.build` computed.
    """
    pairs, n = data.judgement.average_pairs, len(data.comparison.seeds)
    if not pairs and any(curve.is_path and curve.points for curve in data.comparison.curves):
        return (
            "nothing about which method is better: points of paths are no independent trials.",
        )
    if not pairs:
        n_chosen = sum(curve.best is not None for curve in data.comparison.curves)
        which = "one method has" if n_chosen == 1 else "no method has"
        return (f"nothing about which method is better: {which} results to compare.",)
    if n < fewest_seeds():
        return tuple(_without_claims(data))
    by_average = _claims([pairs], "average (*)")
    by_source: dict[tuple[object, ...], dict[float, Sequence[Difference]]] = {}
    for found, drop in zip(data.judgement.source_pairs, data.judgement.drops, strict=True):
        if found:
            first, above, others, total = _outcome(found)
            outcome = first, frozenset(above), frozenset(others), total
            by_source.setdefault(outcome, {})[drop] = found
    sources = (
        _claims([*alike.values()], f"source kept, {_points(alike)} short", " that reach it")
        for alike in by_source.values()
    )
    return (by_average, *sources, *_seeds_needed(data))


def _without_claims(data: ReportData) -> Iterator[str]:
    pairs, n = data.judgement.average_pairs, len(data.comparison.seeds)
    takes = f"a claim takes {fewest_seeds()} (`seeds = {fewest_seeds()}`)"
    interval = "" if n >= FEWEST_FOR_INTERVALS else f", an interval {FEWEST_FOR_INTERVALS}"
    first = pairs[0].above
    own = [found for found in pairs if found.above == first]
    # The ranking shows these; unexplained, they were read as claims.
    leaves_out_zero = any(found.interval.low > _ROUNDING for found in own)
    why = "; with fewer, an interval that leaves out 0 is no claim: it takes differences as normal"
    yield f"nothing at 95 %: {counted(n, 'seed')}, and {takes}{interval}{why * leaves_out_zero}."
    n_rivals = len({label for found in pairs for label in (found.above, found.below)}) - 1
    if len(own) < n_rivals:
        return
    least = min(found.n_above for found in own)
    who = "each of the others" if n_rivals > 1 else own[0].below
    if least == n:
        with_seeds = "all" if n > 2 else "both" if n == 2 else "its one"
        seeds = "seed" if n == 1 else f"{n} seeds" if n > 2 else "seeds"
        yield f"{first} was ahead of {who} with {with_seeds} {seeds}."
    yield from _seeds_needed(data)


def _claims(alike: Sequence[Sequence[Difference]], measure: str, which: str = "") -> str:
    """What is above what by measures of one outcome: of the first, and how many pairs in all."""
    first, above, others, total = _outcome(alike[0])
    if not above:
        return f"{measure}: {first} is first, not told apart from {', '.join(others)}; {total}."
    who = ", ".join(above)
    if not others:
        who = f"all {len(above)} others{which}" if len(above) > 1 else above[0]
    least = [_least(pairs) for pairs in alike]
    sizes = " and ".join(f"{size:.1f}" for size in least)
    size = f"by {sizes} points or more" if min(least) >= 0.05 else "by a little or more"
    rest = f", not told apart from {', '.join(others)}" if others else ""
    return f"{measure}: {first} is above {who}, {size}{rest}; {total}{' each' * (len(alike) > 1)}."


def _outcome(
    pairs: Sequence[Difference],
) -> tuple[str, tuple[str, ...], tuple[str, ...], str]:
    """The first, what it is above by a claim, what it is not told apart from, how many differ."""
    first = pairs[0].above
    own = [found for found in pairs if first in (found.above, found.below)]
    above = tuple(found.below for found in own if found.is_claim and found.above == first)
    others = tuple(_other(found, first) for found in own if not found.is_claim)
    n_claims = sum(found.is_claim for found in pairs)
    differ = "differs" if n_claims == 1 else "differ"
    return first, above, others, f"{n_claims} of {counted(len(pairs), 'pair')} {differ}"


def _least(pairs: Sequence[Difference]) -> float:
    """By how many points the first is at least above what it is above by a claim."""
    first = pairs[0].above
    claims = [found for found in pairs if found.is_claim and found.above == first]
    return 100 * min(found.interval.low for found in claims)


def _points(drops: Iterable[float]) -> str:
    texts = [f"{100 * drop:g}" for drop in drops]
    return f"{' and '.join(texts)} point{'s' * (texts != ['1'])}"


def _other(found: Difference, label: str) -> str:
    return found.below if found.above == label else found.above


def _seeds_needed(data: ReportData) -> Iterator[str]:
    """How many seeds would tell the first two apart, if what was seen stays as it is."""
    order = ranking(data)
    first, second = order[0], order[1]
    found = second.behind
    if found is None or found.is_claim or found.interval.absence or found.interval.mean <= 0:
        return
    n = seeds_to_tell_apart(found.interval, family_size(data))
    if n is None:
        yield f"{first.label} and {second.label} are too close for {_MOST_SEEDS} seeds."
    elif n > fewest_seeds():
        yield f"About {n} seeds would tell {first.label} from {second.label}, if all else stays."


def family_size(data: ReportData) -> int:
    """How many intervals of averages and sources hold at once.

    Args:
        data: what `report_building.build` computed.
    """
    return len(data.judgement.average_pairs) + sum(map(len, data.judgement.source_pairs))


def seeds_to_tell_apart(interval: Interval, n_together: int) -> int | None:
    """The fewest seeds whose interval would leave out zero; None for more than a hundred.

    The half width of n seeds is q_n s / √n, with s as it was seen and q_n Student's quantile with
    Bonferroni's correction. An estimate for planning, and no promise.

    Args:
        interval: of a difference above zero, with its ends.
        n_together: how many intervals hold at once.
    """
    p = 1 - (1 - LEVEL) / (2 * n_together)
    half = max(interval.high - interval.mean, interval.mean - interval.low)
    spread = half * math.sqrt(interval.n) / student_quantile(p, interval.n - 1)
    for n in range(max(fewest_seeds(), interval.n), _MOST_SEEDS + 1):
        if student_quantile(p, n - 1) * spread / math.sqrt(n) < interval.mean:
            return n
    return None
