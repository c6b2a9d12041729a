"""`[net]` of a study file."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from clsweep.config_section import Section, mistake

Width = Annotated[int, Field(ge=1)]

_CALLABLE_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
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
        Literal["relu", "tanh", "sigmoid"], Field(description="nonlinearity (mlp, conv, lenet)")
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
