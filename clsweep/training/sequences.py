"""Learning a whole sequence of tasks: the source model, then a method from task to task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from clsweep.data.tasks import TaskSequence, joined
from clsweep.methods.base import Method, Trace
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, tree_map
from clsweep.records.accuracy import AccuracyRow
from clsweep.records.metrics import value_of
from clsweep.training.batch_norm_statistics import with_population
from clsweep.training.early_stopping import Stopped, Watch
from clsweep.training.engine import Setting, State, after_steps, train_phase
from clsweep.training.evaluation import check_learnt, evaluate
from clsweep.training.learner import Learner, initial_params, task_statistics
from clsweep.training.learnt_models import FinetunedModel, LearntSequence, SourceModel
from clsweep.training.memory_bytes import memory_bytes

if TYPE_CHECKING:
    from clsweep.training.config import TrainingConfig


def learn_source(
    net: Net, sequence: TaskSequence, training: TrainingConfig, seed: int
) -> SourceModel:
    """Plain training on the first task, with the path integral recorded for SI.

    Args:
        net: the network.
        sequence: the tasks, on the device to train on.
        training: optimiser, learning rate, batch size, length.
        seed: fixes initial weights and order of batches.

    Raises:
        Diverged: the training settings do not fit the task.
    """
    data = sequence.tasks[0].train
    drawn = initial_params(net, seed, data.labels.device)
    start = with_population(net, drawn, data, sequence.scale)
    rows = evaluate(net.apply, start, sequence, -1)
    run = train_phase(
        plain_phase(net),
        State(drawn, {}),
        data,
        Setting(net, sequence.scale, training, seed),
        task=0,
        n_steps=training.n_steps(len(data), 0),
        trace="task",
    )
    assert run.trace is not None
    trace = Trace(start, run.trace.path)  # the start as methods' `begin` gets it
    check_learnt(net, start, run.params, sequence, 0)
    rows += evaluate(net.apply, run.params, sequence, 0)
    return SourceModel(run.params, trace, run.optimiser, rows, run.n_steps)


def measure_source(
    method: Method, sequence: TaskSequence, source: SourceModel, seed: int
) -> Params:
    """The method's statistics of the first task under the source model."""
    task, scale = sequence.tasks[0], sequence.scale
    return task_statistics(method.measure, source.params, task, scale, seed)


def finetune_source(
    net: Net, sequence: TaskSequence, training: TrainingConfig, seed: int, source: SourceModel
) -> FinetunedModel:
    """Plain training of the source network on the second task, as `finetune` does it.

    Args:
        net: the network.
        sequence: the tasks.
        training: optimiser, learning rate, batch size, length.
        seed: fixes the order of batches.
        source: the network to start from.

    Raises:
        Diverged: the training settings do not fit the task.
    """
    task = sequence.tasks[1]
    run = train_phase(
        plain_phase(net),
        State(source.params, {}, optimiser=source.optimiser),
        task.train,
        Setting(net, sequence.scale, training, seed),
        task=task.index,
        n_steps=training.n_steps(len(task.train), task.index),
    )
    return FinetunedModel(run.params, run.optimiser, run.n_steps)


def learn_sequence(
    method: Method,
    sequence: TaskSequence,
    training: TrainingConfig,
    seed: int,
    source: SourceModel | None,
    statistics: Params,
    finetuned: FinetunedModel | None = None,
    watch: Watch | None = None,
) -> LearntSequence:
    """Learn every task after the first, starting from the source model, or all tasks without one.

    Args:
        method: the method's hooks.
        sequence: the tasks.
        training: optimiser, learning rate, batch size, length.
        seed: the trial's seed.
        source: the shared model of the first task; None for methods that cannot start from it.
        statistics: the method's statistics of the first task.
        finetuned: the fine-tuned network of the second task, for methods that have such a phase;
            None to train it here.
        watch: what may stop it before its end; None for nothing.

    Raises:
        Diverged: training left the range of usable numbers.
        MethodError: a hook broke its contract.
    """
    setting = Setting(method.net, sequence.scale, training, seed)
    learner = Learner(method, sequence, setting, finetuned, watch)
    state, rows = learner.first_task(source, statistics)
    stopped, n_lost = "", 0
    try:
        for task in sequence.tasks[1:]:
            state, new_rows = learner.task(state, task)
            rows += new_rows
            if watch is not None:
                watch.after_task(rows, task.index)
            state = learner.absorbed(state, task)
    except Stopped as stop:
        stopped, n_lost = str(stop), stop.n_steps
    return outcome_of(method, state._replace(n_steps=state.n_steps + n_lost), rows, stopped)


def outcome_of(
    method: Method, state: State, rows: list[AccuracyRow], stopped: str = ""
) -> LearntSequence:
    """What a method has made of a sequence.

    Args:
        method: the method's hooks.
        state: after the last task.
        rows: accuracies after every task.
        stopped: why it ended before the last task was learnt; '' if it did not.
    """
    counters = method.counters(state.params, state.memory) if method.counters else {}
    kept, predict = memory_bytes(state.memory), method.predict or method.net.apply
    return LearntSequence(
        state.params, rows, state.n_steps, kept, counters, stopped, predict=predict
    )


def learn_joint(
    method: Method, sequence: TaskSequence, training: TrainingConfig, seed: int
) -> LearntSequence:
    """Train once on the union of all tasks, with as many steps as they would take in turn."""
    union = joined(sequence)
    start = initial_params(method.net, seed, union.labels.device)
    last = len(sequence.tasks) - 1
    n_steps = sum(training.n_steps(len(task.train), task.index) for task in sequence.tasks)
    setting = Setting(method.net, sequence.scale, training, seed)
    state = State(start, method.begin(start) if method.begin else {})
    for phase in method.phases:
        state = train_phase(phase, state, union, setting, task=last, n_steps=n_steps)
    return joint_outcome(method, start, state, sequence)


def joint_outcome(
    method: Method, start: Params, state: State, sequence: TaskSequence
) -> LearntSequence:
    """What joint training has made of a sequence.

    Args:
        method: the method's hooks.
        start: the network before.
        state: after it.
        sequence: the tasks.

    Raises:
        Diverged: nothing was learnt.
    """
    params, memory, last = state.params, state.memory, len(sequence.tasks) - 1
    with after_steps(state.n_steps):
        check_learnt(method.net, start, params, sequence, last)
    rows = evaluate(method.net.apply, params, sequence, last)
    counters = method.counters(params, memory) if method.counters else {}
    kept = memory_bytes(memory)
    return LearntSequence(params, rows, state.n_steps, kept, counters, predict=method.net.apply)


def on_device(params: Params, device: torch.device) -> Params:
    """The same tree on a device."""
    return tree_map(lambda value: value.to(device), params)


def average_accuracy(learnt: LearntSequence) -> float:
    """Mean validation accuracy over all tasks after the last."""
    last = max(row[0] for row in learnt.rows)
    final = [value_of(row) for row in learnt.rows if row[0] == last and row[2] == "validation"]
    return sum(final) / len(final)
