"""Phases of several lanes as one phase of stacked tensors.

    losses   ℓ_k(θ_k), by `torch.func.vmap` of one lane's loss; their sum is differentiated, so
             that ∂/∂θ_k is lane k's own gradient
    pull     ½ Σ (w_k ω_k) (θ_k − θ*_k)², the weights multiplied into the importances
    settle   θ_k − (θ_k − θ*_k) s_k / (1 + s_k),   s_k = η_k w_k ω_k

Everything but the loss is elementwise as it stands. What a hook does beyond that cannot be
stacked; `hindrance` says what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from clsweep.methods.base import Batch, Memory, Method, NotedLoss, Phase, Pull
from clsweep.nets.parameter_trees import Params
from clsweep.training.stacked_trees import NotStackable, along_lanes, stacked, stacked_params

Numbers = Mapping[str, Tensor]  # a method's number -> its value in each lane, float32 [K]
PhaseAt = Callable[[Numbers], Phase]

# Hooks that would have to be asked lane by lane at every step, or read what stacking changes.
_ALONE = ("prepare", "note", "steer", "project", "foresee", "track", "survey", "close")


def hindrance(method: Method) -> str:
    """Why a method cannot be trained in lanes, as half a sentence; '' where it can.

    Args:
        method: its hooks.
    """
    if method.learner or method.joint or method.first_phases or not method.phases:
        return "it does not train each task in phases after a shared first one"
    if method.net.statistics:
        return "the network has batch norms"
    for phase in method.phases:
        alone = [hook for hook in _ALONE if getattr(phase, hook) is not None]
        if phase.settle and not phase.proximal:
            alone.append("settle")
        if alone:
            return f"'{alone[0]}' of its phase '{phase.name}' is no function of stacked tensors"
        if phase.is_finetuning:
            return "it starts from a fine-tuned network"
    return ""


def stacked_phase(
    phases: Sequence[Phase],
    memories: Sequence[Memory],
    numbers: Numbers,
    at: PhaseAt,
    rates: Tensor | None,
    *,
    own_batches: bool,
) -> tuple[Phase, Memory]:
    """One phase over tensors [K, ...], and its memory.

    Its loss has the shape [K]. A batch is the same for all lanes, or has an axis of lanes.

    Args:
        phases: of each lane.
        memories: of each lane.
        numbers: those that differ between lanes.
        at: the phase at some numbers, whose loss is taken.
        rates: learning rate of each lane, [K], by which a step's size is multiplied; None for 1.
        own_batches: whether batches have an axis of lanes, as those of several seeds do.

    Raises:
        NotStackable: shapes differ.
    """
    memory, axes = stacked([*memories])
    first = phases[0]
    has_draw = first.draw is not None
    one = first.loss if not numbers else None

    def losses(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        def of(
            full: Params,
            memory: Memory,
            x: Tensor,
            y: Tensor,
            weights: Tensor | None,
            draw: dict[str, Tensor],
            values: Numbers,
        ) -> Tensor:
            loss = one or at(values).loss
            # What was stored is for `track`, which no lane has.
            own = batch._replace(x=x, y=y, raw=x, weights=weights, draw=draw)
            found = loss(full, memory, own, task)
            if isinstance(found, NotedLoss):
                raise NotStackable("its loss notes something")
            return found

        shown = 0 if own_batches else None
        weighed = None if batch.weights is None else shown
        dims = (0, axes, shown, shown, weighed, 0 if has_draw else None, 0 if numbers else None)
        seen = batch.x, batch.y, batch.weights, batch.draw
        found: Tensor = vmap(of, in_dims=dims)(full, memory, *seen, dict(numbers))
        return found

    hooks: dict[str, Any] = {}
    if first.open:
        hooks["open"] = _opened(phases, memories)
    if first.pull:
        hooks["pull"] = lambda memory: _pull([p.pull(m) for p, m in _pairs(phases, memories)])
    if first.proximal:
        pulls = [p.proximal(m) for p, m in _pairs(phases, memories) if p.proximal]
        hooks["settle"] = _settling(pulls, rates)
    return Phase(first.name, losses, decays=first.decays, **hooks), memory


def _pairs(phases: Sequence[Phase], memories: Sequence[Memory]) -> list[tuple[Any, Memory]]:
    return list(zip(phases, memories, strict=True))


def _opened(
    phases: Sequence[Phase], memories: Sequence[Memory]
) -> Callable[[Params, Memory, int], Params]:
    def opened(params: Params, memory: Memory, task: int) -> Params:
        parts = [
            phase.open({name: value[k] for name, value in params.items()}, own, task)
            for k, (phase, own) in enumerate(_pairs(phases, memories))
        ]
        return stacked_params(parts)

    return opened


def _weighted(pulls: Sequence[Pull], rates: Tensor | None) -> tuple[Params, Params, Tensor]:
    """(ω, θ*, w times the learning rate), with lanes as the first axis."""
    star = stacked_params([pull.star for pull in pulls])
    omega = stacked_params([pull.omega for pull in pulls])
    omega = {name: along_lanes(value, star[name]) for name, value in omega.items()}
    device = next(iter(star.values())).device if star else None
    weights = torch.tensor([pull.weight for pull in pulls], dtype=torch.float64, device=device)
    return omega, star, weights if rates is None else weights * rates.double()


def _pull(pulls: Sequence[Pull]) -> Pull:
    omega, star, weights = _weighted(pulls, None)
    scaled = {name: _scaled(value, weights).float() for name, value in omega.items()}
    return Pull(scaled, star, 1.0)


def _scaled(omega: Tensor, weights: Tensor) -> Tensor:
    """ω of each lane times its weight, in float64: the product may be beyond float32."""
    return omega.double() * along_lanes(weights, omega)


def _settling(
    pulls: Sequence[Pull], rates: Tensor | None
) -> Callable[[Params, Memory, float, int], Params]:
    """The proximal step of every lane, see `penalty.proximal`."""
    omega, star, weights = _weighted(pulls, rates)
    names = list(omega)
    stars = [star[name] for name in names]
    known: dict[float, list[Tensor]] = {}

    def shares(step_size: float) -> list[Tensor]:
        if step_size not in known:
            known.clear()  # of a schedule, every step has its own
            scales = [_scaled(omega[name], weights * step_size) for name in names]
            known[step_size] = [(scale / (1 + scale)).float() for scale in scales]
        return known[step_size]

    def settle(trained: Params, memory: Memory, step_size: float, task: int) -> Params:
        if not names:
            return trained
        thetas = [trained[name] for name in names]
        moved = torch._foreach_sub(thetas, stars)
        share = [s.expand_as(m) for s, m in zip(shares(step_size), moved, strict=True)]
        settled = torch._foreach_addcmul(thetas, moved, share, -1.0)
        return {**trained, **dict(zip(names, settled, strict=True))}

    return settle
