"""Elastic weight consolidation (EWC), with separate anchors or in the corrected online form.

    separate   L_t(θ) + Σ_{k<t} (λ/2) Σ_i F_{k,i} (θ_i − θ*_{k,i})²
    online     L_t(θ) + (λ/2) γ Σ_i F̃_{t−1,i} (θ_i − θ*_{t−1,i})²,   F̃_t = γ F̃_{t−1} + F_t
    F_k        diagonal of the Fisher information at θ*_k, a mean over examples of task k

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks", PNAS 114(13).
Online form: Huszár 2018 (PNAS 115(11)), who shows that the penalty belongs at the latest optimum
alone; Schwarz et al. 2018, "Progress & Compress", ICML, for γ.

Deviations. Schwarz et al. normalise each task's Fisher; here it is used as estimated. Per-task
heads are not penalised: nothing but their own task moves them. The separate anchors are stored as
one (their importance-weighted mean), which has the same gradient. The estimator decides the scale
of λ, by up to five decades: see `clsweep.methods.parts.importance`.
"""

from __future__ import annotations

from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.methods.parts import importance
from clsweep.methods.parts.own_estimators import own_importance
from clsweep.methods.parts.penalty import Anchor, merged_anchor, no_anchor, penalised_phase
from clsweep.methods.regulariser_hypers import FISHERS, EwcHyper
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params, tree_map


def build(net: Net, hyper: EwcHyper) -> Method:
    """EWC of `net`; its memory is one `Anchor`."""

    def begin(params: Params) -> Memory:
        return {"anchor": no_anchor(params)}

    def measure(params: Params, learnt: LearntTask) -> Params:
        if hyper.fisher not in FISHERS:
            n_examples = hyper.fisher_examples
            return own_importance(hyper.fisher, "fisher", net, params, learnt, n_examples)
        return importance.fisher_diag(
            net,
            params,
            learnt,
            estimator=hyper.fisher,
            n_examples=hyper.fisher_examples,
            batch_size=hyper.fisher_batch,
        )

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        old: Anchor = memory["anchor"]
        if hyper.anchor == "separate":
            return {"anchor": merged_anchor(old, statistics, shared(params))}
        omega = tree_map(lambda f, o: o * hyper.gamma + f, statistics, old.omega)
        return {"anchor": Anchor(omega, shared(params))}

    phase = penalised_phase(net, hyper.penalty_weight, hyper.form)
    return Method(net, hyper, (phase,), begin=begin, measure=measure, absorb=absorb)
