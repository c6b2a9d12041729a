"""Samplers, which suggest the next numbers from what is known: Optuna's, and Sobol points.

Two objectives, source and target accuracy, both maximised; never a weighted sum. The Optuna study
is built in memory for each suggestion, so that nothing but the results decides it: a run that was
killed asks for what it would have asked for. Failed configurations are told as failed, which
teaches a sampler nothing, and those of which a trial was stopped as pruned: TPE counts them among
the bad, the others learn nothing. What diverged is a result: it is told with the worst source and
the worst target accuracy of all, so that every sampler looks elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clsweep.search.observations import Observation
from clsweep.search.own_samplers import is_own, own_suggestion
from clsweep.study.search_axes import Axis, AxisValues

if TYPE_CHECKING:
    import optuna


class Ask(NamedTuple):
    """Which suggestion is asked for.

    Attributes:
        sampler: a key of `search_section.SAMPLERS`, or one of the user's own.
        seed: the search's seed.
        label: the curve; every curve has random numbers of its own.
        n_before: how many configurations have been asked for before.
        budget: how many will be asked for in all.
        attempt: how many suggestions in its place were known already.
    """

    sampler: str
    seed: int
    label: str
    n_before: int
    budget: int
    attempt: int = 0


def suggestion(
    axes: Sequence[Axis], ask: Ask, finished: Sequence[Observation], pending: Sequence[AxisValues]
) -> AxisValues:
    """The point that a sampler suggests, its numbers rounded.

    Args:
        axes: what is searched.
        ask: which sampler, and which suggestion.
        finished: what is known, in an order that does not depend on who asks.
        pending: points whose results are not known yet.

    Raises:
        StudyError: a sampler of the user's own breaks its contract.
    """
    if is_own(ask.sampler):
        return own_suggestion(ask.sampler, axes, _seed(ask), finished, pending)
    if ask.sampler == "qmc":
        return _sobol(axes, ask)
    import optuna

    with _quiet(), warnings.catch_warnings():
        # What Optuna calls experimental has been so for years.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(directions=["maximize"] * 2, sampler=_sampler(ask))
        spans = distributions(axes)
        for trial in _trials(ask, spans, finished, pending):
            study.add_trial(trial)
        params = study.ask(spans).params
    return {a.key: params[a.key] if a.choices else a.rounded(params[a.key]) for a in axes}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log, which tells of its own packages and of studies that nobody sees."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def draw(axes: Sequence[Axis], ask: Ask) -> AxisValues:
    """A uniformly drawn point: where a sampler does nothing but repeat itself.

    Args:
        axes: what is searched.
        ask: which suggestion.
    """
    return _at(axes, np.random.default_rng(_seed(ask)).random(len(axes)))


def distributions(axes: Sequence[Axis]) -> dict[str, optuna.distributions.BaseDistribution]:
    """The axes as Optuna knows them, by key."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for axis in axes:
        if axis.choices:
            found[axis.key] = CategoricalDistribution(axis.choices)
        elif axis.whole:
            found[axis.key] = IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        else:
            found[axis.key] = FloatDistribution(axis.low, axis.high, log=axis.log)
    return found


def _trials(
    ask: Ask,
    spans: Mapping[str, Any],
    finished: Sequence[Observation],
    pending: Sequence[AxisValues],
) -> list[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState, create_trial

    trials = []
    n_complete = 0
    sound = [told.values for told in finished if told.values is not None]
    worst = tuple(map(min, zip(*sound, strict=True)))
    for told in finished:
        given = _told(ask, spans, told.point)
        values = worst if told.diverged and worst else told.values
        if values is None:
            state = TrialState.PRUNED if told.stopped else TrialState.FAIL
            trials.append(create_trial(state=state, **given))
            continue
        if ask.sampler == "nsga2":
            # Generations are kept with the trials; these are those that the sampler would give.
            generation = n_complete // _population(ask)
            given["system_attrs"] = {"NSGAIISampler:generation": generation}
        n_complete += 1
        trials.append(create_trial(state=TrialState.COMPLETE, values=values, **given))
    for point in pending:
        trials.append(create_trial(state=TrialState.RUNNING, **_told(ask, spans, point)))
    return trials


def _told(ask: Ask, spans: Mapping[str, Any], point: AxisValues) -> dict[str, Any]:
    """A point as Optuna hears of it; numbers that change nothing there are not in the point.

    TPE models what belongs together in groups. The Gaussian process and NSGA-II would leave a
    number alone that one trial lacks: they get one value for all trials in which it is idle.
    """
    if ask.sampler in ("gp", "nsga2"):
        idle = {key: span for key, span in spans.items() if key not in point}
        point = point | {key: _first_value(span) for key, span in idle.items()}
    return {"params": point, "distributions": {key: spans[key] for key in spans if key in point}}


def _first_value(span: Any) -> Any:
    return span.choices[0] if hasattr(span, "choices") else span.low


def _sampler(ask: Ask) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    seed = _seed(ask)
    if ask.sampler == "tpe":
        return samplers.TPESampler(seed=seed, multivariate=True, group=True)
    if ask.sampler == "gp":
        return samplers.GPSampler(seed=seed)
    if ask.sampler == "nsga2":
        # Optuna's own choice would draw a lone number anew for every child.
        return samplers.NSGAIISampler(
            seed=seed,
            population_size=_population(ask),
            crossover=samplers.nsgaii.SBXCrossover(),
            mutation_prob=0.1,
        )
    return samplers.RandomSampler(seed=seed)


def _population(ask: Ask) -> int:
    """Several generations within the budget; Optuna's default of 50 would see none of them end."""
    return max(4, min(50, ask.budget // 4))


def _sobol(axes: Sequence[Axis], ask: Ask) -> AxisValues:
    # Part of scikit-learn's own requirements.
    from scipy.stats import qmc

    with warnings.catch_warnings():
        # Sobol's points are balanced at powers of two only, and a search may stop anywhere.
        warnings.simplefilter("ignore", UserWarning)
        seed = _seed(ask._replace(n_before=0, attempt=0))
        points = qmc.Sobol(len(axes), seed=seed).random(ask.n_before + 1)
    return _at(axes, points[-1])


def _at(axes: Sequence[Axis], shares: Any) -> AxisValues:
    """The point at shares in [0, 1) of every axis."""
    point: AxisValues = {}
    for axis, share in zip(axes, map(float, shares), strict=True):
        if axis.choices:
            point[axis.key] = axis.choices[int(share * len(axis.choices))]
        else:
            low, high = axis.position(axis.low), axis.position(axis.high)
            point[axis.key] = axis.value_at(low + share * (high - low))
    return point


def _seed(ask: Ask) -> int:
    text = repr((ask.seed, ask.label, ask.n_before, ask.attempt))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
