"""Choices by some of the seeds, read on the others.

A choice and its test numbers of the same seeds share the seeds' luck: validation and test
accuracies of one network move together (on five tasks of MNIST their residuals over seeds
correlate at 0.99), so that the best of many configurations has been chosen by its test numbers as
far as seeds differ. With n seeds, v_s(C) the test accuracy of seed s under the configuration that
the seeds C choose on validation data:

    plain           mean_s v_s(all)               this configuration, with the luck of the best
    cross-fitted    mean_s v_s(all but s)         this method, tuned with n − 1 seeds, without it
    by halves       mean_s mean_{C ∌ s} v_s(C)    tuned with ⌈n/2⌉ seeds; a mean over halvings C

Values of all but one are no basis for an interval. The choice changes from fold to fold where two
configurations are close, and then the folds depend on each other: with twelve equal configurations
and 20 seeds the 95 % interval of these values holds in 75 %, less than that of the plain ones. The
values by halves, of which each is a mean over many choices, hold in 91 %. What is printed is the
smallest interval that encloses that of the plain values and that of the values by halves; a claim
is one by both. `docs/statistics.md` has its coverage, `benchmarks/coverage_selection.py` the
simulation.

The halvings are all of ⌈n/2⌉ of up to nine seeds; of more seeds 120 that were drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from clsweep.search import selection_protocols
from clsweep.search.selection_protocols import Protocol
from clsweep.search.validation_table import Candidate, ValidationTable

# P configurations, S seeds, H halvings.
Array = NDArray[np.float64]

_ALL_UP_TO = 9
_PERMUTATIONS = 60


@dataclass(frozen=True)
class Folds:
    """What each seed reads of the choice of all others.

    Attributes:
        config_ids: of each seed, what the others chose; None where they chose nothing.
    """

    config_ids: tuple[str | None, ...]

    def n_other(self, config_id: str | None) -> int:
        """Folds that choose something else than this."""
        return sum(found != config_id for found in self.config_ids)


def folds_by_label(
    protocol: Protocol, table: ValidationTable, tuned_on: ValidationTable | None = None
) -> dict[str, Folds]:
    """Of every label that traces a curve, the choices by all seeds but one.

    Args:
        protocol: the rule.
        table: the study's candidates.
        tuned_on: see `selection_protocols.pick`.

    Returns:
        Nothing with fewer than two seeds.
    """
    picked = [selection_protocols.pick(protocol, part, tuned_on) for part in table.without_each]
    by_label: dict[str, list[str | None]] = {}
    for picks in picked:
        for one in picks:
            by_label.setdefault(one.label, []).append(one.config_id)
    return {label: Folds(tuple(ids)) for label, ids in by_label.items()}


@lru_cache(maxsize=4)
def halvings(n: int) -> Array:
    """Who chooses: one row per halving, 1 for the seeds that choose and 0 for those that are read.

    Args:
        n: seeds, at least two.

    Returns:
        Shape [H, S]; every seed is read in some halving.
    """
    size = (n + 1) // 2
    if n <= _ALL_UP_TO:
        chosen = [np.isin(np.arange(n), group) for group in combinations(range(n), size)]
        return np.array(chosen, dtype=np.float64)
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(_PERMUTATIONS):
        order = rng.permutation(n)
        # Each half in turn, so that every seed is read as often as any other.
        rows += [np.isin(np.arange(n), order[:size]), np.isin(np.arange(n), order[n - size :])]
    return np.array(rows, dtype=np.float64)


def halved_average(candidates: Sequence[Candidate]) -> NDArray[np.int64]:
    """What the protocol 'average' chooses by each half of the seeds: an index per halving.

    Args:
        candidates: of one label, at least one; of at least two seeds.
    """
    average_PS = np.array([c.average_S for c in candidates])
    return _first_best(_means(average_PS))


def halved_required(
    candidates: Sequence[Candidate], finetuned: Sequence[Candidate], drop: float, margin: float
) -> NDArray[np.int64]:
    """What 'required' chooses by each half of the seeds: an index per halving.

    Where no configuration reaches the target by the half's numbers, the one that comes nearest is
    taken (`selection_protocols.nearest_source`): every half chooses something.

    Args:
        candidates: of one label, at least one; of at least two seeds.
        finetuned: of the fine-tuning reference, of which each half takes the best.
        drop: accuracy below fine-tuning's that is allowed, in [0, 1].
        margin: in standard errors.
    """
    source_PH = _means(np.array([c.source_S for c in candidates]))
    target_PS = np.array([c.target_S for c in candidates])
    tuned_RS = np.array([c.target_S for c in finetuned])
    best_H = _first_best(_means(tuned_RS))
    required_H = _means(tuned_RS)[best_H, np.arange(len(best_H))] - drop
    assured_PH = _means(target_PS)
    if margin:
        n_P = np.array([c.n_target for c in candidates])
        for reference in np.unique(best_H):
            own_H = best_H == reference
            errors_PH = _target_errors(target_PS - tuned_RS[reference], n_P)
            assured_PH[:, own_H] -= margin * errors_PH[:, own_H]
    met_PH = assured_PH >= required_H - selection_protocols.ROUNDING
    is_met_H = met_PH.any(axis=0)
    scores_PH = np.where(is_met_H, np.where(met_PH, source_PH, np.nan), assured_PH)
    return _first_best(scores_PH)


def read_by_halves(test_PS: Array, chosen_H: NDArray[np.int64]) -> Array:
    """The mean test value of every seed over the halvings in which it does not choose.

    Args:
        test_PS: test values of a label's configurations, shape [P, S].
        chosen_H: index of what each halving chose.
    """
    chooses_HS = halvings(test_PS.shape[1])
    read_HS = 1 - chooses_HS
    return np.asarray((test_PS[chosen_H] * read_HS).sum(axis=0) / read_HS.sum(axis=0))


def _means(values_PS: Array) -> Array:
    """Of every row by every halving: the mean over the seeds that choose."""
    chooses_HS = halvings(values_PS.shape[1])
    return np.asarray(values_PS @ chooses_HS.T / chooses_HS.sum(axis=1))


def _target_errors(d_PS: Array, n_P: NDArray[np.int64]) -> Array:
    """`selection_protocols.target_error` by every halving."""
    n = halvings(d_PS.shape[1])[0].sum()
    around_PH = np.maximum(_means(d_PS**2) - _means(d_PS) ** 2, 0)
    of_seeds_PH = around_PH / (n - 1) if n > 1 else 0 * around_PH
    differing_PH = np.minimum(_means(np.abs(d_PS)), 1)
    of_examples_PH = differing_PH * (1 - differing_PH) / np.maximum(n_P, 1)[:, None]
    return np.asarray(np.sqrt(of_seeds_PH + of_examples_PH * (n_P > 0)[:, None]))


def _first_best(scores_PH: Array) -> NDArray[np.int64]:
    """`selection_protocols.first_best` by every halving; the first where no score is a number."""
    sound_PH = np.where(np.isnan(scores_PH), -np.inf, scores_PH)
    return np.asarray(
        (sound_PH >= sound_PH.max(axis=0) - selection_protocols.ROUNDING).argmax(axis=0)
    )
