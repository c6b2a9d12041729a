"""Gradient episodic memory (GEM).

    g̃ = g                  if ⟨g, g_k⟩ ≥ 0 for every past task k, else
    g̃ = g + Σ_k v_k g_k,   v = argmin_{v ≥ γ} ½ vᵀ(MMᵀ + εI)v + (Mg)ᵀv,   rows of M: g_k
    g    gradient of the new task's loss on the training batch
    g_k  gradient of the mean cross-entropy of all stored examples of task k, in its own head

Lopez-Paz and Ranzato 2017, "Gradient episodic memory for continual learning", NeurIPS. With γ = 0
and ε = 0, g̃ is the nearest gradient that increases no past task's loss. γ, the margin, is GEM's
number for stability: whenever any task conflicts, at least γ of *every* past gradient is added. It
is a lower bound of v, as in the authors' code; their paper adds it to v.

ε keeps the programme solvable. The published 1e-3 is large against the squared norms of small
gradients: one constraint is then missed by ε / (‖g_k‖² + ε). `ridge_unit = "trace"` takes ε in
units of trace(MMᵀ)/t instead; 'absolute' is as published. Where the solver fails nevertheless (it
refuses matrices that rounding made singular), v is restricted to equal weights, which has a closed
form: v_k = max(γ, −1ᵀMg / 1ᵀMMᵀ1). That is A-GEM's rule with the margin; such steps are counted.

The memory is filled when a task ends, with equal numbers per class ('balanced') or with a uniform
sample ('uniform', which the authors' ring buffer amounts to after one epoch). It holds
`memory_size` examples over all tasks, or of each with `per_task` (published: 256 of each). A task
for which no slot is left gives no constraint.

Deviations. In class-incremental learning past tasks are classified among all classes seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import quadprog
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsweep.data.tasks import Scale
from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.hypers import GemHyper
from clsweep.methods.parts import buffer
from clsweep.methods.parts.losses import plain_phase
from clsweep.methods.parts.task_gradients import TaskExamples, task_gradients
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

Array = NDArray[np.float64]


def build(net: Net, hyper: GemHyper) -> Method:
    """GEM of `net`; its memory is a buffer and two counts."""

    def begin(params: Params) -> Memory:
        device = next(iter(params.values())).device
        n_past = len(net.heads.sizes) - 1
        capacity = hyper.memory_size * (n_past if hyper.per_task else 1)
        n_targets = net.heads.n_targets
        empty = buffer.empty(capacity, net.input_shape, device, net.stored, n_targets=n_targets)
        return {"slots": empty, "projected_steps": 0, "solver_failures": 0}

    @lru_cache(maxsize=1)
    def inputs(
        raw: Tensor, labels: Tensor, tasks: Tensor, n_filled: int, scale: Scale
    ) -> TaskExamples:
        # The memory changes between tasks alone; its images are made floating point once.
        counts = tasks[:n_filled].bincount().tolist()
        used = tuple((task, n) for task, n in enumerate(counts) if n)
        return TaskExamples(scale(raw[:n_filled]), labels[:n_filled], used)

    def project(
        grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        kept: buffer.Buffer = memory["slots"]
        stored = inputs(kept.raw, kept.labels, kept.tasks, kept.n_filled, batch.scale)
        rows = task_gradients(net, full, stored, task, batch.smoothing)
        g = _flat(grads, full)
        along = (rows @ g).double().cpu().numpy()
        if (along >= 0).all():
            return grads, memory
        if hyper.ridge_unit == "absolute":
            # Where two memories hold the same, MMᵀ is singular up to ε alone, which may be less
            # than what float32 rounds.
            wide = rows.double()
            gram, along = ((wide @ other).cpu().numpy() for other in (wide.T, g.double()))
        else:
            gram = (rows @ rows.T).double().cpu().numpy()
        v = dual_weights(gram, along, hyper.margin, hyper.ridge, hyper.ridge_unit == "trace")
        failures = memory["solver_failures"] + (v is None)
        v = equal_weights(gram, along, hyper.margin) if v is None else v
        found = torch.addmv(g, rows.T, torch.from_numpy(v).to(g))
        counted = {
            "projected_steps": memory["projected_steps"] + 1,
            "solver_failures": failures,
        }
        return _unflat(found, full), {**memory, **counted}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        filled = buffer.balanced if hyper.fill == "balanced" else buffer.uniform
        most = hyper.memory_size if hyper.per_task else 0
        return {**memory, "slots": filled(memory["slots"], learnt.task, learnt.rng, most)}

    phase = Phase("train", plain_phase(net).loss, project=project)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb, counters=_counters)


def dual_weights(
    gram: Array, along: Array, margin: float, ridge: float, in_units_of_trace: bool
) -> Array | None:
    """The module's v, [T]; None where the solver fails.

    Args:
        gram: MMᵀ, [T, T].
        along: Mg, [T].
        margin: γ ≥ 0.
        ridge: ε ≥ 0.
        in_units_of_trace: whether ε is multiplied by trace(MMᵀ)/T.
    """
    n_tasks = len(along)
    unit = float(np.trace(gram)) / n_tasks
    if not (unit > 0 and np.isfinite(gram).all() and np.isfinite(along).all()):
        return None
    # Divided by the unit, the programme has the same solution and numbers near 1.
    matrix = gram / unit + (ridge if in_units_of_trace else ridge / unit) * np.eye(n_tasks)
    try:
        v = quadprog.solve_qp(matrix, -along / unit, np.eye(n_tasks), np.full(n_tasks, margin))[0]
    except ValueError:  # "matrix G is not positive definite"
        return None
    return v if np.isfinite(v).all() else None


def equal_weights(gram: Array, along: Array, margin: float) -> Array:
    """The best v of equal entries, without ridge: what a failure of the solver falls back to.

    Gradients that are not finite give weights that are not, so that training ends as diverged.
    See `dual_weights` for the arguments.
    """
    size = gram.sum()
    best = -along.sum() / size if size > 0 else along.sum() * 0
    return np.full(len(along), np.maximum(best, margin))


def _flat(grads: Params, full: Params) -> Tensor:
    """The gradient over all trained parameters, zero where `grads` has no entry, [P]."""
    trained = {name: value for name, value in full.items() if value.requires_grad}
    return torch.cat(
        [(grads[n] if n in grads else torch.zeros_like(v)).flatten() for n, v in trained.items()]
    )


def _unflat(flat: Tensor, full: Params) -> Params:
    trained = {name: value for name, value in full.items() if value.requires_grad}
    parts = flat.split([value.numel() for value in trained.values()])
    return {n: part.view_as(v) for (n, v), part in zip(trained.items(), parts, strict=True)}


def _counters(params: Params, memory: Memory) -> dict[str, float]:
    return {name: memory[name] for name in ("projected_steps", "solver_failures")}
