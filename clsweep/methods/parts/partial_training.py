"""Training some entries of a tensor: no optimiser can move the others, by decay or by momentum.

A phase trains a copy of the tensor under a name of its own, and the network is applied to

    θ = m ∘ copy + (1 − m) ∘ θ_held,   m ∈ {0, 1} per entry

so the held entries are the same to the last bit, whatever the optimiser makes of the copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.nets.parameter_trees import Params

_COPY = "trained_part."
Masks = dict[
    str, Tensor
]  # bool by parameter name, in the parameter's shape or one broadcast to it


def copies(params: Params, masks: Masks) -> Params:
    """What a phase opens for these tensors.

    Args:
        params: of the network.
        masks: which entries are to be trained.
    """
    return {_COPY + name: params[name] for name in masks}


def with_parts(full: Params, masks: Masks) -> Params:
    """The parameters of the network with the trained entries in place, without the copies.

    Args:
        full: what a phase trains, and what it holds.
        masks: as they were opened.
    """
    parts = {name: torch.where(m, full[_COPY + name], full[name]) for name, m in masks.items()}
    held = {name: value for name, value in full.items() if not name.startswith(_COPY)}
    return {**held, **parts}
