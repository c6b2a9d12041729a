"""The texts of the one screen that the terminal and the page share."""

from __future__ import annotations

import math

from clsweep.reporting.inference import ends_text
from clsweep.reporting.render.styles import letter_of
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import signed_text
from clsweep.reporting.summary import Kept, RankedMethod
from clsweep.text import counted, seeds_of


def what_was_run(data: ReportData, with_sizes: bool = True) -> str:
    """Trials, values, images and seeds, in sentences.

    Args:
        data: what `report_building.build` computed.
        with_sizes: whether it has the numbers of configurations and images.
    """
    comparison = data.comparison
    counts = [curve.n_by_status for curve in comparison.all_curves]
    n_failed = sum(n["failed"] + n["oom"] for n in counts)
    n_diverged, n_stopped = (sum(n[s] for n in counts) for s in ("diverged", "stopped"))
    trials = f"{sum(sum(n.values()) for n in counts):,} trials, {n_failed:,} failed"
    trials += f", {n_diverged:,} diverged"
    if n_diverged:
        n_left = sum(len(curve.diverged) for curve in comparison.all_curves)
        trials += f" (of {counted(n_left, 'configuration')})"
    trials += f", {n_stopped:,} stopped early" * bool(n_stopped)
    tested = f"tested on {images}" if (images := _images_text(data)) else ""
    if comparison.curves:
        sizes = sorted({curve.n_configs for curve in comparison.curves})
        n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"
        noun = "configuration" if sizes == [1] else "configurations"
        by = f" of {seeds_of(comparison.choose_on)}" if comparison.choose_on else ""
        tested = f"{n} {noun} per method, " + (
            f"chosen on validation{by}, {tested or 'ranked on test data'}"
            if any(curve.points for curve in comparison.curves)
            else "none has finished"
        )
    said = [trials, tested] if with_sizes else [trials]
    seeds = counted(len(comparison.seeds), "seed")
    if len(comparison.seeds) > 1 and data.varied:
        seeds += f" vary {' and '.join((', '.join(data.varied[:-1]), data.varied[-1]))}"
    said.append(seeds)
    return ". ".join(filter(None, said)) + "."


def _images_text(data: ReportData) -> str:
    sizes = data.luck.n_images
    if not sizes:
        return ""
    if data.luck.is_shared:
        return f"{sizes[-1][1]:,} images, the same in every task"
    source, target = sum(high for _, high in sizes[:-1]), sizes[-1][1]
    return f"{source:,} + {target:,} images"


def references_text(data: ReportData, with_letters: bool) -> str:
    """Average, source and target accuracy of every reference in one sentence; '' for none.

    Args:
        data: what `report_building.build` computed.
        with_letters: whether each is named with its letter in the small figure.
    """
    found = []
    for curve in data.comparison.references:
        letter = f"{letter_of(curve)} ".lstrip() if with_letters else ""
        if curve.best is None:
            found.append(f"{curve.label} {curve.absence}")
            continue
        point = curve.points[curve.best]
        source, target = (100 * value for value in point.mean("test"))
        average = 100 * float(point.measures["average_accuracy"].mean())
        found.append(f"{letter}{curve.label} {average:.1f} ({source:.1f}, {target:.1f})")
    end = data.comparison.source_end
    if end is not None:  # under one head the frozen trunk is no source end
        source, target = (100 * value for value in end.test_S2.mean(axis=0))
        average = ((data.n_tasks - 1) * source + target) / data.n_tasks
        of_all, of_last = (
            "–" if math.isnan(value) else f"{value:.1f}" for value in (average, target)
        )
        found.append(f"{end.label} {of_all} ({source:.1f}, {of_last})")
    if not found:
        return ""
    return f"References, average (source, target) %: {'; '.join(found)}."


def behind_text(row: RankedMethod, is_first: bool) -> str:
    """How far a method is behind the first, with the interval that holds for all pairs at once.

    Args:
        row: of the ranking.
        is_first: whether it is the first itself.
    """
    if row.behind is None:
        return "first" if is_first and not row.absence else ""
    found = row.behind.interval
    mean = _signed(-100 * found.mean)
    if found.absence or found.is_no_limit:
        return f"{mean} [{'seeds equal' if found.absence == 'seeds all equal' else 'no limit'}]"
    low, high = ends_text(found, -100, 1)
    return f"{mean} [{signed_text(low)}, {signed_text(high)}]{'*' if row.behind.is_claim else ''}"


def _signed(value: float) -> str:
    return signed_text(f"{round(value, 1) + 0.0:.1f}")


def kept_text(kept: Kept | None, row: RankedMethod) -> str:
    """The source accuracy that is kept, and the target accuracy that is got with it.

    Args:
        kept: at one requirement; None where no value reaches it.
        row: of the ranking.
    """
    if kept is None:
        return "" if row.absence else "not reached"
    # In front of it: what is not comparable must not be read as the best.
    return f"{'†' if kept.is_missed else ''}{100 * kept.source:.1f} ({100 * kept.target:.1f})"
