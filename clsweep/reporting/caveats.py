"""Caveats of a report: what a reader must know before trusting it, as sentences."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from clsweep.methods import known_entry
from clsweep.methods.divergence import what_helps
from clsweep.reporting.comparison import Comparison
from clsweep.reporting.curves import Curve
from clsweep.reporting.inference import fewest_seeds, seeds_text
from clsweep.study import fairness
from clsweep.text import axes_text, counted, key_text, number_text, seeds_of

# A front that ends this close to a reference has reached it.
_END_POINTS = 1.0
_MOST_NAMED = 4
_MOST_DIGITS = 4
_ROUNDING = 1e-12

# Of what fine-tuning learns of the last task beyond guessing: less is hardly learnt.
_HARDLY_LEARNT = 0.25


def caveats(comparison: Comparison, searched: Collection[str] = ()) -> tuple[str, ...]:
    """Everything unequal, missing or at the end of a grid.

    Args:
        comparison: what the report says.
        searched: keys of [training] that a search has chosen, for every curve from one range.
    """
    design = design_of(comparison, searched)
    return (
        *_about_paths(comparison.curves),
        *_about_seeds(comparison, design),
        *_about_diverged(comparison.all_curves),
        *_about_other_seeds(comparison),
        *_about_unfinished(comparison.all_curves),
        *_about_stopped(comparison.all_curves),
        *(remark.sentence for remark in fairness.budgets(design)),
        *_about_steps(comparison.curves),
        *(remark.sentence for remark in fairness.trainings(design)),
        *(remark.sentence for remark in fairness.starts(design)),
        *_about_unknown(comparison.all_curves),
        *_about_fine_tuning(comparison),
        *_about_below_fine_tuning(comparison),
        *(remark.sentence for remark in fairness.references(design)),
        *_about_unlearnt(comparison),
        *(remark.sentence for remark in fairness.ranges(design)),
        *(note for curve in comparison.curves for note in _about_ends(curve, comparison)),
        *(note for curve in comparison.curves for note in _about_edges(curve, comparison)),
    )


def about_choices(
    comparison: Comparison, choose_on: Sequence[int] = (), is_searched: bool = False
) -> tuple[str, ...]:
    """What the seeds that choose and those that are shown have in common against the study's wish.

    Args:
        comparison: what the report says.
        choose_on: the seeds that the study wants to choose.
        is_searched: whether a search has chosen what was tried.
    """
    return (
        *_about_choosing_seeds(comparison, choose_on),
        *_about_search(comparison, is_searched),
    )


def _about_paths(curves: Sequence[Curve]) -> Iterator[str]:
    paths = [curve.label for curve in curves if curve.is_path]
    if paths:
        yield (
            f"{', '.join(paths)}: points of regularisation paths, each of which was trained on "
            "from the one with the next larger value. They are no independent trials, and no "
            "interval or claim compares them. They show where a grid should lie: run that, "
            '[search] kind = "grid", for a comparison.'
        )


def _about_seeds(comparison: Comparison, design: fairness.Design) -> Iterator[str]:
    n = len(comparison.seeds)
    for remark in fairness.seeds(design):
        yield (
            remark.sentence
            + " The seed has also chosen the configurations; cross-fitting and choose_on take two "
            "seeds or more." * (not comparison.choose_on)
        )
    if 1 < n < fewest_seeds() and len(comparison.curves) > 1:
        yield seeds_text(n)
    if comparison.left_out:
        words = {"failed": "failed", "oom": "ran out of memory", "": "not run"}
        ends = ", ".join(f"{n:,} {words[end]}" for end, n in comparison.unanswered.items())
        again = " `clsweep run --retry-failed` tries those again that failed."
        yield (
            f"Left out {seeds_of(comparison.left_out)}: more trials can be compared over "
            f"{seeds_of(comparison.seeds)} alone."
            + f" Of the trials left out without a result: {ends}." * bool(ends)
            + again * bool(comparison.unanswered.keys() - {""})
        )


def _about_choosing_seeds(comparison: Comparison, choose_on: Sequence[int]) -> Iterator[str]:
    missing = sorted(set(choose_on) - set(comparison.choose_on))
    if comparison.choose_on and missing:
        yield (
            f"Chosen by {seeds_of(comparison.choose_on)} alone: {seeds_of(missing)} of choose_on "
            "cannot be used, since not enough configurations have finished."
        )
    elif missing:
        yield (
            f"choose_on names {seeds_of(missing)}, but these and others would have to be finished "
            "with enough configurations: all finished seeds choose and are shown."
        )


def _about_search(comparison: Comparison, is_searched: bool) -> Iterator[str]:
    if is_searched and len(comparison.seeds) > 1:
        yield (
            "The search has asked for configurations by validation data of all seeds: intervals "
            "hold the choice among what was tried, and not what was tried."
        )


def _about_diverged(curves: Sequence[Curve]) -> Iterator[str]:
    for curve in curves:
        if not curve.diverged:
            continue
        named = [
            f"{axes_text(curve.axes_of(one))} with {seeds_of(one.seeds)}"
            for one in curve.diverged[:_MOST_NAMED]
        ]
        more = len(curve.diverged) - len(named)
        n, n_seeds = counted(curve.n_configs, "configuration"), len(curve.diverged_seeds)
        trials = counted(curve.n_by_status["diverged"], "trial")
        yield (
            f"{curve.label}: {len(curve.diverged):,} of {n} diverged, in {trials} of "
            f"{counted(n_seeds, 'seed')} ({'; '.join(named)}{f'; {more:,} more' if more else ''})."
            " That is a result: they lie on no front, and no rule can choose them. What helps: "
            f"{what_helps(curve.method, curve.diverged[0].hyper)}."
            + (f" {until[0].upper()}{until[1:]}." if (until := stable_until(curve)) else "")
        )


def stable_until(curve: Curve) -> str:
    """Up to which value of its primary knob nothing of a curve diverged; empty for none.

    Args:
        curve: one with configurations that diverged.
    """
    name = next(iter(curve.diverged[0].knobs), "")
    if not name:
        return ""
    lowest = min(one.knobs.get(name, 0.0) for one in curve.diverged)
    values = [p.candidate.knobs.get(name, 0.0) for p in curve.points]
    stable = [value for value in values if value < lowest]
    return f"none up to {key_text(name)}={number_text(max(stable))}" if stable else ""


def _about_other_seeds(comparison: Comparison) -> Iterator[str]:
    """What cannot be compared because its study asks for other seeds: running it adds nothing."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for curve in comparison.all_curves:
        if curve.only_seeds:
            by_seeds.setdefault(curve.only_seeds, []).append(curve.label)
    wanted = seeds_of(sorted({*comparison.choose_on, *comparison.seeds}))
    for seeds, labels in by_seeds.items():
        yield (
            f"{', '.join(labels)}: {seeds_of(seeds)} only, since the study asks for no more; the "
            f"report is of {wanted}. Ask for the same seeds in the study file and run it again."
        )


