"""`[training]` of a study file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from clsweep.config_section import Section, as_toml, mistake
from clsweep.number_conditions import Situation, conditions
from clsweep.training.optimiser_names import (
    NUMBERS,
    OPTIMISERS,
    PAIRS,
    name_complaint,
    takes,
    taking,
)

# Stored results have all of these keys. Of keys that came later they have those that are not at
# their default.
_FIRST_KEYS = frozenset(
    "optimizer lr momentum weight_decay batch_size epochs steps clip_value augment reset".split()
)


def _known_optimizer(name: str) -> str:
    found, expected = name_complaint(name)
    if found:
        raise mistake(found, expected=expected)
    return name


def _shares_text(raw: Any) -> Any:
    """Milestones as one value, '0.5, 0.75', of a list or a text."""
    if isinstance(raw, str):
        try:
            raw = [float(part) for part in raw.split(",")]
        except ValueError:
            raise _no_shares(raw) from None
    shares = raw if isinstance(raw, list | tuple) else []
    numbers = [v for v in shares if isinstance(v, int | float) and not isinstance(v, bool)]
    if not shares or len(numbers) < len(shares) or not all(0 < v < 1 for v in numbers):
        raise _no_shares(raw)
    if sorted(set(numbers)) != numbers:
        raise mistake(f"milestones = {as_toml(raw)}", expected="shares that grow")
    return ", ".join(repr(float(v)) for v in numbers)


def _no_shares(raw: Any) -> PydanticCustomError:
    return mistake(
        f"milestones = {as_toml(raw)}",
        expected="shares of a task's steps, each between 0 and 1: [0.5, 0.75], or '0.5, 0.75'",
    )


def _options_text(raw: Any) -> Any:
    """The options of an own optimiser as one value: JSON with sorted keys."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw) if raw else {}
        except (ValueError, RecursionError):
            raw = None
    try:
        text = json.dumps(raw, sort_keys=True, allow_nan=False) if raw else ""
    except (TypeError, ValueError, RecursionError):
        raw, text = None, ""
    if not isinstance(raw, Mapping):
        raise mistake(
            "options are no table of numbers, strings, booleans and lists",
            expected="{ name = value, ... }, as the optimiser's constructor takes them",
        )
    return text


def _own(
    default: Any, doc: str, key: str, *, unless: Situation | None = None, **bounds: Any
) -> Any:
    """A number that some of torch's optimisers take."""
    acts = conditions({"optimizer": taking(key)}, unless or ())
    return Field(default, description=doc, json_schema_extra=acts, **bounds)


def _of_schedule(default: Any, doc: str, *schedules: str, **bounds: Any) -> Any:
    acts = conditions({"schedule": schedules})
    return Field(default, description=doc, json_schema_extra=acts, **bounds)


def pairs_in_schema(schema: dict[str, Any]) -> None:
    """Add torch's pairs, which `with_pairs_split` takes, to a JSON schema.

    Args:
        schema: of `[training]`, or of overrides of it; changed.
    """
    for pair, keys in PAIRS.items():
        schema["properties"][pair] = {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 2,
            "maxItems": 2,
            "description": f"{keys[0]} and {keys[1]}",
        }


_WITHOUT_MOMENTUM = {"momentum": 0}
_WITHOUT_DECAY = {"weight_decay": 0}


