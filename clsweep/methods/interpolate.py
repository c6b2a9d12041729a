"""Weight interpolation between the previous and the fine-tuned network; at β = ½ Mean-IMM.

    θ(β) = (1 − β) θ_s + β θ_ft

θ_s is the network before task t, θ_ft the same network fine-tuned on task t. Lee, Kim, Jun, Ha and
Zhang 2017, "Overcoming catastrophic forgetting by incremental moment matching", NeurIPS: Mean-IMM
with weight transfer and without L2 or drop transfer is β = ½ between two tasks.

The fine-tuned network of the second task does not depend on β: it is trained once per seed and
shared, so that the whole front of a two-task study costs one fine-tuning run. From the third task
on, fine-tuning starts from the network that β made, and is part of the trial.

Heads. A head that both networks were trained with is interpolated like any other layer; a head
per task is taken from the network that was trained with it. Class-incremental: the one head is
interpolated, rows of new classes between their initial and their trained values.
"""

from __future__ import annotations

from clsweep.methods.base import LearntTask, Memory, Method, Phase
from clsweep.methods.hypers import InterpolateHyper
from clsweep.methods.parts.heads import check_readout, with_own_heads
from clsweep.methods.parts.losses import finetuning_phase, plain_phase
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, tree_map


def build(net: Net, hyper: InterpolateHyper) -> Method:
    """Interpolation of `net`; its memory is the network before the current task.

    Raises:
        MethodError: tasks have heads of their own, and nothing tells those of a custom net apart.
    """
    if net.heads.scenario == "task":
        check_readout(net, "'interpolate' leaves every task its own head", "interpolate")

    def mixed(full: Params, memory: Memory, task: int) -> tuple[Params, Memory]:
        source = memory["source"]
        between = tree_map(lambda s, ft: s.lerp(ft, hyper.beta), source, full)
        if net.heads.scenario != "task":
            return between, memory
        return with_own_heads(net, between, source, full, task), memory

    mix = Phase("mix", plain_phase(net).loss, close=mixed)
    return Method(net, hyper, (finetuning_phase(net), mix), begin=_begin, absorb=_absorb)


def _begin(params: Params) -> Memory:
    return {"source": params}


def _absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
    return {"source": params}
