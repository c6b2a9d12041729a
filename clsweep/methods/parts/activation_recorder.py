"""Recorder of a forward pass: the inputs and outputs of the linear maps of each parameter.

From these, and the loss's gradient δ at the outputs, follow the gradients of single examples
(`importance`) and of groups of examples (`task_gradients`), one backward pass for all of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clsweep.nets.parameter_trees import Params


class Use(NamedTuple):
    """One application of a linear map: y = W a + b."""

    weight: str
    bias: str | None
    inputs: Tensor
    output: Tensor
    conv: dict[str, Any] | None  # unfolding arguments; None for a linear layer


class Recorder(TorchFunctionMode):
    """Notes every linear layer and convolution whose weight is a parameter.

    Working at the level of torch's functions, it sees built-in nets and users' modules alike.
    """

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.names = {id(value): name for name, value in params.items()}
        self.uses: list[Use] = []
        self.opaque: set[str] = set()  # parameters used in any other way

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not holds_tensor(out):  # a look at a shape or a device is no use
            return out
        named = [self.names[id(a)] for a in (*args, *kwargs.values()) if id(a) in self.names]
        if named:
            use = self._use(func, args, kwargs, out)
            if use is None:
                self.opaque.update(named)
            else:
                self.uses.append(use)
        return out

    def _use(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> Use | None:
        if func is F.linear:
            x, weight, bias = bound(("input", "weight", "bias"), args, kwargs)
            conv = None
        elif func is F.conv2d:
            keys = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
            x, weight, bias, stride, padding, dilation, groups = bound(keys, args, kwargs)
            if isinstance(padding, str) or (groups or 1) != 1:
                return None
            conv = {
                "kernel_size": tuple(weight.shape[2:]),
                "stride": stride or 1,
                "padding": padding or 0,
                "dilation": dilation or 1,
            }
        else:
            return None
        if id(weight) not in self.names or (bias is not None and id(bias) not in self.names):
            return None
        name = None if bias is None else self.names[id(bias)]
        return Use(self.names[id(weight)], name, x.detach(), out, conv)


def bound(keys: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Positional and keyword arguments in the order of `keys`, None where absent."""
    return [args[i] if i < len(args) else kwargs.get(key) for i, key in enumerate(keys)]


def holds_tensor(out: Any) -> bool:
    """Whether a function returned a tensor, or several."""
    return isinstance(out, Tensor) or (
        isinstance(out, tuple | list) and any(isinstance(part, Tensor) for part in out)
    )
