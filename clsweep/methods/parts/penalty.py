"""Quadratic penalties ½ w Σ_i ω_i (θ_i − θ*_i)²: written-down gradient and proximal step.

The gradient is not differentiated but written down: one subtraction and one fused multiply-add per
tensor, instead of a graph through every parameter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from clsweep.methods.base import Memory, Phase, Pull
from clsweep.methods.parts.losses import plain_phase
from clsweep.methods.shared_numbers import Form
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params, zeros_like

# Up to here η w ω stays within float32 for every importance of a network that has not diverged.
_LARGE = 1e15


class Anchor(NamedTuple):
    """A diagonal quadratic form.

    Attributes:
        omega: importances ω ≥ 0, by parameter name; a shape () stands for all of a tensor.
        star: the point θ* that it pulls towards, same names, shapes of the parameters.
    """

    omega: Params
    star: Params


def no_anchor(params: Params) -> Anchor:
    """Zero importance on every shared parameter."""
    trunk = shared(params)
    return Anchor(zeros_like(trunk), trunk)


def merged_anchor(old: Anchor, omega: Params, star: Params) -> Anchor:
    """One form with the gradient of the sum of two: Σ_k ω_k (θ − θ*_k) = (Σ ω_k)(θ − m).

    m is the mean of the anchors weighted by importance, updated so that a parameter whose anchors
    coincide keeps it exactly; where no importance exists it is the new anchor. Any number of
    separate anchors thus costs the memory of one.
    """
    total = {name: old.omega[name] + value for name, value in omega.items()}
    mean = {}
    for name, value in omega.items():
        share = torch.where(total[name] > 0, value / total[name], torch.ones_like(value))
        mean[name] = torch.lerp(old.star[name], star[name], share)
    return Anchor(total, mean)


def proximal(params: Params, anchor: Anchor, weight: float, step_size: float) -> Params:
    """argmin_z ½‖z − θ‖² + η ½ w Σ ω (z − θ*)² = (θ + η w ω θ*) / (1 + η w ω).

    Stable for every η w ω, where the gradient form diverges beyond η w ω = 2. The metric is the
    plain one whatever the optimiser, also where that rescales the gradient. Written as
    θ − (θ − θ*) η w ω / (1 + η w ω), so that it changes no bit where the weight is zero or the
    parameter stands at its anchor.

    Args:
        params: θ, after the optimiser's step.
        anchor: ω and θ*.
        weight: w ≥ 0.
        step_size: η, the learning rate of the step that was made.
    """
    names = list(anchor.omega)
    if not names:  # a network that shares nothing between its tasks
        return params
    thetas = [params[name] for name in names]
    moved = torch._foreach_sub(thetas, [anchor.star[name] for name in names])
    share = _shares([anchor.omega[name] for name in names], weight * step_size)
    settled = torch._foreach_addcmul(thetas, moved, share, -1.0)
    return {**params, **dict(zip(names, settled, strict=True))}


def _shares(omegas: list[Tensor], scale: float) -> tuple[Tensor, ...]:
    """η w ω / (1 + η w ω), by tensor, for a scale η w ≥ 0 of any size."""
    if scale <= _LARGE:
        shares = torch._foreach_mul(omegas, scale)
        torch._foreach_div_(shares, torch._foreach_add(shares, 1.0))
        return shares
    # η w ω may be beyond float32, and its share infinity by infinity. Divided by η w instead;
    # below the smallest number that float32 holds to full precision, ω = 0 would be 0 by 0.
    smallest = max(1 / scale, torch.finfo(torch.float32).tiny)
    return torch._foreach_div(omegas, torch._foreach_add(omegas, smallest))


def penalised_phase(net: Net, weight: float, form: Form) -> Phase:
    """Plain training plus the penalty towards `memory["anchor"]`.

    Args:
        net: the network.
        weight: w, in front of ½ Σ ω (θ − θ*)².
        form: 'gradient', or 'proximal' for a step of its own.
    """

    def pull(memory: Memory) -> Pull:
        anchor: Anchor = memory["anchor"]
        return Pull(anchor.omega, anchor.star, weight)

    def settle(trained: Params, memory: Memory, step_size: float, task: int) -> Params:
        return proximal(trained, memory["anchor"], weight, step_size)

    plain = plain_phase(net)
    if form == "proximal":
        return replace(plain, settle=settle, proximal=pull)
    return replace(plain, pull=pull)
