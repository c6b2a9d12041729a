"""The gradient of a quadratic penalty beside that of a loss."""

from __future__ import annotations

import torch

from clsweep.methods.base import Pull
from clsweep.nets.parameter_trees import Params


def with_penalty_gradient(grads: Params, params: Params, pull: Pull) -> Params:
    """`grads` plus w ω (θ − θ*); names without an entry in `grads` stay without one.

    Args:
        grads: gradient of the loss, by name.
        params: θ.
        pull: ω, θ* and w.
    """
    pulled = {}
    with torch.no_grad():
        for name, omega in pull.omega.items():
            if name in grads:
                # Tensor by tensor, and written over itself: few bytes pass through the cache.
                moved = params[name] - pull.star[name]
                pulled[name] = torch.addcmul(
                    grads[name], moved, omega, value=pull.weight, out=moved
                )
    return {**grads, **pulled}