class TrainingConfig(Section):
    """How every task is trained, `[training]`."""

    model_config = ConfigDict(json_schema_extra=pairs_in_schema)

    optimizer: Annotated[
        str,
        AfterValidator(_known_optimizer),
        WithJsonSchema(
            {
                "anyOf": [
                    {"enum": [*OPTIMISERS]},
                    {"type": "string", "pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"},
                ]
            }
        ),
        Field(
            description="the optimiser: "
            + ", ".join(f"'{name}'" for name in OPTIMISERS)
            + ", or 'package.module:Optimizer' for one of your own"
        ),
    ] = "sgd"
    options: Annotated[
        str,
        BeforeValidator(_options_text),
        WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string"}]}),
        Field(
            description="what an optimiser of your own takes beside lr and weight_decay, as "
            "{ name = value, ... }",
            json_schema_extra={
                "table": True,
                **conditions(unless={"optimizer": tuple(OPTIMISERS)}),
            },
        ),
    ] = ""
    lr: Annotated[
        float, Field(gt=0, description="learning rate", json_schema_extra={"log": True})
    ] = 0.1
    schedule: Annotated[
        Literal["constant", "step", "linear", "cosine", "onecycle"],
        Field(
            description="how the learning rate changes from the first to the last step of a task: "
            "'step' multiplies it by gamma at milestones, 'linear' and 'cosine' end at end_factor "
            "of it, 'onecycle' rises to it and falls"
        ),
    ] = "constant"
    warmup_steps: Annotated[
        int,
        Field(
            ge=0,
            description="steps of every task over which the learning rate rises to lr, before "
            "the schedule",
            json_schema_extra=conditions(
                where={"schedule": ("constant", "step", "linear", "cosine")}
            ),
        ),
    ] = 0
    end_factor: float = _of_schedule(
        0.0,
        "share of lr at which the schedule ends",
        "linear",
        "cosine",
        ge=0,
        le=1,
    )
    milestones: Annotated[
        str,
        BeforeValidator(_shares_text),
        WithJsonSchema(
            {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]}
        ),
    ] = _of_schedule(
        "0.5, 0.75", "shares of a task's steps after which lr is multiplied by gamma", "step"
    )
    gamma: float = _of_schedule(
        0.1, "what every milestone multiplies the learning rate by", "step", ge=0, le=1
    )
    pct_start: float = _of_schedule(
        0.3, "share of the steps over which the learning rate rises", "onecycle", ge=0, le=1
    )
    div_factor: float = _of_schedule(
        25.0, "lr over the learning rate of the first step", "onecycle", ge=1
    )
    final_div_factor: float = _of_schedule(
        1e4, "the first step's learning rate over that of the last", "onecycle", ge=1
    )
    momentum: float = _own(0.0, "momentum", "momentum", ge=0, lt=1)
    dampening: float = _own(
        0.0,
        "share of the gradient that the momentum leaves out",
        "dampening",
        unless=_WITHOUT_MOMENTUM,
        ge=0,
        lt=1,
    )
    nesterov: bool = _own(False, "Nesterov's momentum", "nesterov", unless=_WITHOUT_MOMENTUM)
    beta1: float = _own(0.9, "decay β₁ of the mean of gradients", "beta1", ge=0, lt=1)
    beta2: float = _own(0.999, "decay β₂ of the mean of their squares", "beta2", ge=0, lt=1)
    eps: float = _own(
        0.0,
        "added to a denominator; 0 for torch's own: 1e-10 of adagrad, 1e-6 of adadelta, else 1e-8",
        "eps",
        ge=0,
    )
    amsgrad: bool = _own(False, "divide by the largest mean of squares so far", "amsgrad")
    momentum_decay: float = _own(4e-3, "decay of the momentum's share", "momentum_decay", ge=0)
    decoupled_weight_decay: bool = _own(
        False,
        "decay weights as adamw does, instead of adding to the gradient",
        "decoupled_weight_decay",
        unless=_WITHOUT_DECAY,
    )
    alpha: float = _own(
        0.0,
        "decay of the mean of squares (rmsprop), power of the learning rate's decay (asgd); 0 for "
        "torch's own, 0.99 and 0.75",
        "alpha",
        ge=0,
        le=1,
    )
    centered: bool = _own(False, "divide by the estimated variance", "centered")
    rho: float = _own(0.9, "decay of the means of squares", "rho", ge=0, le=1)
    lr_decay: float = _own(0.0, "decay of the learning rate over steps", "lr_decay", ge=0)
    initial_accumulator_value: float = _own(
        0.0, "where sums of squares start", "initial_accumulator_value", ge=0
    )
    beta2_decay: float = _own(-0.8, "power of the step by which β₂ nears 1", "beta2_decay", le=0)
    d: float = _own(1.0, "largest root mean square of an update", "d", ge=1)
    lambd: float = _own(1e-4, "decay of the weights, and of the learning rate", "lambd", ge=0)
    t0: float = _own(1e6, "step at which averaging starts", "t0", ge=0)
    eta_minus: float = _own(
        0.5, "what a change of sign multiplies a step by", "eta_minus", gt=0, lt=1
    )
    eta_plus: float = _own(1.2, "what no change of sign multiplies a step by", "eta_plus", gt=1)
    step_min: float = _own(1e-6, "the smallest step", "step_min", gt=0)
    step_max: float = _own(50.0, "the largest step", "step_max", gt=0)
    weight_decay: Annotated[
        float,
        Field(
            ge=0,
            description="L2 decay of all weights; 0 whatever torch's own default is",
            json_schema_extra={"log": True, **conditions(unless={"optimizer": "rprop"})},
        ),
    ] = 0.0
    batch_size: Annotated[int, Field(ge=1, description="examples per step")] = 32
    epochs: Annotated[int, Field(ge=1, description="passes over each task's training set")] = 1
    steps: Annotated[
        int, Field(ge=0, description="steps per task, instead of epochs; 0 counts epochs")
    ] = 0
    first_epochs: Annotated[
        int, Field(ge=0, description="passes over the first task's training set; 0 for 'epochs'")
    ] = 0
    first_steps: Annotated[
        int, Field(ge=0, description="steps on the first task, instead of passes; 0 for none")
    ] = 0
    label_smoothing: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share of a label that is spread evenly over all classes of its head, in "
            "the loss of training",
        ),
    ] = 0.0
    class_balance: Annotated[
        Literal["none", "weights", "resample"],
        Field(
            description="classes of unequal size: 'weights' lets every class of a task count "
            "alike in the loss, 'resample' shows every class alike often; losses on examples that "
            "a method stores stay as they are"
        ),
    ] = "none"
    precision: Annotated[
        Literal["float32", "bf16"],
        Field(
            description="arithmetic of training's forward passes: 'bf16' is torch's autocast, on "
            "CUDA alone"
        ),
    ] = "float32"
    clip_norm: Annotated[
        float,
        Field(
            ge=0,
            description="largest Euclidean norm of the gradient of all parameters; 0 for no "
            "clipping",
        ),
    ] = 0.0
    clip_value: Annotated[
        float, Field(ge=0, description="largest size of one gradient element; 0 for no clipping")
    ] = 0.0
    augment: Annotated[
        Literal["none", "flip", "crop_flip"],
        Field(
            description="random views of training images: mirrored, or also shifted by up to an "
            "eighth of the image; examples that a method stores stay as they are"
        ),
    ] = "none"
    reset: Annotated[
        bool,
        Field(
            description="start every task with a fresh optimiser state",
            json_schema_extra=conditions(unless={"optimizer": "sgd", "momentum": 0}),
        ),
    ] = True

    @model_validator(mode="before")
    @classmethod
    def _pairs(cls, raw: Any) -> Any:
        return with_pairs_split(raw)

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.steps > 0 and "epochs" in self.model_fields_set:
            raise mistake(
                "both 'epochs' and 'steps' are given",
                expected="one of the two: passes over the data, or steps per task",
                at=("steps",),
            )
        if self.first_steps and self.first_epochs:
            raise both_lengths_of_the_first()
        for key in (*NUMBERS, "options", "weight_decay"):
            if not takes(self.optimizer, key) and getattr(self, key) != default_of(key):
                raise _means_nothing(key, getattr(self, key), self.optimizer)
        if self.nesterov and self.momentum and self.dampening:
            raise mistake(
                f"nesterov = true and dampening = {self.dampening}",
                expected="Nesterov's momentum without dampening",
                at=("dampening",),
            )
        if self.step_min > self.step_max:
            raise mistake(
                f"step_min = {self.step_min} and step_max = {self.step_max}",
                expected="step_min at most step_max",
                at=("step_min",),
            )
        return self

    @property
    def milestone_shares(self) -> tuple[float, ...]:
        """`milestones` as numbers."""
        return tuple(float(share) for share in self.milestones.split(","))

    @property
    def recorded(self) -> dict[str, Any]:
        """Its values as results store them: keys that came later only where they say something."""
        return {
            key: value
            for key, value in self.model_dump(mode="json").items()
            if key in _FIRST_KEYS or value != default_of(key)
        }

    def n_steps(self, n_examples: int, task: int = 1) -> int:
        """Training steps on a task.

        Args:
            n_examples: size of its training set, at least 1.
            task: its index; the first may have a length of its own.
        """
        per_epoch = -(-n_examples // self.batch_size)
        if task == 0 and (self.first_steps or self.first_epochs):
            return self.first_steps or self.first_epochs * per_epoch
        return self.steps or self.epochs * per_epoch


def both_lengths_of_the_first() -> PydanticCustomError:
    """The mistake of a first task with two lengths."""
    return mistake(
        "both 'first_epochs' and 'first_steps' are given",
        expected="one of the two: passes over the first task, or steps on it",
        at=("first_steps",),
    )


@lru_cache(maxsize=256)
def default_of(key: str) -> Any:
    """The default of a key.

    Args:
        key: of `[training]`.
    """
    return TrainingConfig.model_fields[key].default


def in_full(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Stored values with the keys that are stored only where they are not at their default.

    Args:
        recorded: the part 'training' of a record; nothing is added to an empty one.
    """
    if not recorded:
        return {}
    later = (key for key in TrainingConfig.model_fields if key not in _FIRST_KEYS)
    return {**recorded, **{key: default_of(key) for key in later if key not in recorded}}


def with_pairs_split(raw: Any) -> Any:
    """A table with torch's pairs (`betas = [0.9, 0.999]`) as the two keys that they are here.

    Args:
        raw: `[training]`, or overrides of it, as the file has it.
    """
    if not isinstance(raw, Mapping) or not raw.keys() & PAIRS.keys():
        return raw
    found = {key: value for key, value in raw.items() if key not in PAIRS}
    for pair, keys in PAIRS.items():
        if pair not in raw:
            continue
        both = raw[pair]
        is_pair = isinstance(both, list | tuple) and len(both) == 2
        if not is_pair or not all(isinstance(v, int | float) for v in both):
            raise mistake(
                f"{pair} = {as_toml(both)}",
                expected=f"two numbers; several values of one are written {keys[0]} = [...] and "
                f"{keys[1]} = [...]",
                at=(pair,),
            )
        twice = [key for key in keys if key in raw]
        if twice:
            raise mistake(
                f"both '{pair}' and '{twice[0]}' are given",
                expected="one of the two",
                at=(pair,),
            )
        found |= dict(zip(keys, both, strict=True))
    return found


def _means_nothing(key: str, value: Any, optimizer: str) -> PydanticCustomError:
    by = [name for name in OPTIMISERS if takes(name, key)]
    named = " or ".join(f"'{name}'" for name in by)
    expected = f"{key} with optimizer = {named} only"
    if key == "options":
        expected = "options with an optimiser of your own, optimizer = 'package.module:Optimizer'"
    if key == "weight_decay":
        expected = f"no weight_decay with '{optimizer}'"
    next_step = f"write {key} = {as_toml(default_of(key))} where the optimizer is chosen"
    if optimizer not in OPTIMISERS:
        next_step = f"what '{optimizer}' takes is written options = {{ {key} = ... }}"
    return mistake(
        f"{key} = {as_toml(value)} means nothing for '{optimizer}'",
        expected=expected,
        next_step=next_step,
        at=(key,),
    )
