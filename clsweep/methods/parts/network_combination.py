"""Two networks of one architecture combined channel by channel, and their merge into one.

    y = (1 + α_s) ⊙ (W_s x) + α_t ⊙ (W_t x)        a coefficient per output channel and network

in every unit of the network (`network_units`), each branch with its own batch norm. Lee, Joo, Hong
and Kim 2020, "Residual continual learning", AAAI. While running statistics are held, every unit is
affine in its input, so that a combination *is* one network of the same shape, whose parameters
`merged` writes down. `RenewedNorms` computes both branches instead, for norms that use the batch's
statistics.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clsweep.methods.parts.network_units import Call, Unit, call_of
from clsweep.nets.norms import is_statistic, statistic_names
from clsweep.nets.parameter_trees import Params

Alphas = dict[str, tuple[Tensor, Tensor]]  # name of a unit -> (α_s, α_t), one per channel each
_SMALL = 1e-3


def merged(units: list[Unit], alphas: Alphas, source: Params, target: Params) -> Params:
    """One network that computes what the combination of both does under held statistics.

    With s = g/√(v+ε) of each branch's norm, a map with bias b and norm becomes

        c W = (1+α_s) s_s W_s + α_t s_t W_t,   c b likewise,   μ = μ_s,   v = v_s,   g = c √(v_s+ε)
        β = (1+α_s) (β_s − s_s μ_s) + α_t (β_t − s_t μ_t) + c μ_s

    where c = s_s, or s_t where s_s is too small to divide by; a norm of a shared input

        g = √(v_s+ε) ((1+α_s) s_s + α_t s_t),   β = (1+α_s) β_s + α_t (β_t + s_t (μ_s − μ_t))

    Everything is arranged such that α = (0, 0) gives the source bit for bit.

    Args:
        units: of the network.
        alphas: coefficients by unit.
        source: parameters of the first network; what is in no unit is taken from here.
        target: parameters of the second network.
    """
    found, maps, keeps, adds = dict(source), [], [], []
    for unit in units:
        keep, add = 1 + alphas[unit.name][0], alphas[unit.name][1]
        if unit.kind == "norm":
            found |= _norm(unit, keep, add, source, target)
            continue
        if unit.norm:
            affine, keep, add = _norm_behind(unit, keep, add, source, target)
            found |= affine
        maps.append((unit.name, unit.bias) if unit.bias else (unit.name,))
        keeps.append(keep)
        adds.append(add)
    if not maps:
        return found
    names = [name for both in maps for name in both]
    values = (*keeps, *adds, *(source[n] for n in names), *(target[n] for n in names))
    mixed = _Mix.apply([len(both) for both in maps], *values)
    return {**found, **dict(zip(names, mixed, strict=True))}


class _Mix(torch.autograd.Function):
    """k S + a T for the parameters S, T of every map, k and a one number per channel; S is held.

    Written down instead of differentiated: at the size of the weights every pass over memory
    counts, and with small nets every node of the graph.
    """

    @staticmethod
    def forward(sizes: list[int], *values: Tensor) -> tuple[Tensor, ...]:
        keep, add, source, target = _parts(sizes, values)
        mixed = torch._foreach_mul(source, keep)
        torch._foreach_addcmul_(mixed, target, add)
        return tuple(mixed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.sizes, *values = inputs
        ctx.save_for_backward(*values)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], sizes: list[int], *values: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Of several networks at once, differentiated as it is written."""

        def mixed(*own: Tensor) -> tuple[Tensor, ...]:
            keep, add, source, target = _parts(sizes, own)
            each = zip(keep, add, source, target, strict=True)
            return tuple(k * s + a * t for k, a, s, t in each)

        found = torch.func.vmap(mixed, in_dims=in_dims[1:])(*values)
        return found, (0,) * len(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        _, add, source, target = _parts(ctx.sizes, ctx.saved_tensors)
        likes = ctx.saved_tensors[: len(ctx.sizes)]
        to_keep = _per_channel(ctx.sizes, likes, grads, source)
        to_add = _per_channel(ctx.sizes, likes, grads, target)
        to_target = torch._foreach_mul(grads, add)
        return None, *to_keep, *to_add, *(None for _ in source), *to_target


def _parts(sizes: list[int], values: tuple[Tensor, ...]) -> list[list[Tensor]]:
    """K and a of every parameter, shaped to be multiplied with it, then S and T."""
    n, m = len(sizes), sum(sizes)
    source, target = values[2 * n : 2 * n + m], values[2 * n + m :]
    spread: list[list[Tensor]] = []
    for first in (0, n):
        each = (values[first + i] for i, size in enumerate(sizes) for _ in range(size))
        spread.append(
            [
                k.view(*k.shape, *(1 for _ in range(s.dim() - k.dim())))
                for k, s in zip(each, source, strict=True)
            ]
        )
    return [*spread, list(source), list(target)]


def _per_channel(
    sizes: list[int], likes: tuple[Tensor, ...], grads: tuple[Tensor, ...], values: list[Tensor]
) -> list[Tensor]:
    """Inner products of gradients and parameters, per map and channel."""
    found, first = [], 0
    for size, like in zip(sizes, likes, strict=True):
        total = None
        for g, value in zip(
            grads[first : first + size], values[first : first + size], strict=True
        ):
            if g.shape == like.shape:
                product = g * value
            else:
                n = like.numel()
                product = torch.linalg.vecdot(g.reshape(n, -1), value.reshape(n, -1))
            total = product if total is None else total + product
        assert total is not None
        found.append(total.view(like.shape))
        first += size
    return found


def _slope(unit: Unit, params: Params) -> Tensor:
    """The slope s = g/√(v+ε) of the unit's norm, per channel."""
    var = params[statistic_names(unit.norm)[1]]
    return params[f"{unit.norm}.weight"] * (var + unit.epsilon).rsqrt()


def _norm(unit: Unit, keep: Tensor, add: Tensor, source: Params, target: Params) -> Params:
    mean, var = statistic_names(unit.norm)
    ratio = ((source[var] + unit.epsilon) / (target[var] + unit.epsilon)).sqrt()
    shift = _slope(unit, target) * (source[mean] - target[mean])
    return {
        unit.name: keep * source[unit.name] + add * (ratio * target[unit.name]),
        unit.bias: keep * source[unit.bias] + add * (target[unit.bias] + shift),
    }


def _norm_behind(
    unit: Unit, keep: Tensor, add: Tensor, source: Params, target: Params
) -> tuple[Params, Tensor, Tensor]:
    """The norm behind a map, and the coefficients (1+α_s) s_s/c and α_t s_t/c of the map."""
    gain, bias = f"{unit.norm}.weight", f"{unit.norm}.bias"
    mean, var = statistic_names(unit.norm)
    s_s, s_t = _slope(unit, source), _slope(unit, target)
    usable = s_s.abs() > _SMALL * s_t.abs()
    c = torch.where(usable, s_s, s_t)
    c = torch.where(c == 0, torch.ones_like(c), c)
    affine = {
        gain: torch.where(usable, source[gain], c * (source[var] + unit.epsilon).sqrt()),
        bias: keep * source[bias]
        + add * target[bias]
        + (c - keep * s_s) * source[mean]
        - add * (s_t * target[mean]),
    }
    return affine, keep * (s_s / c), add * (s_t / c)


class RenewedNorms(TorchFunctionMode):
    """Within it, a forward pass of `params` is the combination with norms that are not all held.

    A branch's norms use the running statistics that its parameters hold, or those of the batch.
    Every coefficient is carried by the parameters behind it: a branch's norm has its gain and bias
    times the coefficient, held statistics are folded into the map before them, and what has no
    norm is merged. What is left to do on activations is one sum per norm.
    """

    def __init__(self, units: list[Unit], alphas: Alphas, source: Params, target: Params) -> None:
        """Merge what can be merged.

        Args:
            units: of the network.
            alphas: coefficients by unit.
            source: parameters of the first network, with or without running statistics.
            target: parameters of the second.
        """
        super().__init__()
        plain = [unit for unit in units if not unit.norm]
        self.params = {
            name: value
            for name, value in merged(plain, alphas, source, target).items()
            if not is_statistic(name)
        }
        self.names = {id(value): name for name, value in self.params.items()}
        normed = [unit for unit in units if unit.norm]
        self.units = {unit.name: unit for unit in normed}
        self.units |= {f"{unit.norm}.weight": unit for unit in normed}
        self.source, self.target = (
            {
                unit.name: _branch_of(unit, alphas[unit.name][i] + (1 - i), params)
                for unit in normed
            }
            for i, params in enumerate((source, target))
        )
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
        branches = self.source[unit.name], self.target[unit.name]
        if call.kind == "map":
            source, target = (
                func(x, branch.weight, branch.bias, *call.others[0], **call.others[1])
                for branch in branches
            )
            self.pending[id(target)] = source, target
            return target
        inputs = self.pending.get(id(x), (x, x))
        source, target = (
            branch.norm(h, unit, call) for branch, h in zip(branches, inputs, strict=True)
        )
        return source + target


class _Branch(NamedTuple):
    """One network's part in a unit with a norm, its coefficient included.

    Attributes:
        weight: of the map; None if the unit is a norm alone.
        bias: of the map, None for none.
        gain: of the norm; None if the map holds it already.
        shift: the norm's bias, None likewise.
        mean: running statistic, None for the batch's.
        var: likewise.
    """

    weight: Tensor | None
    bias: Tensor | None
    gain: Tensor | None
    shift: Tensor | None
    mean: Tensor | None
    var: Tensor | None

    def norm(self, h: Tensor, unit: Unit, call: Call) -> Tensor:
        """The branch behind its norm."""
        if self.gain is None:
            return h
        in_training = self.mean is None
        return F.batch_norm(
            h, self.mean, self.var, self.gain, self.shift, in_training, 0.0, call.epsilon
        )


def _branch_of(unit: Unit, times: Tensor, params: Params) -> _Branch:
    mean, var = (params.get(name) for name in statistic_names(unit.norm))
    gain = times * params[f"{unit.norm}.weight"]
    shift = times * params[f"{unit.norm}.bias"]
    if unit.kind == "norm":
        return _Branch(None, None, gain, shift, mean, var)
    weight, bias = params[unit.name], params[unit.bias] if unit.bias else None
    # A survey asks for statistics by empty ones, see `with_population`.
    if mean is None or var is None or not mean.numel():
        return _Branch(weight, bias, gain, shift, mean, var)
    slope = gain * (var + unit.epsilon).rsqrt()
    size = (-1, *(1 for _ in weight.shape[1:]))
    offset = shift - slope * (mean if bias is None else mean - bias)
    return _Branch(slope.view(size) * weight, offset, None, None, None, None)
