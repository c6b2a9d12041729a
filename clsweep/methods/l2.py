"""An anchor without importance (L2, "L2-SP" in transfer learning).

    L_t(θ) + (λ/2) Σ_i (θ_i − θ*_i)²,   θ* the latest optimum

The control for every weighted penalty: what remains of EWC, MAS or SI when all importances are 1.
Kirkpatrick et al. 2017, PNAS 114(13), compare with it as "L2"; Li et al. 2018, "Explicit inductive
bias for transfer learning", ICML.

Deviations. One anchor, the latest optimum; some libraries add one per task. Per-task heads are not
penalised.
"""

from __future__ import annotations

from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.methods.parts.penalty import Anchor, penalised_phase
from clsweep.methods.regulariser_hypers import L2Hyper
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params, tree_map


def build(net: Net, hyper: L2Hyper) -> Method:
    """The plain anchor of `net`; its memory is an `Anchor` with one number per tensor for ω."""
    phase = penalised_phase(net, hyper.penalty_weight, hyper.form)
    return Method(net, hyper, (phase,), begin=_begin, absorb=_absorb)


def _begin(params: Params) -> Memory:
    trunk = shared(params)
    return {"anchor": Anchor(tree_map(lambda value: value.new_zeros(()), trunk), trunk)}


def _absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
    trunk = shared(params)
    return {"anchor": Anchor(tree_map(lambda value: value.new_ones(()), trunk), trunk)}
