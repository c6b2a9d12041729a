"""One point of a regularisation path: the second task, learnt on from the point above.

See `clsweep.study.paths` for what a path is. Between two points the network is carried along, with
its heads, and with `reset = false` the optimiser's state; else every point starts with a fresh
one. A learning-rate schedule runs once per point. The order of batches goes on where the point
above left it, so that no part of an epoch is seen more often than another.
"""

from __future__ import annotations

from typing import NamedTuple

from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Method
from clsweep.nets.parameter_trees import Params
from clsweep.records.accuracy import AccuracyRow
from clsweep.training.config import TrainingConfig
from clsweep.training.divergence import Diverged
from clsweep.training.engine import Setting, State, after_steps, train_phase
from clsweep.training.evaluation import check_learnt, evaluate
from clsweep.training.learner import Learner
from clsweep.training.learnt_models import LearntSequence, PathPoint, SourceModel
from clsweep.training.memory_bytes import memory_bytes

_TARGET = 1


class PathStart(NamedTuple):
    """What a point begins with, beside the point above.

    Attributes:
        method: of one phase, with the penalty at the point's value.
        sequence: two tasks.
        training: optimiser, learning rate, batch size, length.
        seed: the trial's seed.
        source: the shared model of the first task.
        statistics: the method's statistics of that task.
    """

    method: Method
    sequence: TaskSequence
    training: TrainingConfig
    seed: int
    source: SourceModel
    statistics: Params

    @property
    def setting(self) -> Setting:
        """What all phases share."""
        return Setting(self.method.net, self.sequence.scale, self.training, self.seed)

    def first_task(self) -> tuple[State, list[AccuracyRow]]:
        """The method right after the first task, and the accuracies."""
        learner = Learner(self.method, self.sequence, self.setting, None)
        return learner.first_task(self.source, self.statistics)


def learn_point(start: PathStart, n_steps: int, above: PathPoint | None) -> PathPoint:
    """The network at one value of the knob.

    Args:
        start: what all points of the path begin with.
        n_steps: gradient steps to make.
        above: the point above; None for the first.

    Raises:
        MethodError: a hook broke its contract.
    """
    begun, _ = start.first_task()
    state, n_before = begun._replace(trace=None, n_steps=0), 0
    if above is not None and above.n_before:
        state = state._replace(params=above.params, optimiser=above.optimiser)
        n_before = above.n_before
    (phase,) = start.method.phases
    try:
        after = train_phase(
            phase,
            state,
            start.sequence.tasks[_TARGET].train,
            start.setting,
            task=_TARGET,
            n_steps=n_steps,
            n_skipped=n_before,
        )
        with after_steps(n_steps):
            net = start.method.net
            check_learnt(net, begun.params, after.params, start.sequence, _TARGET)
    except Diverged as error:
        return PathPoint(state.params, state.optimiser, error.n_steps, n_before, str(error))
    return PathPoint(after.params, after.optimiser, n_steps, n_before + n_steps)


def evaluated_point(start: PathStart, point: PathPoint) -> LearntSequence:
    """The point as a trial has it: accuracies, memory, steps.

    Args:
        start: what all points of the path begin with.
        point: what `learn_point` has made.

    Raises:
        Diverged: the point has diverged.
    """
    if point.diverged:
        raise Diverged(point.diverged, point.n_steps)
    method = start.method
    state, rows = start.first_task()
    predict = method.predict or method.net.apply
    rows += evaluate(predict, point.params, start.sequence, _TARGET)
    counters = method.counters(point.params, state.memory) if method.counters else {}
    kept = memory_bytes(state.memory)
    return LearntSequence(point.params, rows, point.n_steps, kept, counters, predict=predict)
