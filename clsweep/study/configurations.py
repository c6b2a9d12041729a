"""Configurations that a study expands to, their identities, and the study written out in full."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from clsweep.config_section import mistake, mistake_below
from clsweep.methods import METHODS, MethodEntry
from clsweep.methods.hyper_fields import Hyper, knob_keys
from clsweep.number_conditions import switched_off, with_rest
from clsweep.study.grid import MethodRequest, around, have_common_values, product
from clsweep.study.identity import canonical_json, digest, identity
from clsweep.study.paths import PathPlace, places
from clsweep.study.starts import Start
from clsweep.training.config import TrainingConfig, default_of
from clsweep.training.optimiser_names import NUMBERS, OWN_DEFAULT, is_torchs_default

if TYPE_CHECKING:
    from clsweep.study.study_tables import Conditions, StudyTables

MAX_CONFIGURATIONS = 100_000

_OF_OPTIMISERS = frozenset(f"training.{key}" for key in (*NUMBERS, "options"))

MAX_TRIALS = 300_000  # a plan holds about 3 kB per trial


@dataclass(frozen=True)
class Configuration:
    """A method with all its numbers, on one benchmark; trained once per seed.

    Numbers that others switch off are at their default, whatever the file says: see `Table`.

    Attributes:
        id: 16 hexadecimal digits, the same for the same work on every machine.
        method: what records call the method: its name, or the import path of a user's own.
        label: the curve that it belongs to.
        hyper: the method's numbers.
        training: how every task is trained.
        knobs: the numbers that trace the curve; the first is the primary one.
        reference: whether the method marks an end of the plot.
        asked: curve and numbers as JSON where a search has chosen them; '' in a grid.
        own_entry: what is known about a user's own method; None for ours.
        code: import path and fingerprint of all code of the user's own that it needs.
        path: where it lies on a regularisation path; None for an independent trial.
    """

    id: str
    method: str
    label: str
    hyper: Hyper
    training: TrainingConfig
    knobs: dict[str, float]
    reference: bool
    asked: str = ""
    own_entry: MethodEntry | None = None
    code: tuple[tuple[str, str], ...] = ()
    path: PathPlace | None = None

    @property
    def entry(self) -> MethodEntry:
        """What is known about the method."""
        return self.own_entry or METHODS[self.method]

    @property
    def start(self) -> Start:
        """What its trials begin with."""
        entry, numbers, code = self.entry, {}, {}
        if entry.statistics:
            fields = entry.hyper.model_fields
            read = {name: getattr(self.hyper, name) for name in entry.statistics_read}
            # What they switch off among themselves; a weight of zero, say, changes no statistics.
            alike = with_rest(entry.hyper, read)
            numbers = {name: v for name, v in alike.items() if v != fields[name].default}
            named = {value for value in alike.values() if isinstance(value, str)}
            code = {p: c for p, c in self.code if p in named or p == entry.path}
        return Start(
            self.id,
            self.asked,
            self.training,
            entry.begins_at_source(self.hyper),
            entry.statistics,
            numbers,
            code,
            entry.starts_from_finetuned,
            self.path,
        )


class _Trained(NamedTuple):
    """Training settings, what of them goes into hashes, and what is around a method's numbers."""

    training: TrainingConfig
    identity: dict[str, Any]
    context: dict[str, Any]


