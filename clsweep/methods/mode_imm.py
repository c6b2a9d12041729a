"""Mode-IMM: the previous and the fine-tuned network, averaged with the weights of their Fishers.

    θ = (Σ_k α_k F_k θ_k) / (Σ_k α_k F_k),   F ← Σ_k α_k F_k
    k = s, the network before task t, with α_s = 1 − β and F_s the F of that average;
    k = t, the same network fine-tuned on task t, with α_t = β and F_t the Fisher of task t at θ_t

the mode of a mixture of two Gaussians with means θ_k and precisions F_k as a Gaussian of its own,
parameter by parameter. Lee, Kim, Jun, Ha and Zhang 2017, "Overcoming catastrophic forgetting by
incremental moment matching", NeurIPS: Mode-IMM with weight transfer, without L2 or drop transfer.
`interpolate` is the mean form.

The fine-tuned network of the second task does not depend on β and is shared, as in `interpolate`.
Where neither task has a Fisher, the mean of both networks is taken. Per-task heads stay those of
the network that was trained with them. Batch norms are refused: their running statistics belong to
one of the networks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.methods.hypers import ModeImmHyper
from clsweep.methods.parts import importance
from clsweep.methods.parts.batch_norms import refuse_batch_norms
from clsweep.methods.parts.heads import check_readout, with_own_heads
from clsweep.methods.parts.losses import finetuning_phase
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params, zeros_like


class Posterior(NamedTuple):
    """A Gaussian over the network.

    Attributes:
        star: its mode, every parameter.
        omega: F, its precision, by shared parameter.
    """

    star: Params
    omega: Params


def build(net: Net, hyper: ModeImmHyper) -> Method:
    """Mode-IMM of `net`; its memory is the `Posterior` before the current task.

    Raises:
        MethodError: tasks have heads of their own, and nothing tells those of a custom net apart,
            or it has batch norms.
    """
    refuse_batch_norms(net, "mode_imm")
    if net.heads.scenario == "task":
        check_readout(net, "'mode_imm' leaves every task its own head", "mode_imm")

    def begin(params: Params) -> Memory:
        return {"posterior": Posterior(params, zeros_like(shared(params)))}

    def fisher(params: Params, learnt: LearntTask) -> Params:
        return importance.fisher_diag(
            net,
            params,
            learnt,
            estimator=hyper.fisher,
            n_examples=hyper.fisher_examples,
            batch_size=hyper.fisher_batch,
        )

    def measure(params: Params, learnt: LearntTask) -> Params:
        return {} if learnt.task.index else fisher(params, learnt)

    def fit(params: Params, memory: Memory, learnt: LearntTask) -> tuple[Params, Memory]:
        old, task = memory["posterior"], learnt.task.index
        new = Posterior(params, fisher(params, learnt))
        if task == 0:
            return params, {"posterior": new}
        star, omega = merged(old, new, hyper.beta)
        if net.heads.scenario == "task":
            star = with_own_heads(net, {**params, **star}, old.star, params, task)
        return {**params, **star}, {"posterior": Posterior({**params, **star}, omega)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        # The Fishers of later tasks, at the fine-tuned network, are known to `fit` alone.
        return memory if learnt.task.index else {"posterior": Posterior(params, statistics)}

    phases = (finetuning_phase(net),)
    return Method(net, hyper, phases, begin=begin, fit=fit, measure=measure, absorb=absorb)


def merged(old: Posterior, new: Posterior, beta: float) -> Posterior:
    """The mode and precision of both, by shared parameter.

    Args:
        old: of the tasks before.
        new: of the newest.
        beta: α of the newest; 1 − α of the others.
    """
    star, omega = {}, {}
    for name, f in new.omega.items():
        total = beta * f + (1 - beta) * old.omega[name]
        share: Tensor = torch.where(total > 0, beta * f / total, torch.full_like(f, beta))
        star[name] = torch.lerp(old.star[name], new.star[name], share)
        omega[name] = total
    return Posterior(star, omega)
