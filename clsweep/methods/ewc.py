"""Elastic weight consolidation (EWC), with separate anchors or in the corrected online form.

    separate   L_t(θ) + Σ_{k<t} (λ/2) Σ_i F_{k,i} (θ_i − θ*_{k,i})²
    online     L_t(θ) + (λ/2) γ Σ_i F̃_{t−1,i} (θ_i − θ*_{t−1,i})²,   F̃_t = γ F̃_{t−1} + F_t
    F_k        diagonal of the Fisher information at θ*_k, a mean over examples of task k

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks", PNAS 114(13).
Online form: Huszár 2018 (PNAS 115(11)), who shows that the penalty belongs at the latest optimum
alone; Schwarz et al. 2018, "Progress & Compress", ICML, for γ.

Deviations. Schwarz et al. normalise each task's Fisher, and do not say by what: `normalise` offers
its Frobenius norm and its largest entry; by default it is used as estimated. Per-task heads are
not penalised: nothing but their own task moves them. The separate anchors are stored as one (their
importance-weighted mean), which has the same gradient. `fisher = "kfac"` takes Kronecker factors
instead of the diagonal, see `clsweep.methods.parts.kronecker`: they are kept per task, and the
penalty acts by its gradient. The estimator decides the scale of λ, by up
to five decades: see `clsweep.methods.parts.importance`.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from clsweep.methods.base import Batch, LearntTask, Memory, Method
from clsweep.methods.parts import importance, kronecker
from clsweep.methods.parts.losses import plain_phase
from clsweep.methods.parts.own_estimators import own_importance
from clsweep.methods.parts.penalty import Anchor, merged_anchor, no_anchor, penalised_phase
from clsweep.methods.regulariser_hypers import FISHERS, EwcHyper
from clsweep.methods.shared_numbers import is_on
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params, tree_map


def build(net: Net, hyper: EwcHyper) -> Method:
    """EWC of `net`; its memory is one `Anchor`, or the `Curvature` of every task for 'kfac'.

    Raises:
        MethodError: the network shares a parameter that 'kfac' has no factors for.
    """
    if hyper.fisher == "kfac" and is_on(hyper.lam):
        return _kronecker_factored(net, hyper)

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
            # Without a penalty no factors are kept, so that λ = 0 is one thing.
            estimator="exact" if hyper.fisher == "kfac" else hyper.fisher,
            n_examples=hyper.fisher_examples,
            batch_size=hyper.fisher_batch,
        )

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        old: Anchor = memory["anchor"]
        statistics = normalised(statistics, hyper.normalise)
        if hyper.anchor == "separate":
            return {"anchor": merged_anchor(old, statistics, shared(params))}
        omega = tree_map(lambda f, o: o * hyper.gamma + f, statistics, old.omega)
        return {"anchor": Anchor(omega, shared(params))}

    phase = penalised_phase(net, hyper.penalty_weight, hyper.form)
    return Method(net, hyper, (phase,), begin=begin, measure=measure, absorb=absorb)


def _kronecker_factored(net: Net, hyper: EwcHyper) -> Method:
    layers, is_online = kronecker.layers_of(net), hyper.anchor == "online"
    n_tasks = len(net.heads.sizes) - 1  # the last is not absorbed

    def begin(params: Params) -> Memory:
        n_stars = 1 if is_online else n_tasks
        return {"curvature": kronecker.no_curvature(layers, params, n_tasks, n_stars)}

    def measure(params: Params, learnt: LearntTask) -> Params:
        return kronecker.factors(net, params, learnt, hyper.fisher_examples)

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        old, task = memory["curvature"], learnt.task.index
        gamma = hyper.gamma if is_online else 1.0
        return {"curvature": kronecker.extended(old, statistics, layers, params, task, gamma)}

    def steer(grads: Params, full: Params, memory: Memory, batch: Batch, task: int) -> Params:
        curvature = memory["curvature"]
        return kronecker.with_kronecker_gradient(
            grads, full, layers, curvature, hyper.penalty_weight
        )

    phase = replace(plain_phase(net), steer=steer)
    return Method(net, hyper, (phase,), begin=begin, measure=measure, absorb=absorb)


def normalised(fisher: Params, by: str) -> Params:
    """A task's Fisher divided by its size over the whole network; zero where it is zero.

    Args:
        fisher: F ≥ 0, by parameter name.
        by: 'norm' for √Σ F², 'max' for the largest entry, 'none' for 1.
    """
    if by == "none" or not fisher:
        return fisher
    sizes = torch.stack([f.square().sum() if by == "norm" else f.max() for f in fisher.values()])
    size = sizes.sum().sqrt() if by == "norm" else sizes.max()
    size = torch.where(size > 0, size, torch.ones_like(size))
    return tree_map(lambda f: f / size, fisher)
