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
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from clsweep.data.tasks import Task, TaskSequence, Trainable, joined
from clsweep.methods.base import Batch, Method, Phase
from clsweep.nets.parameter_trees import Params
from clsweep.records.accuracy import AccuracyRow
from clsweep.training.batches import Order, batches
from clsweep.training.divergence import Diverged
from clsweep.training.engine import Engine, Setting, State, check_losses
from clsweep.training.laned_engine import LanedEngine, LaneState
from clsweep.training.learner import Learner, finetuned_state, initial_params
from clsweep.training.learnt_models import FinetunedModel, LearntSequence, SourceModel
from clsweep.training.loss_curves import LossCurves
from clsweep.training.optimiser_names import STACKED
from clsweep.training.sequences import joint_outcome, outcome_of
from clsweep.training.stacked_phase import hindrance
from clsweep.training.stacked_trees import NotStackable

if TYPE_CHECKING:
    from clsweep.methods.hyper_fields import Hyper
    from clsweep.training.config import TrainingConfig

Build = Callable[["Hyper"], Method]


class Lane(NamedTuple):
    """One trial among others.

    Attributes:
        method: its hooks, with its numbers in them.
        training: as that of all others but for the learning rate.
        seed: its seed.
        source: the model of the first task that it starts from; None where it learns that task.
        statistics: the method's statistics of that task.
        curves: where its losses are noted; None for nowhere.
        finetuned: the fine-tuned network of the second task, see `learn_sequence`.
    """

    method: Method
    training: TrainingConfig
    seed: int
    source: SourceModel | None
    statistics: Params
    curves: LossCurves | None = None
    finetuned: FinetunedModel | None = None


class Part(NamedTuple):
    """One phase on one task.

    Attributes:
        task: the task's index.
        data: what it is trained on.
        n_steps: gradient steps.
        place: of the phase among the method's.
        is_first: whether it is one of `Method.first_phases`.
    """

    task: int
    data: Trainable
    n_steps: int
    place: int
    is_first: bool

    def of(self, method: Method) -> Phase:
        """The phase of a method."""
        return (method.first_phases if self.is_first else method.phases)[self.place]


class Running:
    """A lane on its way through the sequence."""

    def __init__(self, lane: Lane, sequence: TaskSequence) -> None:
        setting = Setting(lane.method.net, sequence.scale, lane.training, lane.seed)
        self.lane, self.sequence = lane, sequence
        self.learner = Learner(lane.method, sequence, setting, None)
        self.diverged: Diverged | None = None
        self.rows: list[AccuracyRow] = []
        if lane.method.joint:
            self.state = _initial(lane.method, lane.seed, sequence)
        else:
            self.state, self.rows = self.learner.beginning(lane.source)
        self.before = self.state

    def begin(self, task: Task) -> None:
        """Note the state before a task."""
        self.before, self.state = self.state, self.state._replace(trace=None)

    def end(self, task: Task) -> None:
        """Test and absorb what was trained, unless it has diverged."""
        if self.diverged:
            return
        source = self.lane.source
        if task.index == 0 and source is not None:
            self.state = self.learner.source_absorbed(self.state, source, self.lane.statistics)
            return
        try:
            self.state, rows = self.learner.tested(self.before, self.state, task)
        except Diverged as error:
            self.diverged = error
            return
        self.rows = self.rows + rows
        self.state = self.learner.absorbed(self.state, task)

    def take_finetuned(self) -> None:
        """Go on with the fine-tuned network that was trained before."""
        assert self.lane.finetuned is not None
        self.state = finetuned_state(self.state, self.lane.finetuned)

    def fail(self, error: Diverged) -> None:
        """Have it end here."""
        error.n_steps += self.state.n_steps
        self.diverged = error

    def outcome(self) -> LearntSequence | Diverged:
        """What it has learnt, or how it ended."""
        if self.diverged is not None or not self.lane.method.joint:
            method = self.lane.method
            return self.diverged or outcome_of(method, self.state, self.rows)
        try:
            return joint_outcome(self.lane.method, self.before.params, self.state, self.sequence)
        except Diverged as error:
            return error


