"""A method as frozen dataclasses of pure functions; a hook that does nothing is None.

No argument is modified; no hook draws random numbers (they arrive as arguments), reads a tensor's
value on the host, or branches on one (except `project`); shapes of memory never change after
`begin`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clsweep.data.tasks import Scale, Task, Trainable
from clsweep.methods.hyper_fields import Hyper
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

Memory = dict[str, Any]
Note = Callable[[Tensor], dict[str, Tensor]]


class Batch(NamedTuple):
    """One training batch.

    Attributes:
        x: inputs, float32 [B, C, H, W].
        y: labels in the numbering of the task's head, int64 [B].
        raw: the same as the data set stores them, uint8 [B, C, H, W] for images of bytes; for
            methods that keep them.
        scale: from stored values to inputs, for methods that read them back.
        draw: this step's row of every tensor that the phase's `draw` returned.
        tasks: task of each example, int64 [B]; only when several tasks are trained at once.
        noted: what the phase's `note` made of these inputs.
        smoothing: share of every label that is spread evenly over the classes of its head.
        weights: how much the loss of each example counts, float32 [B]; None where all count 1.
        n_examples: training examples of the data that batches are taken from.
    """

    x: Tensor
    y: Tensor
    raw: Tensor
    scale: Scale
    draw: dict[str, Tensor]
    tasks: Tensor | None = None
    noted: dict[str, Tensor] = {}
    smoothing: float = 0.0
    weights: Tensor | None = None
    n_examples: int = 0


class Trace(NamedTuple):
    """What the engine recorded along a training run.

    Attributes:
        start: parameters before the first step.
        path: ω_i = Σ_steps −g_i Δθ_i, g the gradient asked for, Δθ the change actually made.
    """

    start: Params
    path: Params


class Pull(NamedTuple):
    """A quadratic penalty ½ w Σ_i ω_i (θ_i − θ*_i)², which the engine adds to a loss.

    Attributes:
        omega: importances ω ≥ 0, by parameter name.
        star: the point θ* that it pulls towards, same names and shapes.
        weight: w ≥ 0.
    """

    omega: Params
    star: Params
    weight: float


class LearntTask(NamedTuple):
    """A task that has just been trained on, as seen by `fit`, `measure` and `absorb`.

    Attributes:
        task: its data.
        scale: from stored values to the network's inputs.
        trace: the path integral, if the method asks for it.
        n_presented: examples that passed through training, repetitions counted.
        rng: a generator for this purpose alone.
    """

    task: Task
    scale: Scale
    trace: Trace | None
    n_presented: int
    rng: torch.Generator


Measure = Callable[[Params, LearntTask], Params]


class NotedLoss(NamedTuple):
    """A loss, and what its forward pass has computed that `track` keeps.

    Attributes:
        loss: scalar, differentiated by the engine.
        noted: tensors by name, which arrive without gradient in the batch that `track` is given.
    """

    loss: Tensor
    noted: dict[str, Tensor]


class Prepared(NamedTuple):
    """What a phase starts from.

    Attributes:
        params: every parameter of the method's network; statistics of batch norms may be absent.
        memory: what it carries.
        data: what the phase is trained on.
    """

    params: Params
    memory: Memory
    data: Trainable


@dataclass(frozen=True)
class Phase:
    """One training run inside a method. `full` is every parameter, trained or held.

    Every hook but `loss` may be None, for nothing to do.

    Attributes:
        name: what error messages call it.
        loss: (full, memory, batch, task) -> scalar, differentiated by the engine, or a
            `NotedLoss`.
        prepare: (params, memory, task's data, rng) -> what the phase starts from, before all other
            hooks; None for the parameters and the memory as they are, and the task's training set.
        open: (params, memory, task) -> the dict of tensors to train; the others are held, and
            running statistics are never trained. None trains all. Names that the network does not
            have are the phase's own: `close` has to leave them out.
        note: (params, memory, task) -> what the loss asks of inputs that training does not change,
            such as a teacher's outputs, as (x) -> tensors [B, ...] by name. It is computed without
            gradient, for many batches at a time, and once per example where inputs do not change
            from epoch to epoch; the rows arrive in the batch.
        pull: (memory) -> a quadratic penalty beside `loss`; asked for once, before the first step.
            Its gradient is added before `steer`.
        steer: (grads, full, memory, batch, task) -> grads for the optimiser. A parameter that the
            loss does not reach has no entry in `grads` and is not stepped.
        project: (grads, full, memory, batch, task) -> (grads, memory), after `steer`; the only
            hook that may read values on the host, for programmes solved on the CPU.
        foresee: (grads, ahead, memory, batch, task) -> grads, after `project`; `ahead` is every
            parameter as the optimiser's step along `grads` would leave it, which costs a trial
            step.
        settle: (trained, memory, step_size, task) -> trained, after the optimiser's step.
        proximal: (memory) -> the quadratic penalty whose proximal step `settle` is, and nothing
            else, for whoever makes that step for several lanes at once.
        draw: (rng, memory, n_steps, batch_size) -> tensors [n_steps, ...] by name, called once
            per epoch; row s arrives in the batch of step s.
        track: (memory, batch, task) -> memory, after every step; `batch.noted` then holds what a
            `NotedLoss` has noted as well.
        survey: (memory, task) -> a network over `full` whose running statistics are set from the
            task's data before `close`; the method keeps those that `close` returns, and without a
            `close` all.
        close: (full, memory, task) -> (params, memory), after the last step.
        is_finetuning: whether it is plain training of the previous network; on the second task
            its outcome is then the same for every number of the method, and taken from the stage
            `finetuned`.
        holds_statistics: whether running statistics of batch norms stay as they are, in training
            too, whatever the study's `bn_mode`: for a phase that does not train the trunk, or
            whose `close` needs those that it started with.
        decays: whether the study's weight decay acts; not in a phase that has its own.
    """

    name: str
    loss: Callable[[Params, Memory, Batch, int], Tensor | NotedLoss]
    prepare: Callable[[Params, Memory, Task, torch.Generator], Prepared] | None = None
    open: Callable[[Params, Memory, int], Params] | None = None
    note: Callable[[Params, Memory, int], Note] | None = None
    pull: Callable[[Memory], Pull] | None = None
    steer: Callable[[Params, Params, Memory, Batch, int], Params] | None = None
    project: Callable[[Params, Params, Memory, Batch, int], tuple[Params, Memory]] | None = None
    foresee: Callable[[Params, Params, Memory, Batch, int], Params] | None = None
    settle: Callable[[Params, Memory, float, int], Params] | None = None
    proximal: Callable[[Memory], Pull] | None = None
    draw: Callable[[torch.Generator, Memory, int, int], dict[str, Tensor]] | None = None
    track: Callable[[Memory, Batch, int], Memory] | None = None
    survey: Callable[[Memory, int], Net] | None = None
    close: Callable[[Params, Memory, int], tuple[Params, Memory]] | None = None
    is_finetuning: bool = False
    holds_statistics: bool = False
    decays: bool = True


@dataclass(frozen=True)
class Method:
    """How to learn the next task.

    Its hooks have the network and the method's numbers in them. Every hook may be None, for
    nothing to do.

    Attributes:
        net: the network that is trained: the study's, that with further parameters beside it, or
            one that generates its parameters.
        hyper: the method's numbers, which say how many steps every phase makes.
        phases: run in order on every task after the first; the first task is plain training,
            unless the method cannot start from that (see `MethodEntry.starts_from_source`).
        first_phases: run in order on the first task after the plain training.
        adds_params: whether `net` has parameters that the source model lacks; they start as `init`
            draws them.
        predict: (params, x, task) -> logits [B, classes of the head], for evaluation; None for
            those of `net`. `task` is the task of the examples where each has a head of its own,
            else the last task learnt.
        begin: (params) -> memory, before the first task; None for an empty one.
        fit: (params, memory, learnt) -> (params, memory), on every task after its phases and
            before it is evaluated: what is computed from the task's data and not trained.
        measure: (params, learnt) -> statistics of the task's data under the trained network: the
            expensive part of `absorb`, cached for the source model under the hypers that the
            method's table row names.
        absorb: (params, memory, statistics, learnt) -> memory, after every task.
        counters: (params, memory) -> numbers for the trial's record, after the last task.
        trace: the path integral of the training run that `absorb` needs: '' for none, 'task' for
            one of the loss's gradient, 'total' for one of the gradient after `steer`.
        joint: whether all tasks are trained at once, from the initial network.
        learner: a class with training code of its own, in place of all hooks; see
            `clsweep.training.imperative_learner`.
    """

    net: Net
    hyper: Hyper
    phases: tuple[Phase, ...]
    first_phases: tuple[Phase, ...] = ()
    adds_params: bool = False
    predict: Callable[[Params, Tensor, int], Tensor] | None = None
    begin: Callable[[Params], Memory] | None = None
    fit: Callable[[Params, Memory, LearntTask], tuple[Params, Memory]] | None = None
    measure: Measure | None = None
    absorb: Callable[[Params, Memory, Params, LearntTask], Memory] | None = None
    counters: Callable[[Params, Memory], dict[str, float]] | None = None
    trace: str = ""
    joint: bool = False
    learner: type[Any] | None = None
