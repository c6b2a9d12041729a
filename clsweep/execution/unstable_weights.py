"""Weights of quadratic penalties whose gradient steps will diverge, told before they are computed.

A penalty ½ w Σ ω (θ−θ*)² that acts by its gradient multiplies θ−θ* of a parameter, step by step,
by 1 − η w ω under plain gradient descent: it shrinks while η w ω < 2 and grows without bound
beyond. What w is, each method's `penalty_weight` says. The loss adds its own curvature and the
importances of later tasks theirs, so that a weight which is not named here may diverge as well.

Only SGD is told about: adaptive optimisers rescale the gradient, and clipping bounds the step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.execution import stage_cache
from clsweep.methods.divergence import what_helps
from clsweep.methods.regulariser_hypers import PenaltyHyper, SiHyper
from clsweep.study import planning
from clsweep.text import key_text, number_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from clsweep.storage.remote_path import Place
    from clsweep.study.configurations import Configuration
    from clsweep.study.starts import Start
    from clsweep.study.study_tables import Conditions
    from clsweep.training.config import TrainingConfig

_MOST_NAMED = 4
# Just beyond the bound, θ−θ* grows so slowly that a task may end first.
_SURELY = 1.05


class _Unstable(NamedTuple):
    """A configuration that will diverge.

    Attributes:
        configuration: which.
        seed: whose importances tell; None where no data decide.
        peak: the largest ω, or what it is at least.
        bound: the value of the primary knob from which on it diverges.
    """

    configuration: Configuration
    seed: int | None
    peak: float
    bound: float


class UnstableWeights:
    """Tells of every label once which of its values will diverge, as soon as that is known.

    Args:
        conditions: those of the study.
        stages: the stage cache.
        values: fingerprints in the keys of stages, see `recorded_inputs.stage_inputs`.
    """

    def __init__(self, conditions: Conditions, stages: Place, values: planning.Values) -> None:
        self._conditions, self._stages, self._values = conditions, stages, values
        self._told: set[str] = set()
        self._peaks: dict[tuple[str, float | None], float] = {}

    def notes(self, configurations: Iterable[Configuration]) -> list[str]:
        """One sentence per label of which this is known and was not told before.

        Args:
            configurations: those that are to be computed.

        Raises:
            CacheError: a stage is damaged.
        """
        by_label: defaultdict[str, list[Configuration]] = defaultdict(list)
        for one in configurations:
            if one.label not in self._told and limit_of(one) is not None:
                by_label[one.label].append(one)
        found = []
        for label, own in by_label.items():
            unstable = [u for u in map(self._unstable, own) if u is not None]
            if unstable:
                self._told.add(label)
                found.append(_note(unstable))
        return found

    def _unstable(self, one: Configuration) -> _Unstable | None:
        limit, hyper = limit_of(one), one.hyper
        assert limit is not None
        assert isinstance(hyper, PenaltyHyper)
        xi = hyper.xi if isinstance(hyper, SiHyper) else None
        known = hyper.smallest_peak
        peak, seed = (known, None) if known else self._peak(one.start, xi)
        if peak is None or not hyper.penalty_weight * peak > limit:
            return None
        value = next(iter(one.knobs.values()))
        return _Unstable(one, seed, peak, value * limit / (hyper.penalty_weight * peak))

    def _peak(self, start: Start, xi: float | None) -> tuple[float | None, int | None]:
        """The largest ω with the first seed whose stage is there; (None, None) for none.

        ω is a statistic of the method's; with some ξ, that of SI, of the source model.
        """
        key_of = planning.statistics_key if xi is None else planning.source_key
        for seed in self._conditions.seeds:
            key = key_of(self._conditions, start, seed, self._values)
            if not key or ((key, xi) not in self._peaks and not self._exists(key)):
                continue
            if (key, xi) not in self._peaks:
                arrays = stage_cache.arrays(self._stages, key)
                omega = arrays if xi is None else si_importances(arrays, xi)
                self._peaks[key, xi] = largest(omega)
            return self._peaks[key, xi], seed
        return None, None

    def _exists(self, key: str) -> bool:
        return stage_cache.exists(self._stages, key)


def limit_of(one: Configuration) -> float | None:
    """The w ω from which on the penalty's gradient steps diverge; None where none is told.

    Args:
        one: a configuration of any method.
    """
    hyper = one.hyper
    if not isinstance(hyper, PenaltyHyper) or hyper.form != "gradient":
        return None
    if not hyper.penalty_weight or not one.knobs or not hyper.statistics_are_omega:
        return None
    return largest_curvature(one.training)


def largest_curvature(training: TrainingConfig) -> float | None:
    """The curvature h of ½ h x² from which on SGD diverges; None for what it is not told of.

    Without momentum η h < 2. With momentum μ and dampening d, x_{t+1} = x_t − η v_{t+1} and
    v_{t+1} = μ v_t + (1−d) h x_t have both eigenvalues within the unit circle while
    η (1−d) h < 2 (1+μ); with Nesterov's step, while η h < 2 (1+μ) / (1+2μ). Weight decay is part
    of h. With a schedule η is the highest rate.

    Args:
        training: how a task is trained.
    """
    clips = training.clip_value or training.clip_norm
    if training.optimizer != "sgd" or clips or not training.lr:
        return None
    mu = training.momentum
    limit = 2 * (1 + mu)
    if mu and training.nesterov:
        limit /= 1 + 2 * mu
    elif mu:
        limit /= 1 - training.dampening
    return max(0.0, limit / training.lr - training.weight_decay)


def si_importances(source: Mapping[str, NDArray[Any]], xi: float) -> dict[str, NDArray[Any]]:
    """Ω = max(0, ω / (Δ² + ξ)) of the source task, of the parameters that tasks share.

    Args:
        source: the stage of a source model.
        xi: ξ.
    """
    path = {name.partition("|")[2]: a for name, a in source.items() if name.startswith("path|")}
    found = {}
    for name, gained in path.items():
        if not name.startswith("heads."):
            moved = source[f"params|{name}"] - source[f"start|{name}"]
            found[name] = (gained / (moved**2 + xi)).clip(min=0)
    return found


def largest(omega: Mapping[str, NDArray[np.floating[Any]]]) -> float:
    """The largest importance; 0 without any."""
    return max((float(value.max()) for value in omega.values() if value.size), default=0.0)


def _note(unstable: Sequence[_Unstable]) -> str:
    """Which values of a label will diverge, why, and what to do."""
    first = unstable[0].configuration
    knob = key_text(next(iter(first.knobs)))
    values = sorted({next(iter(one.configuration.knobs.values())) for one in unstable})
    named = ", ".join(number_text(value) for value in values[:_MOST_NAMED])
    more = f" and {len(values) - _MOST_NAMED} more" if len(values) > _MOST_NAMED else ""
    worst = min(unstable, key=lambda one: one.bound)
    peak = number_text(worst.peak)
    source = (
        f"the largest importance is {peak} (seed {worst.seed})"
        if worst.seed is not None
        else f"the largest importance is at least {peak}"
    )
    lr = number_text(worst.configuration.training.lr)
    is_sure = all(
        next(iter(one.configuration.knobs.values())) > _SURELY * one.bound for one in unstable
    )
    fate = "will diverge" if is_sure else "is unstable"
    return (
        f"{first.label}: {knob} = {named}{more} {fate}: {source}, and with lr = {lr} the "
        f"gradient form is stable at most up to {knob} = {number_text(worst.bound)}; what helps: "
        f"{what_helps(first.method, first.hyper.model_dump())}"
    )
