"""Opening the ranges that a study leaves to its search, and checking that they make sense.

What a method declares as a knob is searched over its declared range, unless the study file narrows
it to a range, a list or one value; so are its nuisance values if the file asks for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from clsweep.config_section import mistake, mistake_at, mistake_below
from clsweep.methods.hyper_fields import knob_keys, role_of, search_range
from clsweep.number_conditions import idle
from clsweep.study.configurations import corner, is_searched
from clsweep.study.grid import MethodRequest, Range, have_common_values
from clsweep.study.path_checks import check_labels, path_table
from clsweep.study.sampler_names import SAMPLER_GROUP, SAMPLERS
from clsweep.study.search_axes import Axis
from clsweep.user_code import code_path

if TYPE_CHECKING:
    from clsweep.study.search_section import SearchConfig
    from clsweep.study.study_tables import StudyTables


def check_sampler(search: SearchConfig) -> None:
    """Refuse a sampler that is neither clsweep's, nor an import path, nor installed.

    A results folder may name one that is not installed here; nothing is imported.

    Args:
        search: the study's `[search]`.

    Raises:
        StudyError: it is none of them.
    """
    if search.sampler not in SAMPLERS:
        where = "search.sampler"
        code_path(search.sampler, where=where, group=SAMPLER_GROUP, known=SAMPLERS)


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
    if search.kind == "path":
        check_labels(made)
    return tuple(made)


def _opened(
    search: SearchConfig, request: MethodRequest, context: Mapping[str, Any]
) -> MethodRequest:
    if search.kind == "grid":
        _check_no_open_range(request)
        return request
    if request.entry.is_reference:
        return request
    if search.kind == "path":
        return path_table(search, request, context)
    numbers = request.entry.hyper.model_fields
    knobs = knob_keys(numbers)
    wanted = set(knobs)
    if search.kind == "fill":
        wanted = set() if is_searched(request) else set(knobs[:1])
    elif search.nuisance:
        wanted |= {key for key, field in numbers.items() if role_of(field) == "nuisance"}
        wanted -= idle(request.entry.hyper, request.axes(), context)
    ranges: dict[str, Any] = {}
    for key in wanted - request.model_fields_set:
        declared = search_range(numbers[key])
        assert declared, f"{request.method_key}.{key} declares no range"
        number = int if numbers[key].annotation is int else float
        low, high, log = declared
        ranges[key] = Range(number(low), number(high), log)
    training = request.training.axes()
    shared = {
        key: values
        for key, values in search.training.axes().items()
        if key not in training and not ({key, *training} >= {"steps", "epochs"})
    }
    if shared and request.entry.trains:
        ranges["training"] = request.training.model_copy(update=shared)
    made = request.model_copy(update=ranges)
    if search.kind == "fill":
        _check_one_range(made)
    return made


def check_spaces(study: StudyTables, spaces: Mapping[str, tuple[Axis, ...]]) -> None:
    """That both ends of every range are sound, and no two searches can choose the same.

    Args:
        study: the study.
        spaces: label of a searched table -> the axes of its space.

    Raises:
        PydanticCustomError: they are not, or they can.
    """
    if study.search.stops and not study.search.stop_checks and study.benchmark.n_tasks == 2:
        raise mistake(
            "with two tasks there is no task's end at which trials could be compared",
            expected="stop_checks of at least 1",
            at=("search", "stop_checks"),
        )
    for index, request in enumerate(study.methods):
        if request.label in spaces:
            _check_space(study, index, is_empty=not spaces[request.label])
        for earlier in study.methods[:index]:
            own, other = spaces.get(request.label), spaces.get(earlier.label)
            if earlier.method_key != request.method_key or not (own or other):
                continue
            if _overlap(_reach(study, earlier, other or ()), _reach(study, request, own or ())):
                raise mistake(
                    f"'{earlier.label}' and '{request.label}' search the same configurations",
                    expected="tables that differ in a number which is not searched",
                    at=("methods", index),
                )


def _check_space(study: StudyTables, index: int, *, is_empty: bool) -> None:
    request = study.methods[index]
    if is_empty:
        raise mistake(
            f"'{request.label}' searches numbers alone that others switch off",
            expected="a number that changes something",
            next_step=f"`clsweep methods {request.method_key}` says where each number acts",
            at=("methods", index),
        )
    for last in (False, True):
        try:
            corner(study, request, last=last)
        except ValidationError as error:
            raise mistake_below(error, ("methods", index)) from None


def _overlap(one: Mapping[str, tuple[Any, ...]], other: Mapping[str, tuple[Any, ...]]) -> bool:
    return all(have_common_values(values, other[key]) for key, values in one.items())


def _reach(study: StudyTables, request: MethodRequest, axes: tuple[Axis, ...]) -> dict[str, Any]:
    """All values that each number of a table may get: a front is followed beyond its range."""
    usual = {f"training.{key}": (value,) for key, value in study.training.model_dump().items()}
    ranges = {
        axis.key: Range(axis.floor, axis.ceiling, axis.log) for axis in axes if not axis.choices
    }
    return {**usual, **request.all_axes(), **ranges}


def _check_no_open_range(request: MethodRequest) -> None:
    for key, values in request.all_axes().items():
        if isinstance(values, Range):
            raise mistake(
                "the range has no 'n'",
                expected="{low = ..., high = ..., n = ...}",
                next_step='only a search chooses values, [search] kind = "optuna" or "fill", or a '
                'path, kind = "path"',
                at=tuple(key.split(".")),
            )


def _check_one_range(request: MethodRequest) -> None:
    axes = request.all_axes()
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
