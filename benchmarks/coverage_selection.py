"""Measure intervals, and required targets, where a configuration has been chosen.

    python benchmarks/coverage_selection.py [--quick] [--part means|pairs|required|margin]

prints the tables of docs/statistics.md. Accuracies of a simulated study: every configuration has a
true mean, every seed a luck of 2.5 points, a third of whose variance all configurations share, and
validation and test accuracies of a seed have the same luck but for a tenth (their correlation is
0.99, as on search_mnist). The true means of twelve configurations are one of `CURVES`.

    means     coverage of the interval of one method's average, bias of its mean, half-width
    pairs     three methods: of twelve equal configurations, of a curve, of one configuration; all
              have the same best true mean. Coverage of all pairs at once, and studies with a claim
    required  coverage of the interval of the source accuracy kept at five points below the target
              of fine-tuning, on a front of twelve configurations, with a margin of 0 and of 1
    margin    images instead of accuracies: how often the choice at a required target accuracy
              meets it, on test data and in truth, and what a margin costs in source accuracy

Plain: the configuration that all seeds choose, read on all. All but one: each seed read under the
choice of the others. Halves: the mean of choices by half of the seeds, read on the other half.
Enclosing: the smallest interval around plain and halves, which a report prints. choose_on: half of
the seeds choose, the other half is read. `--quick` makes 500 studies instead of 5000.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsweep.reporting.inference import ACCURACY, half_widths, mean_ends
from clsweep.search.cross_fitting import halved_required, halvings, read_by_halves
from clsweep.search.selection_protocols import most_source
from clsweep.search.validation_table import Candidate

Array = NDArray[Any]

# R studies, P configurations, S seeds, H halvings, L methods, N images.

POINT = 0.01
LUCK = 2.5 * POINT
SHARED = 1 / 3
DIFFERENT = 0.1
N_SEEDS = (3, 4, 6, 8, 10, 20)
CURVES = {
    "equal": np.full(12, 0.8),
    "curve": 0.8 - POINT * np.abs(np.arange(12) - 4) ** 1.5,
    "clear": np.array([0.8] + [0.5] * 11),
    "one": np.array([0.8]),
}
MARGINS = (0.0, 0.5, 1.0, 1.5, 2.0)


def studies(rng: np.random.Generator, means_P: Array, shared_RS: Array) -> tuple[Array, Array]:
    """Validation and test accuracies, each [R, P, S]."""
    shape = (len(shared_RS), len(means_P), shared_RS.shape[1])
    own_RPS = rng.standard_normal(shape)
    luck_RPS = np.sqrt(SHARED) * shared_RS[:, None] + np.sqrt(1 - SHARED) * own_RPS
    test_RPS = means_P[:, None] + LUCK * luck_RPS
    seen_RPS = test_RPS + DIFFERENT * LUCK * rng.standard_normal(shape)
    return seen_RPS, test_RPS


def chosen_values(seen_RPS: Array, test_RPS: Array) -> dict[str, Array]:
    """Values per seed by each way of choosing and reading; what was chosen under 'index'."""
    n_studies, _, n = seen_RPS.shape
    rows_R = np.arange(n_studies)
    best_R = seen_RPS.mean(axis=2).argmax(axis=1)
    without_RPS = seen_RPS.sum(axis=2, keepdims=True) - seen_RPS
    others_RS = without_RPS.argmax(axis=1)
    chooses_HS = halvings(n)
    read_HS = 1 - chooses_HS
    halves_RS = np.zeros((n_studies, n))
    for chooses_S, read_S in zip(chooses_HS, read_HS, strict=True):
        halves_RS += test_RPS[rows_R, (seen_RPS @ chooses_S).argmax(axis=1)] * read_S
    half = n // 2
    split_R = seen_RPS[:, :, :half].mean(axis=2).argmax(axis=1)
    return {
        "index": best_R,
        "split": split_R,
        "plain": test_RPS[rows_R, best_R],
        "all but one": np.take_along_axis(test_RPS, others_RS[:, None], axis=1)[:, 0],
        "halves": halves_RS / read_HS.sum(axis=0),
        "choose_on": test_RPS[rows_R, split_R][:, half:],
    }


def means(rng: np.random.Generator, n_studies: int) -> Iterator[str]:
    """One method's average: bias and half-width in points, coverage in percent."""
    ways = ("plain", "all but one", "halves", "enclosing", "choose_on")
    yield "| configurations | seeds | " + " | ".join(f"{way}" for way in ways) + " |"
    yield "|---|---|" + "---|" * len(ways)
    for name in ("equal", "curve", "clear"):
        for n in N_SEEDS:
            means_P = CURVES[name]
            shared_RS = rng.standard_normal((n_studies, n))
            values = chosen_values(*studies(rng, means_P, shared_RS))
            ends = {way: mean_ends(values[way], ACCURACY) for way in ways if way in values}
            plain, halves = ends["plain"], ends["halves"]
            ends["enclosing"] = (np.minimum(plain[0], halves[0]), np.maximum(plain[1], halves[1]))
            values["enclosing"] = values["plain"]
            cells = []
            for way in ways:
                truth_R = means_P[values["split" if way == "choose_on" else "index"]]
                low_R, high_R = ends[way]
                if np.isnan(low_R).any():
                    cells.append("–")
                    continue
                held = np.mean((low_R <= truth_R) & (truth_R <= high_R))
                bias = np.mean(values[way].mean(axis=1) - truth_R) / POINT
                half = np.mean(high_R - low_R) / 2 / POINT
                cells.append(f"{100 * held:.1f} ({bias:+.1f}, {half:.1f})")
            yield f"| {name} | {n} | " + " | ".join(cells) + " |"


