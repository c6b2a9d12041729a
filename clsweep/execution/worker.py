"""Work of one process on one job: train, evaluate, commit. Knows nothing of Ray."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from clsweep.data import benchmarks
from clsweep.data.tasks import TaskSequence
from clsweep.errors import CacheError, ClsweepError, StoreError
from clsweep.execution import path_points, shared_storage, stage_cache, stage_files
from clsweep.execution.built_methods import built_method
from clsweep.execution.devices import no_gpu, prepare
from clsweep.execution.error_kinds import (
    breaks_process,
    device_fails,
    is_out_of_memory,
    reraise_signal,
)
from clsweep.execution.loaded_inputs import check_inputs, forget_changed, inputs_here
from clsweep.execution.outcomes import Context, Outcome
from clsweep.execution.saved_losses import saved_losses
from clsweep.execution.trial_commits import Ending, Spent, commit_failure, commit_trial
from clsweep.execution.trial_extras import check_extras
from clsweep.methods.base import Method
from clsweep.methods.divergence import what_helps
from clsweep.nets.build import build_net
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.records.recorded_inputs import (
    stage_inputs,
)
from clsweep.redaction import without_secrets
from clsweep.storage import attempts, study_binding
from clsweep.study.configurations import (
    Configuration,
    configuration_asked,
    configurations,
    examples,
)
from clsweep.study.input_fingerprints import net_inputs
from clsweep.study.jobs import Job
from clsweep.study.made_arrays import make_arrays
from clsweep.study.planning import finetuned_key, source_key, statistics_key
from clsweep.study.starts import Start
from clsweep.training.batch_norm_statistics import check_batches
from clsweep.training.divergence import Diverged
from clsweep.training.early_stopping import Watch
from clsweep.training.guarded_code import GuardedCode
from clsweep.training.imperative import learn_imperatively
from clsweep.training.learnt_models import FinetunedModel, LearntSequence, SourceModel
from clsweep.training.optimisers import check_optimiser
from clsweep.training.paths import PathStart
from clsweep.training.sequences import (
    finetune_source,
    learn_joint,
    learn_sequence,
    learn_source,
    measure_source,
    on_device,
)
from clsweep.user_code import with_place


def execute(context: Context, job: Job) -> Outcome:
    """Do one job. Mistakes of a configuration become its status; only a broken run aborts.

    Args:
        context: what all jobs share.
        job: the stage to compute, or the trial to run.
    """
    if found := hindrance(context):
        return Outcome("abort", found)
    began = time.perf_counter()
    try:
        attempts.begin(context.out, job.key, context.run, context.study.resources.max_attempts)
        prepared(context)
        return (_run_trial if job.kind == "trial" else _run_stage)(context, job)
    except (CacheError, StoreError) as error:
        return Outcome("abort", reason(context, error))
    except BaseException as error:  # a row with its message; the other trials go on
        reraise_signal(error)
        status, message = ended(context, job, error)
        n_steps = error.n_steps if isinstance(error, Diverged) else 0
    # Only from here on is the error gone, whose frames hold all that the job had in memory.
    outcome = Outcome(status, message, wall_seconds=time.perf_counter() - began)
    return cleared_up(context, job, outcome, n_steps)


def prepared(context: Context) -> None:
    """Have the device ready for a job.

    Args:
        context: says which, and what of it.
    """
    deterministic = context.study.resources.deterministic
    prepare(context.device, context.n_threads, context.memory_fraction, deterministic)


def hindrance(context: Context) -> str:
    """Why no job can be done in this process; '' where they can."""
    if context.device == "cuda" and not torch.cuda.is_available():
        return str(no_gpu())
    return shared_storage.hindrance(context.token, context.out, context.stages)


def ended(context: Context, job: Job, error: BaseException) -> tuple[str, str]:
    """(status, message) of a job that raised.

    Args:
        context: what all jobs share.
        job: the stage or trial.
        error: what it raised.
    """
    if isinstance(error, Diverged):
        return "diverged", without_secrets(f"{error}{_what_helps(context, job)}")
    if is_out_of_memory(error):
        may_get_more = context.memory_fraction < 1 and context.study.resources.oom_retry
        status = "crowded" if context.device == "cuda" and may_get_more else "oom"
        return status, without_secrets(f"out of memory: {error}")
    is_expected = isinstance(error, ClsweepError)
    message = without_secrets(str(error) if is_expected else with_place(error))
    if breaks_process(error):
        return "broken", message
    return "failed" if job.kind == "trial" or is_expected else "doubtful", message


def _what_helps(context: Context, job: Job) -> str:
    """What to change in the study file where a trial has diverged; nothing for a stage."""
    if job.kind != "trial":
        return ""
    configuration = configuration_of(context, job)
    return f"; what helps: {what_helps(configuration.method, configuration.hyper.model_dump())}"


def cleared_up(context: Context, job: Job, outcome: Outcome, n_steps: int) -> Outcome:
    """The outcome of a job that raised, when its memory is free and its failure is on disk.

    Args:
        context: what all jobs share.
        job: the stage or trial.
        outcome: with status and message of `ended`.
        n_steps: gradient steps that it had made.
    """
    if outcome.status in ("oom", "crowded"):
        release()
    if outcome.status != "broken" and device_fails(context.device):
        outcome = outcome._replace(status="broken")
    status, message, seconds = outcome.status, outcome.message, outcome.wall_seconds
    try:
        if status == "crowded":
            attempts.forgive(context.out, job.key, context.run)
        elif status != "broken":  # such a start counts, as that of a process that died does
            _commit_failure(context, job, status, message, seconds, n_steps)
    except StoreError as error:
        return Outcome("abort", str(error))
    return outcome


def _commit_failure(
    context: Context, job: Job, status: str, message: str, seconds: float, n_steps: int
) -> None:
    if job.kind != "trial":  # its outcome is that of the trials that need it
        attempts.forget(context.out, job.key)
        return
    ending = Ending(status, message, seconds, n_steps)
    commit_failure(context, job, configuration_of(context, job), ending)


def reason(context: Context, error: ClsweepError) -> str:
    """Why the run cannot go on: what is missing in a folder that is gone is no damage.

    Args:
        context: what all jobs share.
        error: what was raised.
    """
    try:
        study_binding.check_there(context.out)
    except StoreError as gone:
        return str(gone)
    return str(error)


def probe(context: Context) -> None:
    """Load the data and build the network and every method once, before any work is handed out.

    Args:
        context: what all jobs share.

    Raises:
        StudyError: the data are missing, or the network does not fit them.
        StoreError: data, weights or code are not those that the driver plans with.
        MethodError: a method does not fit the network, or its numbers do not fit the tasks.
    """
    sequence = sequence_of(context, context.study.seeds[0])
    net = net_of(context, sequence)
    check_extras(context.study.report.measures, sequence)
    for configuration in examples(context.study):
        with built_method(configuration, net) as method:
            sizes = [len(task.train) for task in sequence.tasks]
        check_batches(net, [sum(sizes)] if method.joint else sizes, configuration.training)
    for training in {configuration.training for configuration in examples(context.study)}:
        check_optimiser(training)


@lru_cache(maxsize=1)
def study_hindrance(context: Context) -> str:
    """Why no job of the study can be done in a process like this; '' where they can.

    Args:
        context: what all jobs share.
    """
    if hindrance(context):  # of the process alone; the job says so
        return ""
    try:
        probe(context)
    except ClsweepError as error:
        return reason(context, error)
    return ""


def warm_up(context: Context) -> None:
    """Load the data, and start the device, in a process that has no job yet.

    Args:
        context: what all jobs share.
    """
    if hindrance(context):
        return
    prepared(context)
    try:
        study_hindrance(context)
    except Exception:  # the first job meets it again, and tells it with its configuration
        release()


def release() -> None:
    """Free what is kept between jobs."""
    load_sequence.cache_clear()
    _source.cache_clear()
    _finetuned.cache_clear()
    gc.collect()
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # whether the device works is asked next
            torch.cuda.empty_cache()


@lru_cache(maxsize=1)
def _configurations(context: Context) -> dict[str, Configuration]:
    return {c.id: c for c in configurations(context.study)}


def configuration_of(context: Context, job: Job) -> Configuration:
    """The configuration of a job.

    Args:
        context: what all jobs share.
        job: a trial, or a stage that one needs.
    """
    if job.asked:
        return configuration_asked(context.study, job.asked)
    return _configurations(context)[job.config_id]


def sequence_of(context: Context, seed: int) -> TaskSequence:
    """The tasks of a seed, kept between jobs.

    Args:
        context: what all jobs share.
        seed: the trial's.
    """
    fixed = context.study.benchmark.draws == "fixed"
    return load_sequence(context, 0 if fixed else seed)


@lru_cache(maxsize=2)
def load_sequence(context: Context, seed: int) -> TaskSequence:
    """The study's tasks on the context's device; kept between jobs.

    Args:
        context: names the benchmark, the data root and the device.
        seed: only matters for benchmarks drawn per seed.
    """
    conditions = context.study.conditions
    make_arrays(conditions.benchmark)  # of a function's; on the driver's node they are there
    forget_changed(context)
    sequence = benchmarks.build(conditions.located_benchmark, context.data_root, seed)
    return sequence.to(torch.device(context.device))


def net_of(context: Context, sequence: TaskSequence) -> Net:
    """The study's network, built anew.

    Args:
        context: what all jobs share.
        sequence: whose inputs and heads it has.
    """
    conditions, root = context.study.conditions, context.data_root
    located = conditions.located_net
    net = build_net(located, sequence.input_shape, sequence.heads, root, sequence.stored)
    check_inputs(context, inputs_here(context))
    if located.weights:  # read anew for every job
        check_inputs(context, net_inputs(conditions.net, root, located))
    return net


def _run_stage(context: Context, job: Job) -> Outcome:
    began = time.perf_counter()
    _STAGES[job.kind](context, job)
    attempts.forget(context.out, job.key)
    return Outcome("ok", wall_seconds=time.perf_counter() - began)


def _commit_stage(
    context: Context, job: Job, compute: Callable[[], tuple[Params, dict[str, Any]]]
) -> None:
    """Compute a stage, and put its tensors and facts into the cache with the time it took."""
    began = time.perf_counter()
    with saved_losses(context, job):
        tensors, facts = compute()
    seconds = time.perf_counter() - began
    stage_cache.commit(context.stages, job.key, tensors, {**facts, "wall_seconds": seconds})


def _make_source(context: Context, job: Job) -> None:
    sequence = sequence_of(context, job.seed)
    net, training = net_of(context, sequence), configuration_of(context, job).training
    _commit_stage(
        context,
        job,
        lambda: stage_files.source_entry(learn_source(net, sequence, training, job.seed)),
    )


@lru_cache(maxsize=4)
def _source(context: Context, key: str) -> SourceModel:
    """Always read from the cache, even right after training: every method gets the same bytes."""
    entry = stage_cache.load(context.stages, key)
    return stage_files.source_model(entry, torch.device(context.device))


def _make_finetuned(context: Context, job: Job) -> None:
    sequence = sequence_of(context, job.seed)
    net, training = net_of(context, sequence), configuration_of(context, job).training
    source = _source(context, job.needs[0])
    _commit_stage(
        context,
        job,
        lambda: stage_files.finetuned_entry(
            finetune_source(net, sequence, training, job.seed, source)
        ),
    )


@lru_cache(maxsize=4)
def _finetuned(context: Context, key: str) -> FinetunedModel:
    entry = stage_cache.load(context.stages, key)
    return stage_files.finetuned_model(entry, torch.device(context.device))


def _make_statistics(context: Context, job: Job) -> None:
    sequence = sequence_of(context, job.seed)
    configuration = configuration_of(context, job)
    source = _source(context, job.needs[0])
    with built_method(configuration, net_of(context, sequence)) as method:
        _commit_stage(
            context,
            job,
            lambda: (measure_source(method, sequence, source, job.seed), {}),
        )


@lru_cache(maxsize=4)
def _statistics(context: Context, key: str) -> Params:
    return on_device(stage_cache.load(context.stages, key).tensors, torch.device(context.device))


def _make_point(context: Context, job: Job) -> None:
    sequence = sequence_of(context, job.seed)
    configuration, values = configuration_of(context, job), stage_inputs(context.inputs or ())
    with built_method(configuration, net_of(context, sequence)) as method:
        source, statistics, _ = start_of(context, configuration.start, job.seed)
        start = PathStart(method, sequence, configuration.training, job.seed, source, statistics)
        _commit_stage(
            context,
            job,
            lambda: path_points.made_point(context, configuration.start, start, values),
        )


def _watch(context: Context, job: Job, n_tasks: int) -> Watch | None:
    """What may stop the trial; None where the study stops none, or did not ask for this one."""
    settings = context.study.search
    if not (settings.stops and job.asked):
        return None
    margin, n_checks = settings.stop_margin, settings.stop_checks
    return Watch(job.yardsticks, n_tasks, margin=margin, n_checks=n_checks)


_STAGES: dict[str, Callable[[Context, Job], None]] = {
    "source": _make_source,
    "statistics": _make_statistics,
    "finetuned": _make_finetuned,
    "path": _make_point,
}


def _run_trial(context: Context, job: Job) -> Outcome:
    configuration = configuration_of(context, job)
    sequence = sequence_of(context, job.seed)
    watch = _watch(context, job, len(sequence.tasks))
    prints = GuardedCode(configuration.label, 0)
    heard = prints.noting_prints() if configuration.code else contextlib.nullcontext()
    with built_method(configuration, net_of(context, sequence)) as method:
        began, began_cpu = time.perf_counter(), time.process_time()
        with heard, saved_losses(context, job):
            learnt = _learnt(context, configuration, job.seed, sequence, method, watch)
        values = stage_inputs(context.inputs or ())
        before = path_points.seconds_of(context, configuration.start, job.seed, values)
        seconds = before[0] + time.perf_counter() - began
        cpu_seconds = before[1] + time.process_time() - began_cpu
    spent = Spent(seconds, cpu_seconds, watch.counters if watch else {}, prints.printed)
    return commit_trial(context, job, configuration, sequence, learnt, spent)


def _learnt(
    context: Context,
    configuration: Configuration,
    seed: int,
    sequence: TaskSequence,
    method: Method,
    watch: Watch | None,
) -> LearntSequence:
    training = configuration.training
    if method.joint:
        return learn_joint(method, sequence, training, seed)
    learn = learn_imperatively if method.learner else learn_sequence
    begun = configuration.start
    if not begun.at_source:
        return learn(method, sequence, training, seed, None, {}, watch=watch)
    source, statistics, finetuned = start_of(context, begun, seed)
    if begun.path is not None:
        start = PathStart(method, sequence, training, seed, source, statistics)
        values = stage_inputs(context.inputs or ())
        return path_points.evaluated(context, begun, start, values)
    return learn(method, sequence, training, seed, source, statistics, finetuned, watch)


def start_of(
    context: Context, start: Start, seed: int
) -> tuple[SourceModel, Params, FinetunedModel | None]:
    """What a trial starts from: source model, statistics, fine-tuned model.

    Args:
        context: what all jobs share.
        start: of a configuration that begins at the source model.
        seed: the trial's.
    """
    conditions, values = context.study.conditions, stage_inputs(context.inputs or ())
    source = _source(context, source_key(conditions, start, seed, values))
    key = statistics_key(conditions, start, seed, values)
    statistics = _statistics(context, key) if key else {}
    key = finetuned_key(conditions, start, seed, values)
    finetuned = _finetuned(context, key) if key else None
    return source, statistics, finetuned
