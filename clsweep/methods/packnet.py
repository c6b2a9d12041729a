"""PackNet: every task keeps the largest of the weights that are still free, and freezes them.

    after task t, per layer:   keep the share 1 − p of the free weights that is largest in |θ|, set
                               the others to zero, train the kept ones again, freeze them
    task t + 1:                all weights are used, the free ones are trained, from zero
    prediction on task k:      with the weights that the tasks 1, ..., k have kept

Mallya and Lazebnik 2018, "PackNet: adding multiple tasks to a single network by iterative
pruning", CVPR. Biases and gains are trained on the first task alone. Earlier tasks keep their
outputs to the last bit; what is lost is what pruning costs, and room for later tasks.

The first task is the shared source model, pruned and retrained within each trial; the accuracy
after it that is recorded is the source model's. The record's counter `capacity_left` is the share
of weights that are free after the last task.

Deviations. The layers of a per-task head are not pruned: they serve their task alone. Moments of
the optimiser are not carried from task to task, even with `reset = false`. Batch norms are
refused: their running statistics belong to a task.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.methods.base import Batch, Memory, Method, Phase
from clsweep.methods.isolation_hypers import PacknetHyper
from clsweep.methods.parts.batch_norms import refuse_batch_norms
from clsweep.methods.parts.heads import check_readout, new_outputs
from clsweep.methods.parts.losses import task_loss
from clsweep.methods.parts.partial_training import Masks, copies, with_parts
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params

_OWNER = "owner."  # 1 + the task that keeps each weight, 0 where it is free


def build(net: Net, hyper: PacknetHyper) -> Method:
    """PackNet of `net`; its memory says which task keeps each weight.

    Raises:
        MethodError: nothing tells the heads of a custom net apart, or it has batch norms.
    """
    refuse_batch_norms(net, "packnet")
    check_readout(net, "'packnet' leaves every task its own head", "packnet")
    trunk = _trunk(net)
    weights = [name for name, value in trunk.items() if value.ndim > 1]
    others = [name for name, value in trunk.items() if value.ndim <= 1]
    kind = owner_type(len(net.heads.sizes))

    def init(rng: torch.Generator) -> Params:
        owners = {_OWNER + n: torch.zeros_like(trunk[n], dtype=kind) for n in weights}
        return {**net.init(rng), **owners}

    def begin(params: Params) -> Memory:
        return {"owner": {name: params[_OWNER + name] for name in weights}}

    def predict(params: Params, x: Tensor, task: int) -> Tensor:
        used = dict(params)
        for name in weights:
            owner = params[_OWNER + name]
            used[name] = torch.where((owner > 0) & (owner <= task + 1), params[name], 0.0)
        return net.apply(used, x, task)

    phases = tuple(_phase(net, hyper, others, retrains) for retrains in (False, True))
    return Method(
        net._replace(init=init),
        hyper,
        phases,
        first_phases=phases,
        adds_params=True,
        predict=predict,
        begin=begin,
        counters=_capacity_left,
    )


def _phase(net: Net, hyper: PacknetHyper, others: list[str], is_retraining: bool) -> Phase:
    """Training of the free weights, or that of the kept ones."""

    def masks_of(params: Params, memory: Memory, task: int) -> Masks:
        return _trained(net, params, memory, task, task + 1 if is_retraining else 0)

    def open_part(params: Params, memory: Memory, task: int) -> Params:
        whole = [n for n in net.readout(task) if n.startswith("heads.")]
        whole += others if task == 0 else []
        return {
            **copies(params, masks_of(params, memory, task)),
            **{n: params[n] for n in whole},
        }

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        masks = masks_of(full, memory, task)
        return task_loss(net, with_parts(full, masks), batch, task)

    def close(full: Params, memory: Memory, task: int) -> tuple[Params, Memory]:
        found = with_parts(full, masks_of(full, memory, task))
        if is_retraining:
            return found, memory
        owner = {}
        for name, kept in memory["owner"].items():
            owner[name] = owners_after_pruning(found[name], kept, task + 1, hyper.prune)
            found[name] = torch.where(owner[name] > 0, found[name], 0.0)
            found[_OWNER + name] = owner[name]
        return found, {"owner": owner}

    name = "retrain" if is_retraining else "train"
    return Phase(name, loss, open=open_part, close=close)


def _trained(net: Net, params: Params, memory: Memory, task: int, owner: int) -> Masks:
    """The weights of one owner, and rows of a last layer that the tasks share."""
    masks = {name: kept == owner for name, kept in memory["owner"].items()}
    for name in net.readout(task):
        if not name.startswith("heads."):
            rows = new_outputs(net, task, params[name].device)
            masks[name] = rows.reshape(-1, *(1 for _ in params[name].shape[1:]))
    return masks


def owner_type(n_tasks: int) -> torch.dtype:
    """The smallest type of integers up to the number of tasks.

    Args:
        n_tasks: of the sequence.
    """
    return torch.int8 if n_tasks <= torch.iinfo(torch.int8).max else torch.int16


def owners_after_pruning(weight: Tensor, owner: Tensor, new: int, prune: float) -> Tensor:
    """`owner`, with the largest of the free weights given to a new one.

    Args:
        weight: of a layer, any shape.
        owner: of each weight, see `owner_type`, in the same shape; 0 where it is free.
        new: the new owner.
        prune: share of the free weights that stay free.
    """
    is_free = (owner == 0).flatten()
    n_free = int(is_free.sum())
    sizes = torch.where(is_free, weight.abs().flatten(), -1.0)
    kept = sizes.topk(n_free - round(prune * n_free)).indices
    return owner.flatten().index_fill(0, kept, new).view_as(owner)


def _trunk(net: Net) -> Params:
    """Initial values of what every task uses but the last layer."""
    trunk = shared(net.init(generator(0, "shapes")))
    return {name: value for name, value in trunk.items() if name not in net.readout(0)}


def _capacity_left(params: Params, memory: Memory) -> dict[str, float]:
    owners = [owner.flatten() for owner in memory["owner"].values()]
    if not owners:
        return {"capacity_left": 0.0}
    return {"capacity_left": float((torch.cat(owners) == 0).double().mean())}
