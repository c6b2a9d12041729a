"""Memory aware synapses (MAS).

    L_t(θ) + λ Σ_i Ω_i (θ_i − θ*_i)²
    Ω_i    = (1/N) Σ_n |∂ ‖F(x_n; θ)‖²₂ / ∂θ_i|, summed over past tasks, or of the latest alone;
             F the logits of the task's head
    θ*     the latest optimum

Aljundi et al. 2018, "Memory aware synapses: learning what (not) to forget", ECCV. Labels are not
used. Note that there is no factor ½ in front of λ.

Deviations. The absolute value is taken per example, as in the paper's equation; the authors' code
takes it after summing a mini-batch, which loses parameters whose gradients cancel and depends on
the batch size: `omega = "batched"`. Their code adds up the tasks' Ω (`accumulation = "sum"`), or
begins anew for every task, which is `"latest"` where it reads the last task's data alone. The new
task's head is not penalised.
"""

from __future__ import annotations

from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.methods.parts import importance
from clsweep.methods.parts.own_estimators import own_importance
from clsweep.methods.parts.penalty import Anchor, no_anchor, penalised_phase
from clsweep.methods.regulariser_hypers import OMEGAS, MasHyper
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params, tree_map


def build(net: Net, hyper: MasHyper) -> Method:
    """MAS of `net`; its memory is one `Anchor`."""

    def begin(params: Params) -> Memory:
        return {"anchor": no_anchor(params)}

    def measure(params: Params, learnt: LearntTask) -> Params:
        if hyper.omega not in OMEGAS:
            n_examples = hyper.omega_examples
            return own_importance(hyper.omega, "omega", net, params, learnt, n_examples)
        n_examples = hyper.omega_examples
        if hyper.omega == "batched":
            return importance.batched_mas_omega(
                net, params, learnt, n_examples=n_examples, batch_size=hyper.omega_batch
            )
        return importance.mas_omega(net, params, learnt, n_examples=n_examples)

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        old: Anchor = memory["anchor"]
        omega = statistics
        if hyper.accumulation == "sum":
            omega = tree_map(lambda s, o: o + s, statistics, old.omega)
        return {"anchor": Anchor(omega, shared(params))}

    phase = penalised_phase(net, hyper.penalty_weight, hyper.form)
    return Method(net, hyper, (phase,), begin=begin, measure=measure, absorb=absorb)