def _about_unfinished(curves: Sequence[Curve]) -> Iterator[str]:
    for curve in curves:
        if curve.only_seeds:
            continue
        n_missing = curve.n_configs - len(curve.points) - len(curve.diverged)
        if n_missing:
            counts = {s: n for s, n in curve.n_by_status.items() if s not in ("ok", "diverged")}
            counts["not run"] = curve.n_not_run
            bad = [f"{n} {s}" for s, n in counts.items() if n]
            yield (
                f"{curve.label}: {n_missing} of {counted(curve.n_configs, 'configuration')} did "
                "not finish with every seed and cannot be chosen"
                + (f" (trials: {', '.join(bad)})." if bad else ".")
            )


def _about_stopped(curves: Sequence[Curve]) -> Iterator[str]:
    counts = {curve.label: curve.n_by_status["stopped"] for curve in curves}
    if any(counts.values()):
        found = (f"{label} {n}" for label, n in counts.items() if n)
        yield (
            f"Trials stopped early, which count as spent: {', '.join(found)}. Each was behind "
            "another configuration of its curve by more than the margin in both validation "
            "accuracies, at an earlier point of training. The fronts may lack a point that would "
            "have caught up by the end: nothing guarantees that none would."
        )


def design_of(comparison: Comparison, searched: Collection[str]) -> fairness.Design:
    """The comparison of the curves; how references were trained is said with all training.

    Lengths of training are left out: the steps of every trial were counted.

    Args:
        comparison: what the report says.
        searched: keys of [training] that a search has chosen, for every curve from one range.
    """
    aside = {"epochs", "steps", *searched}
    curves = comparison.curves
    return fairness.Design(
        n_seeds=len(comparison.seeds),
        methods={curve.label: curve.method for curve in curves},
        references=frozenset(curve.method for curve in comparison.references),
        one_head=comparison.one_head,
        n_configurations={curve.label: curve.n_configs for curve in curves},
        values={curve.label: curve.grid for curve in curves},
        trainings={
            curve.label: {key: v for key, v in curve.training.items() if key not in aside}
            for curve in curves
        },
        own_starts=frozenset(curve.label for curve in curves if curve.learns_first_task),
    )


