"""`[search]` of a study file: how the configurations of each method are chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from clsweep.config_section import Section, mistake
from clsweep.study.grid import TrainingAxes, TrainingOverrides

if TYPE_CHECKING:
    _Training = TrainingOverrides
else:
    _Training = TrainingAxes


_USED_KEYS = {
    "grid": ("kind",),
    "optuna": ("kind", "trials", "sampler", "seed", "at_once", "nuisance", "training"),
    "fill": ("kind", "trials", "coarse", "gap", "at_once"),
    "path": ("kind", "points", "point_steps"),
}
_STOP_KEYS = ("stop_margin", "stop_checks")


class SearchConfig(Section):
    """How configurations are chosen, `[search]`; on validation accuracies alone."""

    kind: Annotated[
        Literal["grid", "optuna", "fill", "path"],
        Field(
            description="'grid': every combination of the values in the file; 'optuna': a sampler "
            "that maximises source and target accuracy; 'fill': values of the knob that draw the "
            "front without wide gaps; 'path': values of the knob from large to small, each learnt "
            "on from the one before: a sketch of the front, and no independent trials"
        ),
    ] = "grid"
    trials: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="configurations per curve, the same for all, each trained with every seed",
        ),
    ] = 40
    sampler: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]*$",
            max_length=300,
            description="'tpe', 'gp' (Gaussian process, slow to ask, for a hundred trials at "
            "most), 'nsga2', 'qmc' (Sobol points), 'random', or a sampler of your own, "
            "'package.module:class' (optuna)",
        ),
    ] = "tpe"
    seed: Annotated[int, Field(ge=0, description="seed of the sampler (optuna)")] = 0
    at_once: Annotated[
        int,
        Field(
            ge=1,
            description="configurations per curve that are asked for together, before the results "
            "of any are known; the choice does not depend on how many workers there are",
        ),
    ] = 1
    nuisance: Annotated[
        bool,
        Field(
            description="whether the methods' own nuisance values, such as temperatures, are "
            "searched along where the file names none (optuna)"
        ),
    ] = False
    training: Annotated[
        _Training,
        Field(
            description="keys of [training] that are searched for every method alike, references "
            "apart; a source model is trained per value, so that a list costs less than a range "
            "(optuna)"
        ),
    ] = TrainingAxes()
    coarse: Annotated[
        int, Field(ge=2, le=100, description="values that the front is first drawn with (fill)")
    ] = 5
    gap: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="distance of neighbouring points, in accuracy, at which the front counts "
            "as drawn (fill)",
        ),
    ] = 0.05

    stop_margin: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="a trial is stopped when a finished configuration of its curve was ahead "
            "of it by more than this in source and in target validation accuracy, at the same "
            "point of training with every seed; 1: never (optuna, fill)",
        ),
    ] = 1.0
    stop_checks: Annotated[
        int,
        Field(
            ge=0,
            le=20,
            description="how often a trial is looked at while it learns the last task, besides "
            "after every task; each look is an evaluation on validation data and, with batch "
            "norm, a pass over the task's training data (stop_margin < 1)",
        ),
    ] = 1
    points: Annotated[
        int,
        Field(
            ge=2,
            le=1000,
            description="values of a knob that the file leaves open, or to which it gives a range "
            "without n (path)",
        ),
    ] = 50
    point_steps: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="steps of every point of a path but the first, as a share of the steps of "
            "a task (path)",
        ),
    ] = 0.1

    @property
    def asks(self) -> bool:
        """Whether configurations are asked for while others run; else the file names them all."""
        return self.kind in ("optuna", "fill")

    @property
    def stops(self) -> bool:
        """Whether a trial may be stopped."""
        return self.stop_margin < 1

    @property
    def used_keys(self) -> tuple[str, ...]:
        """The keys that mean something for this kind of search."""
        return _USED_KEYS[self.kind] + (_STOP_KEYS if self.stops else ())

    @model_validator(mode="after")
    def _check(self) -> SearchConfig:
        if not self.asks and self.stops:
            raise mistake(
                f"a {self.kind} asks for all its configurations at once, so that none has "
                "finished with which a trial could be compared",
                expected="stop_margin with kind = 'optuna' or 'fill' only",
                at=("stop_margin",),
            )
        if not self.stops and self.stop_checks != type(self).model_fields["stop_checks"].default:
            raise mistake(
                "'stop_checks' means nothing without a 'stop_margin' below 1",
                expected="both, or neither",
                at=("stop_checks",),
            )
        for key in type(self).model_fields:
            default = type(self).model_fields[key].default
            if key not in (*self.used_keys, *_STOP_KEYS) and getattr(self, key) != default:
                raise mistake(
                    f"'{key}' means nothing for kind = '{self.kind}'",
                    expected="only " + ", ".join(f"'{k}'" for k in self.used_keys),
                    at=(key,),
                )
        return self
