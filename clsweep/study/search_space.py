"""The space of one curve: which numbers a search chooses, from what, and which it leaves alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clsweep.number_conditions import idle
from clsweep.study.configurations import Configuration, Table, configurations, searched_requests
from clsweep.study.grid import MethodRequest, Range
from clsweep.study.idle_numbers import idle_keys
from clsweep.study.search_axes import Axis, AxisValues
from clsweep.training.config import in_full

if TYPE_CHECKING:
    from clsweep.records.schema import Config
    from clsweep.study.study_tables import StudyTables


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

    def acting(self, point: Mapping[str, Any]) -> AxisValues:
        """A point without the numbers that change nothing there: one per configuration.

        Args:
            point: a value for every axis, or for every one that changes something.
        """
        made = self.table.searched(point)
        idle = self.table.idle_in(made)
        numbers = _numbers(made.hyper.model_dump(), made.training.model_dump())
        return {axis.key: numbers[axis.key] for axis in self.axes if axis.key not in idle}

    def values_of(self, config: Config) -> AxisValues | None:
        """The point that a stored configuration lies at; None if it is not in the space.

        Args:
            config: the 'config' part of a record, under the name that the study has for it.
        """
        if config["method"] != self.table.request.method_key:
            return None
        numbers = _numbers(config["hyper"], in_full(config["training"]))
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
    numbers_of = request.entry.hyper
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
            point = space.values_of(config)
            if point is not None:
                found[config["config_id"]] = space.configuration(point)
                break
    return [*found.values()]


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