def pairs(rng: np.random.Generator, n_studies: int) -> Iterator[str]:
    """Three methods whose best configurations are equal: all pairs at once."""
    names, ways = ("equal", "curve", "one"), ("plain", "enclosing", "choose_on")
    yield "| seeds | " + " | ".join(f"{way}: holds, claims" for way in ways) + " |"
    yield "|---|" + "---|" * len(ways)
    for n in (6, 8, 10, 20):
        shared_RS = rng.standard_normal((n_studies, n))
        found = [chosen_values(*studies(rng, CURVES[name], shared_RS)) for name in names]
        ends = {}
        for way in ("plain", "halves", "choose_on"):
            values_RLS = np.stack([f[way] for f in found], axis=1)
            d_RPS = np.stack([values_RLS[:, i] - values_RLS[:, j] for i, j in _PAIRS], axis=1)
            half_RP = half_widths(d_RPS)
            ends[way] = d_RPS.mean(axis=2) - half_RP, d_RPS.mean(axis=2) + half_RP
        plain, halves = ends["plain"], ends["halves"]
        ends["enclosing"] = (np.minimum(plain[0], halves[0]), np.maximum(plain[1], halves[1]))
        cells = []
        for way in ways:
            place = "split" if way == "choose_on" else "index"
            of_best = [CURVES[c][f[place]] for c, f in zip(names, found, strict=True)]
            truth_RP = np.stack([of_best[i] - of_best[j] for i, j in _PAIRS], axis=1)
            low_RP, high_RP = ends[way]
            held = ((low_RP <= truth_RP) & (truth_RP <= high_RP)).all(axis=1).mean()
            # A claim takes six seeds that are read.
            n_read = found[0][way if way in found[0] else "plain"].shape[1]
            claims = ((low_RP > 0) | (high_RP < 0)).any(axis=1).mean() if n_read > 5 else 0.0
            cells.append(f"{100 * held:.1f}, {100 * claims:.1f}")
        yield f"| {n} | " + " | ".join(cells) + " |"


