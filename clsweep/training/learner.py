"""One method on its way through a sequence of tasks, and the models that it may start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, Task, TaskSequence, Trainable
from clsweep.methods.base import LearntTask, Measure, Memory, Method, Phase
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, all_finite
from clsweep.records.accuracy import AccuracyRow
from clsweep.training.batch_norm_statistics import with_population
from clsweep.training.divergence import Diverged
from clsweep.training.early_stopping import Watch
from clsweep.training.engine import Checkpoints, Setting, State, after_steps, train_phase
from clsweep.training.evaluation import check_learnt, evaluate
from clsweep.training.learnt_models import FinetunedModel, SourceModel


def initial_params(net: Net, seed: int, device: torch.device) -> Params:
    """The network's parameters before any training."""
    return {name: value.to(device) for name, value in net.init(generator(seed, "init")).items()}


def task_statistics(
    measure: Measure | None, params: Params, task: Task, scale: Scale, seed: int
) -> Params:
    """The method's statistics of a task's data under the network that has learnt it.

    Args:
        measure: the method's hook; None for a method without statistics.
        params: of its network, after the task.
        task: the task.
        scale: from stored values to inputs.
        seed: the trial's seed.
    """
    if measure is None:
        return {}
    learnt = LearntTask(task, scale, None, 0, generator(seed, "measure", task.index))
    return measure(params, learnt)


def finetuned_state(state: State, finetuned: FinetunedModel) -> State:
    """The method after a phase of plain training that was made before, and is shared.

    Args:
        state: before the phase.
        finetuned: what was trained.
    """
    optimiser = {**state.optimiser, **finetuned.optimiser}
    return State(finetuned.params, state.memory, None, optimiser, state.n_steps)


