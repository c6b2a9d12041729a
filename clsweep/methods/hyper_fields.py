"""Declaration of a method's numbers: their base class, and their roles in a study.

One declaration gives the check of the study file, the search range, the column of the tables and
the documentation. This module imports neither torch nor ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticKnownError

from clsweep.number_conditions import Situation, conditions
from clsweep.user_code import code_path, installed_names, is_import_path

# Entry points of installed packages that estimate importances.
ESTIMATOR_GROUP = "clsweep.estimators"
Situations = Situation | Sequence[Situation]
FirstTask = Literal["shared", "own"]
FIRST_TASK_DOC = (
    "how the first task is learnt: 'shared' by plain training, the same for all methods, after "
    "which the memory takes examples of it; 'own' by the method itself, its memory filling from "
    "the first step on (published)"
)


class Hyper(BaseModel):
    """The numbers of one method. Frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def revision(self) -> int:
        """Added to the method's version: for what changed under some of its numbers only."""
        return 0

    @property
    def learns_first_task(self) -> bool:
        """Whether its trials learn the first task themselves, where the method could share it."""
        return False

    def phase_steps(self, n_steps: int) -> tuple[int, ...]:
        """Gradient steps of each phase on a task.

        Args:
            n_steps: steps per task that the study asks for.
        """
        return (n_steps,)

    def first_steps(self, n_steps: int) -> tuple[int, ...]:
        """Gradient steps of each phase that follows the source model's training.

        Args:
            n_steps: steps per task that the study asks for.
        """
        return ()


def knob(
    default: float,
    low: float,
    high: float,
    *,
    log: bool,
    doc: str,
    at_least: float = 0,
    at_most: float | None = None,
    stable: Literal["high", "low"] = "high",
) -> Any:
    """A value that moves along the front; `low` and `high` are the range worth searching.

    Args:
        default: the value when the study file names none.
        low: lower end of the search range.
        high: upper end of the search range.
        log: whether the range is searched on a logarithmic scale.
        doc: the paper's symbol and the unit.
        at_least: smallest value that has a meaning (a smaller one is an error).
        at_most: largest value that has a meaning.
        stable: the end of the range at which the source is kept best.
    """
    role: JsonDict = {"role": "knob", "low": low, "high": high, "log": log, "stable": stable}
    return Field(default, description=doc, ge=at_least, le=at_most, json_schema_extra=role)


def nuisance(
    default: float,
    low: float,
    high: float,
    *,
    log: bool,
    doc: str,
    at_least: float = 0,
    at_most: float | None = None,
    where: Situation | None = None,
    unless: Situations = (),
) -> Any:
    """A value tuned for every method with the same budget.

    Args:
        default: see `knob`.
        low: see `knob`.
        high: see `knob`.
        log: see `knob`.
        doc: see `knob`.
        at_least: see `knob`.
        at_most: see `knob`.
        where: the only situation in which it changes anything, see `number_conditions.conditions`.
        unless: situations in which it changes nothing, see there.
    """
    role: JsonDict = {"role": "nuisance", "low": low, "high": high, "log": log}
    role |= conditions(where, unless)
    return Field(default, description=doc, ge=at_least, le=at_most, json_schema_extra=role)


def fixed(
    default: Any,
    *,
    doc: str,
    at_least: float | None = None,
    at_most: float | None = None,
    where: Situation | None = None,
    unless: Situations = (),
) -> Any:
    """A value that is a stated caveat of the study, not searched; see `nuisance` for arguments."""
    role: JsonDict = {"role": "fixed", **conditions(where, unless)}
    return Field(default, description=doc, ge=at_least, le=at_most, json_schema_extra=role)


def among_or_own(names: Sequence[str]) -> AfterValidator:
    """The check of a choice among names of ours that a user's import path extends.

    The name of an installed entry point becomes its import path, so that what is stored can be
    read where the package is absent.

    Args:
        names: ours; an entry point of the same name is not seen.
    """

    def known(value: str) -> str:
        if value in names or is_import_path(value):
            return value
        installed = installed_names(ESTIMATOR_GROUP)
        if value in installed:
            return code_path(value, where="", group=ESTIMATOR_GROUP)
        options = [*names, *installed, "package.module:function"]
        raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, options))})

    return AfterValidator(known)


def estimator(default: str, names: Sequence[str], *, doc: str, unless: Situations = ()) -> Any:
    """A choice among names of ours that a user's import path extends; see `among_or_own`.

    Args:
        default: one of the names.
        names: ours.
        doc: see `fixed`.
        unless: see `nuisance`.
    """
    role: JsonDict = {"role": "fixed", "names": [*names], **conditions(None, unless)}
    return Field(default, description=doc, json_schema_extra=role)


def names_of(field: FieldInfo) -> tuple[str, ...]:
    """Names of ours in a number that may also be an import path; empty for other numbers."""
    return tuple(_extra(field).get("names", ()))


def widths(default: str, *, doc: str, may_be_none: bool = False) -> Any:
    """Widths of layers as one value, such as '400-400'; a list would be an axis of the grid.

    Args:
        default: the value when the study file names none.
        doc: which layers.
        may_be_none: whether there may be no such layer, which is written 'none'.
    """
    some = r"[1-9]\d*(-[1-9]\d*)*"
    return Field(
        default,
        description=f"{doc}, joined by '-'" + ("; 'none' for no layer" if may_be_none else ""),
        pattern=rf"^({some}|none)$" if may_be_none else rf"^{some}$",
        json_schema_extra={"role": "fixed"},
    )


def layer_widths(written: str) -> tuple[int, ...]:
    """Units of each layer, from a number that `widths` declares.

    Args:
        written: such as '400-400', or 'none'.
    """
    return () if written == "none" else tuple(map(int, written.split("-")))


# A knob's good region is one to two decades wide and its place is not known beforehand.
MIN_DECADES = 4.0


def role_of(field: FieldInfo) -> str:
    """'knob', 'nuisance' or 'fixed' for a method's numbers, else empty."""
    return str(_extra(field).get("role", ""))


def search_range(field: FieldInfo) -> tuple[float, float, bool] | None:
    """(low, high, whether logarithmic) of the range worth searching, where one is declared."""
    extra = _extra(field)
    return (extra["low"], extra["high"], extra["log"]) if "low" in extra else None


def stable_end(field: FieldInfo) -> str:
    """'high' or 'low': the end of a knob's range at which the source is kept best."""
    return str(_extra(field).get("stable", "high"))


def knob_keys(fields: Mapping[str, FieldInfo]) -> list[str]:
    """The keys of the knobs; the first is the primary one.

    Args:
        fields: a method's `model_fields`.
    """
    return [key for key, field in fields.items() if role_of(field) == "knob"]


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


# Keys of a [[methods]] table that are no numbers.
RESERVED = ("name", "label", "training", "method", "learner")


def is_free_name(key: str) -> bool:
    """Whether a number may have a name: no key of every [[methods]] table has it.

    Args:
        key: the name.
    """
    return not (key.startswith("_") or key in RESERVED or key in _TAKEN)


_TAKEN = frozenset(name for name in dir(Hyper) if not name.startswith("__"))
