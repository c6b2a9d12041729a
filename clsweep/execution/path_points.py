"""Points of a regularisation path as stages: each is kept, so that the next one starts from it.

A run that is cut short goes on below the last point that is in the stage cache, whether its trial
has a record or not. Where the cache was emptied, the path begins again, and its points are those
that they were.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from clsweep.execution import stage_cache, stage_files
from clsweep.nets.parameter_trees import Params
from clsweep.study.planning import key_above, path_key
from clsweep.training.learnt_models import PathPoint
from clsweep.training.paths import PathStart, evaluated_point, learn_point

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Context
    from clsweep.study.planning import Values
    from clsweep.study.starts import Start
    from clsweep.training.learnt_models import LearntSequence

_CPU_SECONDS = "cpu_seconds"


def made_point(
    context: Context, point: Start, start: PathStart, values: Values
) -> tuple[Params, dict[str, Any]]:
    """Tensors and facts of a point.

    Args:
        context: what all jobs share.
        point: of a path.
        start: what all points of the path begin with.
        values: fingerprints in the keys of stages, see `recorded_inputs.stage_inputs`.
    """
    began = time.process_time()
    place = point.path
    assert place is not None
    key = key_above(context.study.conditions, point, start.seed, values)
    above = _loaded(context, key) if key else None
    n_full = start.training.n_steps(len(start.sequence.tasks[1].train), 1)
    is_first = above is None or not above.n_before
    made = learn_point(start, place.n_steps(n_full, is_first=is_first), above)
    tensors, facts = stage_files.point_entry(made)
    return tensors, {**facts, _CPU_SECONDS: time.process_time() - began}


def evaluated(context: Context, point: Start, start: PathStart, values: Values) -> LearntSequence:
    """A point as a trial has it.

    Args:
        context: what all jobs share.
        point: of a path, whose stage is there.
        start: what all points of the path begin with.
        values: as `made_point` had them.

    Raises:
        Diverged: the point has diverged.
    """
    key = path_key(context.study.conditions, point, start.seed, values)
    return evaluated_point(start, _loaded(context, key))


def seconds_of(context: Context, start: Start, seed: int, values: Values) -> tuple[float, float]:
    """Wall and processor seconds that the training of a point took, which its trial reports.

    Args:
        context: what all jobs share.
        start: of any trial; an independent one has no such stage.
        seed: the trial's seed.
        values: as `made_point` had them.
    """
    key = path_key(context.study.conditions, start, seed, values)
    if not key:
        return 0.0, 0.0
    facts = stage_cache.facts(context.stages, key)
    return float(facts["wall_seconds"]), float(facts[_CPU_SECONDS])


def _loaded(context: Context, key: str) -> PathPoint:
    entry = stage_cache.load(context.stages, key)
    return stage_files.path_point(entry, torch.device(context.device))
