"""How a run ended, in numbers: for whoever called it, the terminal and the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import median_low
from typing import NamedTuple

__all__ = ["Summary", "seconds_spared"]


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
