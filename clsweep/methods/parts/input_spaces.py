"""The space that the inputs of each layer span, with a 1 for the bias: second moments and bases.

    C_l = Σ_n ã ãᵀ,   ã = (a, 1) the input of layer l, or a patch of a convolution

A step δW̃ of weights and bias (W, b) changes no output on inputs that lie in a space with the
projector P, if and only if δW̃ P = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.methods.parts.activation_recorder import Recorder, Use
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

_CHUNK = 128


def layer_uses(net: Net, params: Params, x: Tensor, task: int) -> list[Use]:
    """The linear layers and convolutions of a forward pass.

    Args:
        net: the network.
        params: its parameters.
        x: inputs, [B, ...].
        task: whose head is used.
    """
    with torch.no_grad(), Recorder(params) as recorder:
        net.apply(params, x, task)
    return [use for use in recorder.uses if use.weight not in recorder.opaque]


def input_rows(use: Use) -> Tensor:
    """Inputs of a layer with a 1 for the bias, a row for every example and position, [N, d].

    Args:
        use: of the layer.
    """
    if use.conv is None:
        rows = use.inputs.reshape(-1, use.inputs.shape[-1])
    else:
        rows = F.unfold(use.inputs, **use.conv).transpose(1, 2).flatten(0, 1)
    return rows if use.bias is None else torch.cat([rows, torch.ones_like(rows[:, :1])], 1)


def input_moments(net: Net, params: Params, x: Tensor, task: int) -> Params:
    """C by name of the layer's weight, float64 [d, d].

    Args:
        net: the network.
        params: its parameters.
        x: inputs, [B, ...].
        task: whose head is used.
    """
    found: Params = {}
    for part in x.split(_CHUNK):
        for use in layer_uses(net, params, part, task):
            rows = input_rows(use).double()
            moment = rows.T @ rows
            found[use.weight] = found[use.weight] + moment if use.weight in found else moment
    return found


def grown_projector(projector: Tensor, moment: Tensor, energy: float) -> Tensor:
    """P with the fewest directions more that hold a share of what the inputs are made of.

    The least k with ‖P R‖² + Σ_{i ≤ k} σ_i² ≥ ε ‖R‖², σ_i the singular values of (1 − P) R; ‖R‖²
    and σ² are trace and eigenvalues of C and of (1 − P) C (1 − P).

    Args:
        projector: P, symmetric and idempotent, float64 [d, d].
        moment: C, float64 [d, d].
        energy: ε in [0, 1].
    """
    free = torch.eye(len(projector), dtype=projector.dtype, device=projector.device) - projector
    rest = free @ moment @ free
    values, vectors = torch.linalg.eigh((rest + rest.T) / 2)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    # What rounding leaves in a direction that is taken is no energy.
    values = torch.where(values > 1e-12 * moment.trace(), values, 0.0)
    held = (moment.trace() - values.sum()).clamp(min=0)
    before = held + values.cumsum(0) - values
    n_new = int(((before < energy * moment.trace()) & (values > 0)).sum())
    new = vectors[:, :n_new]
    grown: Tensor = projector + new @ new.T
    return grown
