"""What a study expands to: configurations, their identities, and the study written out in full."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from clsweep.grid import MethodRequest, Range, product
from clsweep.methods import METHODS
from clsweep.methods.hypers import Hyper
from clsweep.settings import TrainingConfig
from clsweep.study_errors import mistake, mistake_below
from clsweep.toml_text import toml_table

if TYPE_CHECKING:
    from clsweep.study import Study

__all__ = [
    "Configuration",
    "canonical_json",
    "check_configurations",
    "configuration_asked",
    "configuration_at",
    "configurations",
    "corner",
    "examples",
    "identity",
    "is_searched",
    "resolved_toml",
    "searched_requests",
    "study_identity",
]

MAX_CONFIGURATIONS = 100_000
MAX_TRIALS = 300_000  # a plan holds about 3 kB per trial


@dataclass(frozen=True)
class Configuration:
    """A method with all its numbers, on one benchmark; trained once per seed.

    Attributes:
        id: 16 hexadecimal digits, the same for the same work on every machine.
        method: a key of `METHODS`.
        label: the curve that it belongs to.
        hyper: the method's numbers.
        training: how every task is trained.
        knobs: the numbers that trace the curve; the first is the primary one.
        reference: whether the method marks an end of the plot.
        asked: curve and numbers as JSON where a search has chosen them; '' in a grid.
    """

    id: str
    method: str
    label: str
    hyper: Hyper
    training: TrainingConfig
    knobs: dict[str, float]
    reference: bool
    asked: str = ""


def configurations(study: Study) -> list[Configuration]:
    """All configurations that the file itself names; what a search will choose is not among them.

    Methods in file order, then training axes, then the method's own. Within a table the axes vary
    in declared order, the last one fastest.

    Args:
        study: the study.
    """
    return [configuration for _, configuration in _expanded(study)]


def is_searched(request: MethodRequest) -> bool:
    """Whether a search has something to choose in a table: a range, or one of several values.

    Args:
        request: a table of a study whose `[search]` is no grid.
    """
    axes = (*request.axes().values(), *request.training.axes().values())
    return not METHODS[request.name].is_reference and any(len(values) > 1 for values in axes)


def searched_requests(study: Study) -> list[MethodRequest]:
    """The tables whose configurations a search chooses, in file order; none in a grid."""
    if study.search.kind == "grid":
        return []
    return [request for request in study.methods if is_searched(request)]


def configuration_at(
    study: Study, request: MethodRequest, point: Mapping[str, Any]
) -> Configuration:
    """The configuration that a search has chosen.

    Args:
        study: the study.
        request: the curve's table.
        point: key, or 'training.KEY', -> value, of everything that has not one value in the table.
    """
    numbers = {key: point.get(key, values[0]) for key, values in request.axes().items()}
    training = {
        key: point.get(f"training.{key}", values[0])
        for key, values in request.training.axes().items()
    }
    made = _configuration(
        _shared(study), request, request.training_at(study.training, training), numbers
    )
    return replace(made, asked=canonical_json([request.label, dict(point)]))


def configuration_asked(study: Study, asked: str) -> Configuration:
    """The configuration behind `Configuration.asked`.

    Args:
        study: the study that it is of.
        asked: what the configuration says.
    """
    label, point = json.loads(asked)
    (request,) = (r for r in study.methods if r.label == label)
    return configuration_at(study, request, point)


def examples(study: Study) -> list[Configuration]:
    """What a check has to look at: the grid, and both ends of everything that is searched.

    Args:
        study: the study.
    """
    return configurations(study) + [
        corner(study, request, last=last)
        for request in searched_requests(study)
        for last in (False, True)
    ]


def corner(study: Study, request: MethodRequest, *, last: bool) -> Configuration:
    """The configuration at one end of everything that is searched.

    Args:
        study: the study.
        request: the curve's table.
        last: whether at the upper ends.
    """
    axes = {**request.axes(), **{f"training.{k}": v for k, v in request.training.axes().items()}}
    return configuration_at(study, request, {key: v[-1 if last else 0] for key, v in axes.items()})


def study_identity(study: Study) -> str:
    """Hash of benchmark, net and training: what a results folder is bound to, 16 hex digits.

    Args:
        study: the study.
    """
    return _digest(
        {key: identity(getattr(study, key)) for key in ("benchmark", "net", "training")}
    )


def identity(model: BaseModel) -> dict[str, Any]:
    """What of a study file's table goes into hashes: its name, and what is not at its default.

    A key that a later release adds, at a default that changes nothing, so leaves every stored
    result its name. The price: the default of a released key can never change.

    Args:
        model: the table.
    """
    fields = type(model).model_fields
    return {
        key: value
        for key, value in _plain(model).items()
        if key == "name" or value != fields[key].get_default(call_default_factory=True)
    }


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Args:
        value: what JSON can hold; floats are finite and keep their type (1.0 is not 1).
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def check_configurations(study: Study) -> None:
    """That the grids expand, and no configuration is asked for twice.

    Args:
        study: the study.

    Raises:
        PydanticCustomError: they do not; see `study_errors.mistake`.
    """
    searched = searched_requests(study)
    n_asked = sum(_n_points(request) for request in study.methods if request not in searched)
    n_trials = (n_asked + len(searched) * study.search.trials) * len(study.seeds)
    bounds = (("methods", n_asked, "configurations", MAX_CONFIGURATIONS),)
    for key, n, word, most in (*bounds, ("seeds", n_trials, "trials", MAX_TRIALS)):
        if n > most:
            raise mistake(f"the grids hold {n} {word}", expected=f"at most {most}", at=(key,))
    first: dict[str, int] = {}
    for index, configuration in _expanded(study):
        if configuration.id in first:
            raise _twin(first[configuration.id], index, configuration)
        first[configuration.id] = index


def resolved_toml(study: Study) -> str:
    """The study with every default written out, as TOML that parses back to an equal study.

    Args:
        study: the study.
    """
    training = _plain(study.training)
    training.pop("epochs" if study.training.steps else "steps")
    blocks = [
        toml_table("", {"name": study.name, "seeds": study.seeds}),
        toml_table("[benchmark]", _plain(study.benchmark)),
        toml_table("[net]", {key: getattr(study.net, key) for key in study.net.used_keys}),
        toml_table("[training]", training),
        toml_table("[resources]", _plain(study.resources)),
        toml_table("[report]", _plain(study.report)),
    ]
    if study.search.kind != "grid":
        # Without keys that change nothing at their default, which stored files do not have.
        search = {key: getattr(study.search, key) for key in study.search.used_keys}
        training = study.search.training.axes()
        search |= {"training": {key: _shortest(v) for key, v in training.items()}}
        if not training:
            search.pop("training")
        blocks.append(toml_table("[search]", search))
    if study.callbacks.named:
        blocks.append(toml_table("[callbacks]", _plain(study.callbacks)))
    for request in study.methods:
        table: dict[str, Any] = {"name": request.name, "label": request.label}
        table |= {key: _shortest(values) for key, values in request.axes().items()}
        overrides = request.training.axes()
        if overrides:
            table["training"] = {key: _shortest(values) for key, values in overrides.items()}
        blocks.append(toml_table("[[methods]]", table))
    return "\n".join(blocks)


@lru_cache(maxsize=8)
def _expanded(study: Study) -> tuple[tuple[int, Configuration], ...]:
    """(index of the [[methods]] table, configuration) of every configuration."""
    shared, searched = _shared(study), searched_requests(study)
    found: list[tuple[int, Configuration]] = []
    for index, request in enumerate(study.methods):
        if request in searched:
            continue
        at = ("methods", index)
        try:
            trainings = request.trainings(study.training)
        except ValidationError as error:
            raise mistake_below(error, (*at, "training")) from None
        points = product(request.axes())
        for training in trainings:
            try:
                found += [(index, _configuration(shared, request, training, p)) for p in points]
            except ValidationError as error:
                raise mistake_below(error, at) from None
    return tuple(found)


def _shared(study: Study) -> dict[str, Any]:
    """What all configurations of a study have in common."""
    return {"benchmark": identity(study.benchmark), "net": identity(study.net)}


def _configuration(
    shared: Mapping[str, Any],
    request: MethodRequest,
    training: TrainingConfig,
    point: Mapping[str, Any],
) -> Configuration:
    entry = METHODS[request.name]
    hyper = entry.hyper(**point)
    work = {
        **shared,
        "training": identity(training),
        "method": request.name,
        "version": entry.version + hyper.revision,
        "hyper": identity(hyper),
    }
    return Configuration(
        id=_digest(work),
        method=request.name,
        label=request.label,
        hyper=hyper,
        training=training,
        knobs=_knobs(hyper),
        reference=entry.is_reference,
    )


def _knobs(hyper: Hyper) -> dict[str, float]:
    knobs = {}
    for key, field in type(hyper).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("role") == "knob":
            knobs[key] = float(getattr(hyper, key))
    return knobs


def _n_points(request: MethodRequest) -> int:
    axes = [*request.axes().values(), *request.training.axes().values()]
    return math.prod(len(values) for values in axes)


def _twin(first: int, second: int, configuration: Configuration) -> Exception:
    numbers = ", ".join(f"{key} = {value}" for key, value in configuration.hyper)
    what = f"{configuration.method} ({numbers})" if numbers else configuration.method
    where = "twice in one table" if first == second else f"by methods[{first}] already"
    return mistake(
        f"the same configuration of {what} is asked for {where}",
        expected="every configuration once",
        next_step="remove the repeated value or table",
        at=("methods", second),
    )


def _shortest(values: tuple[Any, ...]) -> Any:
    if isinstance(values, Range):
        return {"low": values[0], "high": values[1], "log": values.log}
    return values[0] if len(values) == 1 else values


def _plain(model: BaseModel) -> dict[str, Any]:
    return {key: _unsigned_zero(value) for key, value in model.model_dump().items()}


def _unsigned_zero(value: Any) -> Any:
    # -0.0 equals 0.0, and must be the same configuration.
    return 0.0 if isinstance(value, float) and value == 0 else value


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()[:16]
