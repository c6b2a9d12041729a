"""Kronecker-factored Fisher: one pair of matrices per layer instead of a number per parameter.

    F_l ≈ A_l ⊗ G_l,   A_l = E[ã ãᵀ],   G_l = E_x E_{y~p(y|x)}[δ δᵀ]

ã = (a, 1) is the input of layer l with a 1 for the bias, δ the gradient of log p(y|x) at its
output; the expectation over y is taken in full. Convolutions: A sums over positions, G is the mean
over them (Grosse and Martens 2016). The penalty of tasks k with optima W̃_k = (W, b) is

    ½ w Σ_k Σ_l ⟨ΔW̃, G_{k,l} ΔW̃ A_{k,l}⟩,   ΔW̃ = W̃ − W̃_k

Ritter, Botev and Barber 2018, "Online structured Laplace approximations for overcoming
catastrophic forgetting", NeurIPS; Martens and Grosse 2015. E[A ⊗ G] is E[A] ⊗ E[G] where a and δ
are independent or δ δᵀ has one mean for all inputs, as in a linear layer with a Gaussian
likelihood. The sum over tasks is kept task by task, since it is no Kronecker product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.errors import MethodError
from clsweep.methods.base import LearntTask
from clsweep.methods.parts.activation_recorder import Recorder
from clsweep.methods.parts.importance import chunks
from clsweep.methods.parts.input_spaces import input_rows, layer_uses
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params

_INPUTS, _OUTPUTS = "inputs.", "outputs."
_CHUNK = 256


class Curvature(NamedTuple):
    """The quadratic forms of all past tasks.

    Attributes:
        omega: A as 'inputs.<weight>' [T, d, d], G as 'outputs.<weight>' [T, o, o]; zero for tasks
            to come.
        star: W̃_k by weight, [T, o, d], or [1, o, d] where all tasks pull to the latest.
    """

    omega: Params
    star: Params


def layers_of(net: Net) -> dict[str, str]:
    """Name of the bias by name of the weight, of the layers that all tasks share; '' for none.

    Args:
        net: the network.

    Raises:
        MethodError: it shares a parameter that is in no linear layer or convolution.
    """
    params = net.init(generator(0, "shapes"))
    trunk = shared(params)
    uses = layer_uses(net, params, torch.zeros(1, *net.input_shape), 0)
    layers = {use.weight: use.bias or "" for use in uses if use.weight in trunk}
    odd = sorted(trunk.keys() - {*layers, *layers.values()})
    if odd:
        raise MethodError(
            f"fisher = 'kfac' has no factors for the parameter '{odd[0]}', which is in no linear "
            "layer or convolution",
            expected="a network without norms, or another estimator of the Fisher",
            where="[net]",
            next_step="set net.norm = 'none', or another fisher",
        )
    return layers


def factors(net: Net, params: Params, learnt: LearntTask, n_examples: int = 0) -> Params:
    """A as 'inputs.<weight>' and G as 'outputs.<weight>' of a task, by shared layer.

    Args:
        net: the network.
        params: θ*.
        learnt: the task, whose head is used.
        n_examples: examples to use, drawn at random; 0 for all.
    """
    layers, found = layers_of(net), dict[str, Tensor]()
    n = 0
    for x, _ in chunks(learnt, n_examples, _CHUNK):
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        with torch.enable_grad(), Recorder(leaves) as recorder:
            logits = net.apply(leaves, x, learnt.task.index)
        uses = [use for use in recorder.uses if use.weight in layers]
        outputs = [use.output for use in uses]
        log_p = logits.log_softmax(1)
        p = log_p.detach().exp()
        for use in uses:
            rows = input_rows(use)
            _add(found, _INPUTS + use.weight, rows.T @ rows)
        for c in range(p.shape[1] if uses else 0):
            deltas = torch.autograd.grad(log_p[:, c].sum(), outputs, retain_graph=True)
            for use, delta in zip(uses, deltas, strict=True):
                if use.conv:
                    wide = delta.flatten(2).transpose(1, 2)  # [B, positions, o]
                else:
                    wide = delta.reshape(len(delta), -1, delta.shape[-1])
                weighted = wide * (p[:, c] / wide.shape[1]).reshape(-1, 1, 1)
                gram = weighted.flatten(0, 1).T @ wide.flatten(0, 1)
                _add(found, _OUTPUTS + use.weight, gram)
        n += len(x)
    return {name: value / n for name, value in found.items()}


def no_curvature(layers: dict[str, str], params: Params, n_tasks: int, n_stars: int) -> Curvature:
    """Room for as many tasks.

    Args:
        layers: as `layers_of` finds them.
        params: of the network.
        n_tasks: T.
        n_stars: T, or 1 where all tasks pull to the latest optimum.
    """
    omega, star = {}, {}
    for weight, bias in layers.items():
        wide = with_bias(params, weight, bias)
        o, d = wide.shape
        omega[_INPUTS + weight] = wide.new_zeros(n_tasks, d, d)
        omega[_OUTPUTS + weight] = wide.new_zeros(n_tasks, o, o)
        star[weight] = wide.repeat(n_stars, 1, 1)
    return Curvature(omega, star)


def extended(
    old: Curvature, new: Params, layers: dict[str, str], params: Params, task: int, gamma: float
) -> Curvature:
    """The forms with those of one task more.

    Args:
        old: of the tasks before.
        new: factors of the task, as `factors` makes them.
        layers: as `layers_of` finds them.
        params: θ* of the task.
        task: its index.
        gamma: γ, by which the forms of the tasks before are multiplied.
    """
    omega, star = {}, {}
    for name, value in old.omega.items():
        kept = value * gamma if name.startswith(_OUTPUTS) else value.clone()
        kept[task] = new[name]
        omega[name] = kept
    for weight, bias in layers.items():
        star[weight] = old.star[weight].clone()
        star[weight][min(task, len(star[weight]) - 1)] = with_bias(params, weight, bias)
    return Curvature(omega, star)


def with_kronecker_gradient(
    grads: Params, params: Params, layers: dict[str, str], curvature: Curvature, weight: float
) -> Params:
    """`grads` plus w Σ_k G_k ΔW̃_k A_k; names without an entry in `grads` stay without one.

    Args:
        grads: gradient of the loss, by name.
        params: θ.
        layers: as `layers_of` finds them.
        curvature: A, G and W̃_k of past tasks.
        weight: w ≥ 0.
    """
    found = dict(grads)
    for name, bias in layers.items():
        if name not in grads:
            continue
        moved = with_bias(params, name, bias) - curvature.star[name]
        a, g = curvature.omega[_INPUTS + name], curvature.omega[_OUTPUTS + name]
        pulled = weight * (g @ moved @ a).sum(0)
        n = grads[name].flatten(1).shape[1]
        found[name] = grads[name] + pulled[:, :n].reshape(grads[name].shape)
        if bias:
            found[bias] = grads[bias] + pulled[:, n]
    return found


def with_bias(params: Params, weight: str, bias: str) -> Tensor:
    """W̃ = (W, b) of a layer, [o, d].

    Args:
        params: of the network.
        weight: name of the weight.
        bias: name of the bias, '' for none.
    """
    flat = params[weight].detach().flatten(1)
    return torch.cat([flat, params[bias].detach()[:, None]], 1) if bias else flat


def _add(total: Params, name: str, value: Tensor) -> None:
    total[name] = total[name] + value if name in total else value
