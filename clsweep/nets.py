"""Networks as pairs of pure functions: `init` draws parameters, `features` and `head` apply them.

A network is split where the heads begin, so that a method which needs several heads (distillation,
replay) passes through the trunk once. Parameters whose name starts with `heads.` belong to one
task; all others are shared, and only those are regularised.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from clsweep.catalog import Heads
from clsweep.draws import generator
from clsweep.errors import StudyError
from clsweep.trees import Params

if TYPE_CHECKING:
    from clsweep.study import NetConfig

__all__ = ["Net", "build", "own_head_logits", "shared"]

Shape = tuple[int, int, int]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "tanh": torch.tanh}


class Net(NamedTuple):
    """A network as pure functions.

    Attributes:
        init: (generator) -> params.
        features: (params, x [B, C, H, W]) -> h [B, ...], everything below the heads.
        head: (params, h, task) -> logits [B, classes of that task's head].
        heads: which outputs belong to which task.
        input_shape: (C, H, W).
        readout: (task) -> names of the last layer's parameters that `task` uses; empty when a
            custom module does not end in a linear layer.
    """

    init: Callable[[torch.Generator], Params]
    features: Callable[[Params, Tensor], Tensor]
    head: Callable[[Params, Tensor, int], Tensor]
    heads: Heads
    input_shape: Shape
    readout: Callable[[int], tuple[str, ...]]

    def apply(self, params: Params, x: Tensor, task: int) -> Tensor:
        """Logits of the head of `task`, [B, classes]."""
        return self.head(params, self.features(params, x), task)


def shared(params: Params) -> Params:
    """The parameters that every task uses: all but the per-task heads."""
    return {name: value for name, value in params.items() if not name.startswith("heads.")}


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


def build(config: NetConfig, input_shape: Shape, heads: Heads) -> Net:
    """The network of a study.

    Args:
        config: the study's `[net]`.
        input_shape: (C, H, W) of the benchmark's images.
        heads: the benchmark's heads.

    Raises:
        StudyError: the images are too small for the net, or a custom factory is unusable.
    """
    if config.name == "custom":
        return _custom(config.factory, input_shape, heads)
    body = _mlp_body if config.name == "mlp" else _conv_body
    shapes, features = body(config, input_shape)
    width = shapes.pop("out")[0]
    head_shapes = (
        {f"heads.{task}": (size, width) for task, size in enumerate(heads.sizes)}
        if heads.scenario == "task"
        else {"head": (heads.n_outputs, width)}
    )
    layers = {**shapes, **head_shapes}
    return Net(
        init=lambda rng: _drawn(layers, config.initialization, rng),
        features=features,
        head=_task_head if heads.scenario == "task" else _shared_head(heads),
        heads=heads,
        input_shape=input_shape,
        readout=_readout(heads),
    )


def _readout(heads: Heads) -> Callable[[int], tuple[str, ...]]:
    def names(task: int) -> tuple[str, ...]:
        layer = f"heads.{task}" if heads.scenario == "task" else "head"
        return f"{layer}.weight", f"{layer}.bias"

    return names


def _drawn(
    layers: dict[str, tuple[int, ...]], initialization: str, rng: torch.Generator
) -> Params:
    """Weights and biases: 'torch' as nn.Linear and nn.Conv2d do, 'xavier' with zero biases."""
    params: Params = {}
    for name, shape in layers.items():
        fan_in = int(torch.tensor(shape[1:]).prod())
        fan_out = shape[0] * fan_in // shape[1]
        xavier = initialization == "xavier"
        bound = (6 / (fan_in + fan_out)) ** 0.5 if xavier else fan_in**-0.5
        params[f"{name}.weight"] = (torch.rand(shape, generator=rng) * 2 - 1) * bound
        bias = torch.rand(shape[0], generator=rng) * 2 - 1
        params[f"{name}.bias"] = bias * (0 if xavier else bound)
    return params


def _task_head(params: Params, h: Tensor, task: int) -> Tensor:
    return F.linear(h, params[f"heads.{task}.weight"], params[f"heads.{task}.bias"])


def _shared_head(heads: Heads) -> Callable[[Params, Tensor, int], Tensor]:
    def head(params: Params, h: Tensor, task: int) -> Tensor:
        # All columns are computed and the unseen ones dropped: slicing the weight instead would
        # hide it from the closed-form importances.
        logits = F.linear(h, params["head.weight"], params["head.bias"])
        return logits[:, : heads.columns(task)[1]]

    return head


Body = tuple[dict[str, tuple[int, ...]], Callable[[Params, Tensor], Tensor]]


def _mlp_body(config: NetConfig, input_shape: Shape) -> Body:
    widths = [input_shape[0] * input_shape[1] * input_shape[2], *config.hidden]
    names = [f"layers.{i}" for i in range(len(config.hidden))]
    shapes: dict[str, tuple[int, ...]] = {
        name: (widths[i + 1], widths[i]) for i, name in enumerate(names)
    }
    act = _ACTIVATIONS[config.activation]
    keys = [(f"{name}.weight", f"{name}.bias") for name in names]

    def features(params: Params, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for weight, bias in keys:
            h = act(F.linear(h, params[weight], params[bias]))
        return h

    return {**shapes, "out": (widths[-1],)}, features


def _conv_body(config: NetConfig, input_shape: Shape) -> Body:
    """3×3 convolutions, each with activation and 2×2 max-pooling, then one dense layer."""
    channels = [input_shape[0], *config.channels]
    shrink = 2 ** len(config.channels)
    height, width = input_shape[1] // shrink, input_shape[2] // shrink
    if height == 0 or width == 0:
        raise StudyError(
            f"{len(config.channels)} convolutions, each halving the image, leave nothing of "
            f"{input_shape[1]}x{input_shape[2]} pixels",
            expected="fewer channels entries, or larger images",
            where="[net] channels",
        )
    names = [f"convs.{i}" for i in range(len(config.channels))]
    shapes: dict[str, tuple[int, ...]] = {
        name: (channels[i + 1], channels[i], 3, 3) for i, name in enumerate(names)
    }
    shapes["dense"] = (config.width, channels[-1] * height * width)
    act = _ACTIVATIONS[config.activation]
    keys = [(f"{name}.weight", f"{name}.bias") for name in names]

    def features(params: Params, x: Tensor) -> Tensor:
        for weight, bias in keys:
            x = F.max_pool2d(act(F.conv2d(x, params[weight], params[bias], padding=1)), 2)
        return act(F.linear(x.flatten(1), params["dense.weight"], params["dense.bias"]))

    return {**shapes, "out": (config.width,)}, features


def _custom(path: str, input_shape: Shape, heads: Heads) -> Net:
    """A user's module; its outputs are divided among the tasks, `n_outputs` in all."""
    factory = _imported(path)
    module = _made(factory, path, input_shape, heads, generator(0, "probe"))
    buffers = {name: value.detach() for name, value in module.named_buffers()}

    def init(rng: torch.Generator) -> Params:
        fresh = _made(factory, path, input_shape, heads, rng)
        return {name: value.detach().clone() for name, value in fresh.named_parameters()}

    def features(params: Params, x: Tensor) -> Tensor:
        held = {name: value.to(x.device) for name, value in buffers.items()}
        out: Tensor = functional_call(module, (params, held), (x,))
        return out

    def head(params: Params, h: Tensor, task: int) -> Tensor:
        start, stop = heads.columns(task)
        return h[:, start:stop]

    _probe(module, path, input_shape, heads)
    last = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == heads.n_outputs
    ][-1:]
    readout = tuple(
        name
        for name, _ in module.named_parameters()
        if last and name.rpartition(".")[0] == last[0]
    )
    return Net(init, features, head, heads, input_shape, lambda task: readout)


