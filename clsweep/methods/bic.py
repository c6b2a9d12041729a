"""Bias correction (BiC): two numbers per task undo the preference for new classes.

    λ KD + (1 − λ) CE,   λ = n_old / (n_old + n_new)
    KD   −Σ_{c old} q'_c log q_c of softmaxes at temperature T, q' those before the task
    on the new task's examples and the stored ones together; then, on a held-out part V of both,
    (α, β) = argmin_{α, β} E_V CE + ½ ε ((α − 1)² + β²)   with α z_c + β for the new classes c

Wu, Chen, Wang, Ye, Liu, Guo and Fu 2019, "Large scale incremental learning", CVPR; T = 2, a tenth
of the memory is held out. Outputs are corrected from then on, also those that are distilled; the
corrections of earlier tasks stay. Every class has an equal share of the stored part and of the
held-out part, which new classes enter before they are learnt, so that no network has been trained
on their held-out examples. What is held out counts as memory, as does the network before the task.

The correction is fitted to its optimum by Newton's method: the objective is convex in α and β. The
ridge ε keeps it finite where the held-out examples are told apart without an error.

Class-incremental only: the preference is one of a head to which classes are added.

Deviations. The authors fit α and β by gradient steps without a ridge; their code multiplies KD by
T², which the paper does not. The first task is plain training, which all methods share, and so it
has seen its held-out examples. Batches are drawn from the union, in as many steps as other methods
make on the task alone.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.tasks import Examples, Task
from clsweep.methods.base import Batch, LearntTask, Memory, Method, Note, Phase, Prepared
from clsweep.methods.exemplar_hypers import BicHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.buffer import Buffer
from clsweep.methods.parts.losses import distillation, label_loss
from clsweep.methods.parts.training_sets import with_stored
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

_HELD_OUT = 10  # one stored example in ten
_ROW = "row"  # where a held-out example stands in its task's training set
_PREFIX = "correction."
_NEWTON_STEPS = 50


def build(net: Net, hyper: BicHyper) -> Method:
    """The hooks of BiC; its memory is two buffers and the network before the task."""
    own = _corrected(net)

    def begin(params: Params) -> Memory:
        n_held = max(1, hyper.memory_size // _HELD_OUT)
        return {
            "slots": filling.empty_for(net, params, hyper.memory_size - n_held),
            "held": filling.empty_for(net, params, n_held, {_ROW: ()}),
            "teacher": params,
        }

    def prepare(params: Params, memory: Memory, task: Task, rng: torch.Generator) -> Prepared:
        memory = {**memory, "held": held_out(memory["held"], task, rng)}
        trained = replace(task, train=_without_held(task, memory["held"]))
        return Prepared(params, memory, with_stored(trained, memory["slots"]))

    def opened(params: Params, memory: Memory, task: int) -> Params:
        return {n: value for n, value in params.items() if not n.startswith(_PREFIX)}

    def note(params: Params, memory: Memory, task: int) -> Note:
        return lambda x: {"old": own.apply(memory["teacher"], x, task - 1)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        z, old = own.apply(full, batch.x, task), batch.noted["old"]
        share = old.shape[1] / z.shape[1]
        kept = distillation(z[:, : old.shape[1]], old, hyper.temperature)
        return share * kept + (1 - share) * label_loss(z, batch)

    def fit(params: Params, memory: Memory, learnt: LearntTask) -> tuple[Params, Memory]:
        held, task = memory["held"], learnt.task.index
        if task == 0:  # no class is old
            return params, memory
        n = held.n_filled
        with torch.no_grad():
            z = own.apply(params, learnt.scale(held.raw[:n]), task).double()
        first = net.heads.columns(task - 1)[1]
        found = correction(z, held.labels[:n], first, hyper.correction_ridge)
        name = f"{_PREFIX}{task}"
        return {**params, name: found.to(params[name].dtype)}, memory

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        task, held = learnt.task, memory["held"]
        if task.index == 0:
            held = held_out(held, task, learnt.rng)
        rest = replace(task, train=_without_held(task, held))
        slots = buffer.balanced(memory["slots"], rest, learnt.rng)
        return {"slots": slots, "held": held, "teacher": params}

    phase = Phase("train", loss, prepare=prepare, open=opened, note=note)
    return Method(own, hyper, (phase,), adds_params=True, begin=begin, fit=fit, absorb=absorb)


def correction(z: Tensor, labels: Tensor, first: int, ridge: float) -> Tensor:
    """(α, β) of the module's equation, float64 [2].

    Args:
        z: logits of the held-out examples before the correction, float64 [N, K].
        labels: their classes, int64 [N].
        first: the first of the new classes.
        ridge: ε > 0.
    """
    start = torch.tensor([1.0, 0.0], dtype=z.dtype, device=z.device)
    is_new = (torch.arange(z.shape[1], device=z.device) >= first).to(z.dtype)
    slopes = torch.stack([z * is_new, is_new.expand_as(z)])  # of the logits, [2, N, K]
    base = z * (1 - is_new)

    def objective(both: Tensor) -> float:
        logits = base + both[0] * slopes[0] + both[1] * slopes[1]
        return float(F.cross_entropy(logits, labels) + 0.5 * ridge * (both - start).square().sum())

    both = start
    own = slopes[:, torch.arange(len(z), device=z.device), labels]
    for _ in range(_NEWTON_STEPS):
        p = (base + both[0] * slopes[0] + both[1] * slopes[1]).softmax(1)
        means = (p * slopes).sum(2)
        gradient = (means - own).mean(1) + ridge * (both - start)
        squares = torch.einsum("nk,ink,jnk->ij", p, slopes, slopes) / len(z)
        curvature = squares - means @ means.T / len(z) + ridge * torch.eye(2).to(z)
        step = torch.linalg.solve(curvature, gradient)
        if float(gradient @ step) < 1e-14:
            break
        size, before = 1.0, objective(both)
        while objective(both - size * step) > before - 1e-4 * size * float(gradient @ step):
            size /= 2
        both = both - size * step
    return both


def held_out(old: Buffer, task: Task, rng: torch.Generator) -> Buffer:
    """The held-out part with an equal share of every class, those of a new task drawn at random.

    Args:
        old: the part before the task.
        task: the task.
        rng: draws.
    """
    rows: list[Tensor] = []

    def drawn(members: Tensor, n: int) -> Tensor:
        order = torch.randperm(len(members), generator=rng)[:n]
        rows.append(members[order.to(members.device)])
        return rows[-1]

    return buffer.ranked(old, task, drawn, lambda raw: {_ROW: torch.cat(rows).float()})


def _without_held(task: Task, held: Buffer) -> Examples:
    """A task's training set without those of its examples that are held out."""
    data = task.train
    rows = held.noted[_ROW][held.tasks == task.index].long()
    is_kept = torch.ones_like(data.labels, dtype=torch.bool).index_fill(0, rows, False)
    return replace(data, rows=data.rows[is_kept], labels=data.labels[is_kept])


def _corrected(net: Net) -> Net:
    """The network with its corrections: α_k z + β_k for the classes that task k has added."""

    def init(rng: torch.Generator) -> Params:
        names = [f"{_PREFIX}{k}" for k in range(1, len(net.heads.sizes))]
        return {**net.init(rng), **{name: torch.tensor([1.0, 0.0]) for name in names}}

    def head(params: Params, h: Tensor, task: int) -> Tensor:
        z = net.head(params, h, task)
        parts = list(z.split(net.heads.sizes[: task + 1], 1))
        for k in range(1, task + 1):
            alpha, beta = params[f"{_PREFIX}{k}"].unbind()
            parts[k] = alpha * parts[k] + beta
        return torch.cat(parts, 1)

    return net._replace(init=init, head=head)
