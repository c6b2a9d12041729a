"""Both branches of a combination computed apart, and combined as its equation says."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clsweep.methods.parts.network_combination import Alphas
from clsweep.methods.parts.network_units import Call, Unit, call_of
from clsweep.nets.norms import statistic_names
from clsweep.nets.parameter_trees import Params


class TwoBranches(TorchFunctionMode):
    """Within it, a forward pass of the source runs both branches and combines them.

    Each branch's norms use the running statistics that its parameters hold, or the batch's.
    """

    def __init__(self, units: list[Unit], alphas: Alphas, source: Params, target: Params) -> None:
        """Watch for the tensors of `source`, which the network has to be applied to.

        Args:
            units: of the network.
            alphas: coefficients by unit.
            source: parameters of the first network.
            target: parameters of the second.
        """
        super().__init__()
        self.alphas, self.branches = alphas, (source, target)
        self.units = {unit.name: unit for unit in units}
        self.units |= {f"{unit.norm}.weight": unit for unit in units if unit.norm}
        self.names = {id(value): name for name, value in source.items()}
        # Both branches of maps whose norm is still to come, by the tensor that was passed on.
        self.pending: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        call = call_of(func, args, kwargs)
        weight = "" if call is None else self.names.get(id(call.given["weight"]), "")
        if call is None or weight not in self.units:
            return func(*args, **kwargs)
        unit, x = self.units[weight], call.given["input"]
        inputs = self.pending.get(id(x), (x, x))
        source, target = (
            _branch(func, call, unit, i, params)
            for i, params in zip(inputs, self.branches, strict=True)
        )
        if call.kind == "map" and unit.norm:
            self.pending[id(source)] = source, target
            return source
        # Channels are the last axis of a linear layer's outputs, and of a layer norm's.
        last = func in (F.linear, F.layer_norm)
        size = unit.shape if last else (*unit.shape, *(1 for _ in source.shape[2:]))
        keep, add = (alpha.view(size) for alpha in self.alphas[unit.name])
        return (1 + keep) * source + add * target


def _branch(func: Any, call: Call, unit: Unit, x: Tensor, params: Params) -> Tensor:
    """The same call with the input and the parameters of one branch."""
    given, (args, kwargs) = {**call.given, "input": x}, call.others
    out: Tensor
    if call.kind == "norm":
        mean, var = (params.get(name) for name in statistic_names(unit.norm))
        gain, bias = params[f"{unit.norm}.weight"], params[f"{unit.norm}.bias"]
        out = F.batch_norm(x, mean, var, gain, bias, mean is None, 0.0, call.epsilon)
        return out
    given["weight"] = params[unit.name]
    given["bias"] = params[unit.bias] if unit.bias else None
    if call.kind == "scale":
        given["eps"] = call.epsilon
    out = func(*given.values(), *args, **kwargs)
    return out
