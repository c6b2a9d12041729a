"""Everything below the heads: layers to draw, and the pure function that applies them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.nets.norms import normalised, statistic_names
from clsweep.nets.parameter_trees import Params

if TYPE_CHECKING:
    from clsweep.nets.config import NetConfig

# Of an input: (C, H, W) for images.
Shape = tuple[int, ...]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Layer(NamedTuple):
    """One layer's parameters: `<name>.weight`, and `<name>.bias` if it has one.

    Attributes:
        shape: of the weight; (C,) for the gain of a norm.
        bias: whether there is a bias, of `shape[0]`.
        norm: 'batch' or 'group' for a normalisation layer, '' for a linear map.
    """

    shape: tuple[int, ...]
    bias: bool = True
    norm: str = ""


class Body(NamedTuple):
    """A network below its heads.

    Attributes:
        layers: by name, in the order in which they are drawn.
        width: features that the heads read.
        features: (params, x [B, C, H, W]) -> h [B, width].
    """

    layers: dict[str, Layer]
    width: int
    features: Callable[[Params, Tensor], Tensor]

    @property
    def statistics(self) -> frozenset[str]:
        """Names of the running statistics of all batch norms."""
        norms = [name for name, layer in self.layers.items() if layer.norm == "batch"]
        return frozenset(s for name in norms for s in statistic_names(name))


def initial_layers(layers: dict[str, Layer], initialization: str, rng: torch.Generator) -> Params:
    """Weights and biases, uniform within ± a bound; a norm starts with gain 1 and bias 0.

    'torch': 1/√fan_in for both, as nn.Linear and nn.Conv2d do; 'xavier': √(6/(fan_in + fan_out))
    and 'he': √(6/fan_in) with zero biases.
    """
    params: Params = {}
    for name, (shape, has_bias, norm) in layers.items():
        if norm:
            params[f"{name}.weight"] = torch.ones(shape)
            params[f"{name}.bias"] = torch.zeros(shape)
            continue
        fan_in = int(torch.tensor(shape[1:]).prod())
        fan_out = shape[0] * fan_in // shape[1]
        bound = {
            "torch": fan_in**-0.5,
            "xavier": (6 / (fan_in + fan_out)) ** 0.5,
            "he": (6 / fan_in) ** 0.5,
        }[initialization]
        params[f"{name}.weight"] = (torch.rand(shape, generator=rng) * 2 - 1) * bound
        if has_bias:
            bias = torch.rand(shape[0], generator=rng) * 2 - 1
            params[f"{name}.bias"] = bias * (bound if initialization == "torch" else 0)
    return params


def mlp_body(config: NetConfig, input_shape: Shape) -> Body:
    """Dense layers with an activation after each; inputs of any shape are laid flat."""
    widths = [math.prod(input_shape), *config.hidden]
    names = [f"layers.{i}" for i in range(len(config.hidden))]
    layers = {name: Layer((widths[i + 1], widths[i])) for i, name in enumerate(names)}
    act = _ACTIVATIONS[config.activation]
    keys = [(f"{name}.weight", f"{name}.bias") for name in names]

    def features(params: Params, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for weight, bias in keys:
            h = act(F.linear(h, params[weight], params[bias]))
        return h

    return Body(layers, widths[-1], features)


def conv_body(config: NetConfig, input_shape: Shape) -> Body:
    """3×3 convolutions, each with norm, activation and 2×2 max-pooling, then one dense layer.

    A convolution that a norm follows has no bias, which the norm's own would repeat.
    """
    channels = [input_shape[0], *config.channels]
    shrink = 2 ** len(config.channels)
    height, width = input_shape[1] // shrink, input_shape[2] // shrink
    norm = config.norm_used
    layers: dict[str, Layer] = {}
    for i in range(len(config.channels)):
        shape = (channels[i + 1], channels[i], 3, 3)
        layers[f"convs.{i}"] = Layer(shape, bias=norm == "none")
        if norm != "none":
            layers[f"norms.{i}"] = Layer((channels[i + 1],), norm=norm)
    layers["dense"] = Layer((config.width, channels[-1] * height * width))
    act = _ACTIVATIONS[config.activation]
    keys = [(f"convs.{i}.weight", f"convs.{i}.bias") for i in range(len(config.channels))]

    def features(params: Params, x: Tensor) -> Tensor:
        for i, (weight, bias) in enumerate(keys):
            x = F.conv2d(x, params[weight], params.get(bias), padding=1)
            x = F.max_pool2d(act(normalised(params, f"norms.{i}", x, norm)), 2)
        return act(F.linear(x.flatten(1), params["dense.weight"], params["dense.bias"]))

    return Body(layers, config.width, features)


def lenet_body(config: NetConfig, input_shape: Shape) -> Body:
    """LeNet-5 as it is used today: 6 and 16 maps of 5×5, max-pooling, dense layers of 120 and 84.

    LeCun et al. 1998, who train its subsampling and connect its maps sparsely. The first
    convolution is padded by 2, so that 28×28 images leave the 5×5 maps of the paper.
    """
    height, width = ((side // 2 - 4) // 2 for side in input_shape[1:])
    layers = {
        "convs.0": Layer((6, input_shape[0], 5, 5)),
        "convs.1": Layer((16, 6, 5, 5)),
        "dense.0": Layer((120, 16 * height * width)),
        "dense.1": Layer((84, 120)),
    }
    act = _ACTIVATIONS[config.activation]

    def features(params: Params, x: Tensor) -> Tensor:
        for i, padding in enumerate((2, 0)):
            weight, bias = params[f"convs.{i}.weight"], params[f"convs.{i}.bias"]
            x = F.max_pool2d(act(F.conv2d(x, weight, bias, padding=padding)), 2)
        x = x.flatten(1)
        for i in range(2):
            x = act(F.linear(x, params[f"dense.{i}.weight"], params[f"dense.{i}.bias"]))
        return x

    return Body(layers, 84, features)
