"""What a method is: frozen dataclasses of pure functions, doing nothing by default.

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

from clsweep.nets import Net
from clsweep.tasks import Scale, Task
from clsweep.trees import Params

__all__ = [
    "Batch",
    "Learnt",
    "Memory",
    "Method",
    "Note",
    "Phase",
    "Pull",
    "Trace",
    "keep_steered",
    "keep_trained",
    "no_projection",
]

Memory = dict[str, Any]
Note = Callable[[Tensor], dict[str, Tensor]]


class Batch(NamedTuple):
    """One training batch.

    Attributes:
        x: inputs, float32 [B, C, H, W].
        y: labels in the numbering of the task's head, int64 [B].
        raw: the same images as uint8 [B, C, H, W], for methods that store them.
        scale: from uint8 images to inputs, for methods that read them back.
        draw: this step's row of every tensor that the phase's `draw` returned.
        tasks: task of each example, int64 [B]; only when several tasks are trained at once.
        noted: what the phase's `note` made of these inputs.
    """

    x: Tensor
    y: Tensor
    raw: Tensor
    scale: Scale
    draw: dict[str, Tensor]
    tasks: Tensor | None = None
    noted: dict[str, Tensor] = {}


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


class Learnt(NamedTuple):
    """A task that has just been trained on, as seen by `measure` and `absorb`.

    Attributes:
        task: its data.
        scale: from uint8 to the network's inputs.
        trace: the path integral, if the method is `traced`.
        n_presented: examples that passed through training, repetitions counted.
        rng: a generator for this purpose alone.
    """

    task: Task
    scale: Scale
    trace: Trace | None
    n_presented: int
    rng: torch.Generator


def _no_pull(memory: Memory, hyper: Any) -> Pull | None:
    return None


def _plain_open(params: Params, memory: Memory, task: int) -> Params:
    return params


def _no_note(params: Params, memory: Memory, hyper: Any, task: int) -> Note | None:
    return None


def keep_steered(
    grads: Params, full: Params, memory: Memory, batch: Batch, hyper: Any, task: int
) -> Params:
    """The default `steer`: the gradient stands as it is."""
    return grads


def no_projection(
    grads: Params, full: Params, memory: Memory, batch: Batch, hyper: Any, task: int
) -> tuple[Params, Memory]:
    """The default `project`: the gradient is followed as it is."""
    return grads, memory


def keep_trained(
    trained: Params, memory: Memory, hyper: Any, step_size: float, task: int
) -> Params:
    """The default `settle`: the optimiser's step stands as it is."""
    return trained


def _no_draw(
    rng: torch.Generator, memory: Memory, hyper: Any, n_steps: int, batch_size: int
) -> dict[str, Tensor]:
    return {}


def _plain_track(memory: Memory, batch: Batch, hyper: Any, task: int) -> Memory:
    return memory


def _plain_close(full: Params, memory: Memory, hyper: Any, task: int) -> tuple[Params, Memory]:
    return full, memory


def _no_survey(memory: Memory, hyper: Any, task: int) -> Net | None:
    return None


def _never(hyper: Any) -> bool:
    return False


def _plain_foresee(
    grads: Params, ahead: Params, memory: Memory, batch: Batch, hyper: Any, task: int
) -> Params:
    return grads


def _no_counters(params: Params, memory: Memory) -> dict[str, float]:
    return {}


def _no_memory(params: Params, hyper: Any) -> Memory:
    return {}


def _same_network(net: Net, hyper: Any) -> Net:
    return net


def _plain_predict(net: Net, params: Params, x: Tensor, task: int, hyper: Any) -> Tensor:
    return net.apply(params, x, task)


def _no_statistics(net: Net, params: Params, learnt: Learnt, hyper: Any) -> Params:
    return {}


def _plain_absorb(
    params: Params, memory: Memory, statistics: Params, learnt: Learnt, hyper: Any
) -> Memory:
    return memory


