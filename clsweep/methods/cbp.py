"""Continual backpropagation (CBP): in every step, some units of little use start anew.

    u_i ← η u_i + (1 − η) |h_i| Σ_k |w_ik|,   h_i the unit's output, w_ik the weights that read it
    f_i ← η f_i + (1 − η) h_i
    û_i = u_i / (1 − η^a_i),   f̂_i alike,     a_i the steps since the unit started
    in every step and layer, of the units with a_i > m the share ρ that is lowest in û starts anew:
    its own weights are drawn, its bias, w_ik, u_i, f_i and a_i are 0, and w_ik f̂_i is added to the
    bias of what read it

Dohare et al. 2024, "Loss of plasticity in deep continual learning", Nature 632. |h| and h are
means over batch and positions; fractions of units are saved up until they make one. It keeps a
network able to learn, not what it has learnt: ρ = 0 is fine-tuning.

Deviations. The first task is the shared source model, trained without it. Utilities take the
weights before a step. Weights are drawn uniformly within the largest initial weight of their
layer. Moments of the optimiser stay. Heads of other tasks lose the unit as the current one does.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.methods.base import Batch, Memory, Method
from clsweep.methods.parts.activation_recorder import Recorder
from clsweep.methods.parts.layer_chain import Layer, by_inputs, by_outputs, chain_of
from clsweep.methods.parts.losses import plain_phase
from clsweep.methods.regulariser_hypers import CbpHyper
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


class Units(NamedTuple):
    """What is known of the units of a layer.

    Attributes:
        utility: u, [n].
        mean: f, [n].
        age: a, [n].
        owed: units to be replaced that are saved up, shape ().
        replaced: whether this step replaces it, bool [n].
        carried: f̂ where it is replaced, 0 elsewhere, [n].
        fresh: weights for each unit that might be replaced, [K, ...].
        rank: which of these, int64 [n].
    """

    utility: Tensor
    mean: Tensor
    age: Tensor
    owed: Tensor
    replaced: Tensor
    carried: Tensor
    fresh: Tensor
    rank: Tensor


def build(net: Net, hyper: CbpHyper) -> Method:
    """CBP of `net`; its memory is the `Units` of every hidden layer.

    Raises:
        MethodError: the network is no chain of layers.
    """
    chain = chain_of(net, "cbp")
    start = net.init(generator(0, "shapes"))
    n_fresh = {one.weight: math.ceil(hyper.rate * one.n_units) + 1 for one in chain.hidden}

    def begin(params: Params) -> Memory:
        return {name: new_units(params[name], k) for name, k in n_fresh.items()}

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        """Weights for the units that start anew, of every step."""
        found = {}
        for name, k in n_fresh.items():
            uniform = torch.rand(n_steps, k, *start[name].shape[1:], generator=rng)
            found[name] = (2 * uniform - 1) * start[name].abs().max()
        return found

    def project(
        grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        with Recorder(full) as recorder:
            net.apply(full, batch.x, task)
        found = {}
        for index, layer in enumerate(chain.hidden):
            use = recorder.uses[index + 1]
            reader = next(r for r in chain.readers(index) if r.weight == use.weight)
            h = _by_unit(use.inputs, layer.n_units)
            read = _by_unit(full[reader.weight].detach().abs().sum(0)[None], layer.n_units)
            found[layer.weight] = judged(
                memory[layer.weight],
                h.abs().mean((0, 2)) * read.sum((0, 2)),
                h.mean((0, 2)),
                batch.draw[layer.weight],
                hyper,
            )
        return grads, found

    def settle(trained: Params, memory: Memory, step_size: float, task: int) -> Params:
        found = dict(trained)
        for index, layer in enumerate(chain.hidden):
            _replace(found, layer, chain.readers(index), memory[layer.weight])
        return found

    phase = replace(plain_phase(net), draw=draw, project=project, settle=settle)
    return Method(net, hyper, (phase,), begin=begin)


def new_units(weight: Tensor, n_fresh: int) -> Units:
    """Units of which nothing is known yet.

    Args:
        weight: of their layer, [n, ...].
        n_fresh: K, how many of them one step may replace.
    """
    zero = weight.new_zeros(len(weight))
    fresh = weight.new_zeros(n_fresh, *weight.shape[1:])
    return Units(zero, zero, zero, weight.new_zeros(()), zero > 0, zero, fresh, zero.long())


def judged(units: Units, use: Tensor, mean: Tensor, fresh: Tensor, hyper: CbpHyper) -> Units:
    """The units of a layer after a step, with those that are to be replaced.

    Args:
        units: before.
        use: |h_i| Σ_k |w_ik|, [n].
        mean: h_i, [n].
        fresh: weights for those that might be replaced, [K, ...].
        hyper: ρ, η, m.
    """
    age = units.age + 1
    utility = torch.lerp(use, units.utility, hyper.decay)
    running = torch.lerp(mean, units.mean, hyper.decay)
    correction = 1 - hyper.decay**age
    is_old = age > hyper.maturity
    owed = units.owed + hyper.rate * is_old.sum()
    worth = torch.where(is_old, utility / correction, math.inf)
    rank = worth.argsort(stable=True).argsort()
    replaced = is_old & (rank < owed.floor().clamp(max=len(fresh)))
    kept = (~replaced).to(age.dtype)
    return Units(
        utility * kept,
        running * kept,
        age * kept,
        owed - replaced.sum(),
        replaced,
        torch.where(replaced, running / correction, 0.0),
        fresh,
        rank.clamp(max=len(fresh) - 1),
    )


def _replace(params: Params, layer: Layer, readers: tuple[Layer, ...], units: Units) -> None:
    """Start the replaced units of a layer anew, in `params`, whose tensors are left alone."""
    weight = params[layer.weight]
    mask = by_outputs(units.replaced, weight)
    params[layer.weight] = torch.where(mask, units.fresh[units.rank], weight)
    if layer.bias:
        params[layer.bias] = torch.where(units.replaced, 0.0, params[layer.bias])
    for reader in readers:
        weight = params[reader.weight]
        if reader.bias:
            given = (weight * by_inputs(units.carried, reader, weight)).flatten(1).sum(1)
            params[reader.bias] = params[reader.bias] + given
        mask = by_inputs(units.replaced, reader, weight)
        params[reader.weight] = torch.where(mask, 0.0, weight)


def _by_unit(values: Tensor, n_units: int) -> Tensor:
    """Inputs of a layer, or weights that read them, by the unit that they come from, [B, n, P].

    Args:
        values: [B, n · per_unit], or [B, n, ...].
        n_units: n.
    """
    return values.reshape(len(values), n_units, -1)