class Table:
    """A `[[methods]]` table of a study, and what its points do.

    A number that another one switches off counts as its default, so that all combinations which
    differ in nothing else are one configuration. Where it tells the table from another one of the
    same method, it counts as the table's own first value: two curves never share a configuration,
    as they share no trial.
    """

    def __init__(self, study: StudyTables, request: MethodRequest) -> None:
        """Compare the table with the others of its method.

        Args:
            study: the study.
            request: one of its tables.
        """
        self.study, self.request = study, request
        self.shared = _shared(study.conditions)
        self.context = around(study.net, study.benchmark)
        usual = {f"training.{key}": (value,) for key, value in study.training}
        own = {**usual, **request.all_axes()}
        others = [
            {**usual, **other.all_axes()}
            for other in study.methods
            if other.method_key == request.method_key and other.label != request.label
        ]
        # An optimiser's number means nothing to another one, which refuses it.
        self.own = {
            key: values
            for key, values in own.items()
            if key not in _OF_OPTIMISERS
            and not all(have_common_values(values, other[key]) for other in others)
        }
        # What a number counts as where it is switched off, if not as its default.
        self.rest = {key: values[0] for key, values in self.own.items()}
        start = "training."
        keys = (key for key in self.rest if key.startswith(start))
        self.rest_of_training = {key.removeprefix(start): self.rest[key] for key in keys}
        # A search asks for many points with few settings of training.
        self._trained_at: dict[str, _Trained] = {}

    def made(self, training: TrainingConfig, numbers: Mapping[str, Any]) -> Configuration:
        """The configuration at a point.

        Args:
            training: how its tasks are trained.
            numbers: the method's.
        """
        return self._made(self._trained(training), numbers)

    def _trained(self, training: TrainingConfig) -> _Trained:
        alike = _trained_alike(training, self.rest_of_training)
        return _Trained(
            alike, identity(alike), {**self.context, **_numbers_of({}, alike.model_dump())}
        )

    def _made(self, trained: _Trained, numbers: Mapping[str, Any]) -> Configuration:
        entry = self.request.entry
        hyper = entry.hyper(**with_rest(entry.hyper, numbers, trained.context, self.rest))
        return Configuration(
            id=_id_of(self.shared, self.request, trained.identity, hyper),
            method=self.request.method_key,
            label=self.request.label,
            hyper=hyper,
            training=trained.training,
            knobs=_knobs(hyper),
            reference=entry.is_reference,
            own_entry=self.request.own_entry,
            code=self.request.code_of(hyper),
        )

    def searched(self, point: Mapping[str, Any]) -> Configuration:
        """The configuration that a search has chosen; see `configuration_at`."""
        request = self.request
        numbers = {key: self._value(key, point, axis) for key, axis in request.axes().items()}
        training = {
            key: self._value(f"training.{key}", point, axis)
            for key, axis in request.training.axes().items()
        }
        key = canonical_json(training)
        if key not in self._trained_at:
            self._trained_at[key] = self._trained(
                request.training.at(self.study.training, training)
            )
        made = self._made(self._trained_at[key], numbers)
        return replace(made, asked=canonical_json([request.label, dict(point)]))

    def grid(self) -> list[Configuration]:
        """All configurations of the table, each once.

        A point that the file itself names twice is kept twice, to be refused.
        """
        found: list[Configuration] = []
        first: dict[str, tuple[Any, Any]] = {}
        numbers = product(self.request.axes())
        for given in product(self.request.training.axes()):
            trained = self._trained(self.request.training.at(self.study.training, given))
            for point in numbers:
                made = self._made(trained, point)
                written = first.setdefault(made.id, (given, point))
                if written == (given, point):
                    found.append(made)
        if self.study.search.kind == "path" and not self.request.entry.is_reference:
            return self._as_path(found)
        return found

    def _as_path(self, found: list[Configuration]) -> list[Configuration]:
        """The same as points of one path, from the largest value of the knob to the smallest."""
        (knob,) = knob_keys(self.request.entry.hyper.model_fields)
        found = sorted(found, key=lambda one: -one.knobs[knob])
        values, trials = [one.knobs[knob] for one in found], [one.id for one in found]
        placed = places(trials, values, self.study.search.point_steps)
        return [
            replace(one, id=place.ids[-1], path=place)
            for one, place in zip(found, placed, strict=True)
        ]

    def same_work(self, training: TrainingConfig, hyper: Hyper) -> Configuration | None:
        """The configuration of this table that does the same as stored numbers.

        None if these differ from the table in what tells it from another one.

        Args:
            training: how the stored trial's tasks were trained.
            hyper: its numbers.
        """
        stored = _numbers_of(hyper.model_dump(), training.model_dump())
        if not all(have_common_values(values, (stored[key],)) for key, values in self.own.items()):
            return None
        return self.made(training, hyper.model_dump())

    def idle_in(self, made: Configuration) -> frozenset[str]:
        """The keys, or 'training.KEY', that change nothing in a configuration.

        Args:
            made: one of this table.
        """
        training = made.training.model_dump()
        context = {**self.context, **_numbers_of({}, training)}
        off = switched_off(type(made.hyper), made.hyper.model_dump(), context)
        return off | {f"training.{key}" for key in switched_off(TrainingConfig, training)}

    def _value(self, key: str, point: Mapping[str, Any], axis: tuple[Any, ...]) -> Any:
        """A number at a point, which names none that the table leaves or that changes nothing."""
        if key in point:
            return point[key]
        if len(axis) == 1 or key in self.own:
            return axis[0]
        fields: Mapping[str, Any] = self.request.entry.hyper.model_fields
        name = key.removeprefix("training.")
        return (fields if name == key else TrainingConfig.model_fields)[name].default


