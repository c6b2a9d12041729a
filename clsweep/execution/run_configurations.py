"""The configurations of a run, with all that the driver asks of their numbers.

The driver itself knows jobs, and configurations by their ids. Whoever has to know a number of a
method is asked here: for the record of a trial that never ran, what will diverge, which trials
may be trained together, what they start from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from clsweep.execution.trial_record import record_of
from clsweep.study import planning
from clsweep.study.lane_groups import lane_group

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Outcome
    from clsweep.execution.unstable_weights import UnstableWeights
    from clsweep.records.schema import Record
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job
    from clsweep.study.study_tables import Conditions


_KEYS = {"source": planning.source_key, "finetuned": planning.finetuned_key}


class RunConfigurations:
    """Those of the study; with a search, those that it has asked for.

    Args:
        conditions: those of the study.
        configurations: what is known at the start.
        unstable: tells what will diverge.
        values: fingerprints in the keys of stages, see `recorded_inputs.stage_inputs`.

    Attributes:
        labels: id -> label of every configuration.
    """

    def __init__(
        self,
        conditions: Conditions,
        configurations: Iterable[Configuration],
        unstable: UnstableWeights,
        values: planning.Values,
    ) -> None:
        self._conditions, self._unstable, self._values = conditions, unstable, values
        self._by_id: dict[str, Configuration] = {}
        self.labels: dict[str, str] = {}
        self.add(configurations)

    def add(self, new: Iterable[Configuration]) -> None:
        """Take those that were not known before.

        Args:
            new: of the study, or what a search has asked for now.
        """
        for one in new:
            self._by_id[one.id], self.labels[one.id] = one, one.label

    def of(self, job: Job) -> Configuration:
        """The configuration of a job.

        Args:
            job: a trial, or a stage that one needs.
        """
        return self._by_id[job.config_id]

    def divergence_notes(self, jobs: Iterable[Job]) -> list[str]:
        """Which values that are to come will diverge, as far as that is known and was not told.

        Args:
            jobs: those that are to come.
        """
        to_come = dict.fromkeys(job.config_id for job in jobs if job.kind == "trial")
        return self._unstable.notes(self._by_id[key] for key in to_come)

    def lane_group(self, job: Job) -> str:
        """Which other trials a trial may be trained with, see `lane_groups.lane_group`."""
        return lane_group(self._conditions, self.of(job), job.seed)

    def stage_key(self, kind: str, job: Job, seed: int) -> str:
        """The key of a trained network that a job makes or uses, with another seed.

        Args:
            kind: 'source' or 'finetuned'.
            job: the stage or trial.
            seed: the seed.
        """
        return _KEYS[kind](self._conditions, self.of(job).start, seed, self._values)

    def record_of(
        self, job: Job, outcome: Outcome, inputs: Mapping[str, str], attempts: int
    ) -> Record:
        """The record of a trial that left none of its own.

        Args:
            job: the trial.
            outcome: how it ended.
            inputs: see `recorded_inputs.fingerprints_of`.
            attempts: starts of the trial.
        """
        return record_of(
            self.of(job),
            job.seed,
            outcome.status,
            message=outcome.message,
            stages=job.needs,
            inputs=inputs,
            attempts=attempts,
        )
