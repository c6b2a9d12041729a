"""A network as a chain: layers of units, each of which reads the units of the layer before alone.

Fully connected and convolutional networks without shortcuts are such chains. A convolution's units
are its channels; where a linear layer reads flattened maps, a unit stands for several of its
inputs in a row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clsweep.data.rng import generator
from clsweep.errors import MethodError
from clsweep.methods.parts.activation_recorder import bound, holds_tensor
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


class Layer(NamedTuple):
    """A linear layer or convolution.

    Attributes:
        weight: name of its weight, [n_units, n_inputs, ...].
        bias: name of its bias, '' for none.
        n_units: its outputs, or channels.
        per_unit: inputs per unit of the layer before; 1 for the first layer.
    """

    weight: str
    bias: str
    n_units: int
    per_unit: int


class Chain(NamedTuple):
    """The layers of a network.

    Attributes:
        hidden: in their order.
        heads: that read the last of them: one per task, or the one that all tasks share.
    """

    hidden: tuple[Layer, ...]
    heads: tuple[Layer, ...]

    def readers(self, index: int) -> tuple[Layer, ...]:
        """The layers that read a hidden layer.

        Args:
            index: of the hidden layer.
        """
        return self.hidden[index + 1 : index + 2] or self.heads


def chain_of(net: Net, method: str) -> Chain:
    """The layers of a network.

    Args:
        net: the network.
        method: its name in study files, for messages.

    Raises:
        MethodError: it is no chain, or has parameters that are in no layer.
    """
    params = net.init(generator(0, "shapes"))
    x = torch.zeros(2, *net.input_shape)
    heads = []
    hidden: tuple[Layer, ...] = ()
    for task in range(len(net.heads.sizes) if net.heads.scenario == "task" else 1):
        tracer = _Tracer({id(value): name for name, value in params.items()}, params, method)
        with torch.no_grad(), tracer:
            net.apply(params, x, task)
        if not tracer.layers:
            raise _refusal(method, "it has no linear layer or convolution")
        *before, last = tracer.layers
        hidden = tuple(before)
        if last not in heads:
            heads.append(last)
    named = {name for layer in (*hidden, *heads) for name in (layer.weight, layer.bias)}
    odd = sorted(params.keys() - named)
    if odd:
        raise _refusal(method, f"the parameter '{odd[0]}' is in no linear layer or convolution")
    return Chain(hidden, tuple(heads))


def by_inputs(values: Tensor, reader: Layer, weight: Tensor) -> Tensor:
    """A number per unit, laid out so that it multiplies the weights that read it.

    Args:
        values: of the units of a layer, [n_units].
        reader: a layer that reads them.
        weight: of the reader.
    """
    wide = values.repeat_interleave(reader.per_unit) if reader.per_unit > 1 else values
    return wide.reshape(1, -1, *(1 for _ in weight.shape[2:]))


def by_outputs(values: Tensor, weight: Tensor) -> Tensor:
    """A number per unit, laid out so that it multiplies the weights that make it.

    Args:
        values: of the units of a layer, [n_units].
        weight: of the layer.
    """
    return values.reshape(-1, *(1 for _ in weight.shape[1:]))


def _refusal(method: str, found: str) -> MethodError:
    return MethodError(
        f"'{method}' cannot tell the units of this network: {found}",
        expected="linear layers and convolutions that follow each other, without norms and "
        "shortcuts: 'mlp', 'lenet', 'conv' with norm = 'none', or a module like these",
        where="[net]",
        next_step=f"choose such a network, or remove '{method}' from the study",
    )


class _Tracer(TorchFunctionMode):
    """Notes which layer every tensor of a forward pass comes from."""

    def __init__(self, names: dict[int, str], params: Params, method: str) -> None:
        super().__init__()
        self.names, self.params, self.method = names, params, method
        self.layers: list[Layer] = []
        # Layer by tensor; the tensors are kept alive, so that an identity stays theirs.
        self.made_by: dict[int, int] = {}
        self.kept: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not holds_tensor(out):  # a look at a shape or a device is no use
            return out
        given = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        named = [self.names[id(v)] for v in given if id(v) in self.names]
        sources = {self.made_by[id(v)] for v in given if id(v) in self.made_by}
        if len(sources) > 1:
            raise _refusal(self.method, "layers are added up or joined")
        source = max(sources, default=-1)
        if named:
            x, weight, bias = bound(("input", "weight", "bias"), args, kwargs)
            is_layer = func in (F.linear, F.conv2d) and id(weight) in self.names
            groups = bound(("", "", "", "", "", "", "groups"), args, kwargs)[6]
            if not is_layer or groups not in (None, 1):
                raise _refusal(self.method, f"'{named[0]}' is used by '{func.__name__}'")
            if source != len(self.layers) - 1:
                raise _refusal(self.method, "two layers read the same units")
            n_before = self.layers[-1].n_units if self.layers else weight.shape[1]
            name = "" if bias is None else self.names[id(bias)]
            per_unit = weight.shape[1] // n_before
            self.layers.append(Layer(self.names[id(weight)], name, len(weight), per_unit))
            source = len(self.layers) - 1
        if source >= 0:
            for one in (out,) if isinstance(out, Tensor) else out:
                if isinstance(one, Tensor):
                    self.made_by[id(one)] = source
                    self.kept.append(one)
        return out
