"""Jobs of a run, stages and trials, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Job:
    """One piece of work for one worker.

    Attributes:
        key: stage key, or trial id.
        kind: 'source', 'statistics', 'finetuned', 'path', 'trial' or 'lanes'.
        label: what people see.
        config_id: configuration to run; for a stage, one of those that need it.
        seed: the seed.
        needs: keys of the stages that must exist before, those that it reads itself.
        asked: what a search has asked for, see `Configuration.asked`; '' for the study's own.
        yardsticks: what a trial is compared with in training, see `packed_yardsticks`.
        members: of kind 'lanes', the trials that are trained as one program; see
            `clsweep.study.lane_groups`.
    """

    key: str
    kind: str
    label: str
    config_id: str
    seed: int
    needs: tuple[str, ...] = field(default=())
    asked: str = ""
    yardsticks: str = ""
    members: tuple[Job, ...] = ()


class Plan(NamedTuple):
    """What a run would do.

    Attributes:
        jobs: missing work, an order in which every job follows what it needs.
        n_trials: trials of the study in all.
        n_done: trials that have a record.
        stages_in_cache: keys of needed stages that exist already.
    """

    jobs: list[Job]
    n_trials: int
    n_done: int
    stages_in_cache: list[str]

    @property
    def n_sources(self) -> int:
        """Source models that will be trained."""
        return sum(job.kind == "source" for job in self.jobs)
