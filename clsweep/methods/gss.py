"""Gradient-based sample selection, greedy (GSS): the memory keeps what differs in its gradient.

    c = 1 + max_{i in S} cos(g, g_i),   S of n examples drawn from the memory at every step
    not full   every example of the batch is taken, with the c of the batch's gradient
    full       if the batch's c < 1, each of its examples, with c of its own gradient: a stored
               example j, drawn with probability C_j / Σ C, makes room with probability
               C_j / (C_j + c), where C_j is the c with which j was taken

Aljundi, Lin, Goujaud and Bengio 2019, "Gradient based sample selection for online continual
learning", NeurIPS, the greedy variant with its batch rule, as in the authors' code. Gradients are
those of the cross-entropy before the step, of a stored example under the head of its own task.
Training is replay, L_t + λ L_M, both divided by 1 + λ as published (`average`). The n examples are
drawn apart from those that are replayed.

A gradient of one example alone does not exist under batch norm, which is refused.

Deviations. The first task is plain training, which all methods share; a uniform sample of it is
in the memory when it ends, with C = 1, the value of a gradient at right angles to the others.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.errors import MethodError
from clsweep.methods.base import Batch, LearntTask, Memory, Method
from clsweep.methods.exemplar_hypers import GssHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.buffer import Buffer
from clsweep.methods.parts.example_replay import example_replay
from clsweep.methods.parts.losses import label_loss
from clsweep.methods.parts.task_gradients import TaskExamples, task_gradients
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

_SCORE = "score"


def build(net: Net, hyper: GssHyper) -> Method:
    """The hooks of GSS; its memory is a buffer with scores.

    Raises:
        MethodError: the network has batch norms.
    """
    if net.statistics:
        raise MethodError(
            "gss takes gradients of single examples, which do not exist under batch norm",
            expected="a network without batch norm",
            where="[net]",
            next_step="use group normalisation, or none",
        )
    replay = example_replay(net, hyper, label_loss, "reservoir", hyper.average)
    (phase,) = replay.phases
    assert phase.draw is not None
    drawn = phase.draw

    def begin(params: Params) -> Memory:
        return {"slots": filling.empty_for(net, params, hyper.memory_size, {_SCORE: ()})}

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        found = drawn(rng, memory, n_steps, batch_size)
        n_filled = memory["slots"].n_filled
        return {
            **found,
            "compared": buffer.example_indices(rng, n_filled, hyper.compared, n_steps),
            "accept": filling.uniforms(rng, n_steps, batch_size),
        }

    def project(
        grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        stored: Buffer = memory["slots"]
        rows = _compared_rows(net, full, stored, batch, task)
        whole = TaskExamples(batch.x, batch.y, ((task, len(batch.y)),))
        score = scores(task_gradients(net, full, whole, task, batch.smoothing), rows)
        if stored.n_filled < len(stored.labels):
            return grads, {"slots": taken(stored, batch, task, score)}
        if float(score) >= 1:
            return grads, memory
        single = TaskExamples(batch.x, batch.y, ((task, 1),) * len(batch.y))
        each = scores(task_gradients(net, full, single, task, batch.smoothing), rows)
        return grads, {"slots": exchanged(stored, batch, task, each)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        def ones(raw: Tensor) -> dict[str, Tensor]:
            return {_SCORE: torch.ones(len(raw), device=raw.device)}

        return {"slots": filling.absorbed(memory["slots"], learnt, "reservoir", ones)}

    chosen = replace(phase, draw=draw, project=project, track=None)
    return replace(replay, phases=(chosen,), begin=begin, absorb=absorb)


def _compared_rows(net: Net, full: Params, stored: Buffer, batch: Batch, task: int) -> Tensor:
    """Gradients of the stored examples that are compared, of norm 1, [n, P]."""
    index = batch.draw["compared"]
    old = TaskExamples(
        batch.scale(stored.raw[index]),
        stored.labels[index],
        tuple((k, 1) for k in stored.tasks[index].tolist()),
    )
    return F.normalize(task_gradients(net, full, old, task, batch.smoothing), dim=1)


def scores(gradients: Tensor, rows: Tensor) -> Tensor:
    """The value 1 + the largest cosine with a stored example's gradient, [B].

    Args:
        gradients: of examples, or of a batch, [B, P].
        rows: of stored examples, of norm 1, [n, P].
    """
    return 1 + (F.normalize(gradients, dim=1) @ rows.T).max(1).values


def taken(stored: Buffer, batch: Batch, task: int, score: Tensor) -> Buffer:
    """A buffer that is not full, with the first examples of a batch that it has room for.

    Args:
        stored: the buffer.
        batch: the batch.
        task: its task.
        score: c of the batch, [1].
    """
    n = min(len(batch.y), len(stored.labels) - stored.n_filled)
    slots = torch.arange(stored.n_filled, stored.n_filled + n, device=batch.y.device)
    return _written(stored, slots, torch.arange(n), batch, task, score.expand(len(batch.y)))


def exchanged(stored: Buffer, batch: Batch, task: int, each: Tensor) -> Buffer:
    """A full buffer after its examples were offered in turn to those of a batch.

    The draw "uniform" of an example says which stored one it meets, "accept" whether it wins.

    Args:
        stored: the buffer.
        batch: the batch.
        task: its task.
        each: c of every example, [B].
    """
    kept = stored.noted[_SCORE].double().cpu()
    own = each.double().cpu()
    meets, wins = (batch.draw[name].cpu() for name in ("uniform", "accept"))
    held: dict[int, int] = {}
    for row in range(len(own)):
        ahead = kept.cumsum(0)
        slot = int(torch.searchsorted(ahead, meets[row] * ahead[-1], right=True))
        slot = min(slot, len(kept) - 1)
        if float(wins[row]) * float(kept[slot] + own[row]) < float(kept[slot]):
            kept[slot], held[slot] = own[row], row
    device = batch.y.device
    slots = torch.tensor(list(held), dtype=torch.int64, device=device)
    rows = torch.tensor(list(held.values()), dtype=torch.int64, device=device)
    return _written(stored, slots, rows, batch, task, each)


def _written(
    stored: Buffer, slots: Tensor, rows: Tensor, batch: Batch, task: int, score: Tensor
) -> Buffer:
    """The buffer with rows of a batch in some of its slots, each named once."""
    is_full = stored.n_filled == len(stored.labels)
    n_filled = stored.n_filled + (0 if is_full else len(slots))
    rows = rows.to(slots.device)
    kept = stored.noted[_SCORE]
    return Buffer(
        stored.raw.index_copy(0, slots, batch.raw[rows]),
        stored.labels.index_copy(0, slots, batch.y[rows]),
        stored.tasks.index_fill(0, slots, task),
        n_filled,
        stored.n_seen + len(batch.y),
        {_SCORE: kept.index_copy(0, slots, score[rows].to(kept.dtype))},
    )
