"""How a run ended, in numbers: for whoever called it, the terminal and the log."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Summary"]


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
        seconds_saved: what training those, and the fine-tuned networks, again would have taken.
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