@dataclass(frozen=True)
class Learner:
    """One method on its way through a sequence."""

    method: Method
    sequence: TaskSequence
    setting: Setting
    finetuned: FinetunedModel | None
    watch: Watch | None = None

    def first_task(
        self, source: SourceModel | None, statistics: Params
    ) -> tuple[State, list[AccuracyRow]]:
        """The method right after the first task, which it has absorbed, and the accuracies."""
        task = self.sequence.tasks[0]
        state, rows = self.beginning(source)
        if source is None:
            state, new_rows = self.task(state, task)
            return self.absorbed(state, task), rows + new_rows
        n_steps = self.setting.training.n_steps(len(task.train), task.index)
        steps = self.method.hyper.first_steps(n_steps)
        state = self._trained(self.method.first_phases, steps, state, task)
        return self.source_absorbed(state, source, statistics), rows

    def beginning(self, source: SourceModel | None) -> tuple[State, list[AccuracyRow]]:
        """The method before any training of its own, and the accuracies so far.

        Args:
            source: see `learn_sequence`.
        """
        if source is None:
            net, scale, _, seed = self.setting
            data = self.sequence.tasks[0].train
            drawn = initial_params(net, seed, data.labels.device)
            start = with_population(net, drawn, data, scale)
            memory = self._begun(start)
            rows = evaluate(self._predict, self._surveyed(start, memory), self.sequence, -1)
            # Trained without the statistics of the drawn network, which would else be held.
            return State(drawn, memory), rows
        memory = self._begun(self._completed(source.trace.start))
        params = self._completed(source.params)
        return State(params, memory, source.trace, source.optimiser), list(source.rows)

    def source_absorbed(self, state: State, source: SourceModel, statistics: Params) -> State:
        """The method after the first task, whose training it shares with others.

        Args:
            state: after the phases that follow on that training.
            source: what was trained.
            statistics: the method's, of the task.
        """
        learnt = LearntTask(
            self.sequence.tasks[0],
            self.sequence.scale,
            source.trace,
            source.n_steps * self.setting.training.batch_size,
            generator(self.setting.seed, "absorb", 0),
        )
        return self._absorbed(state, statistics, learnt)

    def task(self, state: State, task: Task) -> tuple[State, list[AccuracyRow]]:
        """The method after training on a task, not yet absorbed, and the accuracies."""
        n_steps = self.setting.training.n_steps(len(task.train), task.index)
        steps = self.method.hyper.phase_steps(n_steps)
        after = self._trained(self.method.phases, steps, state._replace(trace=None), task)
        return self.tested(state, after, task)

    def tested(self, state: State, after: State, task: Task) -> tuple[State, list[AccuracyRow]]:
        """The method after its phases on a task, with what it computes then, and the accuracies.

        Args:
            state: before the phases.
            after: after them.
            task: the task.
        """
        if self.method.phases:
            with after_steps(after.n_steps):
                check_learnt(
                    self.setting.net, state.params, after.params, self.sequence, task.index
                )
        after = self._fitted(after, task)
        return after, evaluate(self._predict, after.params, self.sequence, task.index)

    def absorbed(self, state: State, task: Task) -> State:
        """The method after it has absorbed a task; not the last one, which nobody would use."""
        if task.index == len(self.sequence.tasks) - 1:
            return state
        _, scale, training, seed = self.setting
        statistics = task_statistics(self.method.measure, state.params, task, scale, seed)
        n_presented = training.n_steps(len(task.train), task.index) * training.batch_size
        rng = generator(seed, "absorb", task.index)
        learnt = LearntTask(task, scale, state.trace, n_presented, rng)
        return self._absorbed(state, statistics, learnt)

    def _fitted(self, state: State, task: Task) -> State:
        """The method after what it computes from a task's data without training."""
        if not self.method.fit:
            return state
        rng = generator(self.setting.seed, "fit", task.index)
        learnt = LearntTask(task, self.setting.scale, state.trace, len(task.train), rng)
        params, memory = self.method.fit(state.params, state.memory, learnt)
        if not all_finite(params.values()):
            raise Diverged(
                f"what was computed from task {task.index + 1} is not finite", state.n_steps
            )
        return state._replace(params=params, memory=memory)

    def _surveyed(self, start: Params, memory: Memory) -> Params:
        """The drawn network with the statistics that belong to the first task."""
        task, scale = self.sequence.tasks[0], self.setting.scale
        for phase in self.method.phases:
            if phase.survey:
                start = with_population(phase.survey(memory, 0), start, task.train, scale)
        return start

    def _begun(self, start: Params) -> Memory:
        begin = self.method.begin
        return begin(start) if begin else {}

    def _absorbed(self, state: State, statistics: Params, learnt: LearntTask) -> State:
        absorb = self.method.absorb
        if not absorb:
            return state
        return state._replace(memory=absorb(state.params, state.memory, statistics, learnt))

    def _trained(
        self, phases: tuple[Phase, ...], steps: tuple[int, ...], state: State, task: Task
    ) -> State:
        finetuned, begun = self.finetuned, state.n_steps
        for phase, n_steps in zip(phases, steps, strict=True):
            if phase.is_finetuning and finetuned is not None and task.index == 1:
                state = finetuned_state(state, finetuned)
                continue
            is_last = phase is phases[-1]
            n_before = state.n_steps - begun
            data: Trainable = task.train
            if phase.prepare:
                rng = generator(self.setting.seed, "prepare", phase.name, task.index)
                params, memory, data = phase.prepare(state.params, state.memory, task, rng)
                state = state._replace(params=params, memory=memory)
            state = train_phase(
                phase,
                state,
                data,
                self.setting,
                task=task.index,
                n_steps=n_steps,
                trace=self.method.trace,
                checkpoints=self._checkpoints(task, n_steps, n_before) if is_last else None,
            )
        return state

    def _checkpoints(self, task: Task, n_steps: int, n_before: int) -> Checkpoints | None:
        """Where the watch evaluates the last phase on the last task."""
        watch, last = self.watch, len(self.sequence.tasks) - 1
        if watch is None or task.index != last:
            return None
        shares = {round(share * n_steps): name for name, share in watch.shares.items()}

        def evaluate_at(step: int, params: Params) -> None:
            rows = evaluate(self._predict, params, self.sequence, last, ("validation",))
            watch.within(shares[step], rows, n_before + step)

        return Checkpoints(shares.keys() - {0, n_steps}, evaluate_at)

    def _completed(self, params: Params) -> Params:
        """The source model's parameters, and initial ones for what it lacks."""
        if not self.method.adds_params:
            return params
        device = next(iter(params.values())).device
        fresh = initial_params(self.setting.net, self.setting.seed, device)
        return {**params, **{n: value for n, value in fresh.items() if n not in params}}

    def _predict(self, params: Params, x: Tensor, task: int) -> Tensor:
        predict = self.method.predict or self.method.net.apply
        return predict(params, x, task)
