"""Riemannian walk (RWalk): a running Fisher, and a score of the path that training took.

    L_t(θ) + λ Σ_i (F̂_i + ŝ_i) (θ_i − θ*_i)²,   θ* the latest optimum
    F_i  ← α F_i + (1 − α) F_i,old,             F_i the mean of g_i² over Δt steps
    s_i  = Σ_intervals max(0, ΔL_i) / (½ F_i Δθ_i² + ε)
    ΔL_i = Σ_{Δt steps} −g_i Δθ_i,              Δθ_i the displacement over the interval
    s_i  ← ½ (s_i,old + s_i) after every task but the first

g is the gradient of the unregularised loss on a batch; F̂ and ŝ are F and s scaled to [0, 1] over
the whole network, (v − min) / (max − min). Chaudhry, Dokania, Ajanthan and Torr 2018, "Riemannian
walk for incremental learning: understanding forgetting and intransigence", ECCV. No factor ½ in
front of λ.

Fisher and score are those of the training itself, so the first task is learnt within each trial:
with the steps of the shared source model, bit for bit.

Deviations. Stored examples, which the paper adds in the class-incremental scenario, are left to
`replay`. The authors' code omits the ½ in front of F Δθ², adds the mean of both scores to the old
one instead of replacing it, and squares gradients one interval late. An interval that the end of
a task cuts short counts with the steps that it has. Per-task heads are not penalised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Pull
from clsweep.methods.parts.losses import plain_phase
from clsweep.methods.parts.penalty import Anchor, no_anchor, proximal
from clsweep.methods.parts.penalty_gradient import with_penalty_gradient
from clsweep.methods.regulariser_hypers import RwalkHyper
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params, tree_map, zeros_like


class Walk(NamedTuple):
    """What is noted along the path, by shared parameter.

    Between tasks only F is kept; all else is empty until the next step.

    Attributes:
        path: ΔL of the steps of this interval but the last.
        squares: Σ g² of this interval.
        last: θ before the last step.
        gradient: g of the last step.
        begun: θ where the interval began.
        fisher: F.
        score: s of this task.
        n_steps: steps of this interval; 0 at its end.
        n_intervals: intervals so far, over all tasks.
    """

    path: Params
    squares: Params
    last: Params
    gradient: Params
    begun: Params
    fisher: Params
    score: Params
    n_steps: int = 0
    n_intervals: int = 0


def build(net: Net, hyper: RwalkHyper) -> Method:
    """RWalk of `net`; its memory is an `Anchor`, s of all tasks and a `Walk`."""

    def begin(params: Params) -> Memory:
        zero = zeros_like(shared(params))
        path = {"walk": between_tasks(zero, 0), "score": zero}
        return {"anchor": no_anchor(params), "path": path, "n_tasks": 0}

    def project(
        grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        walk = stepped(memory["path"]["walk"], full, grads, hyper)
        if hyper.form == "gradient":
            anchor: Anchor = memory["anchor"]
            pull = Pull(anchor.omega, anchor.star, hyper.penalty_weight)
            grads = with_penalty_gradient(grads, full, pull)
        return grads, _with_walk(memory, walk)

    def settle(trained: Params, memory: Memory, step_size: float, task: int) -> Params:
        return proximal(trained, memory["anchor"], hyper.penalty_weight, step_size)

    def close(full: Params, memory: Memory, task: int) -> tuple[Params, Memory]:
        walk = interval_ended(memory["path"]["walk"], full, hyper)
        old = memory["path"]["score"]
        own = walk.score or zeros_like(old)  # empty where the task made no step
        share = 0.5 if memory["n_tasks"] else 1.0
        score = tree_map(lambda s, o: o.lerp(s, share), own, old)
        path = {"walk": between_tasks(walk.fisher, walk.n_intervals), "score": score}
        return full, {**memory, "path": path}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        path = memory["path"]
        fisher, score = unit_scaled(path["walk"].fisher), unit_scaled(path["score"])
        omega = tree_map(torch.add, fisher, score)
        return {
            "anchor": Anchor(omega, shared(params)),
            "path": path,
            "n_tasks": memory["n_tasks"] + 1,
        }

    phase = replace(plain_phase(net), project=project, close=close)
    if hyper.form == "proximal":
        phase = replace(phase, settle=settle)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)


def between_tasks(fisher: Params, n_intervals: int) -> Walk:
    """The walk between two tasks, which is F.

    Args:
        fisher: F.
        n_intervals: intervals so far, over all tasks.
    """
    return Walk({}, {}, {}, {}, {}, fisher, {}, 0, n_intervals)


def stepped(walk: Walk, full: Params, grads: Params, hyper: RwalkHyper) -> Walk:
    """The walk at a step that is about to be made; ends the interval that is complete.

    Args:
        walk: after the steps before.
        full: θ.
        grads: g, by parameter; the loss does not depend on what has no entry.
        hyper: α, Δt, ε.
    """
    here = {name: full[name].detach().clone() for name in walk.fisher}
    if walk.n_steps == hyper.interval:
        walk = interval_ended(walk, here, hyper)
    g = {name: grads.get(name, torch.zeros_like(value)) for name, value in here.items()}
    if walk.n_steps:
        walk = walk._replace(path=_extended(walk, here))
    else:
        zero = zeros_like(here)
        walk = walk._replace(path=zero, squares=zero, begun=here, score=walk.score or zero)
    squares = tree_map(lambda total, new: total.addcmul(new, new), walk.squares, g)
    return walk._replace(squares=squares, last=here, gradient=g, n_steps=walk.n_steps + 1)


def interval_ended(walk: Walk, full: Params, hyper: RwalkHyper) -> Walk:
    """The walk with this interval in F and s; unchanged where no step was made.

    Args:
        walk: within the interval.
        full: θ after its last step.
        hyper: α, ε.
    """
    if not walk.n_steps:
        return walk
    alpha = hyper.fisher_decay if walk.n_intervals else 1.0
    newest = tree_map(lambda total: total / walk.n_steps, walk.squares)
    fisher = tree_map(lambda old, new: old.lerp(new, alpha), walk.fisher, newest)
    score = {}
    for name, gained in _extended(walk, full).items():
        distance = 0.5 * fisher[name] * (full[name] - walk.begun[name]).square()
        score[name] = walk.score[name] + gained.clamp(min=0) / (distance + hyper.damping)
    return walk._replace(
        fisher=fisher,
        score=score,
        n_steps=0,
        n_intervals=walk.n_intervals + 1,
    )


def unit_scaled(values: Params) -> Params:
    """(v − min) / (max − min) over all tensors; zero where all are equal.

    Args:
        values: by parameter name.
    """
    if not values:
        return values
    least: Tensor = torch.stack([value.min() for value in values.values()]).min()
    span = torch.stack([value.max() for value in values.values()]).max() - least
    span = torch.where(span > 0, span, torch.ones_like(span))
    return tree_map(lambda value: (value - least) / span, values)


def _extended(walk: Walk, full: Params) -> Params:
    """ΔL with the step that led from `last` to `full`."""
    return {
        name: torch.addcmul(gained, walk.gradient[name], full[name] - walk.last[name], value=-1)
        for name, gained in walk.path.items()
    }


def _with_walk(memory: Memory, walk: Walk) -> Memory:
    return {**memory, "path": {**memory["path"], "walk": walk}}
