"""The `[[methods]]` tables of a study: of our methods, and of those that a user brings along."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from clsweep.config_section import Loc, as_toml, mistake
from clsweep.errors import StudyError, closest_name
from clsweep.methods import METHODS, MethodEntry, register
from clsweep.methods.declared_methods import Declared, declaration, entry_from
from clsweep.methods.entry import Kind
from clsweep.methods.hyper_fields import names_of
from clsweep.methods.known_methods import entry_of
from clsweep.methods.own_methods import (
    ESTIMATOR_FORM,
    code_fingerprint,
    imported,
    installed_names,
)
from clsweep.study.grid import LABEL_DOC, NAME_DOC, MethodRequest, TrainingAxes, table_type
from clsweep.user_code import is_import_path


class OurRequest(MethodRequest):
    """A table of one of our methods."""

    @property
    def entry(self) -> MethodEntry:
        """What is known about the method."""
        return METHODS[self.name]


class OwnRequest(MethodRequest):
    """A table of a method of the user's own, by import path or by an entry point's name.

    Each has its own child of this class, as ours have.
    """

    method: str = ""
    learner: str = ""

    @property
    def entry(self) -> MethodEntry:
        """What is known about the method."""
        assert self.own_entry is not None, f"of the table '{self.label}' no method is known"
        return self.own_entry

    @property
    def method_key(self) -> str:
        """What records call it: the import path, or the entry point's name."""
        return self.method or self.learner or self.name

    @property
    def named(self) -> dict[str, str]:
        """The keys of the table that say which method it is."""
        found = {"name": self.name, "method": self.method, "learner": self.learner}
        return {key: value for key, value in found.items() if value}

    def __reduce__(self) -> tuple[object, ...]:
        # By its declaration: a process that unpickles it need not have the code, and runs none.
        declared = json.dumps(declaration(self.entry))
        values = dict(self.__dict__)
        return _unpickled, (declared, values, set(self.model_fields_set), self.estimators)


def _unpickled(
    declared: str, values: dict[str, Any], given: set[str], estimators: dict[str, str]
) -> OwnRequest:
    made = _own_type(values["name"], entry_from(declared)).model_construct(given, **values)
    made._estimators = estimators
    return made


class CustomTable(OwnRequest):
    """A table with `name = "custom"`, before it is known which method it is."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[Literal["custom"], Field(description=f"or {NAME_DOC}")]
    label: Annotated[
        (str, *MethodRequest.model_fields["label"].metadata, Field(description=LABEL_DOC))
    ] = ""
    method: Annotated[
        str, Field(description="a method of one's own, 'package.module:build', see own_methods.md")
    ] = ""
    learner: Annotated[
        str, Field(description="training code of one's own, 'package.module:Learner'")
    ] = ""


@lru_cache(maxsize=256)
def _own_type(name: str, entry: MethodEntry) -> type[OwnRequest]:
    """The type of a table of a user's own method; the same for the same entry."""
    made = table_type(name, entry, OwnRequest)
    made.own_entry = entry
    return made  # type: ignore[return-value]


def request_type(name: str) -> type[MethodRequest]:
    """The type of a method's tables; imports the code of a user's own.

    Args:
        name: of one of ours, or of an installed entry point, or an import path.

    Raises:
        StudyError: there is no such method.
    """
    if name in REQUESTS:
        return REQUESTS[name]
    return _own_type("custom" if is_import_path(name) else name, entry_of(name))


def _table(raw: Any, validated: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """A table as the file writes it; one of the user's own as the type that its numbers make."""
    if isinstance(raw, OwnRequest) and raw.own_entry is not None:
        return raw
    declared: Declared | None = (info.context or {}).get("declared")
    name = raw.get("name") if isinstance(raw, Mapping) else None
    if not isinstance(name, str) or name in REQUESTS:
        return _with_estimators(validated(raw), declared)
    known = installed_names() if declared is None else declared.methods
    if name != "custom" and name not in known:
        return validated(raw)
    key, kind = _named_by(raw) if name == "custom" else (name, "method")
    entry = _entry_at(key, kind, declared)
    made = _own_type(name, entry)
    try:
        request = made.model_validate(dict(raw))
    except ValidationError as error:
        raise _unknown_key(error, made, key) or error from None
    register(key, entry)
    return _with_estimators(request, declared)


def _with_estimators(request: MethodRequest, declared: Declared | None) -> MethodRequest:
    """The table with the code of the estimators that it names."""
    for key, field in request.entry.hyper.model_fields.items():
        for path in getattr(request, key) if names_of(field) else ():
            if path in names_of(field):
                continue
            try:
                if declared is None:
                    imported(path, key, ESTIMATOR_FORM)
                    request.estimators[path] = code_fingerprint(path)
                else:
                    request.estimators[path] = declared.estimators[path]
            except StudyError as error:
                raise _as_mistake(error, (key,)) from None
            except KeyError:
                raise mistake(
                    f"the folder does not declare the estimator '{path}'", at=(key,)
                ) from None
    return request


def _as_mistake(error: StudyError, at: Loc) -> Exception:
    place = error.where.partition(": ")[2]
    found = f"{error.found} ({place})" if place else error.found
    return mistake(found, expected=error.expected, next_step=error.next_step, at=at)


def _named_by(raw: Mapping[str, Any]) -> tuple[str, Kind]:
    """(import path, kind) of a table with `name = "custom"`."""
    given: list[Kind] = [key for key in ("method", "learner") if key in raw]
    if len(given) != 1:
        raise mistake(
            "both 'method' and 'learner' are given" if given else "it names no method",
            expected='method = "package.module:build", or learner = "package.module:Learner"',
            at=tuple(given[1:]),
        )
    path = raw[given[0]]
    if not isinstance(path, str) or not is_import_path(path):
        raise mistake(
            f"{given[0]} = {as_toml(path)}",
            expected="an import path, 'package.module:attribute'",
            at=(given[0],),
        )
    return path, given[0]


def _entry_at(key: str, kind: Kind, declared: Declared | None) -> MethodEntry:
    """What is known about a method: from a folder's declarations, else from its code."""
    is_path = is_import_path(key)
    at = (kind if is_path else "name",)
    if declared is None:
        try:
            return entry_of(key, kind)
        except StudyError as error:
            raise _as_mistake(error, at) from None
    entry = declared.methods.get(key)
    if entry is None or (is_path and entry.kind != kind):
        raise mistake(f"the folder does not declare the method '{key}'", at=at)
    return entry


def _unknown_key(error: ValidationError, made: type[OwnRequest], key: str) -> Exception | None:
    """What is said of a key that the method does not have; None where that is not the mistake."""
    detail = error.errors(include_url=False)[0]
    if detail["type"] != "extra_forbidden":
        return None
    *above, wrong = detail["loc"]
    known = TrainingAxes.model_fields if above else made.model_fields
    return mistake(
        f"unknown key '{wrong}'",
        expected=closest_name(str(wrong), known),
        next_step="" if above else f"`clsweep methods {key}` lists the keys of the method",
        at=tuple(detail["loc"]),
    )


REQUESTS = {name: table_type(name, entry, OurRequest) for name, entry in METHODS.items()}
if TYPE_CHECKING:
    AnyRequest = MethodRequest
else:
    AnyRequest = Annotated[
        Annotated[reduce(or_, (*REQUESTS.values(), CustomTable)), Field(discriminator="name")],
        WrapValidator(_table),
    ]
