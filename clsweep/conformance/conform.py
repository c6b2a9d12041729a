"""All checks of one method, and what they say."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from clsweep.conformance import checks
from clsweep.conformance.elsewhere import differs_elsewhere
from clsweep.conformance.learner_checks import LEARNER_CHECKS
from clsweep.conformance.pretended_device import CUDA, PretendedDevice
from clsweep.conformance.subjects import (
    SEED,
    TRAINING,
    Subject,
    named,
    small_net,
    small_sequence,
)
from clsweep.data.tasks import TaskSequence
from clsweep.errors import ClsweepError, StudyError
from clsweep.methods.hyper_fields import knob_keys
from clsweep.training.divergence import Diverged
from clsweep.training.learnt_models import LearntSequence
from clsweep.training.sequences import learn_source
from clsweep.user_code import described, raising_place

# What the checks of a method's hooks are called, in the order in which they help most.
HOOK_CHECKS: dict[str, checks.Check] = {
    "learns all tasks": checks.learns_all_tasks,
    "the same seed gives the same numbers": checks.repeats,
    "no argument is modified, no number drawn": checks.leaves_arguments,
    "the memory keeps its structure": checks.keeps_memory_structure,
    "state is carried": checks.carries_state,
    "predictions do not depend on the batch": checks.predicts_one_by_one,
    "it differs from fine-tuning": checks.does_something,
}


class Finding(NamedTuple):
    """What one check says.

    Attributes:
        scenario: in which it ran; '' where that does not matter.
        check: what was looked at.
        passed: whether it holds; None where it was not looked at.
        said: what was found, or why it was not looked at.
    """

    scenario: str
    check: str
    passed: bool | None
    said: str = ""


def conform(
    path: str,
    numbers: Mapping[str, Any] | None = None,
    zero: Mapping[str, Any] | None = None,
) -> Iterator[Finding]:
    """Put a method through all checks.

    Args:
        path: of the method: a name, or 'package.module:attribute'.
        numbers: under which it does something, and does not diverge; None for its defaults.
        zero: numbers under which it is fine-tuning; None for its first knob at 0, if it has one
            that may be 0; empty for none.

    Raises:
        StudyError: there is no such method, or it has no such numbers.
    """
    torch.set_num_threads(1)
    subject = named(path).at(numbers or {})
    given = zero is not None
    zero = _usual_zero(subject) if zero is None else zero
    at_zero = subject.at(zero)
    for scenario in subject.entry.scenarios:
        sequence = small_sequence(scenario)
        is_learner = subject.method(small_net(sequence)).learner is not None
        table = LEARNER_CHECKS if is_learner else HOOK_CHECKS
        if subject.entry.is_reference:  # it may be any plain thing
            table = {k: v for k, v in table.items() if v is not checks.does_something}
        for name, check in table.items():
            yield _finding(scenario, name, check, subject, sequence)
        name = "at zero it is fine-tuning"
        if zero and at_zero.entry.begins_at_source(at_zero.hyper):
            check = _zero_check(zero)
            yield _finding(scenario, name, check, subject, sequence)
        else:
            why = "no numbers were given" if given else "no knob of it may be 0"
            why = why if not zero else "it does not start from the source model"
            yield Finding(scenario, name, None, why)
    scenario = subject.entry.scenarios[0]
    yield _finding(
        scenario,
        "another process gives the same numbers",
        lambda one, sequence: differs_elsewhere(path, one, scenario),
        subject,
        small_sequence(scenario),
    )
    yield _on_gpu(subject, scenario)


def numbers_from(text: str) -> dict[str, str]:
    """Numbers as 'lam=0,form=gradient'; '' for none.

    Args:
        text: of the command line.

    Raises:
        StudyError: it has another form.
    """
    found = {}
    for part in filter(None, text.split(",")):
        key, is_number, value = part.partition("=")
        if not (is_number and key.strip()):
            raise StudyError(f"'{part}' is no number", expected="KEY=VALUE")
        found[key.strip()] = value.strip()
    return found


def _usual_zero(subject: Subject) -> dict[str, Any]:
    for key in knob_keys(subject.entry.hyper.model_fields):
        try:
            subject.at({key: 0})
        except StudyError:
            continue
        return {key: 0}
    return {}


def _zero_check(zero: Mapping[str, Any]) -> checks.Check:
    def check(subject: Subject, sequence: TaskSequence) -> str:
        return checks.is_finetuning_at(subject, sequence, zero)

    return check


def _finding(
    scenario: str, name: str, check: checks.Check, subject: Subject, sequence: TaskSequence
) -> Finding:
    said = _said(lambda: check(subject, sequence))
    return Finding(scenario, name, not said, said)


def _said(check: Callable[[], str]) -> str:
    try:
        return check()
    except Diverged as error:
        return f"it diverged: {error.found}; --at gives other numbers"
    except ClsweepError as error:
        return str(error)
    except Exception as error:  # the check has run the user's code
        at = raising_place(error)
        return f"it raised {described(error)}" + (f" ({at})" if at else "")


def _on_gpu(subject: Subject, scenario: str) -> Finding:
    if not torch.cuda.is_available():
        name = "on a pretended GPU it stays there"
        return _finding(scenario, name, stays_on_pretended, subject, small_sequence(scenario))
    name = "on a GPU it stays there"

    def check() -> str:
        sequence = small_sequence(scenario).to(torch.device("cuda"))
        found = subject.learnt(sequence, net=small_net(sequence))
        strays = sorted(name for name, value in found.params.items() if not value.is_cuda)
        return f"of its final network, {strays} are not on the GPU" if strays else ""

    said = _said(check)
    return Finding(scenario, name, not said, said)


def stays_on_pretended(subject: Subject, sequence: TaskSequence) -> str:
    """All of it works on a GPU, and no step waits for one, as far as can be seen without.

    Two tasks with few steps, their statistics and evaluation on a pretended device.

    Args:
        subject: the method.
        sequence: two tasks or more, on the processor.
    """
    heads = sequence.heads._replace(sizes=sequence.heads.sizes[:2])
    short = dataclasses.replace(sequence, tasks=sequence.tasks[:2], heads=heads)
    short = copy.deepcopy(short)  # copies on a device are shared while their original lives
    training = TRAINING.model_copy(update={"steps": 2})
    net, device = small_net(short), PretendedDevice()
    followed = dataclasses.replace(
        subject, make=lambda net, hyper: device.followed(subject.make(net, hyper))
    )

    def learnt() -> LearntSequence:
        there, source = short.to(CUDA), None
        if subject.entry.begins_at_source(subject.hyper):
            source = learn_source(net, there, training, SEED)
        return followed.learnt(there, training, source=source, net=net)

    try:
        found = device.ran(learnt)
    except Exception:
        if device.faults:  # which tell more than what follows from them
            return device.said()
        raise
    strays = sorted(name for name, value in found.params.items() if not device.holds(value))
    if strays and not device.faults:
        return f"of its final network, {strays} are not on the GPU"
    return device.said()