def _about_steps(curves: Sequence[Curve]) -> Iterator[str]:
    steps = {c.label: [round(p.n_steps) for p in c.points] for c in curves if c.points}
    if len({n for values in steps.values() for n in values}) > 1:
        spans = (f"{label} {_span(values)}" for label, values in steps.items())
        yield f"Unequal steps of training per trial: {', '.join(spans)}."


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _about_unknown(curves: Sequence[Curve]) -> Iterator[str]:
    for curve in curves:
        entry = known_entry(curve.method)
        if entry is None:
            yield (
                f"{curve.label}: this clsweep does not know the method '{curve.method}'; its "
                "accuracies stand as they were stored, and nothing is said of its needs, its "
                "range and the good region of its knob."
            )
            continue
        names = {name for p in curve.points for name in p.candidate.hyper}
        unknown = sorted(names - entry.hyper.model_fields.keys())
        if unknown:
            yield (
                f"{curve.label}: this clsweep does not know {', '.join(unknown)} of its method, "
                "and nothing is said of the range."
            )


def _about_fine_tuning(comparison: Comparison) -> Iterator[str]:
    """Why a reference that the study asks for requires no accuracy."""
    tuned = [curve for curve in comparison.references if curve.method == "finetune"]
    if comparison.requirements or not tuned:
        return
    if any(curve.diverged for curve in tuned):
        yield "Fine-tuning diverged, so there is no required target accuracy."
    else:
        yield "No finished fine-tuning reference, so no required target accuracy."


def _about_below_fine_tuning(comparison: Comparison) -> Iterator[str]:
    """Choices by average accuracy that do worse than doing nothing against forgetting."""
    below = below_fine_tuning(comparison)
    if below is not None:
        yield (
            f"{below.sentence(below.labels)} These are averages of test accuracy over tasks and "
            "seeds, without an interval of their difference; fine-tuning does nothing against "
            "forgetting."
        )


class BelowFineTuning(NamedTuple):
    """The methods whose best average is below that of fine-tuning.

    Attributes:
        means: label to its average test accuracy in [0, 1], worst first.
        tuned: that of fine-tuning.
    """

    means: dict[str, float]
    tuned: float

    @property
    def labels(self) -> tuple[str, ...]:
        """All of them, worst first."""
        return tuple(self.means)

    def sentence(self, named: Sequence[str]) -> str:
        """Who is below fine-tuning, and by how much.

        Args:
            named: the labels to name; of the others their number is said.
        """
        digits = 1
        closest = 100 * max(self.means.values())
        # What is below must be seen to be, and a difference of 1 example is not always.
        while (
            digits < _MOST_DIGITS and f"{closest:.{digits}f}" == f"{100 * self.tuned:.{digits}f}"
        ):
            digits += 1
        texts = {label: f"{100 * mean:.{digits}f}" for label, mean in self.means.items()}
        tuned = f"{100 * self.tuned:.{digits}f} %"
        if len(texts) == 1:
            (label,) = texts
            return f"{label} is below plain fine-tuning: {texts[label]} against {tuned}."
        listed = ", ".join(f"{label} {texts[label]}" for label in named)
        more = len(texts) - len(named)
        rest = f" and {more} more" if more > 0 else ""
        return f"{len(texts)} methods are below plain fine-tuning ({tuned}): {listed}{rest}."


def below_fine_tuning(comparison: Comparison) -> BelowFineTuning | None:
    """The methods whose best average is below that of fine-tuning; None where there is none.

    Of several fine-tunings the best counts.

    Args:
        comparison: what the report says.
    """
    tuned = [_average(c) for c in comparison.references if c.method == "finetune" and _chose(c)]
    if not tuned:
        return None
    means = {
        c.label: _average(c) for c in comparison.curves if c.method != "finetune" and _chose(c)
    }
    below = {label: mean for label, mean in means.items() if mean < max(tuned) - _ROUNDING}
    if not below:
        return None
    return BelowFineTuning(dict(sorted(below.items(), key=lambda item: item[1])), max(tuned))


def _chose(curve: Curve) -> bool:
    return curve.best is not None


def _average(curve: Curve) -> float:
    return float(curve.points[curve.best or 0].measures["average_accuracy"].mean())


def _about_unlearnt(comparison: Comparison) -> Iterator[str]:
    """Choices by average accuracy that hardly learn the last task."""
    named = [f"{c.label} {100 * _target(c):.1f} %" for c in hardly_learnt(comparison)]
    if named:
        chance, learnt = comparison.reference_point[1], learnt_by_fine_tuning(comparison)
        n_tasks = comparison.validation.n_tasks
        # Nobody guesses right in 0 %: it stands where the number of classes is not known.
        guessing = f"guessing {100 * chance:.3g} %, " if chance else ""
        yield (
            f"The best average hardly learns the last task: {', '.join(named)} of it "
            f"({guessing}fine-tuning {100 * learnt:.1f} %). An average over {n_tasks} tasks "
            "rewards what keeps the earlier ones and learns nothing new; compare the source "
            "accuracies at a required target accuracy."
        )


