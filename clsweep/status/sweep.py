"""A sweep as it is at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from clsweep.status.snapshot import EndedTrial, StartedTrial
from clsweep.status.status import Status
from clsweep.study.configurations import Configuration
from clsweep.study.study_tables import StudyTables


class Sweep(NamedTuple):
    """A sweep as it is at one moment, trial by trial.

    Attributes:
        status: how far it is.
        study: what it computes.
        asked: trial id -> configuration and seed, of all trials that are asked for by now.
        done: trial id -> how it ended.
        at_work: trial id -> how it started.
    """

    status: Status
    study: StudyTables
    asked: Mapping[str, tuple[Configuration, int]]
    done: Mapping[str, EndedTrial]
    at_work: Mapping[str, StartedTrial]