@dataclass(frozen=True)
class Phase:
    """One training run inside a method. `full` is every parameter, trained or held.

    Attributes:
        name: what error messages call it.
        loss: (full, memory, batch, hyper, task) -> scalar, differentiated by the engine.
        open: (params, memory, task) -> the dict of tensors to train; the others are held, and
            running statistics are never trained. Names that the network does not have are the
            phase's own: `close` has to leave them out.
        note: (params, memory, hyper, task) -> what the loss asks of inputs that training does not
            change, such as a teacher's outputs, as (x) -> tensors [B, ...] by name; or None. It is
            computed without gradient, for many batches at a time, and once per example where
            inputs do not change from epoch to epoch; the rows arrive in the batch.
        pull: (memory, hyper) -> a quadratic penalty beside `loss`, or None; asked for once, before
            the first step. Its gradient is added before `steer`.
        steer: (grads, full, memory, batch, hyper, task) -> grads for the optimiser. A parameter
            that the loss does not reach has no entry in `grads` and is not stepped.
        project: (grads, full, memory, batch, hyper, task) -> (grads, memory), after `steer`; the
            only hook that may read values on the host, for programmes solved on the CPU.
        foresees: (hyper) -> whether `foresee` is asked, which costs a trial step.
        foresee: (grads, ahead, memory, batch, hyper, task) -> grads, after `project`; `ahead` is
            every parameter as the optimiser's step along `grads` would leave it.
        settle: (trained, memory, hyper, step_size, task) -> trained, after the optimiser's step.
        draw: (rng, memory, hyper, n_steps, batch_size) -> tensors [n_steps, ...] by name, called
            once per epoch; row s arrives in the batch of step s.
        track: (memory, batch, hyper, task) -> memory, after every step.
        survey: (memory, hyper, task) -> a network over `full` whose running statistics are set
            from the task's data before `close`, or None.
        close: (full, memory, hyper, task) -> (params, memory), after the last step.
        is_finetuning: whether it is plain training of the previous network; on the second task
            its outcome is then the same for every number of the method, and taken from the stage
            `finetuned`.
        holds_statistics: whether running statistics of batch norms stay as they are, in training
            too, whatever the study's `bn_mode`: for a phase that does not train the trunk, or
            whose `close` needs those that it started with.
        decays: whether the study's weight decay acts; not in a phase that has its own.
    """

    name: str
    loss: Callable[[Params, Memory, Batch, Any, int], Tensor]
    open: Callable[[Params, Memory, int], Params] = _plain_open
    note: Callable[[Params, Memory, Any, int], Note | None] = _no_note
    pull: Callable[[Memory, Any], Pull | None] = _no_pull
    steer: Callable[[Params, Params, Memory, Batch, Any, int], Params] = keep_steered
    project: Callable[[Params, Params, Memory, Batch, Any, int], tuple[Params, Memory]] = (
        no_projection
    )
    foresees: Callable[[Any], bool] = _never
    foresee: Callable[[Params, Params, Memory, Batch, Any, int], Params] = _plain_foresee
    settle: Callable[[Params, Memory, Any, float, int], Params] = keep_trained
    draw: Callable[[torch.Generator, Memory, Any, int, int], dict[str, Tensor]] = _no_draw
    track: Callable[[Memory, Batch, Any, int], Memory] = _plain_track
    survey: Callable[[Memory, Any, int], Net | None] = _no_survey
    close: Callable[[Params, Memory, Any, int], tuple[Params, Memory]] = _plain_close
    is_finetuning: bool = False
    holds_statistics: bool = False
    decays: bool = True


@dataclass(frozen=True)
class Method:
    """How to learn the next task.

    Attributes:
        net: the study's network.
        phases: run in order on every task after the first; the first task is plain training,
            unless the method cannot start from that (see `MethodEntry.starts_from_source`).
        first_phases: run in order on the first task after the plain training.
        network: (net, hyper) -> the network that is trained: `net` with further parameters beside
            it, or one that generates the parameters of `net`. What the source model lacks of its
            parameters starts as `init` draws it.
        predict: (network, params, x, task, hyper) -> logits [B, classes of the head], for
            evaluation. `task` is the task of the examples where each has a head of its own, else
            the last task learnt.
        begin: (params, hyper) -> memory, before the first task.
        measure: (net, params, learnt, hyper) -> statistics of the task's data under the trained
            network: the expensive part of `absorb`, cached for the source model under the hypers
            that the method's table row names.
        absorb: (params, memory, statistics, learnt, hyper) -> memory, after every task.
        counters: (params, memory) -> numbers for the trial's record, after the last task.
        traced: whether `absorb` needs the path integral of the training run.
        traces_total: (hyper) -> whether the path integral uses the gradient after `steer`.
        joint: whether all tasks are trained at once, from the initial network.
    """

    net: Net
    phases: tuple[Phase, ...]
    first_phases: tuple[Phase, ...] = ()
    network: Callable[[Net, Any], Net] = _same_network
    predict: Callable[[Net, Params, Tensor, int, Any], Tensor] = _plain_predict
    begin: Callable[[Params, Any], Memory] = _no_memory
    measure: Callable[[Net, Params, Learnt, Any], Params] = _no_statistics
    absorb: Callable[[Params, Memory, Params, Learnt, Any], Memory] = _plain_absorb
    counters: Callable[[Params, Memory], dict[str, float]] = _no_counters
    traced: bool = False
    traces_total: Callable[[Any], bool] = lambda hyper: False
    joint: bool = False
