"""Tuners: each hands out the schedule's jobs, until there are none or it has had enough."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError

from clsweep.execution import outcomes
from clsweep.execution.ray.internals import START_ORDER, differences
from clsweep.execution.ray.job_trials import Work, run_jobs
from clsweep.execution.ray.searcher import SEGMENT, ScheduleSearcher
from clsweep.execution.ray.slots import node_selector
from clsweep.execution.ray.tune_patches import NewestFirst, memory_kills
from clsweep.storage.folder_kinds import folder_of

# Tune lists the trials that it gave up; the study says which of its own failed, and why.
logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
# That it cannot write its state, which nobody reads, to a full disk; our own writes say so.
logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)


def run_segment(searcher: ScheduleSearcher, context: outcomes.Context, work: Work) -> None:
    """One Tuner.

    Args:
        searcher: what it asks for work.
        context: what all jobs share.
        work: what workers do.
    """
    scratch = _scratch(context)
    trainable = tune.with_parameters(run_jobs, context=context, work=work)
    tuner = tune.Tuner(
        tune.with_resources(trainable, _resources_of),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=None if differences(START_ORDER) else NewestFirst(searcher.keeps_idle),
            num_samples=-1,
            # How many run at the same time is up to the searcher, which knows the nodes.
            max_concurrent_trials=SEGMENT,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="jobs",
            storage_path=str(scratch),
            verbose=0,
            # Attempts are counted here: Tune gives a trial up at once whose worker dies while it
            # is being reset for that trial, whatever number is allowed.
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        with memory_kills(searcher.note), _settings(searcher.slots.n_slots()):
            tuner.fit()
    except RuntimeError as error:
        cause = _ray_error(error)
        if cause is None:
            raise
        # Ray has ended one worker in a way that Tune does not know. It may have been any of
        # those that ran, and all of them are gone; one counts, so that this comes to an end.
        searcher.note(cause)
        searcher.lost([job for jobs, _ in searcher.jobs.values() for job in jobs])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _settings(n_slots: int) -> Iterator[None]:
    """What Tune reads from the environment alone.

    It writes its own state, which nobody reads, at its beginning and its end alone; and it starts
    the workers of all slots side by side, where it would wait for each before the next.
    """
    wanted = {
        "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
        "TUNE_MAX_PENDING_TRIALS_PG": str(max(1, n_slots)),
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:  # Tuners of a notebook's own may need theirs
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _scratch(context: outcomes.Context) -> Path:
    """Where Tune may write; only this process reads it."""
    out = folder_of(context.out).local_path
    if out is not None:
        return out / ".tune"
    return Path(tempfile.mkdtemp(prefix="clsweep-tune-"))


def _ray_error(error: BaseException | None) -> RayError | None:
    while error is not None:
        if isinstance(error, RayError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _resources_of(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What one trial asks Ray for."""
    place = config["place"]
    names = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}
    bundle = {names[kind]: amount for kind, amount in place["request"].items()}
    if not place["node_ids"]:
        return tune.PlacementGroupFactory([bundle])
    return tune.PlacementGroupFactory(
        [bundle], bundle_label_selector=[node_selector(place["node_ids"])]
    )