def hardly_learnt(comparison: Comparison) -> list[Curve]:
    """The curves whose best average learns less than a quarter of what fine-tuning learns.

    Args:
        comparison: what the report says.
    """
    chance, learnt = comparison.reference_point[1], learnt_by_fine_tuning(comparison)
    return [
        curve
        for curve in comparison.curves
        if curve.best is not None and _target(curve) - chance < _HARDLY_LEARNT * (learnt - chance)
    ]


def learnt_by_fine_tuning(comparison: Comparison) -> float:
    """Fine-tuning's test accuracy on the last task; NaN where it has not finished.

    Args:
        comparison: what the report says.
    """
    tuned = [c for c in comparison.references if c.method == "finetune" and c.best is not None]
    return max((_target(curve) for curve in tuned), default=float("nan"))


def _target(curve: Curve) -> float:
    return float(curve.points[curve.best or 0].mean("test")[1])


def _about_ends(curve: Curve, comparison: Comparison) -> Iterator[str]:
    two = comparison.validation.n_tasks == 2
    last = "the source model" if two else "what it was before the last task"
    for word, points in short_ends(curve, comparison).items():
        name = "fine-tuning" if word == "target" else last
        yield (
            f"{curve.label}: the {word} end of its front is {points:.1f} points below {name} "
            "(validation); a wider grid may go on."
        )


def short_ends(curve: Curve, comparison: Comparison) -> dict[str, float]:
    """By how many points of validation accuracy a front's 'target' and 'source' end fall short.

    It goes on beyond its grid where no configuration learns the last task like fine-tuning, or
    where the one that keeps most of the source still forgets while it learns the last task.

    Args:
        curve: whose front.
        comparison: what the report says.
    """
    if len(curve.points) < 2 or not any(point.candidate.knobs for point in curve.points):
        return {}
    means = np.array([point.mean("validation") for point in curve.points])
    tuned = [
        c.points[c.best].mean("validation")[1]
        for c in comparison.references
        if c.method == "finetune" and c.best is not None
    ]
    most = curve.points[int(np.argmax(means[:, 0]))].candidate
    found = {
        "target": 100 * float(max(tuned, default=math.nan) - means[:, 1].max()),
        "source": 100 * float(np.mean(most.before_S - most.source_S)),
    }
    # NaN, of a reference that is not there, is not more than a point.
    return {word: short for word, short in found.items() if short > _END_POINTS}


def _about_edges(curve: Curve, comparison: Comparison) -> Iterator[str]:
    for edge in grid_edges(curve, comparison):
        goals = [
            "the best average"
            if drop is None
            else f"the best source at {-100 * drop:+.3g} point{'s' * (drop != 0.01)} of target"
            for drop in edge.drops
        ]
        yield (
            f"{curve.label}: {' and '.join(goals)} is at {key_text(edge.name)} = "
            f"{number_text(edge.value)}, the {edge.end} of its grid; a wider grid may do better."
        )


class GridEdge(NamedTuple):
    """A value at an end of its grid that a choice has taken.

    Attributes:
        name: of the number.
        value: what was chosen.
        end: 'highest' or 'lowest'.
        drops: the requirements that chose it, None for the best average.
    """

    name: str
    value: float
    end: str
    drops: tuple[float | None, ...]


def grid_edges(curve: Curve, comparison: Comparison) -> list[GridEdge]:
    """The ends of its grid at which a curve's choices lie.

    Args:
        curve: whose choices.
        comparison: what the report says.
    """
    picks: dict[float | None, int | None] = {None: curve.best}
    picks |= {r.drop: r.chosen[curve.label] for r in comparison.requirements}
    found: dict[tuple[str, float, str], list[float | None]] = {}
    for drop, index in picks.items():
        if index is None:
            continue
        for name, value in curve.points[index].axes.items():
            numbers = [v for v in curve.grid[name] if isinstance(v, (int, float))]
            if len(numbers) < len(curve.grid[name]) or isinstance(value, bool):
                continue
            end = {max(numbers): "highest", min(numbers): "lowest"}.get(value)
            if end is not None:
                found.setdefault((name, value, end), []).append(drop)
    return [GridEdge(*key, tuple(drops)) for key, drops in found.items()]
