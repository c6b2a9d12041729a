"""Records of trials, put together from what their worker measured, and committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clsweep.execution.devices import algorithms, device_name, gpu_versions, peak_memory_bytes
from clsweep.execution.loaded_inputs import inputs_here
from clsweep.execution.outcomes import Context, Outcome
from clsweep.execution.saved_networks import save_network
from clsweep.execution.trial_extras import extras_of, measure_versions
from clsweep.execution.trial_record import record_of
from clsweep.nets.norms import without_statistics
from clsweep.nets.parameter_trees import n_elements
from clsweep.records.recorded_inputs import fingerprints_of
from clsweep.records.schema import CPU_SECONDS, GPU_SECONDS, MEMORY_BYTES
from clsweep.storage import attempts, store, study_binding
from clsweep.storage.extra_files import commit_extras
from clsweep.training.learnt_models import LearntSequence
from clsweep.training.sequences import average_accuracy

if TYPE_CHECKING:
    from clsweep.data.tasks import TaskSequence
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job


class Spent(NamedTuple):
    """What a trial has taken beside its training.

    Attributes:
        seconds: of the clock.
        cpu_seconds: of the processor.
        counters: further ones of its record.
        printed: what its own code has printed.
    """

    seconds: float
    cpu_seconds: float
    counters: dict[str, float]
    printed: str = ""


class Ending(NamedTuple):
    """How a trial failed.

    Attributes:
        status: one of `schema.STATUSES`.
        message: what went wrong, for people.
        seconds: spent on it.
        n_steps: gradient steps that it had made.
    """

    status: str
    message: str
    seconds: float
    n_steps: int


def commit_trial(
    context: Context,
    job: Job,
    configuration: Configuration,
    sequence: TaskSequence,
    learnt: LearntSequence,
    spent: Spent,
) -> Outcome:
    """Commit the record of a trial that has come to its end, and what it leaves beside it.

    Args:
        context: what all jobs share.
        job: the trial.
        configuration: what it is.
        sequence: its tasks.
        learnt: what it has made of them.
        spent: for how much.
    """
    seconds = spent.seconds
    counters = {CPU_SECONDS: spent.cpu_seconds}
    counters |= dict(zip(MEMORY_BYTES, learnt.memory_bytes, strict=True))
    if context.device == "cuda":
        counters[GPU_SECONDS] = seconds * context.memory_fraction
    counters |= spent.counters
    status = "stopped" if learnt.stopped else "ok"
    record = record_of(
        configuration,
        job.seed,
        status,
        message=learnt.stopped or learnt.note or spent.printed,
        accuracy=learnt.rows,
        stages=job.needs,
        n_steps=learnt.n_steps,
        wall_seconds=seconds,
        peak_memory_bytes=peak_memory_bytes(context.device),
        memory_bytes=learnt.memory_bytes.total,
        n_params=n_elements(without_statistics(learnt.params)),
        device=device_name(context.device),
        attempts=attempts.attempts(context.out, job.key),
        counters={**learnt.counters, **counters},
        inputs=fingerprints_of(inputs_here(context)) | _surroundings(context),
    )
    extras = extras_of(
        context.study.conditions, context.data_root, record["trial"], sequence, learnt
    )
    study_binding.check_there(context.out)
    is_saved = context.study.save.models != "none" and configuration.entry.kind == "method"
    if status == "ok" and is_saved:
        save_network(context.out, job.key, learnt.params, sequence)
    if extras is not None:
        commit_extras(context.out, extras)
    store.commit_record(context.out, record)
    return Outcome(status, learnt.stopped, average_accuracy(learnt), seconds)


def commit_failure(
    context: Context, job: Job, configuration: Configuration, ending: Ending
) -> None:
    """Commit the record of a trial that came to no end of its own.

    Args:
        context: what all jobs share.
        job: the trial.
        configuration: what it is.
        ending: how it failed.
    """
    record = record_of(
        configuration,
        job.seed,
        ending.status,
        message=ending.message,
        stages=job.needs,
        inputs=fingerprints_of(context.inputs or ()) | _surroundings(context),
        n_steps=ending.n_steps,
        wall_seconds=ending.seconds,
        device=device_name(context.device),
        attempts=attempts.attempts(context.out, job.key),
    )
    study_binding.check_there(context.out)
    store.commit_record(context.out, record)


def _surroundings(context: Context) -> dict[str, str]:
    """What stands beside the inputs: the commit of the user's code, the GPU and its driver."""
    own = measure_versions(context.study.report.measures)
    of_gpu = {**gpu_versions(context.device), **algorithms(context.device)}
    return {**dict(context.repository), **of_gpu, **own}
