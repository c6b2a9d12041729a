"""A `[[methods]]` table: every number is one value, a list or a range, and is a grid axis."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

from clsweep.config_section import Section, as_toml, mistake
from clsweep.errors import closest_name
from clsweep.methods.entry import MethodEntry
from clsweep.methods.hyper_fields import RESERVED, Hyper
from clsweep.nets.config import NetConfig
from clsweep.number_conditions import condition_text
from clsweep.training.config import (
    TrainingConfig,
    both_lengths_of_the_first,
    pairs_in_schema,
    with_pairs_split,
)
from clsweep.training.optimiser_names import NUMBERS, takes

if TYPE_CHECKING:
    from clsweep.data.benchmark_specs import BenchmarkConfig

MAX_RANGE_VALUES = 10_000
_RANGE_KEYS = ("low", "high", "n", "log")
_RANGE_FORM = "{low = ..., high = ..., n = ...}"


class Range(tuple[float, ...]):
    """The two ends of a range that a search fills: `{ low = ..., high = ... }` without `n`.

    Attributes:
        log: whether it is searched on a logarithmic scale.
    """

    log: bool

    def __new__(cls, low: float, high: float, log: bool) -> Range:
        """The range from `low` to `high`."""
        made = super().__new__(cls, (low, high))
        made.log = log
        return made

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Range) and self.log == other.log
        return same and tuple(self) == tuple(other)  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return hash((*self, self.log))

    def __reduce__(self) -> tuple[object, ...]:
        return Range, (*self, self.log)


def range_values(low: float, high: float, n: int, *, log: bool, whole: bool) -> tuple[float, ...]:
    """`n` evenly spaced values from `low` to `high`, both included.

    Inner values are rounded (6 digits on a logarithmic scale, 12 on a linear one), so that
    1 to 1000 in 4 steps is 1, 10, 100, 1000 on every machine.

    Args:
        low: the first value.
        high: the last value, above `low`.
        n: how many values, at least 2.
        log: whether the values' logarithms are evenly spaced; `low` must then be positive.
        whole: whether they are rounded to whole numbers.
    """
    shares = [i / (n - 1) for i in range(1, n - 1)]
    if log:
        start, stop = math.log(low), math.log(high)
        inner = [float(f"{math.exp(start + s * (stop - start)):.6g}") for s in shares]
    else:
        inner = [float(f"{low + s * (high - low):.12g}") for s in shares]
    values = [low, *inner, high]
    return tuple(round(v) for v in values) if whole else tuple(float(v) for v in values)


def _axis_of(
    raw: Any, validated: ValidatorFunctionWrapHandler, *, kind: Any, log: bool, is_table: bool
) -> tuple[Any, ...]:
    """One axis as the file writes it: its values, or the range that a search fills."""
    if is_table and isinstance(raw, Mapping):
        raw = (raw,)
    values = _axis_values(raw, kind=kind, log=log)
    checked: tuple[Any, ...] = validated(tuple(values))
    return Range(checked[0], checked[1], values.log) if isinstance(values, Range) else checked


def _axis_values(raw: Any, *, kind: Any, log: bool) -> tuple[Any, ...]:
    """The values of one axis, still to be validated one by one."""
    whole = kind is int
    if isinstance(raw, Mapping):
        if kind not in (int, float):
            raise mistake("a range needs a number", expected="one value or a list of values")
        return _expanded(raw, log=log, whole=whole)
    values = tuple(raw) if isinstance(raw, list | tuple) else (raw,)
    if not values:
        raise mistake("the list is empty", expected=f"one value, a list, or {_RANGE_FORM}")
    if whole:
        # TOML reads 1e3 as a float; a whole number written that way is no mistake.
        values = tuple(int(v) if isinstance(v, float) and v.is_integer() else v for v in values)
    return values


def _expanded(raw: Mapping[str, Any], *, log: bool, whole: bool) -> tuple[float, ...]:
    for key in raw:
        if key not in _RANGE_KEYS:
            expected = closest_name(key, _RANGE_KEYS)
            raise mistake(f"unknown key '{key}' in a range", expected=expected, at=(key,))
    for key in ("low", "high"):
        if key not in raw:
            raise mistake(f"the range has no '{key}'", expected=_RANGE_FORM)
    for key in ("low", "high"):
        _check_end(raw[key], key, whole=whole)
    log = raw.get("log", log)
    if not isinstance(log, bool):
        raise mistake(f"log = {as_toml(log)}", expected="true or false", at=("log",))
    low, high = raw["low"], raw["high"]
    _check_ends(low, high, log=log)
    if "n" not in raw:
        return Range(int(low), int(high), log) if whole else Range(float(low), float(high), log)
    n = raw["n"]
    _check_n(n)
    values = range_values(low, high, n, log=log, whole=whole)
    if len(set(values)) < n:
        raise mistake(
            f"{n} different values do not fit between {low} and {high}",
            expected="a smaller n or a wider range",
            at=("n",),
        )
    return values


def _check_end(value: Any, key: str, *, whole: bool) -> None:
    word = "a whole number" if whole else "a finite number"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or abs(value) > sys.float_info.max or (whole and value != int(value)):
        raise mistake(f"{key} = {as_toml(value)}", expected=word, at=(key,))


def _check_n(n: Any) -> None:
    if isinstance(n, bool) or not isinstance(n, int):
        raise mistake(f"n = {as_toml(n)}", expected="a whole number of values", at=("n",))
    if not 2 <= n <= MAX_RANGE_VALUES:
        raise mistake(
            f"n = {as_toml(n)} values in a range",
            expected=f"2 to {MAX_RANGE_VALUES}; a single value is written without a range",
            at=("n",),
        )


def _check_ends(low: float, high: float, *, log: bool) -> None:
    if low >= high:
        word = "empty" if low == high else "reversed"
        raise mistake(f"the range is {word}: low = {low}, high = {high}", expected="low < high")
    if math.isinf(float(high) - float(low)):
        raise mistake(
            f"the range from {low} to {high} is wider than any number",
            expected="ends whose difference is a number",
        )
    if log and low <= 0:
        raise mistake(
            f"a logarithmic range cannot start at {low}",
            expected="low above 0, or log = false",
            next_step="a list may hold 0 beside other values",
            at=("low",),
        )


def _axis(field: FieldInfo) -> Any:
    """The type of a grid axis over the values of `field`, for pydantic."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    element: Any = field.annotation
    for constraint in field.metadata:
        element = Annotated[element, constraint]
    log = bool(extra.get("log", False))
    shape = TypeAdapter(element).json_schema()
    forms = [shape, {"type": "array", "items": shape, "minItems": 1}]
    text = "; ".join(filter(None, [field.description, condition_text(field)]))
    if field.annotation in (int, float):
        forms.append(_range_schema(log))
    return Annotated[
        tuple[element, ...],
        WrapValidator(
            partial(_axis_of, kind=field.annotation, log=log, is_table="table" in extra)
        ),
        WithJsonSchema({"anyOf": forms, "description": text}),
        Field(description=text),
    ]


