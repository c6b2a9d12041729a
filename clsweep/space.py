"""The space of one curve: which numbers a search chooses, from what, and which it leaves alone.

What a method declares as a knob is searched over its declared range, unless the study file narrows
it to a range, a list or one value; so are its nuisance values if the file asks for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from clsweep.configurations import (
    Configuration,
    Table,
    configurations,
    corner,
    is_searched,
    searched_requests,
)
from clsweep.declarations import knob_keys, role_of, search_range
from clsweep.grid import MethodRequest, Range, have_common_values
from clsweep.methods import METHODS
from clsweep.study_errors import mistake, mistake_at, mistake_below
from clsweep.switches import idle, idle_keys

if TYPE_CHECKING:
    from clsweep.schema import Config
    from clsweep.search_settings import SearchConfig
    from clsweep.study_tables import StudyTables

__all__ = [
    "Axis",
    "Point",
    "Space",
    "check_spaces",
    "known_configurations",
    "opened_methods",
    "space_of",
]

Point = dict[str, Any]

# Enough to tell two points of a front apart, and few enough to be read and typed again.
_DIGITS = 3


@dataclass(frozen=True)
class Axis:
    """One number that a search chooses.

    Attributes:
        key: of the method's table, or 'training.KEY'.
        choices: the values of a list; empty for a range.
        low: lower end of a range.
        high: upper end of a range.
        log: whether a range is searched on a logarithmic scale.
        whole: whether a range holds whole numbers.
        floor: smallest value that may be asked for; below `low` where a front may need it.
        ceiling: largest value that may be asked for.
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    floor: float = 0.0
    ceiling: float = 0.0

    def rounded(self, value: float) -> float:
        """The nearest value of the range with three significant digits.

        Args:
            value: any number.
        """
        short = float(f"{value:.{_DIGITS}g}")
        if self.whole:
            return int(min(max(round(short), self.floor), self.ceiling))
        return float(min(max(short, self.floor), self.ceiling))

    def place(self, value: float) -> float:
        """Where a value lies on the scale that is searched.

        Args:
            value: of the range.
        """
        return math.log(value) if self.log else float(value)

    def value_at(self, place: float) -> float:
        """The value at a place, rounded; see `place`."""
        return self.rounded(math.exp(place) if self.log else place)

    def holds(self, value: Any) -> bool:
        """Whether a search could ask for the value."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.floor <= value <= self.ceiling


@dataclass(frozen=True)
class Space:
    """All numbers that a search chooses for one curve.

    Attributes:
        table: the curve's table of the study file.
        axes: the numbers, in declared order.
    """

    table: Table
    axes: tuple[Axis, ...]

    def configuration(self, point: Mapping[str, Any]) -> Configuration:
        """The configuration with the numbers of a point.

        Args:
            point: a value for every axis.
        """
        return self.table.searched(point)

    def acting(self, point: Mapping[str, Any]) -> Point:
        """A point without the numbers that change nothing there: one per configuration.

        Args:
            point: a value for every axis, or for every one that changes something.
        """
        made = self.table.searched(point)
        idle = self.table.idle_in(made)
        numbers = _numbers(made.hyper.model_dump(), made.training.model_dump())
        return {axis.key: numbers[axis.key] for axis in self.axes if axis.key not in idle}

    def point_of(self, config: Config) -> Point | None:
        """The point that a stored configuration lies at; None if it is not in the space.

        Args:
            config: the 'config' part of a record, under the name that the study has for it.
        """
        if config["method"] != self.table.request.name:
            return None
        numbers = _numbers(config["hyper"], config["training"])
        idle = idle_keys(config, self.table.context)
        point = {axis.key: numbers.get(axis.key) for axis in self.axes if axis.key not in idle}
        if not all(axis.holds(point[axis.key]) for axis in self.axes if axis.key in point):
            return None
        return point if self.configuration(point).id == config["config_id"] else None


def _numbers(hyper: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    return {**hyper, **{f"training.{key}": value for key, value in training.items()}}


def space_of(study: StudyTables, request: MethodRequest) -> Space:
    """The space of one curve of a study.

    Args:
        study: the study.
        request: one of its tables, which `configurations.is_searched`.
    """
    numbers_of = METHODS[request.name].hyper
    numbers = numbers_of.model_fields
    found = []
    for key, values in request.axes().items():
        bounds = {type(rule).__name__: rule for rule in numbers[key].metadata}
        lowest = getattr(bounds.get("Ge"), "ge", -math.inf)
        highest = getattr(bounds.get("Le"), "le", math.inf)
        found.append(_axis(key, values, study.search.kind == "fill", lowest, highest))
    for key, values in request.training.axes().items():
        found.append(_axis(f"training.{key}", values, False, -math.inf, math.inf))
    table = Table(study, request)
    never = idle(numbers_of, request.axes(), table.context)
    return Space(table, tuple(axis for axis in found if axis and axis.key not in never))


def known_configurations(study: StudyTables, stored: Iterable[Config]) -> list[Configuration]:
    """The configurations of a study: its own, then the stored ones that lie in its spaces.

    A search takes note of every result in its spaces, whoever has asked for it: what belongs to
    the study is told by the numbers alone, and no search has to be repeated for it.

    Args:
        study: the study.
        stored: the 'config' parts of records, this study's or not, under the names that the study
            has for them.
    """
    found = {configuration.id: configuration for configuration in configurations(study)}
    spaces = [space_of(study, request) for request in searched_requests(study)]
    for config in {config["config_id"]: config for config in stored}.values():
        for space in spaces if config["config_id"] not in found else ():
            point = space.point_of(config)
            if point is not None:
                found[config["config_id"]] = space.configuration(point)
                break
    return [*found.values()]


def opened_methods(
    search: SearchConfig, methods: tuple[MethodRequest, ...], context: Mapping[str, Any]
) -> tuple[MethodRequest, ...]:
    """The tables with the range of everything that they leave to the search.

    Args:
        search: the study's `[search]`.
        methods: the tables as the file has them; a grid's stay as they are.
        context: what is around them, see `grid.around`.

    Raises:
        PydanticCustomError: one asks for what this kind of search cannot do; the error's place
            counts from the list of tables.
    """
    made = []
    for index, request in enumerate(methods):
        try:
            made.append(_opened(search, request, context))
        except PydanticCustomError as error:
            raise mistake_at(error, (index,)) from None
    return tuple(made)


def _opened(
    search: SearchConfig, request: MethodRequest, context: Mapping[str, Any]
) -> MethodRequest:
    if search.kind == "grid":
        _check_no_open_range(request)
        return request
    if METHODS[request.name].is_reference:
        return request
    numbers = METHODS[request.name].hyper.model_fields
    knobs = knob_keys(numbers)
    wanted = set(knobs)
    if search.kind == "fill":
        wanted = set() if is_searched(request) else set(knobs[:1])
    elif search.nuisance:
        wanted |= {key for key, field in numbers.items() if role_of(field) == "nuisance"}
        wanted -= idle(METHODS[request.name].hyper, request.axes(), context)
    ranges: dict[str, Any] = {}
    for key in wanted - request.model_fields_set:
        declared = search_range(numbers[key])
        assert declared, f"{request.name}.{key} declares no range"
        number = int if numbers[key].annotation is int else float
        low, high, log = declared
        ranges[key] = Range(number(low), number(high), log)
    training = request.training.axes()
    shared = {
        key: values
        for key, values in search.training.axes().items()
        if key not in training and not ({key, *training} >= {"steps", "epochs"})
    }
    if shared:
        ranges["training"] = request.training.model_copy(update=shared)
    made = request.model_copy(update=ranges)
    if search.kind == "fill":
        _check_one_range(made)
    return made


def check_spaces(study: StudyTables) -> None:
    """That both ends of every range are sound, and no two searches can choose the same.

    Args:
        study: the study.

    Raises:
        PydanticCustomError: they are not, or they can.
    """
    if study.search.stops and not study.search.stop_checks and study.benchmark.n_tasks == 2:
        raise mistake(
            "with two tasks there is no task's end at which trials could be compared",
            expected="stop_checks of at least 1",
            at=("search", "stop_checks"),
        )
    spaces = {request.label: space_of(study, request) for request in searched_requests(study)}
    for index, request in enumerate(study.methods):
        if request.label in spaces:
            _check_space(study, index, spaces[request.label])
        for earlier in study.methods[:index]:
            own, other = spaces.get(request.label), spaces.get(earlier.label)
            if earlier.name != request.name or not (own or other):
                continue
            if _overlap(_reach(study, earlier, other), _reach(study, request, own)):
                raise mistake(
                    f"'{earlier.label}' and '{request.label}' search the same configurations",
                    expected="tables that differ in a number which is not searched",
                    at=("methods", index),
                )


def _check_space(study: StudyTables, index: int, space: Space) -> None:
    request = study.methods[index]
    if not space.axes:
        raise mistake(
            f"'{request.label}' searches numbers alone that others switch off",
            expected="a number that changes something",
            next_step=f"`clsweep methods {request.name}` says where each number acts",
            at=("methods", index),
        )
    for last in (False, True):
        try:
            corner(study, request, last=last)
        except ValidationError as error:
            raise mistake_below(error, ("methods", index)) from None


def _overlap(one: Mapping[str, tuple[Any, ...]], other: Mapping[str, tuple[Any, ...]]) -> bool:
    return all(have_common_values(values, other[key]) for key, values in one.items())


def _reach(study: StudyTables, request: MethodRequest, space: Space | None) -> dict[str, Any]:
    """All values that each number of a table may get: a front is followed beyond its range."""
    usual = {f"training.{key}": (value,) for key, value in study.training.model_dump().items()}
    ranges = {
        axis.key: Range(axis.floor, axis.ceiling, axis.log)
        for axis in (space.axes if space else ())
        if not axis.choices
    }
    return {**usual, **_all_axes(request), **ranges}


def _all_axes(request: MethodRequest) -> dict[str, tuple[Any, ...]]:
    training = {f"training.{key}": values for key, values in request.training.axes().items()}
    return {**request.axes(), **training}


def _check_no_open_range(request: MethodRequest) -> None:
    for key, values in _all_axes(request).items():
        if isinstance(values, Range):
            raise mistake(
                "the range has no 'n'",
                expected="{low = ..., high = ..., n = ...}",
                next_step='only a search, [search] kind = "optuna" or "fill", chooses values',
                at=tuple(key.split(".")),
            )


def _check_one_range(request: MethodRequest) -> None:
    axes = _all_axes(request)
    several = [key for key, values in axes.items() if len(values) > 1]
    for key in several:
        if key != several[0] or not isinstance(axes[key], Range):
            raise mistake(
                f"kind = 'fill' turns one knob, and {key} has several values as well"
                if isinstance(axes[several[0]], Range)
                else f"kind = 'fill' chooses the values, and {key} lists them",
                expected="one range { low = ..., high = ... } without n, and one value for every "
                "other number",
                next_step="write a [[methods]] table with a label of its own for each value",
                at=tuple(key.split(".")),
            )


def _axis(
    key: str, values: tuple[Any, ...], reaches: bool, lowest: float, highest: float
) -> Axis | None:
    if not isinstance(values, Range):
        return Axis(key, choices=values) if len(values) > 1 else None
    low, high = values
    whole = isinstance(low, int)
    floor, ceiling = low, high
    if reaches and not whole:
        # As far again beyond each end as the range is wide.
        width = math.log(high / low) if values.log else high - low
        floor = low * math.exp(-width) if values.log else low - width
        ceiling = high * math.exp(width) if values.log else high + width
        floor, ceiling = max(floor, lowest), min(ceiling, highest)
    return Axis(key, (), low, high, values.log, whole, floor, ceiling)
