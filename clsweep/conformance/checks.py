"""What every method has to satisfy. A check returns '' where it does, else a sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from clsweep.conformance.subjects import (
    SEED,
    TRAINING,
    Subject,
    named,
    small_net,
    source_of,
)
from clsweep.conformance.watched_hooks import watched
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.learnt_models import LearntSequence, SourceModel
from clsweep.training.sequences import measure_source

# Where a batch has another shape the last bits of a product differ.
_ABSOLUTE, _RELATIVE = 1e-5, 1e-4


def same_params(one: Params, other: Params) -> bool:
    """Whether two networks are equal, bit for bit.

    Args:
        one: a network.
        other: another.
    """
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def unlike(one: LearntSequence, other: LearntSequence, *, exact: bool = True) -> str:
    """How two results differ; '' where they do not.

    Args:
        one: a result.
        other: another.
        exact: whether the last bits count.
    """
    if one.params.keys() != other.params.keys():
        return f"their parameters are {sorted(one.params)} and {sorted(other.params)}"
    for name, value in one.params.items():
        then = other.params[name]
        if torch.equal(value, then):
            continue
        far = float((value - then).abs().max())
        if exact or not torch.allclose(value, then, atol=_ABSOLUTE, rtol=_RELATIVE):
            return f"{name} differs by up to {far:.2g}"
    if exact and one.rows != other.rows:
        return "the networks are the same and the accuracies differ"
    return ""


def repeats(subject: Subject, sequence: TaskSequence) -> str:
    """The same numbers, run twice in this process."""
    difference = unlike(subject.learnt(sequence), subject.learnt(sequence))
    return difference and f"two runs with the same seed differ: {difference}"


def learns_all_tasks(subject: Subject, sequence: TaskSequence) -> str:
    """Finite numbers, and accuracies on every task at the end."""
    found, last = subject.learnt(sequence), len(sequence.tasks) - 1
    if not all(bool(value.isfinite().all()) for value in found.params.values()):
        return "the final network is not finite"
    final = {row[1] for row in found.rows if row[0] == last and row[2] == "test"}
    missing = sorted(set(range(last + 1)) - final)
    return f"at the end there is no accuracy on the tasks {missing}" if missing else ""


def leaves_arguments(subject: Subject, sequence: TaskSequence) -> str:
    """No argument is modified: neither what is shared between trials, nor what hooks are given."""
    source = source_of(sequence)
    before, faults = copy.deepcopy(source), list[str]()
    looked_at = watched_subject(subject, faults)
    looked_at.learnt(sequence, source=source)
    return "; ".join(faults) or spoilt(before, source)


def spoilt(before: SourceModel, after: SourceModel) -> str:
    """What of a shared source model has been changed.

    Args:
        before: a copy.
        after: what trials were given.
    """
    parts = {
        "parameters": (before.params, after.params),
        "start of the path": (before.trace.start, after.trace.start),
        "path integral": (before.trace.path, after.trace.path),
    }
    found = [name for name, (then, now) in parts.items() if not same_params(then, now)]
    return f"the {' and the '.join(found)} of the source model are modified" if found else ""


def watched_subject(subject: Subject, faults: list[str]) -> Subject:
    """The same method, whose hooks are looked at.

    Args:
        subject: the method.
        faults: gets a sentence for each fault.
    """

    def make(net: Net, hyper: Any) -> Method:
        return watched(subject.make(net, hyper), faults)

    return Subject(subject.name, subject.entry, subject.hyper, make)


def is_finetuning_at(
    subject: Subject,
    sequence: TaskSequence,
    zero: Mapping[str, Any],
    *,
    exact: bool = False,
    training: TrainingConfig = TRAINING,
) -> str:
    """Fine-tuning, where the numbers say that nothing protects the past.

    Args:
        subject: the method.
        sequence: the tasks.
        zero: the numbers.
        exact: whether the last bits count.
        training: how both are trained.
    """
    plain = named("finetune").learnt(sequence, training)
    found = subject.at(zero).learnt(sequence, training)
    kept = found._replace(params={n: v for n, v in found.params.items() if n in plain.params})
    difference = unlike(kept, plain, exact=exact)
    numbers = ", ".join(f"{key} = {value}" for key, value in zero.items())
    return difference and f"with {numbers} it is not fine-tuning: {difference}"


def does_something(subject: Subject, sequence: TaskSequence) -> str:
    """Another result than that of fine-tuning."""
    plain, found = named("finetune").learnt(sequence), subject.learnt(sequence)
    same = same_params(plain.params, found.params) and plain.rows == found.rows
    return "its result is that of fine-tuning, bit for bit" if same else ""


def predicts_one_by_one(subject: Subject, sequence: TaskSequence) -> str:
    """A prediction does not depend on the other examples of its batch."""
    net = small_net(sequence)
    method = subject.method(net)
    predict = method.predict or method.net.apply
    found = subject.learnt(sequence)
    last = len(sequence.tasks) - 1
    x = sequence.scale(sequence.tasks[last].train.raw(torch.arange(12)))
    with torch.no_grad():
        together = predict(found.params, x, last)
        alone = torch.cat([predict(found.params, part, last) for part in x.split(5)])
    return apart(together, alone)


def apart(together: Tensor, alone: Tensor) -> str:
    """How predictions in one batch and in several differ.

    Args:
        together: logits [B, K].
        alone: the same examples, in smaller batches.
    """
    if together.shape == alone.shape and torch.allclose(
        together, alone, atol=_ABSOLUTE, rtol=_RELATIVE, equal_nan=True
    ):
        return ""
    if together.shape != alone.shape:
        return f"logits have the shape {tuple(together.shape)} at once, {tuple(alone.shape)} apart"
    far = float((together - alone).abs().max())
    return f"logits of the same examples differ by up to {far:.2g} with the size of the batch"


def keeps_memory_structure(subject: Subject, sequence: TaskSequence) -> str:
    """Names, shapes and types of the memory are those that `begin` gave it."""
    empty, after = memories(subject, sequence)
    for task, memory in enumerate(after, 1):
        if structure(memory) != structure(empty):
            return (
                f"after task {task} the memory is {structure(memory)}, "
                f"where `begin` made {structure(empty)}"
            )
    return ""


def carries_state(subject: Subject, sequence: TaskSequence) -> str:
    """What `absorb` makes of a task is in the memory."""
    if subject.method(small_net(sequence)).absorb is None:
        return ""
    empty, (first, _) = memories(subject, sequence)
    return "`absorb` leaves the memory as `begin` made it" if _equal(empty, first) else ""


def memories(subject: Subject, sequence: TaskSequence) -> tuple[Memory, tuple[Memory, Memory]]:
    """(empty memory, memories after the first and the second task), without training between.

    Args:
        subject: a method with hooks.
        sequence: two tasks or more.
    """
    net, source = small_net(sequence), source_of(sequence)
    method = subject.method(net)
    empty = method.begin(_completed(method, source.trace.start)) if method.begin else {}
    params, memory, found = _completed(method, source.params), empty, []
    for task in sequence.tasks[:2]:
        rng = generator(SEED, "absorb", task.index)
        learnt = LearntTask(task, sequence.scale, source.trace, 128, rng)
        if task.index == 0:
            statistics = measure_source(method, sequence, source, SEED)
        else:
            statistics = method.measure(params, learnt) if method.measure else {}
        memory = method.absorb(params, memory, statistics, learnt) if method.absorb else memory
        found.append(memory)
    return empty, (found[0], found[1])


def structure(memory: object) -> object:
    """Nested names, shapes and types.

    Args:
        memory: of a method.
    """
    if isinstance(memory, Tensor):
        return tuple(memory.shape), memory.dtype
    if isinstance(memory, dict):
        return {name: structure(value) for name, value in memory.items()}
    if isinstance(memory, tuple):
        return type(memory).__name__, [structure(value) for value in memory]
    return type(memory).__name__


def _completed(method: Method, params: Params) -> Params:
    """The source model's parameters, and initial ones for what the method has beside them."""
    fresh = method.net.init(generator(SEED, "init"))
    return {**params, **{n: value for n, value in fresh.items() if n not in params}}


def _equal(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[n], other[n]) for n in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


Check = Callable[[Subject, TaskSequence], str]
