"""Gradient projection memory (GPM): steps orthogonal to what earlier tasks fed to each layer.

    g_l ← g_l − g_l M_l M_lᵀ,   M_l orthonormal bases of the inputs of layer l
    M_l after task t:  the least k left singular vectors of R̂ = R − M Mᵀ R, R the inputs of layer l
                       on examples of task t, with ‖M Mᵀ R‖² + Σ_{i ≤ k} σ_i² ≥ ε_t ‖R‖²
    ε_t = ε + (t − 1) Δε

Saha, Garg and Roy 2021, "Gradient projection memory for continual learning", ICLR. A convolution's
inputs are its patches. The first task is the shared source model.

Biases, which the authors leave out, are weights of an input that is 1: (g_W, g_b) is projected as
one matrix. Per-task heads are not projected; a head that tasks share is. Stored is M Mᵀ, of which
the record's `memory_bytes` speaks. The counter `capacity_left` is the share of gradient directions
that the tasks before the last have left, over weights and biases that are projected.

Deviations. The authors' code takes one vector less than its rule on the first task. The study's
weight decay does not act, since it would leave the space; an adaptive optimiser or momentum
rescales or remembers projected gradients: the authors train with plain SGD. Gains of group norms
are held after the first task. Batch norms are refused: their running statistics belong to a task.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.isolation_hypers import GpmHyper
from clsweep.methods.parts.batch_norms import refuse_batch_norms
from clsweep.methods.parts.input_spaces import grown_projector, input_moments, layer_uses
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: GpmHyper) -> Method:
    """GPM of `net`; its memory holds M Mᵀ by layer.

    Raises:
        MethodError: the network has batch norms.
    """
    refuse_batch_norms(net, "gpm")
    shapes = net.init(generator(0, "shapes"))
    trunk = shared(shapes)
    uses = layer_uses(net, shapes, torch.zeros(1, *net.input_shape), 0)
    biases = {u.weight: u.bias or "" for u in uses if u.weight in trunk}

    def begin(params: Params) -> Memory:
        sizes = {n: params[n][0].numel() + bool(bias) for n, bias in biases.items()}
        device = next(iter(params.values())).device
        zeros = {n: torch.zeros(d, d, device=device) for n, d in sizes.items()}
        return {"projectors": zeros}

    def open_layers(params: Params, memory: Memory, task: int) -> Params:
        held = trunk.keys() - {*biases, *biases.values()}
        return {name: value for name, value in params.items() if name not in held}

    def steer(grads: Params, full: Params, memory: Memory, batch: Batch, task: int) -> Params:
        found = dict(grads)
        for name, projector in memory["projectors"].items():
            if name in grads:
                found |= projected(grads, name, biases[name], projector)
        return found

    def measure(params: Params, learnt: LearntTask) -> Params:
        data = learnt.task.train
        index = torch.randperm(len(data), generator=learnt.rng)[: hyper.examples]
        x = learnt.scale(data.raw(index.to(data.labels.device)))
        moments = input_moments(net, params, x, learnt.task.index)
        return {name: moments[name] for name in biases}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        energy = min(1.0, hyper.threshold + learnt.task.index * hyper.growth)
        projectors = {}
        for name, old in memory["projectors"].items():
            grown = grown_projector(old.double(), statistics[name], energy)
            projectors[name] = grown.to(old.dtype)
        return {"projectors": projectors}

    def counters(params: Params, memory: Memory) -> dict[str, float]:
        n_all = n_free = 0.0
        for name, projector in memory["projectors"].items():
            n_outputs = len(params[name])
            n_all += n_outputs * len(projector)
            n_free += n_outputs * (len(projector) - float(projector.trace()))
        return {"capacity_left": n_free / n_all if n_all else 0.0}

    phase = Phase("train", plain_phase(net).loss, open=open_layers, steer=steer, decays=False)
    return Method(
        net, hyper, (phase,), begin=begin, measure=measure, absorb=absorb, counters=counters
    )


def projected(grads: Params, weight: str, bias: str, projector: Tensor) -> Params:
    """Gradients of a layer without their part in a space of inputs.

    Args:
        grads: by parameter.
        weight: name of the layer's weight.
        bias: name of its bias, '' for none.
        projector: M Mᵀ, [d, d].
    """
    g = grads[weight].flatten(1)
    wide = torch.cat([g, grads[bias][:, None]], 1) if bias else g
    rest = wide - wide @ projector
    n = g.shape[1]
    found = {weight: rest[:, :n].reshape(grads[weight].shape)}
    return {**found, bias: rest[:, n]} if bias else found
