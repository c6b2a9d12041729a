"""One method on its way through a sequence of tasks, and the models that it may start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from clsweep.draws import generator
from clsweep.evaluation import AccuracyRow, check_learnt, evaluate
from clsweep.methods.base import Learnt, Memory, Method, Phase, Trace
from clsweep.nets import Net
from clsweep.norms import with_population
from clsweep.stopping import Watch
from clsweep.tasks import Scale, Task, TaskSequence
from clsweep.train import Looks, OptimiserState, Trained, after_steps, train_phase
from clsweep.trees import Params

if TYPE_CHECKING:
    from clsweep.study import TrainingConfig

__all__ = ["Course", "FinetunedModel", "SourceModel", "State", "initial_params"]


class SourceModel(NamedTuple):
    """The network after its first task, with everything that a method may need of that training.

    Attributes:
        params: the network.
        trace: start and path integral of the training.
        optimiser: state to continue from; empty when the study resets it.
        rows: accuracies before and after the task.
        n_steps: gradient steps made.
    """

    params: Params
    trace: Trace
    optimiser: OptimiserState
    rows: list[AccuracyRow]
    n_steps: int


class FinetunedModel(NamedTuple):
    """The source network after plain training on the second task.

    Attributes:
        params: the network.
        optimiser: state to continue from; empty when the study resets it.
        n_steps: gradient steps made.
    """

    params: Params
    optimiser: OptimiserState
    n_steps: int


def initial_params(net: Net, seed: int, device: torch.device) -> Params:
    """The network's parameters before any training."""
    return {name: value.to(device) for name, value in net.init(generator(seed, "init")).items()}


def measured(
    method: Method, net: Net, params: Params, task: Task, scale: Scale, hyper: Any, seed: int
) -> Params:
    """The method's statistics of a task's data under the network that has learnt it.

    Args:
        method: the method's hooks.
        net: the network that it trains.
        params: its parameters after the task.
        task: the task.
        scale: from uint8 to inputs.
        hyper: the method's numbers.
        seed: the trial's seed.
    """
    if not method.measure:
        return {}
    learnt = Learnt(task, scale, None, 0, generator(seed, "measure", task.index))
    return method.measure(net, params, learnt, hyper)


class State(NamedTuple):
    """Where a method stands between two phases.

    Attributes:
        params: every parameter that it trains.
        memory: what it carries from task to task.
        trace: path integral of the last phase, if it was asked for.
        optimiser: state to continue from.
        n_steps: gradient steps so far.
    """

    params: Params
    memory: Memory
    trace: Trace | None
    optimiser: OptimiserState
    n_steps: int


