"""The units of a network: what lies between two places where two networks can be combined.

Combinations sit before every nonlinearity and at the end of a residual branch (ResCL: Lee, Joo,
Hong and Kim 2020, figure 2). Between two of them lies

    map          a linear layer or convolution
    map, norm    the same with the batch norm that alone reads it: each branch has its own norm
    norm         a batch norm of an input that both branches share
    scale        gain and bias of a group or layer norm, after the normalisation of an input that
                 both branches share; that normalisation counts as a nonlinearity

One pass over the network finds them, by the functions of torch that it calls: built-in nets and
users' modules alike.
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
from clsweep.nets.norms import EPSILON, statistic_names

_KEYS: dict[Any, tuple[str, tuple[str, ...]]] = {
    F.linear: ("map", ("input", "weight", "bias")),
    **{f: ("map", ("input", "weight", "bias")) for f in (F.conv1d, F.conv2d, F.conv3d)},
    F.batch_norm: (
        "norm",
        tuple("input running_mean running_var weight bias training momentum eps".split()),
    ),
    F.group_norm: ("scale", ("input", "num_groups", "weight", "bias", "eps")),
    F.layer_norm: ("scale", ("input", "normalized_shape", "weight", "bias", "eps")),
}


class Unit(NamedTuple):
    """A part of the network between two combinations.

    Attributes:
        name: of its weight; of the map's, where a norm follows.
        bias: name of its bias, '' for none.
        kind: 'map', 'norm' or 'scale'.
        norm: the layer of the batch norm behind a map, or of the norm itself; '' for none.
        shape: of its coefficients.
        epsilon: ε of its batch norm.
    """

    name: str
    bias: str
    kind: str
    norm: str
    shape: tuple[int, ...]
    epsilon: float


class Call(NamedTuple):
    """A function of torch that applies a weight.

    Attributes:
        kind: of the unit.
        given: its arguments by name.
        others: further arguments by keyword or position, behind the named ones.
    """

    kind: str
    given: dict[str, Any]
    others: tuple[tuple[Any, ...], dict[str, Any]]

    @property
    def epsilon(self) -> float:
        """ε of a normalisation."""
        found = self.given.get("eps")
        return EPSILON if found is None else float(found)


def call_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    """What a call of torch does, or None if it applies no weight."""
    if func not in _KEYS:
        return None
    kind, keys = _KEYS[func]
    given = dict(zip(keys, bound(keys, args, kwargs), strict=True))
    rest = {name: value for name, value in kwargs.items() if name not in keys}
    return Call(kind, given, (args[len(keys) :], rest))


def units_of(net: Net) -> list[Unit]:
    """The units of a network, in the order of its layers; a head of one task is in none.

    Args:
        net: the network.

    Raises:
        MethodError: a layer cannot be combined.
    """
    params = net.init(generator(0, "shapes"))
    for name in sorted(net.statistics):
        gain = name.rpartition(".")[0] + ".weight"
        if gain not in params:
            raise _refusal(gain, "the batch norm has no gain and bias")
        params[name] = torch.ones_like(params[gain])
    tracer = _Tracer({id(value): name for name, value in params.items()})
    x = torch.zeros(2, *net.input_shape)
    with torch.no_grad(), tracer:
        h = net.features(params, x)
        if net.heads.scenario != "task":
            net.head(params, h, len(net.heads.sizes) - 1)
    return tracer.units()


def _refusal(name: str, found: str) -> MethodError:
    return MethodError(
        f"'rescl' cannot combine the layer of parameter '{name}': {found}",
        expected="parameters of linear layers, convolutions, batch norms with gain and bias, "
        "group norms and layer norms only",
        where="[net]",
        next_step="change the layer, or compare with 'interpolate', which takes other layers too",
    )


class _Tracer(TorchFunctionMode):
    """Notes which layers a forward pass is made of, and which norm reads which map."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names = names
        self.found: dict[str, Unit] = {}
        # Outputs of maps by identity, kept alive so that an identity stays theirs.
        self.outputs: dict[int, tuple[Tensor, str]] = {}
        self.readers: dict[int, list[str]] = {}  # output -> norms that read it, '' for others
        self.inputs: dict[str, set[str]] = {}  # norm -> maps whose outputs it reads, '' for others

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not holds_tensor(out):  # a look at a shape or a device is no use
            return out
        given = _tensors((*args, *kwargs.values()))
        call = call_of(func, args, kwargs)
        unit = None if call is None else self._unit(call)
        used = set() if unit is None else {unit.name, unit.bias, *statistic_names(unit.norm)}
        for name in (self.names.get(id(a), "") for a in given):
            if name and name not in used:
                raise _refusal(name, f"it is used by '{getattr(func, '__name__', func)}'")
        reader = unit.norm if unit is not None else ""
        for tensor in given:
            if id(tensor) in self.outputs:
                self.readers[id(tensor)].append(reader)
        if unit is not None and call is not None:
            self._note(unit, call.given["input"], out)
        return out

    def _unit(self, call: Call) -> Unit | None:
        weight, bias = (self.names.get(id(call.given[key]), "") for key in ("weight", "bias"))
        if not weight:
            return None
        whole = call.given["weight"].shape
        shape = tuple(whole if call.kind == "scale" else whole[:1])
        norm = weight.rpartition(".")[0] if call.kind == "norm" else ""
        return Unit(weight, bias, call.kind, norm, shape, call.epsilon)

    def _note(self, unit: Unit, x: Tensor, out: Tensor) -> None:
        if self.found.setdefault(unit.name, unit) != unit:
            raise _refusal(unit.name, "it is used in two ways")
        if unit.kind == "map":
            self.outputs[id(out)] = out, unit.name
            self.readers[id(out)] = []
        elif unit.kind == "norm":
            made_by = self.outputs[id(x)][1] if id(x) in self.outputs else ""
            self.inputs.setdefault(unit.norm, set()).add(made_by)

    def units(self) -> list[Unit]:
        """All units; a norm that reads one map alone, and alone reads it, is that map's."""
        readers: dict[str, set[str]] = {}
        for identity, (_, name) in self.outputs.items():
            norms = self.readers[identity]
            readers.setdefault(name, set()).add(norms[0] if len(norms) == 1 else "")
        behind = {
            name: norm
            for name, norms in readers.items()
            for norm in norms
            if norm and len(norms) == 1 and self.inputs[norm] == {name}
        }
        epsilons = {unit.norm: unit.epsilon for unit in self.found.values()}
        units = []
        for unit in self.found.values():
            if unit.name in behind:
                norm = behind[unit.name]
                units.append(unit._replace(norm=norm, epsilon=epsilons[norm]))
            elif unit.norm not in behind.values():
                units.append(unit)
        return units


def _tensors(values: tuple[Any, ...]) -> list[Tensor]:
    """Tensors among arguments, in lists and tuples too."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _tensors(tuple(value))
    return found
