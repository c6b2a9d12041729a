"""Frozen trunk (feature extraction): after the first task only the last layer is trained.

    min over the parameters of task t's head of L_t, everything else held at the source

With one head per task the source accuracy cannot change. With a shared head (domain- and
class-incremental) that head is trained for every task, so earlier tasks can still be forgotten
through it, and the source end of a plot is not this method but the source model itself. With a
head per task it is the reference for stability; running statistics of batch norms are held as
well, whatever the study's `bn_mode`.
"""

from __future__ import annotations

from clsweep.methods.base import Memory, Method, Phase
from clsweep.methods.hypers import NoHyper
from clsweep.methods.parts.heads import check_readout
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: NoHyper) -> Method:
    """The frozen reference for `net`.

    Raises:
        MethodError: a custom net does not end in a linear layer, so it has no head to train.
    """
    check_readout(net, "'frozen' trains the last layer only", "frozen")

    def open_head(params: Params, memory: Memory, task: int) -> Params:
        return {name: params[name] for name in net.readout(task)}

    phase = Phase("head", plain_phase(net).loss, open=open_head, holds_statistics=True)
    return Method(net, hyper, (phase,))