def _range_schema(log: bool) -> dict[str, Any]:
    number = {"type": "number"}
    return {
        "type": "object",
        "properties": {
            "low": number,
            "high": number,
            "n": {"type": "integer", "minimum": 2, "maximum": MAX_RANGE_VALUES},
            "log": {"type": "boolean", "default": log},
        },
        "required": ["low", "high"],
        "additionalProperties": False,
    }


class TrainingOverrides(Section):
    """Overrides of `[training]`, for one method or all; an axis without values inherits."""

    model_config = ConfigDict(json_schema_extra=pairs_in_schema)

    @model_validator(mode="before")
    @classmethod
    def _pairs(cls, raw: Any) -> Any:
        return with_pairs_split(raw)

    @model_validator(mode="after")
    def _check(self) -> TrainingOverrides:
        if {"epochs", "steps"} <= self.model_fields_set:
            raise mistake(
                "both 'epochs' and 'steps' are given",
                expected="one of the two: passes over the data, or steps per task",
                at=("steps",),
            )
        if all(any(getattr(self, key)) for key in ("first_epochs", "first_steps")):
            raise both_lengths_of_the_first()
        return self

    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The overridden keys and their values, in the order of `TrainingConfig`."""
        values = {key: getattr(self, key) for key in type(self).model_fields}
        return {key: axis for key, axis in values.items() if axis}

    def trainings(self, base: TrainingConfig) -> list[TrainingConfig]:
        """The grid over training settings; `base` alone when nothing is overridden.

        Args:
            base: the study's `[training]`.
        """
        return [self.at(base, point) for point in product(self.axes())]

    def at(self, base: TrainingConfig, point: Mapping[str, Any]) -> TrainingConfig:
        """`[training]` with one value of each overridden key.

        Args:
            base: the study's `[training]`.
            point: key -> value.
        """
        given = base.model_dump(exclude_unset=True)
        for of in ("", "first_"):
            if point.get(f"{of}steps"):
                given.pop(f"{of}epochs", None)
            if f"{of}epochs" in point:
                given.pop(f"{of}steps", None)
        made = {**given, **point}
        # Crossed with several optimisers, a number acts with those that take it; where none of
        # them does, it is a mistake.
        chosen, crossed = made.get("optimizer", base.optimizer), self.axes().get("optimizer", ())
        for key in (*NUMBERS, "options", "weight_decay"):
            if crossed and not takes(chosen, key) and any(takes(one, key) for one in crossed):
                made.pop(key, None)
        return TrainingConfig(**made)


_training_fields: dict[str, Any] = {
    key: (_axis(field), ()) for key, field in TrainingConfig.model_fields.items()
}
TrainingAxes: type[TrainingOverrides] = create_model(
    "TrainingAxes", __base__=TrainingOverrides, **_training_fields
)


NAME_DOC = "a method that `clsweep methods` lists"
LABEL_DOC = "the curve's name, of up to 60 characters, without spaces at its ends"


class MethodRequest(Section):
    """One `[[methods]]` table: a method, its grid, and the curve's label.

    Each method has its own child of this class, made from the declaration of its numbers.
    """

    # Of a method of the user's own; None for ours, which are looked up in the table of methods.
    own_entry: ClassVar[MethodEntry | None] = None

    # Import path -> fingerprint of estimators of the user's own that the table names.
    _estimators: dict[str, str] = PrivateAttr(default_factory=dict)

    name: Annotated[str, Field(description=NAME_DOC)]
    label: Annotated[
        str,
        Field(
            pattern=r"^\S(.*\S)?$",
            max_length=60,
            description=LABEL_DOC,
        ),
    ]
    training: Annotated[
        TrainingOverrides, Field(description="overrides of [training] for this method")
    ] = TrainingAxes()

    @property
    def method_key(self) -> str:
        """What records call the method: its name, or the import path of the user's own."""
        return self.name

    @property
    def entry(self) -> MethodEntry:
        """What is known about the method; see `method_tables`."""
        raise NotImplementedError

    @property
    def named(self) -> dict[str, str]:
        """The keys of the table that say which method it is."""
        return {"name": self.name}

    @property
    def estimators(self) -> dict[str, str]:
        """Import path -> fingerprint of the user's own estimators that the table names."""
        return self._estimators

    def code_of(self, hyper: Hyper) -> tuple[tuple[str, str], ...]:
        """(import path, fingerprint) of all code of the user's own that some numbers need.

        Args:
            hyper: numbers of the method.
        """
        entry = self.own_entry
        own = {} if entry is None else {entry.path: entry.code}
        if self._estimators:
            named = {value for _, value in hyper if isinstance(value, str)}
            own |= {path: code for path, code in self._estimators.items() if path in named}
        return tuple(sorted(own.items()))

    def axes(self) -> dict[str, tuple[Any, ...]]:
        """Every number of the method and its values, in declared order; defaults included."""
        return {key: getattr(self, key) for key in self.entry.hyper.model_fields}

    def all_axes(self) -> dict[str, tuple[Any, ...]]:
        """The same, with the overridden keys of the training as 'training.KEY'."""
        training = {f"training.{key}": axis for key, axis in self.training.axes().items()}
        return {**self.axes(), **training}


