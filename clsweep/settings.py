"""The plain sections of a study file: `[net]`, `[training]`, `[resources]`, `[report]`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clsweep.study_errors import mistake
from clsweep.switches import conditions

__all__ = ["NetConfig", "ReportConfig", "Resources", "Section", "TrainingConfig"]

Width = Annotated[int, Field(ge=1)]
_CALLABLE_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"


class Section(BaseModel):
    """A table of the study file. Frozen; unknown keys and other types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_USED_KEYS = {
    "mlp": ("name", "hidden", "activation", "initialization"),
    "conv": ("name", "channels", "width", "activation", "initialization", "norm", "bn_mode"),
    "lenet": ("name", "activation", "initialization"),
    "resnet32": ("name", "depth", "base_maps", "initialization", "norm", "bn_mode"),
    "resnet18": ("name", "base_maps", "initialization", "norm", "bn_mode"),
    "torchvision": ("name", "model", "weights", "bn_mode"),
    "custom": ("name", "factory", "bn_mode"),
}
_MODULES = ("torchvision", "custom")
_RESIDUAL = ("resnet32", "resnet18")


class NetConfig(Section):
    """The network, `[net]`."""

    name: Annotated[
        Literal["mlp", "conv", "lenet", "resnet32", "resnet18", "torchvision", "custom"],
        Field(
            description="'mlp', 'conv', 'lenet', 'resnet32' (pre-activation), 'resnet18', "
            "'torchvision' for one of its models, or 'custom' for a module of your own"
        ),
    ] = "mlp"
    hidden: Annotated[
        tuple[Width, ...], Field(strict=False, description="units of each hidden layer (mlp)")
    ] = (100, 100)
    channels: Annotated[
        tuple[Width, ...],
        Field(strict=False, min_length=1, description="channels of each block (conv)"),
    ] = (16, 32)
    width: Annotated[Width, Field(description="units of the layer below the heads (conv)")] = 128
    factory: Annotated[
        str,
        Field(
            description="'package.module:callable' (custom), called as "
            "factory(input_shape, n_outputs) -> nn.Module"
        ),
    ] = ""
    activation: Annotated[
        Literal["relu", "tanh"], Field(description="nonlinearity (mlp, conv, lenet)")
    ] = "relu"
    norm: Annotated[
        Literal["standard", "none", "batch", "group"],
        Field(
            description="normalisation (conv, resnet32, resnet18); 'standard': 'none' for conv, "
            "'batch' for the others"
        ),
    ] = "standard"
    bn_mode: Annotated[
        Literal["batch", "frozen"],
        Field(
            description="batch norms after the first task: 'batch' trains on the batch's "
            "statistics and sets the running ones anew after every task; 'frozen' holds those of "
            "the first task, in training too"
        ),
    ] = "batch"
    initialization: Annotated[
        Literal["torch", "xavier", "he"],
        Field(
            description="'torch': nn.Linear's own; 'xavier', 'he': uniform weights after Glorot "
            "or He, zero biases (all but torchvision, custom)"
        ),
    ] = "torch"
    depth: Annotated[
        int, Field(ge=8, description="layers, 6n + 2 for n blocks in each stage (resnet32)")
    ] = 32
    base_maps: Annotated[
        int,
        Field(ge=0, description="maps of the first stage; 0: 16 in resnet32, 20 in resnet18"),
    ] = 0
    model: Annotated[
        str,
        Field(description="'resnet18', 'vgg11_bn', ...; dropout is switched off (torchvision)"),
    ] = ""
    weights: Annotated[
        str,
        Field(
            description="file with the model's pretrained state dict, beside the study file or "
            "below the data root; '' to draw them; rename a file that changes (torchvision)"
        ),
    ] = ""

    @property
    def is_module(self) -> bool:
        """Whether the net is a module of torchvision's or of the user's own."""
        return self.name in _MODULES

    @property
    def norm_used(self) -> str:
        """The normalisation that the net has: 'none', 'batch' or 'group'."""
        if self.norm != "standard":
            return self.norm
        return "batch" if self.name in _RESIDUAL else "none"

    @property
    def used_keys(self) -> tuple[str, ...]:
        """The keys that mean something for a net of this name, and this normalisation."""
        may_have_batch_norm = self.norm_used == "batch" or self.is_module
        keys = _USED_KEYS[self.name]
        return tuple(key for key in keys if key != "bn_mode" or may_have_batch_norm)

    @model_validator(mode="after")
    def _check(self) -> NetConfig:
        for key in type(self).model_fields:
            default = type(self).model_fields[key].default
            if key not in self.used_keys and getattr(self, key) != default:
                raise mistake(
                    f"'{key}' means nothing for the net '{self.name}'",
                    expected="only " + ", ".join(f"'{k}'" for k in self.used_keys),
                    at=(key,),
                )
        if self.depth % 6 != 2:
            raise mistake(
                f"depth = {self.depth} makes no three stages of equal blocks",
                expected="6n + 2: 8, 14, 20, 26, 32, ...",
                at=("depth",),
            )
        if self.name == "torchvision" and not self.model:
            raise mistake(
                "the net 'torchvision' names no model",
                expected='model = "resnet18", or another classification model of torchvision',
                at=("model",),
            )
        if self.name == "custom":
            _check_factory(self.factory)
        return self


