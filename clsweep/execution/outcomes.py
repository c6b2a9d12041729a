"""Outcomes of a job, and of a run in numbers: for whoever called it, terminal and log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

from clsweep.records.recorded_inputs import Inputs
from clsweep.storage.remote_path import Place
from clsweep.study.study_tables import StudyTables


class Summary(NamedTuple):
    """How a run ended.

    Attributes:
        n_trials: trials of the study.
        n_done: trials that have a record now, whatever their status.
        n_new: of those, committed by this run.
        n_failed: trials of the study whose row says 'failed'.
        n_diverged: trials of the study whose row says 'diverged'.
        n_oom: trials of the study whose row says 'oom'.
        n_sources_trained: source models trained by this run.
        n_sources_reused: trials of this run that started from a source model trained for another.
        seconds_saved: what training those, and the fine-tuned networks, again would have taken
            one worker, see `seconds_spared`.
        wall_seconds: duration of the run.
        interrupted: whether Ctrl-C stopped it.
        terminated: whether SIGTERM stopped it.
        warnings: sentences about damage that was set aside, and about doubtful data.
        n_finetuned_trained: fine-tuned networks trained by this run.
        n_finetuned_reused: trials of this run that used one trained for another.
        n_stopped: trials of the study whose row says 'stopped'.
        undrawn: labels whose front `fill` would draw further if it had more trials.
        out_of_time: whether its time limit kept it from going on.
        later: labels that were left for later, with how many trials they still have to do.
    """

    n_trials: int
    n_done: int
    n_new: int
    n_failed: int
    n_diverged: int
    n_oom: int
    n_sources_trained: int
    n_sources_reused: int
    seconds_saved: float
    wall_seconds: float
    interrupted: bool
    terminated: bool
    warnings: tuple[str, ...]
    n_finetuned_trained: int = 0
    n_finetuned_reused: int = 0
    n_stopped: int = 0
    undrawn: tuple[str, ...] = ()
    out_of_time: bool = False
    later: Mapping[str, int] = {}


@dataclass(frozen=True)
class Context:
    """What every job of a run shares.

    Attributes:
        run: name of the run; what is kept between jobs is dropped when it changes.
        study: what is asked for.
        out: the results folder.
        stages: the stage cache.
        data_root: where the data sets are, or None.
        device: 'cpu' or 'cuda'.
        n_threads: torch threads per job.
        memory_fraction: share of the GPU's memory that this process may use.
        token: what the driver has put into both folders, see `shared_storage`; '' for nothing.
        inputs: what the driver plans with; None where nothing is to be compared.
        repository: commit and state of the repository of the study's own code.
    """

    run: str
    study: StudyTables = field(compare=False)
    out: Place = field(compare=False)
    stages: Place = field(compare=False)
    data_root: Path | None = field(compare=False)
    device: str
    n_threads: int = 1
    memory_fraction: float = 1.0
    token: str = ""
    inputs: Inputs | None = field(default=None, compare=False)
    repository: tuple[tuple[str, str], ...] = ()


class Outcome(NamedTuple):
    """What the driver hears of a job; everything else is in the stage or the record.

    Attributes:
        status: of `schema.STATUSES`; 'crowded' for a job that is to be tried again with a GPU to
            itself; 'broken' where this process must do no further job, and another has to try;
            'doubtful' for a stage that may succeed in another process; 'abort' where the run
            cannot go on.
        message: what went wrong, for people.
        average_accuracy: mean validation accuracy over all tasks at the end, NaN for stages.
        wall_seconds: time spent computing.
        members: of a program of trials, (key, outcome) of those that have ended; the others are
            handed out again.
        n_lanes: of a program, how many trials the next ones of its group may hold; 0 for as many
            as before.
        note: of a program, what was found out and is nothing wrong, for people.
    """

    status: str
    message: str = ""
    average_accuracy: float = float("nan")
    wall_seconds: float = 0.0
    members: tuple[tuple[str, Outcome], ...] = ()
    n_lanes: int = 0
    note: str = ""


class BrokenProcess(Exception):
    """The process must do no further job: its next would fail for no fault of its own."""


def seconds_spared(
    uses: Mapping[str, int], seconds: Mapping[str, float], alike: Mapping[str, str]
) -> float:
    """What training stages again for every further use would have taken one worker.

    Each use counts the median duration of the stages that differ by the seed alone, since the
    first stage of a process takes longer: whatever torch loads late, and a GPU's start, is in it.

    Args:
        uses: stage -> how often it was used instead of trained.
        seconds: stage -> how long training it took; more stages than those used are welcome.
        alike: stage -> a name that it shares with those that differ by the seed alone.
    """
    durations: defaultdict[str, list[float]] = defaultdict(list)
    for key, value in seconds.items():
        durations[alike[key]].append(value)
    # Of two, the lower: the other one is more likely to hold what is done once per process.
    return sum(n * median_low(durations[alike[key]]) for key, n in uses.items() if n > 0)