def learn_lanes(
    lanes: Sequence[Lane], sequence: TaskSequence, build: Build
) -> list[LearntSequence | Diverged]:
    """Learn the sequence in all lanes; of each, what it has learnt or how it ended.

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
    if first.method.joint:
        _train(running, _joint_part(first, sequence), build)
        return [one.outcome() for one in running]
    for task in sequence.tasks:
        alive = [one for one in running if one.diverged is None]
        for one in alive:
            one.begin(task)
        for part in _parts(first, task):
            here = [one for one in alive if one.diverged is None]
            if _is_shared(part, first):
                for one in here:
                    one.take_finetuned()
            elif here:
                _train(here, part, build)
        for one in alive:
            one.end(task)
    return [one.outcome() for one in running]


def begun(lanes: Sequence[Lane], sequence: TaskSequence) -> list[Running]:
    """The lanes before any training of their own.

    Args:
        lanes: see `learn_lanes`.
        sequence: the tasks.

    Raises:
        NotStackable: they cannot be trained as one.
    """
    _check(lanes)
    return [Running(lane, sequence) for lane in lanes]


def _initial(method: Method, seed: int, sequence: TaskSequence) -> State:
    device = sequence.tasks[0].train.labels.device
    start = initial_params(method.net, seed, device)
    return State(start, method.begin(start) if method.begin else {})


def _parts(lane: Lane, task: Task) -> list[Part]:
    """What is trained on a task."""
    hyper, is_first = lane.method.hyper, task.index == 0 and lane.source is not None
    n_steps = lane.training.n_steps(len(task.train), task.index)
    steps = hyper.first_steps(n_steps) if is_first else hyper.phase_steps(n_steps)
    return [Part(task.index, task.train, n, k, is_first) for k, n in enumerate(steps)]


def _is_shared(part: Part, lane: Lane) -> bool:
    """Whether what a phase would train was trained before, and is shared."""
    has_it = lane.finetuned is not None and part.task == 1
    return has_it and part.of(lane.method).is_finetuning


def _joint_part(lane: Lane, sequence: TaskSequence) -> Part:
    tasks = sequence.tasks
    n_steps = sum(lane.training.n_steps(len(task.train), task.index) for task in tasks)
    return Part(len(tasks) - 1, joined(sequence), n_steps, 0, False)


def measured_part(running: Sequence[Running], sequence: TaskSequence) -> Part:
    """The first phase that makes steps; the lanes are brought to it, without training.

    Args:
        running: of `begun`.
        sequence: the tasks.

    Raises:
        NotStackable: no phase makes one.
    """
    first = running[0].lane
    if first.method.joint:
        return _joint_part(first, sequence)
    for task in sequence.tasks[:3]:  # of two, the second may be a shared network alone
        for one in running:
            one.begin(task)
        for part in _parts(first, task):
            if not _is_shared(part, first):
                if part.n_steps:
                    return part
                continue
            for one in running:
                one.take_finetuned()
        for one in running:
            one.end(task)
    raise NotStackable("it makes no step that could be measured")


def steps_in_lanes(running: Sequence[Running], part: Part, build: Build) -> Callable[[], Tensor]:
    """() -> losses of one more step, of which nothing is kept.

    Args:
        running: of `begun`.
        part: of `measured_part`.
        build: see `learn_lanes`.
    """
    engine = _engine(running, part, build)
    return _again(engine, next(iter(engine.batches(part.data)))[1])


def steps_alone(one: Running, part: Part) -> Callable[[], Tensor]:
    """The same of one trial without lanes.

    Args:
        one: of `begun`.
        part: of `measured_part`.
    """
    training, setting, phase = one.lane.training, one.learner.setting, part.of(one.lane.method)
    engine = Engine(phase, one.state, setting, part.task, part.n_steps, one.lane.method.trace)
    shown = training.augment, training.label_smoothing, training.class_balance
    order = Order(one.lane.seed, part.task, training.batch_size, part.n_steps, *shown)
    note = phase.note(one.state.params, one.state.memory, part.task) if phase.note else None
    made = batches(part.data, setting.scale, order, engine.draws_of, note)
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


def _engine(running: Sequence[Running], part: Part, build: Build) -> LanedEngine:
    lanes = [
        LaneState(
            one.lane.method,
            part.of(one.lane.method),
            one.lane.training,
            one.lane.seed,
            one.state,
        )
        for one in running
    ]
    scale = running[0].sequence.scale
    return LanedEngine(lanes, lambda hyper: part.of(build(hyper)), scale, part.task, part.n_steps)


def _train(running: Sequence[Running], part: Part, build: Build) -> None:
    """One phase of all lanes; their states go on, or they diverge."""
    engine = _engine(running, part, build)
    name = engine.phase.name
    curves = [one.lane.curves for one in running]
    noted = [None if curve is None else curve.begin(part.task, name) for curve in curves]
    failed: dict[int, Diverged] = {}
    for first_step, chunk in engine.batches(part.data):
        losses = torch.stack([engine.step(batch) for batch in chunk])  # [steps, K]
        for k, kept in enumerate(noted):
            if kept is not None and k not in failed:
                kept.append(losses[:, k])
        if bool(torch.isfinite(losses).all()):
            continue
        for k in range(len(running)):
            try:
                if k not in failed:
                    check_losses(losses[:, k], first_step, name, part.task)
            except Diverged as error:
                failed[k] = error
        if len(failed) == len(running):
            break
    for k, one in enumerate(running):
        try:
            if k in failed:
                raise failed[k]
            one.state = engine.end(k)
        except Diverged as error:
            one.fail(error)
