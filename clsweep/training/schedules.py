"""The learning rate of every step of a phase: schedules and their warm-up, in closed form.

    η_s = η (s + 1) / (W + 1)    for s < W, the warm-up
    η_s = η f(s − W, n − W)      from there on

s counts the steps of a phase from 0, n is their number, W is `warmup_steps`. With the share
u = t / N that is done and r = `end_factor`, f(t, N) is

    constant   1
    linear     1 − (1 − r) u
    cosine     r + (1 − r) (1 + cos πu) / 2        Loshchilov and Hutter 2017, SGDR, one period
    step       γ^k, k milestones m with t ≥ round(m N)
    onecycle   from 1 / `div_factor` up to 1 at step `pct_start` N − 1, and down to
               1 / (`div_factor` `final_div_factor`) at step N − 1, both along half a cosine
               (Smith and Topin 2018); it is its own warm-up

They are torch's LinearLR, CosineAnnealingLR, MultiStepLR and OneCycleLR, stepped once per batch,
behind a LinearLR for the warm-up; OneCycleLR without its cycle of the momentum. Every phase of
every task has the whole schedule. This module imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clsweep.training.config import TrainingConfig

Factor = Callable[[int], float]  # steps since the warm-up -> share of the learning rate


def rate_of(training: TrainingConfig, n_steps: int) -> Callable[[int], float] | None:
    """(step, counted from 0) -> learning rate of that step; None where it is always the same.

    Args:
        training: names the schedule, with its numbers.
        n_steps: n, of the phase.
    """
    warm = 0 if training.schedule == "onecycle" else training.warmup_steps
    if training.schedule == "constant" and not warm:
        return None
    factor = factor_of(training, max(n_steps - warm, 1))

    def rate(step: int) -> float:
        if step < warm:
            return training.lr * ((step + 1) / (warm + 1))
        return training.lr * factor(step - warm)

    return rate


def factor_of(training: TrainingConfig, n_steps: int) -> Factor:
    """The module's f.

    Args:
        training: names the schedule, with its numbers.
        n_steps: N, at least 1.
    """
    end = training.end_factor
    if training.schedule == "linear":
        return lambda t: 1 - (1 - end) * (t / n_steps)
    if training.schedule == "cosine":
        return lambda t: end + (1 - end) * (1 + math.cos(math.pi * t / n_steps)) / 2
    if training.schedule == "step":
        at = [round(share * n_steps) for share in training.milestone_shares]
        return lambda t: float(training.gamma ** sum(t >= first for first in at))
    if training.schedule == "onecycle":
        return _one_cycle(training, n_steps)
    return lambda t: 1.0


def _one_cycle(training: TrainingConfig, n_steps: int) -> Factor:
    start = 1 / training.div_factor
    end = start / training.final_div_factor
    top, last = training.pct_start * n_steps - 1, n_steps - 1

    def factor(t: int) -> float:
        if t <= top:
            return _along_cosine(start, 1.0, t / top) if top else 1.0
        return _along_cosine(1.0, end, (t - top) / (last - top))

    return factor


def _along_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))
