"""What `[search] kind = "path"` can follow: one knob of one penalty, on two tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clsweep.config_section import mistake
from clsweep.methods import METHODS
from clsweep.methods.hyper_fields import knob_keys, search_range
from clsweep.study.grid import MethodRequest, Range, range_values
from clsweep.study.paths import LABEL_ENDING, label_of

if TYPE_CHECKING:
    from clsweep.study.search_section import SearchConfig

_LONGEST_LABEL = 60


def path_table(
    search: SearchConfig, request: MethodRequest, context: Mapping[str, Any]
) -> MethodRequest:
    """The table with every value of its path, from large to small, and the label of a path.

    Args:
        search: the study's `[search]`.
        request: a table of a method that is no reference.
        context: what is around it, see `grid.around`.

    Raises:
        PydanticCustomError: no path can follow it.
    """
    _check_followed(request, context)
    (knob,) = knob_keys(request.entry.hyper.model_fields)
    for key, values in request.all_axes().items():
        if key != knob and (len(values) > 1 or isinstance(values, Range)):
            raise mistake(
                f"kind = 'path' follows one knob, {knob}, and {key} has several values as well",
                expected="one value for every other number",
                next_step="write a [[methods]] table with a label of its own for each value",
                at=tuple(key.split(".")),
            )
    label = label_of(request.label)
    if len(label) > _LONGEST_LABEL:
        raise mistake(
            f"the label is too long for a path, whose label ends with '{LABEL_ENDING}'",
            expected=f"at most {_LONGEST_LABEL - len(LABEL_ENDING)} characters",
            at=("label",),
        )
    return request.model_copy(update={"label": label, knob: _values(search, request, knob)})


def check_labels(methods: Sequence[MethodRequest]) -> None:
    """Refuse two tables whose labels were different before they became those of paths.

    Args:
        methods: the tables of a study of paths.

    Raises:
        PydanticCustomError: there are two; the error's place counts from the list of tables.
    """
    labels = [request.label for request in methods]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            raise mistake(
                f"methods[{labels.index(label)}] is labelled '{label}' as well",
                expected="a different label for every [[methods]] table",
                at=(index, "label"),
            )


def _check_followed(request: MethodRequest, context: Mapping[str, Any]) -> None:
    if not request.entry.follows_path:
        known = ", ".join(f"'{name}'" for name, entry in METHODS.items() if entry.follows_path)
        raise mistake(
            f"kind = 'path' cannot follow '{request.method_key}': it needs one knob that weighs a "
            "penalty towards the source model",
            expected=f"one of {known}, or a reference",
            next_step="kind = 'grid' trains every value by itself",
            at=("name",),
        )
    n_tasks = context["benchmark.n_tasks"]
    if n_tasks != 2:
        raise mistake(
            f"kind = 'path' with {n_tasks} tasks: from the third on each value of "
            f"'{request.method_key}' would start from a network of its own, and no path leads "
            "from one to the next",
            expected="two tasks, n_tasks = 2",
            at=("name",),
        )


def _values(search: SearchConfig, request: MethodRequest, knob: str) -> tuple[Any, ...]:
    """The values from large to small, each once."""
    given = request.axes()[knob]
    field = request.entry.hyper.model_fields[knob]
    if knob not in request.model_fields_set:
        declared = search_range(field)
        assert declared, f"{request.method_key}.{knob} declares no range"
        given = Range(*declared)
    if isinstance(given, Range):
        low, high = given
        found = range_values(low, high, search.points, log=given.log, whole=isinstance(low, int))
        return tuple(sorted(found, reverse=True))
    return tuple(sorted(given, reverse=True))
