"""What the trained networks of a run were used for, and the time that sharing them has saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from clsweep.execution import stage_cache
from clsweep.execution.outcomes import seconds_spared
from clsweep.storage.remote_path import Place
from clsweep.study.jobs import Job


class Sharing(NamedTuple):
    """Networks that a run has trained, uses of networks that were there, and seconds saved."""

    n_trained: int
    n_reused: int
    seconds_saved: float


def shared_stages(
    kind: str,
    jobs: Sequence[Job],
    key_of: Callable[[str, Job, int], str],
    first: int,
    stage_folder: Place,
) -> Sharing:
    """What the trained networks of one kind of stage were used for in a run.

    Args:
        kind: 'source' or 'finetuned'.
        jobs: of the run; trials that have not begun are left out.
        key_of: (kind, job, seed) -> the key of the stage that the job's configuration needs.
        first: the first seed of the study.
        stage_folder: the stage cache.
    """
    alike = {job.key: key_of(kind, job, first) for job in jobs if job.kind == kind}
    trained = {*alike}
    uses: Counter[str] = Counter()
    for job in jobs:
        if job.kind == "trial":
            used = {key_of(kind, job, job.seed)} & {*job.needs}
            uses.update(used)
            alike.update(dict.fromkeys(used, key_of(kind, job, first)))
    there = [key for key in {*uses, *trained} if key and stage_cache.exists(stage_folder, key)]
    # A run that was cut short may have trained what none of its trials came to use.
    spared = {key: max(0, uses[key] - (key in trained)) for key in there}
    seconds = {k: float(stage_cache.facts(stage_folder, k)["wall_seconds"]) for k in there}
    saved = seconds_spared(spared, seconds, alike)
    return Sharing(len(trained.intersection(there)), sum(spared.values()), saved)
