"""Checks of a learner. Most of its contract is looked at in every trial (`training.imperative`).

What every trial looks at: predictions have one finite logit per class, prediction changes and
keeps nothing, `bytes` tells what attributes hold. A learner that breaks it fails each check here
with that sentence.
"""

from __future__ import annotations

import copy

import torch

from clsweep.conformance import checks
from clsweep.conformance.subjects import SEED, TRAINING, Subject, small_net, source_of
from clsweep.data.tasks import TaskSequence
from clsweep.training.guarded_code import seeded
from clsweep.training.imperative import ImperativeRun


def leaves_source(subject: Subject, sequence: TaskSequence) -> str:
    """The shared source model stays as it is."""
    source = source_of(sequence)
    before = copy.deepcopy(source)
    subject.learnt(sequence, source=source)
    return checks.spoilt(before, source)


def is_silent(subject: Subject, sequence: TaskSequence) -> str:
    """Nothing is printed."""
    return subject.learnt(sequence).note


def draws_batches(subject: Subject, sequence: TaskSequence) -> str:
    """It trains on the batches that it is offered, in each task."""
    n_tasks = len(sequence.tasks) - subject.entry.begins_at_source(subject.hyper)
    per_task = sum(subject.hyper.phase_steps(TRAINING.n_steps(60)))
    found = subject.learnt(sequence).n_steps
    expected = n_tasks * per_task
    return "" if found == expected else f"it drew {found} batches of {expected}"


def predicts_one_by_one(subject: Subject, sequence: TaskSequence) -> str:
    """A prediction does not depend on the other examples of its batch."""
    source = source_of(sequence) if subject.entry.begins_at_source(subject.hyper) else None
    method = subject.method(small_net(sequence))
    with seeded(SEED):
        run = ImperativeRun(method, sequence, TRAINING, SEED, source)
        run.through(source, None)
        last = len(sequence.tasks) - 1
        x = sequence.scale(sequence.tasks[last].train.raw(torch.arange(12)))
        with torch.no_grad():
            together = run.learner.predict(x, last)
            alone = torch.cat([run.learner.predict(part, last) for part in x.split(5)])
    return checks.apart(together, alone)


LEARNER_CHECKS: dict[str, checks.Check] = {
    "learns all tasks": checks.learns_all_tasks,
    "the same seed gives the same numbers": checks.repeats,
    "the shared source model is not modified": leaves_source,
    "all batches are drawn": draws_batches,
    "predictions do not depend on the batch": predicts_one_by_one,
    "nothing is printed": is_silent,
    "it differs from fine-tuning": checks.does_something,
}
