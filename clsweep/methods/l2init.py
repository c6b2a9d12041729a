"""L2 Init (regenerative regularisation): an anchor at the initial weights, for plasticity.

    L_t(θ) + λ Σ_i (θ_i − θ_{0,i})²,   θ_0 the weights before the first task

Kumar, Marklund and Van Roy 2023, "Maintaining plasticity in continual learning via regenerative
regularization", arXiv 2308.11958. It keeps a network able to learn, not what it has learnt: what
`l2` pulls towards the last optimum, this pulls towards the start. No factor ½ in front of λ.

Deviations. The first task is the shared source model, trained without the penalty. Per-task heads
are not penalised: each begins its own task at its initial weights.
"""

from __future__ import annotations

from clsweep.methods.base import Memory, Method
from clsweep.methods.parts.penalty import Anchor, penalised_phase
from clsweep.methods.regulariser_hypers import L2initHyper
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params, tree_map


def build(net: Net, hyper: L2initHyper) -> Method:
    """L2 Init of `net`; its memory is an `Anchor` with one number per tensor for ω."""
    return Method(
        net, hyper, (penalised_phase(net, hyper.penalty_weight, hyper.form),), begin=_begin
    )


def _begin(params: Params) -> Memory:
    trunk = shared(params)
    return {"anchor": Anchor(tree_map(lambda value: value.new_ones(()), trunk), trunk)}