def _imported(path: str) -> Callable[[Shape, int], nn.Module]:
    where = "[net] factory"
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise StudyError(
            f"'{path}' is no import path", expected="package.module:factory", where=where
        )
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # importing runs the user's code
        kind = (
            "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
        )
        raise StudyError(
            f"'{path}' cannot be imported: {kind}{error}",
            where=where,
            next_step="the module must be importable on every worker (installed, or in the "
            "current folder with PYTHONPATH=.)",
        ) from error
    if not callable(found):
        raise StudyError(
            f"'{path}' is a {type(found).__name__}, not callable",
            expected="factory(input_shape, n_outputs) -> torch.nn.Module",
            where=where,
        )
    factory: Callable[[Shape, int], nn.Module] = found
    return factory


def _made(
    factory: Callable[[Shape, int], nn.Module],
    path: str,
    input_shape: Shape,
    heads: Heads,
    rng: torch.Generator,
) -> nn.Module:
    """The factory's module; its own use of torch's global generator is seeded and contained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
        try:
            module = factory(input_shape, heads.n_outputs)
        except Exception as error:
            raise StudyError(
                f"'{path}' raised {type(error).__name__}: {error}",
                expected=f"factory({input_shape}, {heads.n_outputs}) -> torch.nn.Module",
                where="[net] factory",
            ) from error
    if not isinstance(module, nn.Module):
        raise StudyError(
            f"'{path}' returned a {type(module).__name__}",
            expected="a torch.nn.Module",
            where="[net] factory",
        )
    return module.float()


def _check_parameters(module: nn.Module, path: str) -> None:
    """Refuse modules of which nothing, or not everything, is trained."""
    parameters = dict(module.named_parameters())
    fixed = [name for name, value in parameters.items() if not value.requires_grad]
    if parameters and not fixed:
        return
    raise StudyError(
        f"the module of '{path}' has "
        + (f"parameters that are not to be trained: {fixed[:3]}" if fixed else "no parameters"),
        expected="parameters that are all trained",
        where="[net] factory",
        next_step="register_buffer holds constants" if fixed else "",
    )


def _probe(module: nn.Module, path: str, input_shape: Shape, heads: Heads) -> None:
    """Refuse modules whose forward pass is random, changes buffers, or has the wrong shape."""
    x = torch.rand(2, *input_shape, generator=generator(0, "probe-input"))
    before = {name: value.clone() for name, value in module.named_buffers()}
    try:
        with torch.no_grad():
            first, second = module.train()(x), module(x)
    except Exception as error:  # a forward pass runs the user's code
        raise StudyError(
            f"the module of '{path}' fails on inputs {tuple(x.shape)}: "
            f"{type(error).__name__}: {error}",
            where="[net] factory",
        ) from error
    _check_parameters(module, path)
    if not isinstance(first, Tensor):
        raise StudyError(
            f"the module of '{path}' returns a {type(first).__name__}",
            expected=f"a tensor of logits, [n_images, {heads.n_outputs}]",
            where="[net] factory",
        )
    if tuple(first.shape) != (2, heads.n_outputs):
        raise StudyError(
            f"the module of '{path}' returns shape {tuple(first.shape)} for 2 images",
            expected=f"(2, {heads.n_outputs}), one logit per class over all tasks",
            where="[net] factory",
        )
    changed = [n for n, v in module.named_buffers() if not torch.equal(v, before[n])]
    if changed or not torch.equal(first, second):
        cause = f"changes its buffers {changed}" if changed else "is random (dropout?)"
        raise StudyError(
            f"the module of '{path}' {cause} in a training-mode forward pass",
            expected="a module whose output depends on parameters and input alone",
            where="[net] factory",
            next_step="use GroupNorm or LayerNorm instead of BatchNorm, and no dropout",
        )