def around(net: NetConfig, benchmark: BenchmarkConfig) -> dict[str, Any]:
    """What conditions may ask of the study around a table: 'SECTION.KEY' -> value.

    Args:
        net: the study's `[net]`.
        benchmark: its `[benchmark]`.
    """
    found = {
        "benchmark.scenario": benchmark.scenario,
        "benchmark.n_tasks": benchmark.n_tasks,
        "benchmark.targets": benchmark.targets,
        "net.bn_mode": net.bn_mode,
    }
    # What a module of torchvision's or of the user's has is not known before it is built.
    return found if net.is_module else {**found, "net.norm": net.norm_used}


def have_common_values(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two axes, each a list or a `Range`, have a value in common.

    Args:
        one: an axis.
        other: an axis.
    """
    if isinstance(one, Range) and isinstance(other, Range):
        return one[0] <= other[1] and other[0] <= one[1]
    if isinstance(other, Range):
        one, other = other, one
    if isinstance(one, Range):
        return any(one[0] <= value <= one[1] for value in other)
    return not set(one).isdisjoint(other)


def product(axes: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """All combinations of the axes' values; the last axis varies fastest.

    Args:
        axes: name -> values.
    """
    points: list[dict[str, Any]] = [{}]
    for key, values in axes.items():
        points = [{**point, key: value} for point in points for value in values]
    return points


def table_type(name: str, entry: MethodEntry, base: type[MethodRequest]) -> type[MethodRequest]:
    """The type of a method's tables.

    Args:
        name: what the tables call it.
        entry: what is known about it.
        base: what they have besides its numbers.
    """
    numbers = entry.hyper.model_fields
    clash = set(numbers) & set(RESERVED)
    assert not clash, f"{entry.hyper.__name__} uses reserved keys {clash}"
    fields: dict[str, Any] = {
        "name": (Literal[name], Field(description=NAME_DOC)),
        "label": (
            Annotated[
                (str, *MethodRequest.model_fields["label"].metadata, Field(description=LABEL_DOC))
            ],
            entry.title,
        ),
        "training": (
            Annotated[
                TrainingAxes,
                Field(description=MethodRequest.model_fields["training"].description),
            ],
            TrainingAxes(),
        ),
    }
    fields |= {key: (_axis(field), (field.default,)) for key, field in numbers.items()}
    return create_model(f"{name}_request", __base__=base, **fields)