def _check_factory(factory: str) -> None:
    if not re.match(_CALLABLE_PATH, factory):
        raise mistake(
            f"factory = '{factory}' does not name a callable",
            expected="'package.module:callable' for the net 'custom'",
            at=("factory",),
        )


class TrainingConfig(Section):
    """How every task is trained, `[training]`."""

    optimizer: Annotated[Literal["sgd", "adam", "adagrad"], Field(description="the optimiser")] = (
        "sgd"
    )
    lr: Annotated[
        float, Field(gt=0, description="learning rate", json_schema_extra={"log": True})
    ] = 0.1
    momentum: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="momentum",
            json_schema_extra=conditions(where={"optimizer": "sgd"}),
        ),
    ] = 0.0
    weight_decay: Annotated[
        float, Field(ge=0, description="L2 decay of all weights", json_schema_extra={"log": True})
    ] = 0.0
    batch_size: Annotated[int, Field(ge=1, description="examples per step")] = 32
    epochs: Annotated[int, Field(ge=1, description="passes over each task's training set")] = 1
    steps: Annotated[
        int, Field(ge=0, description="steps per task, instead of epochs; 0 counts epochs")
    ] = 0
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

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.steps > 0 and "epochs" in self.model_fields_set:
            raise mistake(
                "both 'epochs' and 'steps' are given",
                expected="one of the two: passes over the data, or steps per task",
                at=("steps",),
            )
        if self.momentum > 0 and self.optimizer != "sgd":
            raise mistake(
                f"momentum = {self.momentum} means nothing for '{self.optimizer}'",
                expected="momentum with optimizer = 'sgd' only",
                next_step="write momentum = 0.0 where the optimizer is chosen",
                at=("momentum",),
            )
        return self

    def n_steps(self, n_examples: int) -> int:
        """Training steps on a task.

        Args:
            n_examples: size of its training set, at least 1.
        """
        return self.steps or self.epochs * -(-n_examples // self.batch_size)


class Resources(Section):
    """What one trial may use, `[resources]`. No result depends on it."""

    cpus: Annotated[float, Field(gt=0, description="CPU cores of one trial")] = 1.0
    gpu_fraction: Annotated[
        float,
        Field(
            ge=0, description="share of a GPU per trial, where there is one; over 1: whole GPUs"
        ),
    ] = 0.25
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(description="'auto' uses GPUs, and the cores of nodes that have none"),
    ] = "auto"
    max_concurrent: Annotated[
        int, Field(ge=0, description="trials at the same time; 0 for as many as fit")
    ] = 0
    memory_mb: Annotated[
        int, Field(ge=0, description="main memory to reserve per trial, MB; 0 reserves none")
    ] = 0
    max_attempts: Annotated[
        int,
        Field(ge=1, description="starts of one trial that come to no end before it fails"),
    ] = 3
    oom_retry: Annotated[
        bool,
        Field(description="try a trial that is too large for its share of a GPU on a whole one"),
    ] = True

    @model_validator(mode="after")
    def _check(self) -> Resources:
        if self.gpu_fraction > 1 and self.gpu_fraction != int(self.gpu_fraction):
            raise mistake(
                f"gpu_fraction = {self.gpu_fraction} is neither a share nor whole GPUs",
                expected="a number between 0 and 1, or a whole number of GPUs",
                at=("gpu_fraction",),
            )
        if self.device == "cuda" and self.gpu_fraction == 0:
            raise mistake(
                "device = 'cuda' with gpu_fraction = 0.0 asks for a GPU without taking one",
                expected="gpu_fraction above 0",
                at=("gpu_fraction",),
            )
        return self


class ReportConfig(Section):
    """What `clsweep report` computes, `[report]`. No trial depends on it."""

    drops: Annotated[
        tuple[Annotated[float, Field(ge=0, le=100)], ...],
        Field(
            strict=False,
            description="required target accuracies: fine-tuning's minus these percentage points",
        ),
    ] = (1.0, 5.0)
    margin: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="by how many standard errors a choice must exceed a required target "
            "accuracy on validation data; 0: by none, as published",
        ),
    ] = 1.0
    choose_on: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**63)], ...],
        Field(
            strict=False,
            description="seeds that choose the configurations, while test numbers of all others "
            "are shown; empty: all choose and all are shown, with cross-fitting",
        ),
    ] = ()

    @model_validator(mode="after")
    def _check(self) -> ReportConfig:
        for key, what in (("drops", "drop"), ("choose_on", "seed")):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise mistake(f"a {what} is listed twice", expected="each once", at=(key,))
        return self
