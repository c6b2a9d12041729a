"""Phases of several lanes as one phase of stacked tensors.

    hooks    of one lane's tensors, by `torch.func.vmap`
    loss     ℓ_k(θ_k); their sum is differentiated, so that ∂/∂θ_k is lane k's own gradient
    pull     ½ Σ (w_k ω_k) (θ_k − θ*_k)², the weights multiplied into the importances
    settle   of a proximal step: θ_k − (θ_k − θ*_k) s_k / (1 + s_k),   s_k = η_k w_k ω_k

What a hook does beyond functions of tensors, such as to read a value or to differentiate, cannot
be stacked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clsweep.methods.base import Batch, Memory, Method, NotedLoss, Phase, Pull
from clsweep.nets.parameter_trees import Params
from clsweep.training.stacked_trees import (
    NotStackable,
    along_lanes,
    axes_of,
    over_lanes,
    stacked,
    stacked_params,
    without_axis,
)

Numbers = Mapping[str, Tensor]  # a method's number -> its value in each lane, float32 [K]
PhaseAt = Callable[[Numbers], Phase]

# Hooks that see other data in each lane, or differentiate by themselves.
_ALONE = ("prepare", "foresee", "survey")


def hindrance(method: Method) -> str:
    """Why a method cannot be trained in lanes, as half a sentence; '' where nothing tells.

    Args:
        method: its hooks.
    """
    if method.learner or not method.phases:
        return "it does not train in phases"
    if method.net.statistics:
        return "the network has batch norms"
    for phase in (*method.first_phases, *method.phases):
        alone = [hook for hook in _ALONE if getattr(phase, hook) is not None]
        if alone:
            return f"'{alone[0]}' of its phase '{phase.name}' is no function of stacked tensors"
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

    Its loss has the shape [K]. A batch is the same for all lanes, or has an axis of lanes; what is
    drawn or noted for it always has one.

    Args:
        phases: of each lane.
        memories: of each lane.
        numbers: those that differ between lanes.
        at: the phase at some numbers, whose hooks are taken.
        rates: learning rate of each lane, [K], by which a step's size is multiplied; None for 1.
        own_batches: whether batches have an axis of lanes, as those of several seeds do.

    Raises:
        NotStackable: shapes differ.
    """
    first = phases[0]
    for hook in first.__dataclass_fields__:
        if len({getattr(phase, hook) is None for phase in phases}) > 1:
            raise NotStackable(f"'{hook}' has nothing to do in some lanes")
    changes = first.track is not None or first.project is not None
    memory, axes = stacked([*memories], may_share=not changes)
    over = _Over(first, dict(numbers), at, None if changes else axes, 0 if own_batches else None)
    hooks: dict[str, Any] = {}
    if first.open:
        hooks["open"] = _opened(phases, memories)
    if first.pull:
        hooks["pull"] = lambda memory: _pull([p.pull(m) for p, m in _pairs(phases, memories)])
    for name in ("steer", "project", "track"):
        if getattr(first, name):
            hooks[name] = getattr(over, name)
    if first.proximal:
        pulls = [p.proximal(m) for p, m in _pairs(phases, memories) if p.proximal]
        hooks["settle"] = _settling(pulls, rates)
    elif first.settle:
        hooks["settle"] = over.settling(rates)
    return Phase(first.name, over.loss, decays=first.decays, **hooks), memory


class _Over:
    """The hooks of a phase over lanes."""

    def __init__(
        self, phase: Phase, numbers: dict[str, Tensor], at: PhaseAt, axes: Any, shown: int | None
    ) -> None:
        """Note what is stacked.

        Args:
            phase: of one lane, whose hooks are those of all where no numbers differ.
            numbers: those that differ.
            at: the phase at some.
            axes: of the memory; None where all its tensors have one.
            shown: axis of lanes of a batch's inputs; None for none.
        """
        self.phase, self.numbers, self.at, self.axes, self.shown = (
            phase,
            numbers,
            at,
            axes,
            shown,
        )

    def loss(self, full: Params, memory: Memory, batch: Batch, task: int) -> Tensor | NotedLoss:
        def of(phase: Phase, full: Params, memory: Memory, batch: Batch) -> Any:
            found = phase.loss(full, memory, batch, task)
            return tuple(found) if isinstance(found, NotedLoss) else (found, {})

        loss, noted = self._over(of, memory, batch, full, has_lists=False)
        return NotedLoss(loss, noted) if noted else loss

    def steer(
        self, grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> Params:
        def of(phase: Phase, both: Any, memory: Memory, batch: Batch) -> Any:
            assert phase.steer is not None
            grads, full = both
            return phase.steer(grads, full, memory, batch, task)

        found: Params = self._over(of, memory, batch, (grads, full))
        return found

    def project(
        self, grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> tuple[Params, Memory]:
        def of(phase: Phase, both: Any, memory: Memory, batch: Batch) -> Any:
            assert phase.project is not None
            grads, full = both
            return phase.project(grads, full, memory, batch, task)

        found: tuple[Params, Memory] = self._over(of, memory, batch, (grads, full))
        return found

    def track(self, memory: Memory, batch: Batch, task: int) -> Memory:
        def of(phase: Phase, nothing: Any, memory: Memory, batch: Batch) -> Any:
            assert phase.track is not None
            return phase.track(memory, batch, task)

        found: Memory = self._over(of, memory, batch, ())
        return found

    def settling(self, rates: Tensor | None) -> Callable[[Params, Memory, float, int], Params]:
        def settle(trained: Params, memory: Memory, step_size: float, task: int) -> Params:
            def of(phase: Phase, both: Any, memory: Memory, batch: Batch | None) -> Any:
                assert phase.settle is not None
                own, size = both
                return phase.settle(own, memory, size, task)

            sizes = step_size if rates is None else step_size * rates
            found: Params = self._over(of, memory, None, (trained, sizes))
            return found

        return settle

    def _over(
        self,
        of: Callable[..., Any],
        memory: Memory,
        batch: Batch | None,
        given: Any,
        *,
        has_lists: bool = True,
    ) -> Any:
        """A hook of every lane; `given` has an axis of lanes at every tensor."""

        def one(given: Any, memory: Memory, batch: Batch | None, values: Numbers) -> Any:
            return of(self.at(values) if values else self.phase, given, memory, batch)

        axes = axes_of(memory) if self.axes is None else self.axes
        shown = None if batch is None else self._axes_of(batch)
        dims = (axes_of(given), axes, shown, axes_of(self.numbers))
        return over_lanes(one, dims, given, memory, batch, self.numbers, has_lists=has_lists)

    def _axes_of(self, batch: Batch) -> Batch:
        found: Batch = axes_of(batch)._replace(scale=without_axis(batch.scale))
        shown: dict[str, Any] = {
            name: self.shown
            for name in ("x", "y", "raw", "tasks", "weights")
            if getattr(batch, name) is not None
        }
        return found._replace(**shown)


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