@dataclass(frozen=True)
class Course:
    """One method on its way through a sequence; `net` is the network that it trains."""

    method: Method
    net: Net
    sequence: TaskSequence
    training: TrainingConfig
    hyper: Any
    seed: int
    finetuned: FinetunedModel | None
    watch: Watch | None = None

    def first_task(
        self, source: SourceModel | None, statistics: Params
    ) -> tuple[State, list[AccuracyRow]]:
        """The method right after the first task, which it has absorbed, and the accuracies."""
        task = self.sequence.tasks[0]
        if source is None:
            drawn = initial_params(self.net, self.seed, task.train.labels.device)
            start = with_population(self.net, drawn, task.train, self.sequence.scale)
            rows = evaluate(self._predict, start, self.sequence, -1)
            # Trained without the statistics of the drawn network, which would else be held.
            state = State(drawn, self._begun(start), None, {}, 0)
            state, new_rows = self.task(state, task)
            return self.absorbed(state, task), rows + new_rows
        memory = self._begun(self._completed(source.trace.start))
        params = self._completed(source.params)
        state = State(params, memory, source.trace, source.optimiser, 0)
        steps = self.hyper.first_steps(self.training.n_steps(len(task.train)))
        state = self._trained(self.method.first_phases, steps, state, task)
        learnt = Learnt(
            task,
            self.sequence.scale,
            source.trace,
            source.n_steps * self.training.batch_size,
            generator(self.seed, "absorb", 0),
        )
        return self._absorbed(state, statistics, learnt), list(source.rows)

    def task(self, state: State, task: Task) -> tuple[State, list[AccuracyRow]]:
        """The method after training on a task, not yet absorbed, and the accuracies."""
        steps = self.hyper.phase_steps(self.training.n_steps(len(task.train)))
        after = self._trained(self.method.phases, steps, state._replace(trace=None), task)
        with after_steps(after.n_steps):
            check_learnt(self.net, state.params, after.params, self.sequence, task.index)
        return after, evaluate(self._predict, after.params, self.sequence, task.index)

    def absorbed(self, state: State, task: Task) -> State:
        """The method after it has absorbed a task; not the last one, which nobody would use."""
        if task.index == len(self.sequence.tasks) - 1:
            return state
        scale = self.sequence.scale
        statistics = measured(
            self.method, self.net, state.params, task, scale, self.hyper, self.seed
        )
        n_presented = self.training.n_steps(len(task.train)) * self.training.batch_size
        rng = generator(self.seed, "absorb", task.index)
        learnt = Learnt(task, scale, state.trace, n_presented, rng)
        return self._absorbed(state, statistics, learnt)

    def _begun(self, start: Params) -> Memory:
        begin = self.method.begin
        return begin(start, self.hyper) if begin else {}

    def _absorbed(self, state: State, statistics: Params, learnt: Learnt) -> State:
        absorb = self.method.absorb
        if not absorb:
            return state
        memory = absorb(state.params, state.memory, statistics, learnt, self.hyper)
        return state._replace(memory=memory)

    def _trained(
        self, phases: tuple[Phase, ...], steps: tuple[int, ...], state: State, task: Task
    ) -> State:
        traces, finetuned, begun = self.method.traced, self.finetuned, state.n_steps
        total = self.method.traces_total
        kind = ("total" if total and total(self.hyper) else "task") if traces else ""
        for phase, n_steps in zip(phases, steps, strict=True):
            if phase.is_finetuning and finetuned is not None and task.index == 1:
                run = Trained(finetuned.params, state.memory, None, finetuned.optimiser, 0)
            else:
                is_last = phase is phases[-1]
                looks = self._looks(task, n_steps, state.n_steps - begun) if is_last else None
                with after_steps(state.n_steps):
                    run = train_phase(
                        phase,
                        state.params,
                        state.memory,
                        task.train,
                        self.sequence.scale,
                        hyper=self.hyper,
                        training=self.training,
                        seed=self.seed,
                        task=task.index,
                        n_steps=n_steps,
                        trace=kind,
                        optimiser=state.optimiser,
                        net=self.net,
                        looks=looks,
                    )
            # A parameter that this phase did not train keeps the state it had.
            optimiser = {**state.optimiser, **run.optimiser}
            n_steps = state.n_steps + run.n_steps
            state = State(run.params, run.memory, run.trace, optimiser, n_steps)
        return state

    def _looks(self, task: Task, n_steps: int, n_before: int) -> Looks | None:
        """What the watch wants to see of the last phase on the last task."""
        watch, last = self.watch, len(self.sequence.tasks) - 1
        if watch is None or task.index != last:
            return None
        shares = {round(share * n_steps): name for name, share in watch.shares.items()}

        def show(step: int, params: Params) -> None:
            rows = evaluate(self._predict, params, self.sequence, last, ("validation",))
            watch.within(shares[step], rows, n_before + step)

        return Looks(shares.keys() - {0, n_steps}, show)

    def _completed(self, params: Params) -> Params:
        """The source model's parameters, and initial ones for what it lacks."""
        if self.net is self.method.net:
            return params
        device = next(iter(params.values())).device
        fresh = initial_params(self.net, self.seed, device)
        return {**params, **{n: value for n, value in fresh.items() if n not in params}}

    def _predict(self, params: Params, x: Tensor, task: int) -> Tensor:
        if self.method.predict:
            return self.method.predict(self.net, params, x, task, self.hyper)
        return self.net.apply(params, x, task)
