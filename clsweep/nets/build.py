"""Networks as pairs of pure functions: `init` draws parameters, `features` and `head` apply them.

A network is split where the heads begin, so that a method which needs several heads (distillation,
replay) passes through the trunk once. Parameters whose name starts with `heads.` belong to one
task; all others are shared, and only those are regularised. Running statistics of batch norms are
entries of `params` too, told by their names, but are neither trained nor regularised.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.nets.bodies import Body, Layer, Shape, conv_body, initial_layers, lenet_body, mlp_body
from clsweep.nets.checks import check_image, weights_file
from clsweep.nets.modules import Parts, custom_parts
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.nets.resnets import resnet18_body, resnet32_body

if TYPE_CHECKING:
    from clsweep.nets.config import NetConfig

_BODIES: dict[str, Callable[[NetConfig, Shape], Body]] = {
    "mlp": mlp_body,
    "conv": conv_body,
    "lenet": lenet_body,
    "resnet32": resnet32_body,
    "resnet18": resnet18_body,
}


def build_net(
    config: NetConfig,
    input_shape: Shape,
    heads: Heads,
    data_root: Path | None = None,
    stored: torch.dtype = torch.uint8,
) -> Net:
    """The network of a study.

    Args:
        config: the study's `[net]`.
        input_shape: of the benchmark's inputs, (C, H, W) for images.
        heads: the benchmark's heads.
        data_root: folder below which pretrained weights are looked for.
        stored: type of the benchmark's inputs as they are stored.

    Raises:
        StudyError: the inputs do not fit the net, or a module is unusable.
    """

    def with_heads(other: Heads) -> Net:
        return build_net(config, input_shape, other, data_root, stored)

    if config.name in ("custom", "torchvision"):
        parts = _module_parts(config, input_shape, heads, data_root)
        return Net(
            parts.init,
            parts.features,
            _column_head(heads),
            heads,
            input_shape,
            lambda task: parts.readout,
            with_heads,
            parts.statistics,
            config.bn_mode,
            stored,
        )
    check_image(config, input_shape)
    body = _BODIES[config.name](config, input_shape)
    head_layers = (
        {f"heads.{task}": Layer((size, body.width)) for task, size in enumerate(heads.sizes)}
        if heads.scenario == "task"
        else {"head": Layer((heads.n_outputs, body.width))}
    )
    layers = {**body.layers, **head_layers}
    return Net(
        init=lambda rng: initial_layers(layers, config.initialization, rng),
        features=body.features,
        head=_task_head if heads.scenario == "task" else _shared_head(heads),
        heads=heads,
        input_shape=input_shape,
        readout=_readout(heads),
        with_heads=with_heads,
        statistics=body.statistics,
        bn_mode=config.bn_mode,
        stored=stored,
    )


def _module_parts(
    config: NetConfig, input_shape: Shape, heads: Heads, data_root: Path | None
) -> Parts:
    if config.name == "custom":
        return custom_parts(config.factory, input_shape, heads)
    # Importing torchvision takes a second, which other nets need not wait for.
    from clsweep.nets.torchvision_models import torchvision_parts

    weights = weights_file(config, data_root)
    return torchvision_parts(config.model, weights, input_shape, heads)


def _readout(heads: Heads) -> Callable[[int], tuple[str, ...]]:
    def names(task: int) -> tuple[str, ...]:
        layer = f"heads.{task}" if heads.scenario == "task" else "head"
        return f"{layer}.weight", f"{layer}.bias"

    return names


def _task_head(params: Params, h: Tensor, task: int) -> Tensor:
    return F.linear(h, params[f"heads.{task}.weight"], params[f"heads.{task}.bias"])


def _shared_head(heads: Heads) -> Callable[[Params, Tensor, int], Tensor]:
    def head(params: Params, h: Tensor, task: int) -> Tensor:
        # All columns are computed and the unseen ones dropped: slicing the weight instead would
        # hide it from the closed-form importances.
        logits = F.linear(h, params["head.weight"], params["head.bias"])
        return logits[:, : heads.columns(task)[1]]

    return head


def _column_head(heads: Heads) -> Callable[[Params, Tensor, int], Tensor]:
    """The head of a module, whose features are all logits already."""

    def head(params: Params, h: Tensor, task: int) -> Tensor:
        start, stop = heads.columns(task)
        return h[:, start:stop]

    return head
