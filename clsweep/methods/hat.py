"""Hard attention to the task (HAT): a gate per unit and task, which also guards what is in use.

    h_l ← a_l^t ∘ h_l,   a_l^t = σ(s e_l^t),   e_l^t trained with the network
    L_t(θ) + c Σ_l Σ_i a_{l,i}^t (1 − a_{l,i}^{<t}) / Σ_l Σ_i (1 − a_{l,i}^{<t})
    gradient of w_{l,ij}:  × (1 − min(a_{l,i}^{<t}, a_{l−1,j}^{<t})),   a^{<t} the maximum so far
    gradient of e:         × (s_max / s) (cosh(s e) + 1) / (cosh(e) + 1)
    s = 1/s_max + (s_max − 1/s_max) (b − 1) / (B − 1) for batch b of the B of an epoch; s_max after

Serrà, Suris, Miron and Karatzoglou 2018, "Overcoming catastrophic forgetting with hard attention
to the task", ICML. e starts at N(0, 1) and is kept within ±6; s e within ±50 in cosh, as in the
authors' code. Gates are there from the start, so the first task is learnt within each trial. The
record's counter `capacity_left` is the mean of 1 − min(a_i, a_j) over all weights below the heads,
a the maximum over all tasks.

Deviations. The study's weight decay does not act, since it would move guarded weights. Moments of
the optimiser that are carried from task to task (`reset = false`) do move them, and an adaptive
optimiser undoes the factor on gradients where it is not zero: the authors train with plain SGD.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.isolation_hypers import HatHyper
from clsweep.methods.parts.layer_chain import Chain, by_inputs, by_outputs, chain_of
from clsweep.methods.parts.losses import task_loss
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, tree_map

_MOST_EMBEDDING, _MOST_COSH = 6.0, 50.0
Gates = dict[str, Tensor]  # [n_units] by name of the layer's weight


def build(net: Net, hyper: HatHyper) -> Method:
    """HAT of `net`; its memory is a^{<t} by layer.

    Raises:
        MethodError: the network is no chain of layers.
    """
    chain = chain_of(net, "hat")
    units = {layer.weight: layer.n_units for layer in chain.hidden}
    n_tasks = len(net.heads.sizes)

    def gates(params: Params, task: int, s: Tensor | float) -> Gates:
        return {name: (s * params[_embedding(name, task)]).sigmoid() for name in units}

    def logits(params: Params, x: Tensor, task: int) -> Tensor:
        return net.apply(gated(chain, params, gates(params, task, hyper.s_max)), x, task)

    def begin(params: Params) -> Memory:
        return {"used": tree_map(torch.zeros_like, gates(params, 0, 1.0)), "n_tasks": 0}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        a = gates(full, task, batch.draw["s"])
        own = task_loss(net, gated(chain, full, a), batch, task)
        return own + hyper.c * sparsity(a, memory["used"])

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        """S of every step of the epoch."""
        return {"s": torch.linspace(1 / hyper.s_max, hyper.s_max, n_steps)}

    def steer(grads: Params, full: Params, memory: Memory, batch: Batch, task: int) -> Params:
        found = {**grads, **guarded(chain, grads, memory["used"])}
        keys = [_embedding(name, task) for name in units]
        return {**found, **_compensated(grads, full, keys, batch.draw["s"], hyper.s_max)}

    def settle(trained: Params, memory: Memory, step_size: float, task: int) -> Params:
        keys = [_embedding(name, task) for name in units]
        limit = _MOST_EMBEDDING
        return {**trained, **{key: trained[key].clamp(-limit, limit) for key in keys}}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        now = gates(params, learnt.task.index, hyper.s_max)
        used = tree_map(torch.maximum, memory["used"], now)
        return {"used": used, "n_tasks": memory["n_tasks"] + 1}

    def counters(params: Params, memory: Memory) -> dict[str, float]:
        last = min(memory["n_tasks"], n_tasks - 1)
        used = tree_map(torch.maximum, memory["used"], gates(params, last, hyper.s_max))
        return {"capacity_left": _capacity_left(chain, params, used)}

    init = _with_embeddings(net, units)
    gated_net = net._replace(init=init, features=lambda params, x: x, head=logits)
    phase = Phase("train", loss, draw=draw, steer=steer, settle=settle, decays=False)
    return Method(
        gated_net,
        hyper,
        (phase,),
        adds_params=True,
        begin=begin,
        absorb=absorb,
        counters=counters,
    )


def _with_embeddings(net: Net, units: dict[str, int]) -> Callable[[torch.Generator], Params]:
    """The initial weights of the network, and embeddings for every task."""

    def init(rng: torch.Generator) -> Params:
        drawn = net.init(rng)
        for task in range(len(net.heads.sizes)):
            drawn |= {_embedding(n, task): torch.randn(k, generator=rng) for n, k in units.items()}
        return drawn

    return init


def _compensated(grads: Params, full: Params, keys: list[str], s: Tensor, s_max: float) -> Params:
    """The embeddings' gradients as if the gates were not annealed."""
    found = {}
    for key in keys:
        e = full[key]
        wide = (s * e).clamp(-_MOST_COSH, _MOST_COSH).cosh() + 1
        found[key] = grads[key] * (s_max / s) * wide / (e.cosh() + 1)
    return found


def _capacity_left(chain: Chain, params: Params, used: Gates) -> float:
    """Mean over the weights below the heads of the share of a gradient that is let through."""
    ones = {layer.weight: torch.ones_like(params[layer.weight]) for layer in chain.hidden}
    free = guarded(chain, ones, used)
    left = sum(float(value.double().sum()) for value in free.values())
    return left / max(1, sum(value.numel() for value in free.values()))


def gated(chain: Chain, params: Params, gates: Gates) -> Params:
    """Parameters of the network whose units are gated: a gate scales the weights that read it.

    Args:
        chain: the network's layers.
        params: hold the weights.
        gates: a by layer.
    """
    found = dict(params)
    for index, layer in enumerate(chain.hidden):
        for reader in chain.readers(index):
            weight = params[reader.weight]
            found[reader.weight] = weight * by_inputs(gates[layer.weight], reader, weight)
    return found


def guarded(chain: Chain, grads: Params, used: Gates) -> Params:
    """Gradients of the layers below the heads, each times 1 − min(a_i, a_j).

    Args:
        chain: the network's layers.
        grads: by parameter.
        used: a^{<t} by layer.
    """
    found = {}
    for index, layer in enumerate(chain.hidden):
        made = used[layer.weight]
        if layer.weight in grads:
            g = grads[layer.weight]
            share = by_outputs(made, g)
            if index:
                read = used[chain.hidden[index - 1].weight]
                share = torch.minimum(share, by_inputs(read, layer, g))
            found[layer.weight] = g * (1 - share)
        if layer.bias in grads:
            found[layer.bias] = grads[layer.bias] * (1 - made)
    return found


def sparsity(gates: Gates, used: Gates) -> Tensor | float:
    """Σ a (1 − a^{<t}) / Σ (1 − a^{<t}) over all units, shape (); 0 where none is free.

    Args:
        gates: a by layer.
        used: a^{<t} by layer.
    """
    if not gates:
        return 0.0
    free = {name: 1 - value for name, value in used.items()}
    taken = torch.stack([(a * free[name]).sum() for name, a in gates.items()]).sum()
    return taken / torch.stack([value.sum() for value in free.values()]).sum().clamp(min=1e-9)


def _embedding(layer: str, task: int) -> str:
    return f"gates.{task}.{layer}"
