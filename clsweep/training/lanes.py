"""Lanes: several configurations or seeds of one method, trained as one program of stacked tensors.

A small network does not fill a processor, let alone a GPU: most of a step is the time to start its
operations. K lanes make a step with as many operations as one. What is stacked is each phase's
training; between phases, every lane is by itself: importances, buffers, tests and accuracies are
computed as for a trial alone.

Lanes of one seed see the same batches, which are prepared once. Sums come in another order than in
a trial alone, so that parameters agree to rounding and not to the bit. A lane that diverges leaves
the others alone: nothing of one lane is in a number of another.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.data.tasks import Task, TaskSequence
from clsweep.methods.base import Batch, Method, Phase, Trace
from clsweep.nets.parameter_trees import Params
from clsweep.training.batches import Order, batches
from clsweep.training.divergence import Diverged
from clsweep.training.engine import Engine, Setting, State, check_losses, check_params
from clsweep.training.learner import Learner
from clsweep.training.learnt_models import LearntSequence, SourceModel
from clsweep.training.loss_curves import LossCurves
from clsweep.training.optimiser_names import STACKED
from clsweep.training.sequences import outcome_of
from clsweep.training.stacked_phase import Numbers, hindrance, stacked_phase
from clsweep.training.stacked_trees import (
    NotStackable,
    along_lanes,
    lane_of,
    stacked_params,
    stacked_state,
    state_of,
)

if TYPE_CHECKING:
    from clsweep.methods.hyper_fields import Hyper
    from clsweep.training.config import TrainingConfig


class Lane(NamedTuple):
    """One trial among others.

    Attributes:
        method: its hooks, with its numbers in them.
        training: as that of all others but for the learning rate.
        seed: its seed.
        source: the model of the first task that it starts from.
        statistics: the method's statistics of that task.
        curves: where its losses are noted; None for nowhere.
    """

    method: Method
    training: TrainingConfig
    seed: int
    source: SourceModel
    statistics: Params
    curves: LossCurves | None = None


class Running:
    """A lane on its way through the sequence."""

    def __init__(self, lane: Lane, sequence: TaskSequence) -> None:
        setting = Setting(lane.method.net, sequence.scale, lane.training, lane.seed)
        self.lane, self.learner = lane, Learner(lane.method, sequence, setting, None)
        self.diverged: Diverged | None = None
        self.state, self.rows = self.learner.first_task(lane.source, lane.statistics)
        self.before = self.state

    def n_steps(self, sequence: TaskSequence) -> int:
        """Steps of its first phase on the second task."""
        task, training = sequence.tasks[1], self.lane.training
        n_steps = training.n_steps(len(task.train), task.index)
        return self.lane.method.hyper.phase_steps(n_steps)[0]

    def begin(self, task: Task) -> None:
        """Note the state before a task."""
        self.before, self.state = self.state, self.state._replace(trace=None)

    def end(self, task: Task) -> None:
        """Test and absorb what was trained, unless it has diverged."""
        if self.diverged:
            return
        try:
            self.state, rows = self.learner.tested(self.before, self.state, task)
        except Diverged as error:
            self.diverged = error
            return
        self.rows = self.rows + rows
        self.state = self.learner.absorbed(self.state, task)

    def fail(self, error: Diverged) -> None:
        """Have it end here."""
        error.n_steps += self.state.n_steps
        self.diverged = error


def learn_lanes(
    lanes: Sequence[Lane], sequence: TaskSequence, build: Callable[[Hyper], Method]
) -> list[LearntSequence | Diverged]:
    """Learn every task after the first in all lanes; of each, what it has learnt or how it ended.

    Args:
        lanes: of one method, network and training; numbers, seeds and learning rates may differ.
        sequence: the tasks, the same for all seeds.
        build: (numbers) -> the hooks of the method; it is also called with tensors in place of
            numbers, one for each lane.

    Raises:
        NotStackable: they cannot be trained as one.
        MethodError: a hook broke its contract.
    """
    running, first = begun(lanes, sequence), lanes[0]
    for task in sequence.tasks[1:]:
        n_steps = first.training.n_steps(len(task.train), task.index)
        steps = first.method.hyper.phase_steps(n_steps)
        alive = [one for one in running if one.diverged is None]
        for one in alive:
            one.begin(task)
        for index, n in enumerate(steps):
            here = [one for one in alive if one.diverged is None]
            if here:
                _train(here, index, task, sequence, n, build)
        for one in alive:
            one.end(task)
    return [one.diverged or outcome_of(one.lane.method, one.state, one.rows) for one in running]


def begun(lanes: Sequence[Lane], sequence: TaskSequence) -> list[Running]:
    """The lanes after the first task, which they have absorbed.

    Args:
        lanes: see `learn_lanes`.
        sequence: the tasks.

    Raises:
        NotStackable: they cannot be trained as one.
    """
    _check(lanes)
    return [Running(lane, sequence) for lane in lanes]


def steps_in_lanes(
    running: Sequence[Running], sequence: TaskSequence, build: Callable[[Hyper], Method]
) -> Callable[[], Tensor]:
    """() -> losses of one more step on the second task, of which nothing is kept.

    Args:
        running: of `begun`.
        sequence: the tasks.
        build: see `learn_lanes`.
    """
    task, n_steps = sequence.tasks[1], running[0].n_steps(sequence)
    engine = _LanedEngine(running, 0, task.index, sequence, n_steps, build)
    return _again(engine, next(iter(engine.batches(task)))[1])


def steps_alone(one: Running, sequence: TaskSequence) -> Callable[[], Tensor]:
    """The same of one trial without lanes.

    Args:
        one: of `begun`.
        sequence: the tasks.
    """
    task, training, n_steps = sequence.tasks[1], one.lane.training, one.n_steps(sequence)
    setting, phase = one.learner.setting, one.lane.method.phases[0]
    engine = Engine(phase, one.state, setting, task.index, n_steps, one.lane.method.trace)
    shown = training.augment, training.label_smoothing, training.class_balance
    order = Order(one.lane.seed, task.index, training.batch_size, n_steps, *shown)
    made = batches(task.train, sequence.scale, order, engine.draws_of)
    return _again(engine, next(iter(made))[1])


def _again(engine: Engine, chunk: Sequence[Batch]) -> Callable[[], Tensor]:
    """One step after the other, with the same batches again and again."""
    turn = itertools.cycle(chunk)
    return lambda: engine.step(next(turn))


def _check(lanes: Sequence[Lane]) -> None:
    """Refuse what cannot be stacked.

    Raises:
        NotStackable: why.
    """
    alike = {lane.training.model_copy(update={"lr": 1.0}) for lane in lanes}
    if len(alike) > 1:
        raise NotStackable("more than the learning rate of their training differs")
    training = lanes[0].training
    if training.optimizer not in STACKED:
        raise NotStackable(f"a step of '{training.optimizer}' is not stacked")
    if training.precision != "float32":
        raise NotStackable(f"precision = '{training.precision}'")
    why = hindrance(lanes[0].method)
    if why:
        raise NotStackable(why)


def _train(
    running: Sequence[Running],
    index: int,
    task: Task,
    sequence: TaskSequence,
    n_steps: int,
    build: Callable[[Hyper], Method],
) -> None:
    """One phase of all lanes; their states go on, or they diverge."""
    engine = _LanedEngine(running, index, task.index, sequence, n_steps, build)
    name, parts = engine.phase.name, [_losses_of(one, task, engine.phase) for one in running]
    failed: dict[int, Diverged] = {}
    for first_step, chunk in engine.batches(task):
        losses = torch.stack([engine.step(batch) for batch in chunk])  # [steps, K]
        for k, part in enumerate(parts):
            if part is not None and k not in failed:
                part.append(losses[:, k])
        if bool(torch.isfinite(losses).all()):
            continue
        for k in range(len(running)):
            try:
                if k not in failed:
                    check_losses(losses[:, k], first_step, name, task.index)
            except Diverged as error:
                failed[k] = error
        if len(failed) == len(running):
            break
    for k, one in enumerate(running):
        ending = failed.get(k) or engine.end(k, one, n_steps)
        if ending is not None:
            one.fail(ending)


def _losses_of(one: Running, task: Task, phase: Phase) -> list[Tensor] | None:
    curves = one.lane.curves
    return None if curves is None else curves.begin(task.index, phase.name)


class _LanedEngine(Engine):
    """One phase of K lanes; all tensors but those of batches have an axis of lanes in front."""

    def __init__(
        self,
        running: Sequence[Running],
        index: int,
        task: int,
        sequence: TaskSequence,
        n_steps: int,
        build: Callable[[Hyper], Method],
    ) -> None:
        lanes = [one.lane for one in running]
        states = [one.state for one in running]
        self.lanes, self.phases = lanes, [lane.method.phases[index] for lane in lanes]
        self.memories = [state.memory for state in states]
        params = stacked_params([state.params for state in states])
        device, training = next(iter(params.values())).device, lanes[0].training
        rates = [lane.training.lr for lane in lanes]
        self.own_rates = None
        if len(set(rates)) > 1:
            self.own_rates = torch.tensor(rates, device=device)
            training = training.model_copy(update={"lr": 1.0})
        numbers = _numbers([lane.method.hyper for lane in lanes], device)
        hyper = lanes[0].method.hyper

        def at(values: Numbers) -> Phase:
            return build(hyper.model_copy(update=dict(values))).phases[index]

        self.seeds = list(dict.fromkeys(lane.seed for lane in lanes))
        phase, memory = stacked_phase(
            self.phases,
            self.memories,
            numbers,
            at,
            self.own_rates,
            own_batches=len(self.seeds) > 1,
        )
        state = State(params, memory, None, stacked_state([s.optimiser for s in states]))
        setting = Setting(lanes[0].method.net, sequence.scale, training, lanes[0].seed)
        super().__init__(phase, state, setting, task, n_steps, lanes[0].method.trace)
        self.rates = {name: self._times_rates(rate) for name, rate in self.rates.items()}
        self.carried = state.optimiser
        places = [self.seeds.index(lane.seed) for lane in lanes]
        self.seed_of = torch.tensor(places, device=device)

    def batches(self, task: Task) -> Iterator[tuple[int, list[Batch]]]:
        """The batches of every seed, each prepared once; one for all lanes where seeds agree."""
        training, (_, scale, *_) = self.training, self.setting
        shown = training.augment, training.label_smoothing, training.class_balance
        streams = [
            batches(
                task.train,
                scale,
                Order(seed, self.task, training.batch_size, self.n_planned, *shown),
                self._draws if seed == self.seeds[0] else _nothing,
            )
            for seed in self.seeds
        ]
        for parts in zip(*streams, strict=True):
            first_step, _ = parts[0]
            chunks = [chunk for _, chunk in parts]
            yield first_step, [self._merged(same) for same in zip(*chunks, strict=True)]

    def _merged(self, same: Sequence[Batch]) -> Batch:
        first = same[0]
        if len(same) == 1:
            return first
        x = torch.stack([batch.x for batch in same])[self.seed_of]
        y = torch.stack([batch.y for batch in same])[self.seed_of]
        weights = None
        if first.weights is not None:
            weights = torch.stack([b.weights for b in same if b.weights is not None])
            weights = weights[self.seed_of]
        return first._replace(x=x, y=y, weights=weights)

    def _draws(self, epoch: int, n_batches: int) -> dict[str, Tensor]:
        """What all lanes draw for an epoch, [steps, K, ...]."""
        found = []
        for lane, phase, memory in zip(self.lanes, self.phases, self.memories, strict=True):
            if not phase.draw:
                return {}
            rng = generator(lane.seed, "draw", phase.name, self.task, epoch)
            found.append(phase.draw(rng, memory, n_batches, self.training.batch_size))
        return {name: torch.stack([one[name] for one in found], 1) for name in found[0]}

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

    def end(self, k: int, one: Running, n_steps: int) -> Diverged | None:
        """Give a lane what it has trained; or return how it has diverged."""
        held = {name: value.detach()[k].clone() for name, value in self.full.items()}
        expected = {name: value for name, value in held.items() if name not in self.own}
        try:
            check_params(expected, held, self.phase.name, self.task, self.n_steps)
        except Diverged as error:
            return error
        kept = {**self.carried, **self.optimiser_state()}
        trace = self.trace()
        own = None if trace is None else Trace(lane_of(trace.start, k), lane_of(trace.path, k))
        before = one.state
        one.state = State(held, before.memory, own, state_of(kept, k), before.n_steps + n_steps)
        return None


def _nothing(epoch: int, n_batches: int) -> dict[str, Tensor]:
    return {}


def _numbers(hypers: Sequence[Hyper], device: torch.device) -> dict[str, Tensor]:
    """The numbers that differ, one for each lane."""
    found = {}
    for name in type(hypers[0]).model_fields:
        values = [getattr(hyper, name) for hyper in hypers]
        if len(set(values)) > 1 and all(isinstance(value, float) for value in values):
            found[name] = torch.tensor(values, device=device)
    return found
