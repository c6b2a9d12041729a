"""Residual networks for small images.

    resnet32  pre-activation: x + conv(a(n(conv(a(n(x)))))), three stages of (depth − 2) / 6 blocks
              with m, 2m, 4m maps, the image halved between them; a(n(·)) and an average at the
              end. Shortcuts have no parameters: where the image is halved, every second pixel and
              zeros for the new maps. He et al. 2016a (CVPR, section 4.2) and 2016b (ECCV).
    resnet18  post-activation: a(s(x) + n(conv(a(n(conv(x)))))), four stages of two blocks with
              m, 2m, 4m, 8m maps; s a convolution 1×1 and a norm where the shape changes. With
              m = 20 it is the net of Lopez-Paz and Ranzato 2017 (GEM) for CIFAR-100.

Convolutions are 3×3, start without pooling, and have no bias unless there is no norm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from clsweep.nets.bodies import Body, Layer, Shape
from clsweep.nets.norms import normalised
from clsweep.nets.parameter_trees import Params

if TYPE_CHECKING:
    from clsweep.nets.config import NetConfig

_Block = tuple[str, int, int, int]  # name, maps in, maps out, stride


def resnet32_body(config: NetConfig, input_shape: Shape) -> Body:
    """The pre-activation residual network of `config.depth` layers."""
    norm, maps = config.norm_used, config.base_maps or 16
    blocks = _blocks(maps, [(config.depth - 2) // 6] * 3)
    layers = {"conv": _conv(input_shape[0], maps, 3, norm)}
    for name, n_in, n_out, _ in blocks:
        layers |= _norm(f"{name}.norm1", n_in, norm)
        layers[f"{name}.conv1"] = _conv(n_in, n_out, 3, norm)
        layers |= _norm(f"{name}.norm2", n_out, norm)
        layers[f"{name}.conv2"] = _conv(n_out, n_out, 3, norm)
    layers |= _norm("norm", 4 * maps, norm)
    apply, active = _conv_of, _active_of(norm)

    def features(params: Params, x: Tensor) -> Tensor:
        x = apply(params, "conv", x, 1)
        for name, n_in, n_out, stride in blocks:
            h = apply(params, f"{name}.conv1", active(params, f"{name}.norm1", x), stride)
            h = apply(params, f"{name}.conv2", active(params, f"{name}.norm2", h), 1)
            x = _shortcut(x, n_out - n_in, stride) + h
        return active(params, "norm", x).mean((2, 3))

    return Body(layers, 4 * maps, features)


def resnet18_body(config: NetConfig, input_shape: Shape) -> Body:
    """The residual network of 18 layers with `config.base_maps` maps in its first stage."""
    norm, maps = config.norm_used, config.base_maps or 20
    blocks = _blocks(maps, [2] * 4)
    layers = {"conv": _conv(input_shape[0], maps, 3, norm)} | _norm("norm", maps, norm)
    for name, n_in, n_out, _ in blocks:
        layers[f"{name}.conv1"] = _conv(n_in, n_out, 3, norm)
        layers |= _norm(f"{name}.norm1", n_out, norm)
        layers[f"{name}.conv2"] = _conv(n_out, n_out, 3, norm)
        layers |= _norm(f"{name}.norm2", n_out, norm)
        if n_in != n_out:
            layers[f"{name}.shortcut"] = _conv(n_in, n_out, 1, norm)
            layers |= _norm(f"{name}.norm3", n_out, norm)
    apply, active = _conv_of, _active_of(norm)

    def features(params: Params, x: Tensor) -> Tensor:
        x = active(params, "norm", apply(params, "conv", x, 1))
        for name, n_in, n_out, stride in blocks:
            h = active(params, f"{name}.norm1", apply(params, f"{name}.conv1", x, stride))
            h = normalised(params, f"{name}.norm2", apply(params, f"{name}.conv2", h, 1), norm)
            if n_in != n_out:
                x = apply(params, f"{name}.shortcut", x, stride)
                x = normalised(params, f"{name}.norm3", x, norm)
            x = F.relu(x + h)
        return x.mean((2, 3))

    return Body(layers, 8 * maps, features)


def _blocks(maps: int, n_blocks: list[int]) -> list[_Block]:
    """The blocks of all stages; the first of every later stage doubles maps and halves images."""
    blocks, n_in = [], maps
    for stage, n in enumerate(n_blocks):
        n_out = maps * 2**stage
        for block in range(n):
            stride = 2 if n_in != n_out else 1
            blocks.append((f"stages.{stage}.{block}", n_in, n_out, stride))
            n_in = n_out
    return blocks


def _conv(n_in: int, n_out: int, kernel: int, norm: str) -> Layer:
    return Layer((n_out, n_in, kernel, kernel), bias=norm == "none")


def _norm(name: str, maps: int, norm: str) -> dict[str, Layer]:
    return {} if norm == "none" else {name: Layer((maps,), norm=norm)}


def _conv_of(params: Params, name: str, x: Tensor, stride: int) -> Tensor:
    padding = 0 if name.endswith("shortcut") else 1
    return F.conv2d(x, params[f"{name}.weight"], params.get(f"{name}.bias"), stride, padding)


def _active_of(norm: str) -> Callable[[Params, str, Tensor], Tensor]:
    def active(params: Params, name: str, x: Tensor) -> Tensor:
        return F.relu(normalised(params, name, x, norm))

    return active


def _shortcut(x: Tensor, n_new: int, stride: int) -> Tensor:
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, n_new)) if n_new else x
