"""Plain fine-tuning: each task is trained in turn, nothing protects the earlier ones.

    min_θ L_t(θ), started from θ*_{t−1}

It is the λ = 0 end of every regularised method and the reference for plasticity.
"""

from __future__ import annotations

from clsweep.methods.base import Method
from clsweep.methods.hypers import NoHyper
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.net import Net


def build(net: Net, hyper: NoHyper) -> Method:
    """Fine-tuning of `net`."""
    return Method(net, hyper, (plain_phase(net),))
