"""The luck of the test images in a test accuracy, beside the luck of the seeds.

A standard error over seeds says nothing of another test set: every seed is tested on the same
images. For one seed and a task of n images, k of them right, the image error is the standard
deviation that another draw of n images would give: that of the Beta distribution of Jeffreys'
prior (Brown, Cai and DasGupta 2001), which is √(p(1 − p)/n) but for a correction that counts where
hardly an image is wrong, or none:

    σ² = q (1 − q) / (n + 2),    q = (k + ½) / (n + 1)

A mean over tasks with weights w has √(Σ w² σ²) where each task has images of its own; where tasks
show the same images, permuted or rotated, it is at most Σ w σ, which is what is given. A mean over
seeds has at most the mean of its seeds' errors, which is what is given: that much where all seeds
err on the same images, 1/√S of it where they err independently. Counts do not tell which.

Two methods are tested on the same images, so that a part of the error cancels in their difference.
Given are its ends: the most, √(σ_A² + σ_B²), if they erred independently; and the least, if the
better one were right wherever the other is, which leaves p = |p_A − p_B|, σ² = p (1 − p) / n.

A regression has no counts: σ is that of the mean squared error, from the sums of squared errors
and of their squares, carried over to the metric (`records.metrics`). The least of a difference is
0 there: errors of two methods may be the same but for a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsweep.records.accuracy import mean_and_error
from clsweep.reporting.comparison import Comparison
from clsweep.reporting.curves import Curve, Point
from clsweep.reporting.inference import Difference
from clsweep.text import counted

Array = NDArray[np.float64]

# A share of the error over seeds that a sum of squares still shows: √(1 + ½²) = 1.12.
_NOT_SMALL = 0.5
_FEW = 2.0
_MOST_NAMED = 4


@dataclass(frozen=True)
class ImageLuck:
    """Image errors of a report, in [0, 1].

    Attributes:
        n_images: per task, the least and the most test images over all trials.
        is_shared: whether all tasks show the same images.
        best: label to the errors of (average, source, target) accuracy of its best configuration.
        pairs: two labels to the least and the most error of the difference of their averages.
    """

    n_images: tuple[tuple[int, int], ...] = ()
    is_shared: bool = False
    best: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    pairs: dict[frozenset[str], tuple[float, float]] = field(default_factory=dict)


def shares_images(benchmark: Mapping[str, Any]) -> bool:
    """Whether all tasks of a benchmark show the same test images.

    Args:
        benchmark: what the study file says of it.
    """
    return benchmark.get("name") in ("permuted", "rotated")


def image_errors(counts_ST2: Array, is_shared: bool, errors_ST: Array | None = None) -> Array:
    """Image errors of (average, source, target) accuracy per seed, shape [S, 3].

    Args:
        counts_ST2: (correct, total) test images, shape [S, T, 2].
        is_shared: whether all tasks show the same images.
        errors_ST: those of every task, of a regression, which has no counts; see
            `metrics.Metric.error`.
    """
    if errors_ST is None:
        k_ST, n_ST = counts_ST2[..., 0], counts_ST2[..., 1]
        q_ST = (k_ST + 0.5) / (n_ST + 1)
        errors_ST = np.sqrt(q_ST * (1 - q_ST) / (n_ST + 2))
    parts = (errors_ST, errors_ST[:, :-1], errors_ST[:, -1:])
    return np.stack([_of_mean(part, is_shared) for part in parts], axis=1)


def luck_of(comparison: Comparison, is_shared: bool) -> ImageLuck:
    """The image errors that a report tells of.

    Args:
        comparison: what the report compares.
        is_shared: whether all tasks show the same images.
    """
    points = {c.label: c.points[c.best] for c in comparison.all_curves if c.best is not None}
    totals_XT = [p.counts_ST2[..., 1] for c in comparison.all_curves for p in c.points]
    sizes: list[tuple[int, int]] = []
    if totals_XT:
        all_XT = np.concatenate(totals_XT)
        if not np.isnan(all_XT).any():
            sizes = [(int(n.min()), int(n.max())) for n in all_XT.T]
    curves = [c.label for c in comparison.curves if c.label in points]
    return ImageLuck(
        n_images=tuple(sizes),
        is_shared=is_shared,
        best={label: _errors(point, is_shared) for label, point in points.items()},
        pairs={
            frozenset((a, b)): _of_difference(points[a], points[b], is_shared)
            for a, b in combinations(curves, 2)
        },
    )


def sizes_text(luck: ImageLuck) -> str:
    """How many images the tests have, as a sentence; empty where it is not known.

    Args:
        luck: what `luck_of` found.
    """
    if not luck.n_images:
        return ""
    *source, target = luck.n_images
    if luck.is_shared:
        return f"Test set: {_range(luck.n_images)} images, the same in every task."
    each = f" ({_range(source)} each)" if len(source) > 1 else ""
    total = _range([(sum(low for low, _ in source), sum(high for _, high in source))])
    return (
        f"Test sets: {total} images of {counted(len(source), 'source task')}{each}, "
        f"{_range([target])} of the target."
    )


def luck_notes(
    luck: ImageLuck, comparison: Comparison, pairs: Sequence[Difference]
) -> Iterator[str]:
    """Where the luck of the test images is not small, as sentences.

    Args:
        luck: what `luck_of` found.
        comparison: what the report compares.
        pairs: differences of the best averages.
    """
    found = [_larger(curve, luck) for curve in comparison.all_curves]
    large = [text for _, text in sorted(filter(None, found), reverse=True)]
    if large:
        more = f" and {len(large) - _MOST_NAMED} more" if len(large) > _MOST_NAMED else ""
        yield (
            "The luck of the test images is not small beside that of the seeds: ± and intervals "
            "are over seeds, which all see the same images, and leave out what another test set "
            f"would change, in points up to: {', '.join(large[:_MOST_NAMED])}{more}."
        )
    unsure = [
        f"{d.above} above {d.below} by {100 * d.interval.mean:.1f} (up to {100 * most:.1f})"
        for d in pairs
        if d.is_claim
        and (most := luck.pairs.get(frozenset((d.above, d.below)), (0.0, 0.0))[1])
        and d.interval.mean < _FEW * most
    ]
    if unsure:
        yield (
            "Claims that hold for these test images, and may not for others, since the difference "
            "is less than twice the error that the images can have (points): "
            f"{', '.join(unsure)}."
        )


def _larger(curve: Curve, luck: ImageLuck) -> tuple[float, str] | None:
    """Such as 'EWC target 0.9 (± 0.0)', of the accuracy where images count for most; how much."""
    if curve.best is None:
        return None
    point = curve.points[curve.best]
    values = (point.measures["average_accuracy"], point.test_S2[:, 0], point.test_S2[:, 1])
    names = ("average", "source", "target")
    found = []
    for name, values_S, image in zip(names, values, luck.best[curve.label], strict=True):
        seed = mean_and_error(values_S)[1]
        if image > _NOT_SMALL * seed:
            said = f"{curve.label} {name} {100 * image:.1f} (± {100 * seed:.1f})"
            found.append((image - seed, said))
    return max(found, default=None)


def _errors(point: Point, is_shared: bool) -> tuple[float, float, float]:
    errors_S3 = image_errors(point.counts_ST2, is_shared, point.errors_ST)
    average, source, target = errors_S3.mean(axis=0).tolist()
    return average, source, target


def _of_difference(a: Point, b: Point, is_shared: bool) -> tuple[float, float]:
    first, second = (
        image_errors(p.counts_ST2, is_shared, p.errors_ST)[:, 0].mean() for p in (a, b)
    )
    if a.errors_ST is not None:
        return 0.0, float(np.hypot(first, second))
    accuracies = [(p.counts_ST2[..., 0] / p.counts_ST2[..., 1]).mean(axis=0) for p in (a, b)]
    p_T = np.abs(accuracies[0] - accuracies[1])
    least_T = np.sqrt(p_T * (1 - p_T) / a.counts_ST2[..., 1].mean(axis=0))
    least = float(_of_mean(least_T[None], is_shared=False)[0])
    return least, float(np.hypot(first, second))


def _of_mean(errors_XT: Array, is_shared: bool) -> Array:
    n = errors_XT.shape[1]
    total_X = errors_XT.sum(axis=1) if is_shared else np.sqrt((errors_XT**2).sum(axis=1))
    return np.asarray(total_X / n)


def _range(sizes: Sequence[tuple[int, int]]) -> str:
    low, high = min(low for low, _ in sizes), max(high for _, high in sizes)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
