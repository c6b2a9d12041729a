"""The engine of lanes: one phase of several trials, of stacked tensors.

Lanes of one seed see the same batches, which are prepared once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, Trainable
from clsweep.methods.base import Batch, Memory, Method, Note, Phase, Trace
from clsweep.nets.parameter_trees import Params
from clsweep.training.batches import Order, batches
from clsweep.training.engine import Engine, Setting, State, check_params
from clsweep.training.stacked_phase import Numbers, stacked_phase
from clsweep.training.stacked_trees import (
    NotStackable,
    along_lanes,
    lane_of,
    stacked_params,
    stacked_state,
    state_of,
    tree_of,
)

if TYPE_CHECKING:
    from clsweep.methods.hyper_fields import Hyper
    from clsweep.training.config import TrainingConfig


class LaneState(NamedTuple):
    """A lane as a phase begins.

    Attributes:
        method: its hooks.
        phase: one of them.
        training: its settings, alike in all lanes but for the learning rate.
        seed: its seed.
        state: what it has learnt so far.
    """

    method: Method
    phase: Phase
    training: TrainingConfig
    seed: int
    state: State


class LanedEngine(Engine):
    """One phase of K lanes; all tensors but those of batches have an axis of lanes in front."""

    def __init__(
        self,
        lanes: Sequence[LaneState],
        at: Callable[[Hyper], Phase],
        scale: Scale,
        task: int,
        n_steps: int,
    ) -> None:
        """Stack what the lanes have learnt.

        Args:
            lanes: two or more; one is trained as if it were several.
            at: (numbers) -> the phase, with tensors in place of the numbers that differ.
            scale: from stored values to inputs.
            task: the task's index.
            n_steps: gradient steps to make.

        Raises:
            NotStackable: shapes differ.
        """
        first, states = lanes[0], [lane.state for lane in lanes]
        self.lanes, self.phases = lanes, [lane.phase for lane in lanes]
        self.notes = [
            p.note(s.params, s.memory, task) if p.note else None
            for p, s in zip(self.phases, states, strict=True)
        ]
        params = stacked_params([state.params for state in states])
        device, training = next(iter(params.values())).device, first.training
        rates = [lane.training.lr for lane in lanes]
        self.own_rates = None
        if len(set(rates)) > 1:
            self.own_rates = torch.tensor(rates, device=device)
            training = training.model_copy(update={"lr": 1.0})
        numbers = _numbers([lane.method.hyper for lane in lanes], device)
        self.seeds = list(dict.fromkeys(lane.seed for lane in lanes))

        def phase_at(values: Numbers) -> Phase:
            return at(first.method.hyper.model_copy(update=dict(values)))

        phase, memory = stacked_phase(
            self.phases,
            [state.memory for state in states],
            numbers,
            phase_at,
            self.own_rates,
            own_batches=len(self.seeds) > 1,
        )
        self.begun_with = memory
        state = State(params, memory, None, stacked_state([s.optimiser for s in states]))
        setting = Setting(first.method.net, scale, training, first.seed)
        super().__init__(phase, state, setting, task, n_steps, first.method.trace)
        self.rates = {name: self._times_rates(rate) for name, rate in self.rates.items()}
        self.carried = state.optimiser
        places = [self.seeds.index(lane.seed) for lane in lanes]
        self.seed_of = torch.tensor(places, device=device)

    def batches(self, data: Trainable) -> Iterator[tuple[int, list[Batch]]]:
        """The batches of every seed, each prepared once; one for all lanes where seeds agree.

        Args:
            data: training examples.
        """
        training, (_, scale, *_) = self.training, self.setting
        shown = training.augment, training.label_smoothing, training.class_balance
        streams = [
            batches(
                data,
                scale,
                Order(seed, self.task, training.batch_size, self.n_planned, *shown),
                self._draws if seed == self.seeds[0] else _nothing,
                self._note_of(seed),
            )
            for seed in self.seeds
        ]
        for parts in zip(*streams, strict=True):
            first_step, _ = parts[0]
            chunks = [chunk for _, chunk in parts]
            yield first_step, [self._merged(same) for same in zip(*chunks, strict=True)]

    def _merged(self, same: Sequence[Batch]) -> Batch:
        first = same[0]._replace(noted=self._noted(same))
        if len(same) == 1:
            return first
        held: dict[str, Any] = {}
        for name in ("x", "y", "raw", "tasks", "weights"):
            parts = [getattr(batch, name) for batch in same]
            held[name] = None if parts[0] is None else torch.stack(parts)[self.seed_of]
        return first._replace(**held)

    def _note_of(self, seed: int) -> Note | None:
        """What the lanes of a seed note of its inputs, by lane and name."""
        notes = [
            (str(k), note)
            for k, (lane, note) in enumerate(zip(self.lanes, self.notes, strict=True))
            if note is not None and lane.seed == seed
        ]
        if not notes:
            return None
        return lambda x: {
            f"{k} {name}": value for k, note in notes for name, value in note(x).items()
        }

    def _noted(self, same: Sequence[Batch]) -> dict[str, Tensor]:
        """The same with an axis of lanes, [K, B, ...] by name."""
        all_noted = {key: value for batch in same for key, value in batch.noted.items()}
        names = [key[2:] for key in all_noted if key.startswith("0 ")]
        return {
            name: torch.stack([all_noted[f"{k} {name}"] for k in range(len(self.lanes))])
            for name in names
        }

    def _draws(self, epoch: int, n_batches: int) -> dict[str, Tensor]:
        """What all lanes draw for an epoch, [steps, K, ...]."""
        found = []
        for k, (lane, phase) in enumerate(zip(self.lanes, self.phases, strict=True)):
            if not phase.draw:
                return {}
            rng = generator(lane.seed, "draw", phase.name, self.task, epoch)
            size = self.training.batch_size
            found.append(phase.draw(rng, self.memory_of(k), n_batches, size))
        return {name: torch.stack([one[name] for one in found], 1) for name in found[0]}

    def memory_of(self, k: int) -> Memory:
        """What a lane carries now.

        Args:
            k: which lane.
        """
        if self.memory is self.begun_with:
            return self.lanes[k].state.memory
        found: Memory = tree_of(self.memory, k)
        return found

    def differentiated(self, loss: Tensor) -> Tensor:
        """The sum over lanes: each parameter is in the loss of its own lane alone."""
        return loss.sum()

    def clipped_to_norm(self, grads: Params) -> Params:
        """Each lane's gradients of at most the norm that the study allows."""
        if not grads:
            return grads
        squares = [grad.flatten(1).square().sum(1) for grad in grads.values()]
        norms = torch.stack(squares).sum(0).sqrt()
        shares = (self.training.clip_norm / (norms + 1e-6)).clamp(max=1.0)
        return {name: grad * along_lanes(shares, grad) for name, grad in grads.items()}

    def _times_rates(self, value: Tensor) -> Tensor:
        return value if self.own_rates is None else value * along_lanes(self.own_rates, value)

    def descend(self, grads: Params) -> None:
        """A step of every lane, as long as its own learning rate."""
        if self.own_rates is None:
            super().descend(grads)
        elif self.is_plain:
            super().descend({name: self._times_rates(grad) for name, grad in grads.items()})
        else:
            before = [leaf.detach().clone() for leaf in self.leaves]
            super().descend(grads)
            for leaf, old in zip(self.leaves, before, strict=True):
                leaf.sub_(old).mul_(along_lanes(self.own_rates, leaf)).add_(old)

    def end(self, k: int) -> State:
        """What a lane has after the phase.

        Args:
            k: which lane.

        Raises:
            Diverged: its parameters are not finite.
            MethodError: a hook changed names or shapes of the parameters.
        """
        phase, before = self.phases[k], self.lanes[k].state
        closed = held = {name: value.detach()[k].clone() for name, value in self.full.items()}
        expected = {name: value for name, value in held.items() if name not in self.own}
        memory = self.memory_of(k)
        if phase.close:
            closed, memory = phase.close(held, memory, self.task)
        check_params(expected, closed, self.phase.name, self.task, self.n_steps)
        kept = {**self.carried, **self.optimiser_state()}
        trace = self.trace()
        own = None if trace is None else Trace(lane_of(trace.start, k), lane_of(trace.path, k))
        n_steps = before.n_steps + self.n_planned
        return State(closed, memory, own, state_of(kept, k), n_steps)


def _nothing(epoch: int, n_batches: int) -> dict[str, Tensor]:
    return {}


def _numbers(hypers: Sequence[Hyper], device: torch.device) -> dict[str, Tensor]:
    """The numbers that differ, one for each lane.

    Raises:
        NotStackable: a value that differs is no real number.
    """
    found = {}
    for name in type(hypers[0]).model_fields:
        values = [getattr(hyper, name) for hyper in hypers]
        if len(set(values)) == 1:
            continue
        if not all(isinstance(value, float) for value in values):
            raise NotStackable(f"'{name}' differs and is no real number")
        found[name] = torch.tensor(values, device=device)
    return found
