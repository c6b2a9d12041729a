"""From scratch: every task has a network of its own, which starts from weights of its own.

    θ_t = what plain training makes of a fresh draw on task t alone;   task t is answered by θ_t

Nothing is forgotten and nothing is transferred: what a method reaches on a new task beyond this
reference it owes to earlier tasks. The network of the first task is the shared source model. It
needs to be told the task, and T networks.

Each network has running statistics of batch norms of its own, whatever the study's `bn_mode`: an
earlier network's would be no statistics of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.methods.base import Batch, Memory, Method, Phase
from clsweep.methods.hypers import NoHyper
from clsweep.methods.parts.losses import label_loss
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, with_prefix, without_prefix

OTHERS = "scratch."


def build(net: Net, hyper: NoHyper) -> Method:
    """The reference for `net`; the first task's network keeps its names, others have a prefix."""

    def init(rng: torch.Generator) -> Params:
        found = net.init(rng)
        for task in range(1, len(net.heads.sizes)):
            drawn = net.init(rng)
            used = {n: v for n, v in drawn.items() if _is_used(net, n, task)}
            found |= with_prefix(used, _prefix(task))
        return found

    def own(params: Params, task: int) -> Params:
        if task:
            return without_prefix(params, _prefix(task))
        return {name: value for name, value in params.items() if not name.startswith(OTHERS)}

    def head(params: Params, x: Tensor, task: int) -> Tensor:
        return net.apply(own(params, task), x, task)

    def open_own(params: Params, memory: Memory, task: int) -> Params:
        return with_prefix(own(params, task), _prefix(task))

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        return label_loss(head(full, batch.x, task), batch)

    def survey(memory: Memory, task: int) -> Net:
        return net._replace(
            features=lambda params, x: net.features(own(params, task), x),
            statistics=frozenset(_prefix(task) + name for name in net.statistics),
        )

    phase = Phase(
        "scratch",
        loss,
        open=open_own,
        survey=survey if net.statistics else None,
        holds_statistics=True,
    )
    network = net._replace(
        init=init, features=lambda params, x: x, head=head, readout=lambda task: ()
    )
    return Method(network, hyper, (phase,), adds_params=True)


def _prefix(task: int) -> str:
    return f"{OTHERS}{task}."


def _is_used(net: Net, name: str, task: int) -> bool:
    """Whether a parameter is no head of another task."""
    return not name.startswith("heads.") or name in net.readout(task)
