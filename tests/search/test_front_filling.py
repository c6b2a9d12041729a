"""The fill search against curves whose number of points can be counted beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest

from clsweep.search.front_filling import Ends, coarse_values, next_value
from clsweep.study.search_axes import Axis


def ends_at(target: float, source: float) -> Ends:
    """Ends that do not depend on the knob, as with two tasks, of one source model."""
    return Ends(target, lambda value: source)


NO_ENDS = ends_at(math.nan, math.nan)
LOG = Axis("lam", (), 1e-4, 1e4, True, False, 1e-12, 1e12)
LINEAR = Axis("beta", (), 0.0, 1.0, False, False, 0.0, 1.0)
Curve = Callable[[float], "tuple[float, float] | None"]


def share(axis: Axis, value: float) -> float:
    low, high = axis.position(axis.low), axis.position(axis.high)
    return (axis.position(value) - low) / (high - low)


def drawn(
    axis: Axis, curve: Curve, *, coarse: int = 5, gap: float = 0.1, ends: Ends = NO_ENDS
) -> list[float]:
    """The values asked for until there is nothing to ask for; `curve` of the share of the axis."""
    known: dict[float, tuple[float, float] | None] = {}
    while (value := next_value(axis, known, coarse=coarse, gap=gap, ends=ends)) is not None:
        assert value not in known
        known[value] = curve(share(axis, value))
        assert len(known) < 500
    return list(known)


def straight(u: float) -> tuple[float, float]:
    return u, 1 - u


def bent(u: float) -> tuple[float, float]:
    rise = 1 / (1 + math.exp(-20 * (u - 0.4)))
    return rise, 1 - rise**3


def bisections(curve: Curve, low: float, high: float, gap: float) -> int:
    """How many values halve every interval until its ends are close enough."""
    one, other = curve(low), curve(high)
    assert one
    assert other
    if math.dist(one, other) <= gap:
        return 0
    middle = (low + high) / 2
    return 1 + bisections(curve, low, middle, gap) + bisections(curve, middle, high, gap)


@pytest.mark.parametrize("axis", [LOG, LINEAR], ids=["log", "linear"])
def test_a_straight_front_takes_as_many_values_as_its_length_asks_for(axis: Axis) -> None:
    # √2 long: a gap of 0.1 takes more than 14 intervals, and bisection of 4 makes 16 of them.
    values = drawn(axis, straight)
    assert len(values) == 5 + 12
    assert (
        max(
            math.dist(straight(share(axis, a)), straight(share(axis, b)))
            for a, b in pairwise(sorted(values))
        )
        <= 0.1
    )
    grid = coarse_values(axis, 5)
    assert tuple(values[:5]) == grid


@pytest.mark.parametrize("gap", [0.27, 0.13, 0.07, 0.04])
@pytest.mark.parametrize("coarse", [3, 5, 8])
def test_a_bent_front_takes_the_bisections_of_its_intervals(coarse: int, gap: float) -> None:
    grid = [i / (coarse - 1) for i in range(coarse)]
    expected = coarse + sum(bisections(bent, a, b, gap) for a, b in pairwise(grid))
    values = drawn(LOG, bent, coarse=coarse, gap=gap)
    assert len(values) == expected
    points = [bent(share(LOG, value)) for value in sorted(values)]
    assert max(math.dist(a, b) for a, b in pairwise(points)) <= gap
    # A grid of as many values leaves a gap that is wider.
    even = [bent(i / (expected - 1)) for i in range(expected)]
    assert max(math.dist(a, b) for a, b in pairwise(even)) > gap


def test_the_widest_gap_comes_first() -> None:
    known = {value: bent(share(LOG, value)) for value in coarse_values(LOG, 5)}
    points = sorted(known)
    gaps = [math.dist(known[a], known[b]) for a, b in pairwise(points)]
    widest = gaps.index(max(gaps))
    value = next_value(LOG, known, coarse=5, gap=0.01, ends=NO_ENDS)
    assert value is not None
    assert points[widest] < value < points[widest + 1]
    assert value == pytest.approx(math.sqrt(points[widest] * points[widest + 1]), rel=5e-3)


def late(u: float) -> tuple[float, float]:
    """A curve that begins to move only where the range ends."""
    rise = 1 / (1 + math.exp(-20 * (u - 1.1)))
    return 0.5 + 0.45 * rise, 0.95 - 0.45 * rise**3


def test_an_end_that_is_not_saturated_is_followed_beyond_the_range() -> None:
    ends = ends_at(target=0.95, source=0.95)
    values = drawn(LOG, late, ends=ends)
    assert max(values) > LOG.high
    assert min(values) == LOG.low, "the plastic end is saturated"
    assert late(share(LOG, max(values)))[0] >= 0.95 - 0.1
    inner = [v for v in values if v < max(values)]
    assert late(share(LOG, max(inner)))[0] < 0.95
    # Without the references nothing says that there is more to come.
    assert max(drawn(LOG, late)) == LOG.high
    # The same curve from the other side, with the knob turned around.
    mirrored = drawn(LOG, lambda u: late(1 - u), ends=ends)
    assert min(mirrored) < LOG.low
    assert max(mirrored) == LOG.high
    bounded = Axis("beta", (), 0.0, 1.0, False, False, 0.0, 1.0)
    assert max(drawn(bounded, late, ends=ends)) == 1.0, "no value beyond what has a meaning"


def test_the_stable_end_is_drawn_where_the_last_task_costs_no_source_any_more() -> None:
    """With more than two tasks a stable network knows less before the last one, too."""

    def before(u: float) -> float:
        return 0.95 - 0.3 * u

    def cost(u: float) -> float:
        return 0.5 / (1 + math.exp(20 * (u - 1)))

    def curve(u: float) -> tuple[float, float]:
        return before(u) - cost(u), 0.95 - 0.6 * u

    ends = Ends(0.95, lambda value: before(share(LOG, value)))
    last = share(LOG, max(drawn(LOG, curve, ends=ends)))
    assert last == pytest.approx(1.25), "one step of the coarse grid beyond the range"
    assert cost(last) <= 0.1 < cost(1.0)
    assert curve(last)[0] < 0.6, "far below what the most plastic value knew before the last task"


def test_an_end_that_has_failed_or_broken_down_is_left_alone() -> None:
    ends = ends_at(target=0.95, source=2.0)  # never reached

    def fails(u: float) -> tuple[float, float] | None:
        return None if u > 0.9 else late(u)

    def collapses(u: float) -> tuple[float, float] | None:
        return (0.1, 0.1) if u > 0.9 else late(u)

    for curve in (fails, collapses):
        values = drawn(LOG, curve, ends=ends)
        assert max(values) == LOG.high
    # Nor are values spent on the way down from the front to where training has collapsed.
    assert len(drawn(LOG, collapses, ends=ends)) == len(drawn(LOG, fails, ends=ends))


def test_a_jump_does_not_eat_the_budget() -> None:
    values = drawn(LOG, lambda u: (0.9, 0.1) if u > 0.37 else (0.1, 0.9))
    # Four intervals of 1/4; halved until one is narrower than 1/256 of the range.
    assert len(values) == 5 + 7


def test_pending_values_are_not_asked_for_again() -> None:
    known = {value: straight(share(LOG, value)) for value in coarse_values(LOG, 5)}
    waiting = dict(known)
    asked = []
    for _ in range(4):
        value = next_value(LOG, waiting, coarse=5, gap=0.1, ends=NO_ENDS)
        assert value is not None
        waiting[value] = None
        asked.append(value)
    # All gaps are equal: each gets one before any gets a second.
    places = sorted(int(4 * share(LOG, value)) for value in asked)
    assert places == [0, 1, 2, 3]


def test_whole_numbers_are_used_up() -> None:
    axis = Axis("memory_size", (), 1, 8, True, True, 1, 8)
    values = drawn(axis, straight, coarse=3, gap=1e-6)
    assert sorted(values) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(isinstance(value, int) for value in values)