_PAIRS = ((0, 1), (0, 2), (1, 2))


def required(rng: np.random.Generator, n_studies: int) -> Iterator[str]:
    """Source accuracy at a required target: coverage in percent, half-width in points."""
    ways = ("plain", "halves", "enclosing")
    yield "| margin | seeds | " + " | ".join(ways) + " |"
    yield "|---|---|" + "---|" * len(ways)
    knob_P = np.linspace(0, 1, 12)
    source_P, target_P = 0.5 + 0.4 * (1 - (1 - knob_P) ** 2), 0.97 - 0.3 * knob_P**2
    for m in (0.0, 1.0):
        for n in (3, 6, 10, 20):
            held: dict[str, list[bool]] = {way: [] for way in ways}
            widths: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(max(n_studies // 5, 100)):
                seen = _fronts(rng, source_P, target_P, n)
                finetuned, own = seen[0], seen[1:]
                chosen = most_source(own, finetuned, 0.05, m)
                if chosen is None:
                    continue
                test_PS = _source_test(rng, own)
                index = own.index(chosen)
                halved = read_by_halves(test_PS, halved_required(own, [finetuned], 0.05, m))
                ends = {"plain": mean_ends(test_PS[index], ACCURACY)}
                ends["halves"] = mean_ends(halved, ACCURACY)
                lows, highs = zip(*ends.values(), strict=True)
                ends["enclosing"] = min(lows), max(highs)
                for way, (low, high) in ends.items():
                    held[way].append(bool(low <= source_P[index] <= high))
                    widths[way].append(float(high - low) / 2 / POINT)
            cells = [f"{100 * np.mean(held[w]):.1f} ({np.mean(widths[w]):.1f})" for w in ways]
            yield f"| {m:g} | {n} | " + " | ".join(cells) + " |"


def _fronts(
    rng: np.random.Generator, source_P: Array, target_P: Array, n: int
) -> tuple[Candidate, ...]:
    """Fine-tuning and a front, as validation sees them; targets have four tenths of the luck."""
    shared_2S = rng.standard_normal((2, n))
    means = zip([0.4, *source_P], [target_P[0], *target_P], strict=True)
    made = []
    for k, pair in enumerate(means):
        own_2S = np.sqrt(SHARED) * shared_2S + np.sqrt(1 - SHARED) * rng.standard_normal((2, n))
        source_S, target_S = (
            np.clip(mean + size * LUCK * luck_S, 0, 1)
            for mean, size, luck_S in zip(pair, (1, 0.4), own_2S, strict=True)
        )
        acc_STT = np.full((n, 3, 2), np.nan)
        acc_STT[:, 2, 0], acc_STT[:, 2, 1] = source_S, target_S
        made.append(Candidate(str(k), "", "", k == 0, {}, {}, {}, acc_STT, 600))
    return tuple(made)


def _source_test(rng: np.random.Generator, own: tuple[Candidate, ...]) -> Array:
    seen_PS = np.array([c.source_S for c in own])
    luck_PS = DIFFERENT * LUCK * rng.standard_normal(seen_PS.shape)
    return np.asarray(np.clip(seen_PS + luck_PS, 0, 1))


def margin(rng: np.random.Generator, n_studies: int) -> Iterator[str]:
    """A front from fine-tuning to a knob that costs 40 points of target accuracy."""
    yield (
        "| validation and test images | seeds | configurations | points below | "
        + " | ".join(f"margin {m:g}" for m in MARGINS)
        + " |"
    )
    yield "|---|---|---|---|" + "---|" * len(MARGINS)
    for n_images in ((130, 250), (600, 1000), (2000, 2000)):
        for n_seeds in (3, 6):
            for n_values in (7, 24):
                found = _margins(rng, max(n_studies // 10, 50), n_images, n_seeds, n_values)
                for drop, cells in found.items():
                    head = f"| {n_images[0]:,}, {n_images[1]:,} | {n_seeds} | {n_values} | "
                    yield f"{head}{100 * drop:g} | " + " | ".join(cells) + " |"


def _margins(
    rng: np.random.Generator, n_studies: int, n_images: tuple[int, int], n: int, n_values: int
) -> dict[float, list[str]]:
    knob_P = np.linspace(0, 1, n_values) ** 1.5
    target_P = 0.98 - 0.4 * knob_P**2 - 0.02 * knob_P
    source_P = 0.4 + 0.55 * (1 - (1 - knob_P) ** 2.5)
    outcomes: dict[tuple[float, float], list[tuple[bool, bool, float]]] = {}
    for _ in range(n_studies):
        seen_PS, test_PS = _targets(rng, knob_P, target_P, n_images, n)
        sources_P = source_P + rng.normal(0, POINT / np.sqrt(n), n_values)
        for drop in (0.01, 0.05):
            for m in MARGINS:
                chosen = _most_source(seen_PS, sources_P, drop, m, n_images[0])
                on_test = test_PS[chosen].mean() >= test_PS[0].mean() - drop - 1e-12
                in_truth = target_P[chosen] >= target_P[0] - drop - 1e-12
                outcomes.setdefault((drop, m), []).append(
                    (bool(on_test), bool(in_truth), float(source_P[chosen]))
                )
    shares = {key: 100 * np.mean(rows, axis=0) for key, rows in outcomes.items()}
    return {
        drop: ["{:.0f}, {:.0f}; {:.1f}".format(*shares[drop, m]) for m in MARGINS]
        for drop in (0.01, 0.05)
    }


def _targets(
    rng: np.random.Generator, knob_P: Array, target_P: Array, n_images: tuple[int, int], n: int
) -> tuple[Array, Array]:
    """Target accuracies on both splits, [P, S]; networks differ the more, the larger the knob."""
    n_all = sum(n_images)
    difficulty_N, of_seed_SN = rng.standard_normal(n_all), rng.standard_normal((n, n_all))
    pulled_SN = np.sqrt(0.5) * (rng.standard_normal(n_all) + rng.standard_normal((n, n_all)))
    luck_PS = 0.36 * np.sqrt(knob_P)[:, None] * rng.standard_normal((len(knob_P), n))
    spread_P = np.sqrt(1 + 0.4**2 + knob_P + 0.36**2 * knob_P)
    normal = NormalDist()
    level_P = spread_P * np.array([normal.inv_cdf(t) for t in target_P])
    right_PSN = (
        (level_P[:, None] + luck_PS)[:, :, None]
        + difficulty_N
        + 0.4 * of_seed_SN
        + np.sqrt(knob_P)[:, None, None] * pulled_SN
    ) > 0
    return right_PSN[..., : n_images[0]].mean(axis=2), right_PSN[..., n_images[0] :].mean(axis=2)


def _most_source(seen_PS: Array, sources_P: Array, drop: float, m: float, n_images: int) -> int:
    """`selection_protocols.most_source`; configuration 0 is fine-tuning and always meets it."""
    d_PS = seen_PS - seen_PS[0]
    differing_P = np.abs(d_PS).mean(axis=1)
    errors_P = np.sqrt(
        d_PS.var(axis=1, ddof=1) / d_PS.shape[1] + differing_P * (1 - differing_P) / n_images
    )
    met_P = d_PS.mean(axis=1) - m * errors_P >= -drop - 1e-12
    return int(np.where(met_P, sources_P, -1).argmax())


PARTS = {"means": means, "pairs": pairs, "required": required, "margin": margin}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", choices=PARTS)
    asked = parser.parse_args()
    for name, part in PARTS.items():
        if asked.part in (None, name):
            print(f"\n{name}\n")
            for line in part(np.random.default_rng(0), 500 if asked.quick else 5000):
                print(line, flush=True)


if __name__ == "__main__":
    main()