def _numbers_of(hyper: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    return {**hyper, **{f"training.{key}": value for key, value in training.items()}}


def _trained_alike(training: TrainingConfig, rest: Mapping[str, Any]) -> TrainingConfig:
    values = training.model_dump()
    alike = with_rest(TrainingConfig, values, None, rest)
    for key in _written_out(training):
        alike[key] = rest.get(key, default_of(key))
    changed = {key: value for key, value in alike.items() if value != values[key]}
    return training.model_copy(update=changed) if changed else training


def _written_out(training: TrainingConfig) -> list[str]:
    """The keys that say what leaving them out says: torch's default, the length of all tasks."""
    found = [
        key
        for key in sorted(OWN_DEFAULT)
        if is_torchs_default(training.optimizer, key, getattr(training, key))
    ]
    if not training.steps and training.first_epochs == training.epochs:
        found.append("first_epochs")
    if training.first_steps and training.first_steps == training.steps:
        found.append("first_steps")
    return found


def _id_of(
    shared: Mapping[str, Any], request: MethodRequest, training: Mapping[str, Any], hyper: Hyper
) -> str:
    entry = request.entry
    work = {
        **shared,
        "training": training,
        "method": request.method_key,
        "version": entry.version,
        "hyper": identity(hyper),
    }
    if request.own_entry is None:  # the source of others says all that a revision could
        work["version"] += hyper.revision
    if code := request.code_of(hyper):
        work["code"] = dict(code)
    return digest(work)


def id_as_written(
    study: StudyTables, request: MethodRequest, training: TrainingConfig, hyper: Hyper
) -> str:
    """The identity of numbers as they stand, with what others switch off.

    Args:
        study: the study.
        request: a table of the method.
        training: how tasks are trained.
        hyper: the method's numbers.
    """
    return _id_of(_shared(study.conditions), request, identity(training), hyper)


def configurations(study: StudyTables) -> list[Configuration]:
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
    axes = request.all_axes().values()
    return not request.entry.is_reference and any(len(values) > 1 for values in axes)


def searched_requests(study: StudyTables) -> list[MethodRequest]:
    """The tables whose configurations a search chooses, in file order; none in a grid or path."""
    if not study.search.asks:
        return []
    return [request for request in study.methods if is_searched(request)]


def configuration_at(
    study: StudyTables, request: MethodRequest, point: Mapping[str, Any]
) -> Configuration:
    """The configuration that a search has chosen.

    Args:
        study: the study.
        request: the curve's table.
        point: key, or 'training.KEY', -> value, of everything that has not one value in the table;
            what changes nothing at the point may be left out.
    """
    return Table(study, request).searched(point)


def configuration_asked(study: StudyTables, asked: str) -> Configuration:
    """The configuration behind `Configuration.asked`.

    Args:
        study: the study that it is of.
        asked: what the configuration says.
    """
    label, point = json.loads(asked)
    (request,) = (r for r in study.methods if r.label == label)
    return configuration_at(study, request, point)


def examples(study: StudyTables) -> list[Configuration]:
    """What a check has to look at: the grid, and both ends of everything that is searched.

    Args:
        study: the study.
    """
    return configurations(study) + [
        corner(study, request, last=last)
        for request in searched_requests(study)
        for last in (False, True)
    ]


def corner(study: StudyTables, request: MethodRequest, *, last: bool) -> Configuration:
    """The configuration at one end of everything that is searched.

    Args:
        study: the study.
        request: the curve's table.
        last: whether at the upper ends.
    """
    at = -1 if last else 0
    point = {key: values[at] for key, values in request.all_axes().items()}
    return configuration_at(study, request, point)


def study_identity(conditions: Conditions) -> str:
    """Hash of benchmark, net and training: what a results folder is bound to, 16 hex digits.

    Args:
        conditions: those of the study.
    """
    keys = ("benchmark", "net", "training")
    return digest({key: identity(getattr(conditions, key)) for key in keys})


def check_configurations(study: StudyTables) -> None:
    """That the grids expand, and no configuration is asked for twice.

    Args:
        study: the study.

    Raises:
        PydanticCustomError: they do not; see `config_section.mistake`.
    """
    searched = searched_requests(study)
    n_asked = sum(
        math.prod(len(values) for values in request.all_axes().values())
        for request in study.methods
        if request not in searched
    )
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


@lru_cache(maxsize=8)
def _expanded(study: StudyTables) -> tuple[tuple[int, Configuration], ...]:
    """(index of the [[methods]] table, configuration) of every configuration."""
    searched = searched_requests(study)
    found: list[tuple[int, Configuration]] = []
    for index, request in enumerate(study.methods):
        if request in searched:
            continue
        at = ("methods", index)
        try:
            request.training.trainings(study.training)
        except ValidationError as error:
            raise mistake_below(error, (*at, "training")) from None
        try:
            found += [(index, made) for made in Table(study, request).grid()]
        except ValidationError as error:
            raise mistake_below(error, at) from None
    return tuple(found)


def _shared(conditions: Conditions) -> dict[str, Any]:
    """What all configurations of a study have in common."""
    return {"benchmark": identity(conditions.benchmark), "net": identity(conditions.net)}


def _knobs(hyper: Hyper) -> dict[str, float]:
    knobs = {}
    for key, field in type(hyper).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("role") == "knob":
            knobs[key] = float(getattr(hyper, key))
    return knobs


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
