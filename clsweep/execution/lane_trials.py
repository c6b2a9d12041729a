"""Work of one process on a program of trials: train them in lanes, commit a record for each.

What a trial leaves is what it leaves when it is trained alone, with the number of lanes beside it
in its record. The time of the program is divided among its trials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from clsweep import methods
from clsweep.errors import CacheError, StoreError
from clsweep.execution import worker
from clsweep.execution.error_kinds import breaks_process, is_out_of_memory, reraise_signal
from clsweep.execution.outcomes import Context, Outcome
from clsweep.execution.saved_losses import write_curves
from clsweep.execution.trial_commits import Spent, commit_trial
from clsweep.records.schema import LANES
from clsweep.redaction import without_secrets
from clsweep.storage import attempts
from clsweep.text import counted
from clsweep.training.divergence import Diverged
from clsweep.training.lane_speed import LaneSpeed, fastest
from clsweep.training.lanes import Lane, learn_lanes
from clsweep.training.loss_curves import LossCurves
from clsweep.training.stacked_trees import NotStackable

if TYPE_CHECKING:
    from clsweep.data.tasks import TaskSequence
    from clsweep.methods.base import Method
    from clsweep.methods.hyper_fields import Hyper
    from clsweep.nets.parameter_trees import Params
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job
    from clsweep.training.learnt_models import FinetunedModel, LearntSequence, SourceModel

_CROWDED = (
    "[resources] lanes: {} leaves too little memory for what is computed of a trial at its end; "
    "its trials are trained one by one"
)

Build = Callable[["Hyper"], "Method"]


def execute(context: Context, job: Job) -> Outcome:
    """Do one job, which may be a program of trials.

    Args:
        context: what all jobs share.
        job: the stage to compute, the trial to run, or several trials.
    """
    if not job.members:
        return worker.execute(context, job)
    if found := worker.hindrance(context):
        return Outcome("abort", found)
    began: list[Job] = []
    needs_room = False
    try:
        worker.prepared(context)
        outcome = _trained(context, job.members, began)
    except (CacheError, StoreError) as error:
        outcome = Outcome("abort", worker.reason(context, error))
    except BaseException as error:
        reraise_signal(error)
        needs_room, outcome = is_out_of_memory(error), _failed(error, job)
    # Only from here on is the error gone, whose frames hold all that the lanes had in memory.
    if needs_room:
        worker.release()
    if outcome.status == "broken":
        return outcome
    return _given_back(context, began, outcome)


def _failed(error: BaseException, program: Job) -> Outcome:
    """What becomes of a program that raised: its trials are tried in fewer lanes, or alone."""
    why, n_lanes = without_secrets(str(error) or type(error).__name__), 1
    if breaks_process(error):
        return Outcome("broken", why)
    what = f"[resources] lanes: {program.label}"
    if is_out_of_memory(error):
        n_lanes = len(program.members) // 2
        more = "alone" if n_lanes == 1 else f"in {n_lanes} lanes"
        why = f"{counted(len(program.members), 'lane')} do not fit into memory; now {more}"
    elif isinstance(error, NotStackable):
        note = f"cannot be trained as one program ({why}); its trials are trained one by one"
        return Outcome("lanes", n_lanes=1, note=f"{what}: {note}")
    else:
        why = f"failed as one program ({why}); its trials are trained one by one"
    return Outcome("lanes", f"{what}: {why}", n_lanes=n_lanes)


def _given_back(context: Context, began: Sequence[Job], outcome: Outcome) -> Outcome:
    """The outcome, when the starts of trials that come again are taken back."""
    ended = {key for key, _ in outcome.members}
    try:
        for job in began:
            if job.key not in ended:
                attempts.forgive(context.out, job.key, context.run)
    except StoreError as error:
        return Outcome("abort", str(error), members=outcome.members)
    return outcome


class _Prepared(NamedTuple):
    """Trials that are ready to be trained.

    Attributes:
        lanes: one for each.
        sequence: the tasks.
        build: (numbers) -> hooks.
    """

    lanes: list[Lane]
    sequence: TaskSequence
    build: Build


def _start_of(
    context: Context, configuration: Configuration, seed: int
) -> tuple[SourceModel | None, Params, FinetunedModel | None]:
    """What a trial begins with; nothing where it learns the first task by itself."""
    if not configuration.entry.begins_at_source(configuration.hyper):
        return None, {}, None
    return worker.start_of(context, configuration.start, seed)


def _prepared(context: Context, jobs: Sequence[Job]) -> _Prepared:
    sequence = worker.sequence_of(context, jobs[0].seed)
    net = worker.net_of(context, sequence)
    name = worker.configuration_of(context, jobs[0]).method
    build: Build = partial(methods.build, name, net)
    lanes = []
    for job in jobs:
        configuration = worker.configuration_of(context, job)
        source, statistics, finetuned = _start_of(context, configuration, job.seed)
        curves = LossCurves() if context.study.save.losses else None
        method = build(configuration.hyper)
        training = configuration.training
        lanes.append(Lane(method, training, job.seed, source, statistics, curves, finetuned))
    return _Prepared(lanes, sequence, build)


def _trained(context: Context, jobs: Sequence[Job], began: list[Job]) -> Outcome:
    """Train as many of the trials as are fastest together; the others are given back."""
    prepared, note, n = _prepared(context, jobs), "", len(jobs)
    if context.study.resources.lanes == "auto":
        speed = fastest(prepared.lanes, prepared.sequence, prepared.build)
        n, note = speed.n_lanes, _speed_note(jobs[0].label, speed)
    if n == 1:
        return Outcome("lanes", n_lanes=1, note=note)
    max_attempts = context.study.resources.max_attempts
    for job in jobs[:n]:
        attempts.begin(context.out, job.key, context.run, max_attempts)
        began.append(job)
    at, at_cpu = time.perf_counter(), time.process_time()
    learnt = learn_lanes(prepared.lanes[:n], prepared.sequence, prepared.build)
    seconds, cpu_seconds = time.perf_counter() - at, time.process_time() - at_cpu
    spent = Spent(seconds / n, cpu_seconds / n, {LANES: float(n)})
    members: list[tuple[str, Outcome]] = []
    n_given_back, message = 0, ""
    for job, lane, found in zip(jobs, prepared.lanes, learnt, strict=False):
        outcome = _committed(context, job, lane, prepared.sequence, found, spent)
        if outcome.status in ("abort", "broken"):
            return outcome._replace(members=tuple(members))
        if outcome.status == "crowded":  # beside the other lanes; it comes again, by itself
            n_given_back, message = n_given_back + 1, _CROWDED.format(jobs[0].label)
        else:
            members.append((job.key, outcome))
    n_lanes = 1 if n_given_back else n if n < len(jobs) else 0
    return Outcome("lanes", message, members=tuple(members), n_lanes=n_lanes, note=note)


def _speed_note(label: str, speed: LaneSpeed) -> str:
    """What was measured, for people."""
    measured = ", ".join(
        f"{1e6 * seconds:.0f} µs {'alone' if n == 1 else f'in {n} lanes'}"
        for n, seconds in speed.seconds.items()
    )
    chosen = "alone" if speed.n_lanes == 1 else f"in {speed.n_lanes} lanes"
    return f"[resources] lanes: {label} is trained {chosen}; a step of a trial took {measured}"


def _committed(
    context: Context,
    job: Job,
    lane: Lane,
    sequence: TaskSequence,
    found: LearntSequence | Diverged,
    spent: Spent,
) -> Outcome:
    """Commit one trial of a program, as `worker.execute` commits one by itself."""
    try:
        if lane.curves is not None:
            write_curves(context, job, lane.curves)
        if isinstance(found, Diverged):
            raise found
        configuration = worker.configuration_of(context, job)
        return commit_trial(context, job, configuration, sequence, found, spent)
    except (CacheError, StoreError) as error:
        return Outcome("abort", worker.reason(context, error))
    except BaseException as error:
        reraise_signal(error)
        status, message = worker.ended(context, job, error)
        n_steps = error.n_steps if isinstance(error, Diverged) else 0
    outcome = Outcome(status, message, wall_seconds=spent.seconds)
    return worker.cleared_up(context, job, outcome, n_steps)
