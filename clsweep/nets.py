"""Networks as pairs of pure functions: `init` draws parameters, `features` and `head` apply them.

A network is split where the heads begin, so that a method which needs several heads (distillation,
replay) passes through the trunk once. Parameters whose name starts with `heads.` belong to one
task; all others are shared, and only those are regularised. Running statistics of batch norms are
entries of `params` too, told by their names, but are neither trained nor regularised.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.bodies import Body, Layer, Shape, conv_body, drawn, lenet_body, mlp_body
from clsweep.catalog import Heads
from clsweep.custom_nets import custom_parts
from clsweep.modules import Parts
from clsweep.net_files import weights_file
from clsweep.net_sizes import check_image
from clsweep.norms import is_statistic
from clsweep.resnets import resnet18_body, resnet32_body
from clsweep.trees import Params

if TYPE_CHECKING:
    from clsweep.settings import NetConfig

__all__ = ["Net", "build", "own_head_logits", "shared"]

_BODIES: dict[str, Callable[[NetConfig, Shape], Body]] = {
    "mlp": mlp_body,
    "conv": conv_body,
    "lenet": lenet_body,
    "resnet32": resnet32_body,
    "resnet18": resnet18_body,
}


class Net(NamedTuple):
    """A network as pure functions.

    Attributes:
        init: (generator) -> params, without running statistics.
        features: (params, x [B, C, H, W]) -> h [B, ...], everything below the heads.
        head: (params, h, task) -> logits [B, classes of that task's head].
        heads: which outputs belong to which task.
        input_shape: (C, H, W).
        readout: (task) -> names of the last layer's parameters that `task` uses; empty when a
            custom module does not end in a linear layer.
        with_heads: (heads) -> the same network with other heads.
        statistics: names of the running statistics of its batch norms. Where `params` holds them
            `features` normalises by them (evaluation mode), else by the batch (training mode).
        bn_mode: when the engine sets them: 'batch' at the end of every phase, 'frozen' on the
            first task only.
    """

    init: Callable[[torch.Generator], Params]
    features: Callable[[Params, Tensor], Tensor]
    head: Callable[[Params, Tensor, int], Tensor]
    heads: Heads
    input_shape: Shape
    readout: Callable[[int], tuple[str, ...]]
    with_heads: Callable[[Heads], Net]
    statistics: frozenset[str] = frozenset()
    bn_mode: str = "batch"

    def apply(self, params: Params, x: Tensor, task: int) -> Tensor:
        """Logits of the head of `task`, [B, classes]."""
        return self.head(params, self.features(params, x), task)


def shared(params: Params) -> Params:
    """The trained parameters that every task uses: no per-task heads, no running statistics."""
    return {
        name: value
        for name, value in params.items()
        if not name.startswith("heads.") and not is_statistic(name)
    }


def own_head_logits(net: Net, params: Params, h: Tensor, tasks: Tensor, newest: int) -> Tensor:
    """Logits of each example under the head of its own task, [B, K].

    With one head per task, K is the widest head's size and outputs that a narrower head lacks are
    −∞. With a shared head it is the head of the newest task, for every example.

    Args:
        net: the network.
        params: its parameters.
        h: features [B, ...].
        tasks: task of each example, int64 [B], each at most `newest`.
        newest: the task being learnt.
    """
    if net.heads.scenario != "task":
        return net.head(params, h, newest)
    widest = max(net.heads.sizes[: newest + 1])
    logits = [net.head(params, h, task) for task in range(newest + 1)]
    padded = [F.pad(z, (0, widest - z.shape[1]), value=float("-inf")) for z in logits]
    rows = torch.arange(len(h), device=h.device)
    return torch.stack(padded)[tasks, rows]


def build(
    config: NetConfig, input_shape: Shape, heads: Heads, data_root: Path | None = None
) -> Net:
    """The network of a study.

    Args:
        config: the study's `[net]`.
        input_shape: (C, H, W) of the benchmark's images.
        heads: the benchmark's heads.
        data_root: folder below which pretrained weights are looked for.

    Raises:
        StudyError: the images are too small for the net, or a module is unusable.
    """

    def with_heads(other: Heads) -> Net:
        return build(config, input_shape, other, data_root)

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
        init=lambda rng: drawn(layers, config.initialization, rng),
        features=body.features,
        head=_task_head if heads.scenario == "task" else _shared_head(heads),
        heads=heads,
        input_shape=input_shape,
        readout=_readout(heads),
        with_heads=with_heads,
        statistics=body.statistics,
        bn_mode=config.bn_mode,
    )


def _module_parts(
    config: NetConfig, input_shape: Shape, heads: Heads, data_root: Path | None
) -> Parts:
    if config.name == "custom":
        return custom_parts(config.factory, input_shape, heads)
    # Importing torchvision takes a second, which other nets need not wait for.
    from clsweep.torchvision_nets import torchvision_parts

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
