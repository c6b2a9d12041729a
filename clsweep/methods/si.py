"""Synaptic intelligence (SI).

    L_t(θ) + c Σ_i Ω_i (θ_i − θ*_i)²
    Ω_i    ← max(0, Ω_i + ω_i / (Δ_i² + ξ)) after every task
    ω_i    = Σ_steps −g_i Δθ_i along the task's training, g the gradient of the unregularised loss,
             Δθ the change that the optimiser made
    Δ_i    = total displacement over the task; θ* the latest optimum

Zenke, Poole and Ganguli 2017, "Continual learning through synaptic intelligence", ICML. No factor
½ in front of c. The clamp at zero acts on the accumulated Ω, as in the authors' code. ω has to be
recorded while a task trains, so the source model is always trained with it.

Deviations. Per-task heads are not penalised. `path_gradient = "total"` takes g after the penalty
was added, as several public implementations do.
"""

from __future__ import annotations

from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.methods.parts.penalty import Anchor, no_anchor, penalised_phase
from clsweep.methods.regulariser_hypers import SiHyper
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: SiHyper) -> Method:
    """SI of `net`; its memory is one `Anchor`."""

    def begin(params: Params) -> Memory:
        return {"anchor": no_anchor(params)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        trace, old = learnt.trace, memory["anchor"]
        assert trace is not None
        trunk = shared(params)
        omega = {}
        for name, value in trunk.items():
            displacement = value - trace.start[name]
            gained = trace.path[name] / (displacement.square() + hyper.xi)
            omega[name] = (old.omega[name] + gained).clamp(min=0)
        return {"anchor": Anchor(omega, trunk)}

    phase = penalised_phase(net, hyper.penalty_weight, hyper.form)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb, trace=hyper.path_gradient)
