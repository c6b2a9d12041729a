"""The training of a report's methods in words, knobs aside: what is equal, searched, unequal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from clsweep.data.benchmark_specs import own_draws
from clsweep.methods import known_entry
from clsweep.methods.hyper_fields import role_of
from clsweep.reporting.curves import Curve
from clsweep.text import number_text
from clsweep.training.config import TrainingConfig

# What is the same for all seeds where a benchmark draws nothing.
_FIXED = {
    "split": "class order",
    "rotated": "angles",
    "pair": "order of the data sets",
    "sequence": "order of the data sets",
}

# What every reader asks for; other keys are named where somebody changed them.
_ALWAYS = ("optimizer", "lr", "batch_size", "epochs")

# Settings whose key and value alone would not tell a reader what was done.
_WORDS = {
    "schedule": "{} schedule of the learning rate",
    "warmup_steps": "{} steps of warm-up",
    "clip_norm": "gradients clipped to norm {}",
    "clip_value": "gradient elements clipped to {}",
    "label_smoothing": "labels smoothed by {}",
    "class_balance": "class balance by {}",
    "first_epochs": "{} epochs on the first task",
    "first_steps": "{} steps on the first task",
    "precision": "{} autocast in training",
    "options": "its options {}",
}


def training_text(
    curves: Sequence[Curve], references: Sequence[Curve], searched: Collection[str] = ()
) -> str:
    """The nuisance settings in words: fixed for all, tried by all alike, or not alike.

    References are methods to a reader: where one was trained otherwise, it is named. They are
    trained as `[training]` says also where the methods' settings are searched.

    Args:
        curves: labels that trace a front; references where there is none.
        references: the others.
        searched: keys of [training] that a search has chosen, for every curve from one range.
    """
    own = [curve for curve in curves or references if curve.training]
    if not own:
        return ""
    others = [curve for curve in references if curves]
    fixed = dict(fixed_settings(own))
    same = (setting_said(n, value) for n, value in fixed.items() if not _otherwise(n, own, others))
    parts = [f"Training, the same for all methods: {', '.join(same)}"]
    apart = [
        f"{setting_said(n, value)}{found}"
        for n, value in fixed.items()
        if (found := _otherwise(n, own, others))
    ]
    parts.append(f"the same but for references: {', '.join(apart)}" if apart else "")
    several, unequal = tried_settings(own, searched)
    if several:
        tried = ", ".join(f"{n} {text}{_otherwise(n, own, others)}" for n, text in several.items())
        parts.append(f"tried by every method alike: {tried}")
    if unequal:
        parts.append(f"not the same for all: {', '.join(unequal)}")
    tuned = [text for curve in own for text in _own_nuisances(curve)]
    parts.append(f"own nuisance values tried: {', '.join(tuned)}" if tuned else _untuned(own))
    return f"{'; '.join(filter(None, parts))}."


def seeds_vary_text(benchmark: Mapping[str, Any], n_seeds: int) -> str:
    """What differs between the seeds and what does not, in a sentence; empty for one seed.

    Args:
        benchmark: what the study file says of it, every default written out.
        n_seeds: seeds of the report.
    """
    if n_seeds < 2 or not benchmark:
        return ""
    drawn = own_draws(benchmark)
    varies = benchmark.get("draws") == "per_seed"
    always, split = "initial weights, batches and a method's own draws", "train/validation split"
    if drawn and varies:
        return (
            f"Seeds differ in {always}, and in {' and '.join(drawn)}; the {split} is one for all."
        )
    fixed = " and ".join(drawn) or _FIXED.get(str(benchmark.get("name")), "tasks")
    return (
        f"Seeds differ in {always} alone: {fixed} and {split} are the same for all, and no error "
        "or interval tells of others."
    )


def varied_by_seeds(benchmark: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs between the seeds, in a few words; empty where the study is not known.

    Args:
        benchmark: what the study file says of it, every default written out.
    """
    if not benchmark:
        return ()
    drawn = own_draws(benchmark) if benchmark.get("draws") == "per_seed" else ()
    return ("weights", "batches", *drawn)


def setting_said(name: str, value: str) -> str:
    """A setting with its value, such as 'lr 0.1' and 'cosine schedule of the learning rate'.

    Args:
        name: of [training].
        value: as text.
    """
    return _WORDS.get(name, f"{name} {{}}").format(value)


def _names(curves: Sequence[Curve]) -> list[str]:
    return list(dict.fromkeys(name for curve in curves for name in curve.training))


def _values(curves: Sequence[Curve], name: str) -> set[frozenset[str]]:
    return {curve.training.get(name, frozenset()) for curve in curves}


def _otherwise(name: str, own: Sequence[Curve], references: Sequence[Curve]) -> str:
    """The references that were trained otherwise than every method, such as ' (joint: 0.1)'."""
    usual = _values(own, name)
    found = [
        f"{curve.label}: {_span(curve.training[name])}"
        for curve in references
        if name in curve.training and curve.training[name] not in usual
    ]
    return f" ({'; '.join(found)})" if found else ""


def fixed_settings(curves: Sequence[Curve]) -> Iterator[tuple[str, str]]:
    """The settings that all configurations share, those of everybody's interest or unusual.

    Args:
        curves: at least one, each with its training.
    """
    counts_steps = any(curve.training.get("steps", {"0"}) != {"0"} for curve in curves)
    for name in _names(curves):
        (values, *others) = _values(curves, name)
        if others or len(values) != 1:
            continue
        (value,) = values
        field = TrainingConfig.model_fields.get(name)
        is_usual = field is not None and value == str(field.default)
        if name == "epochs" and counts_steps:
            continue
        if name in _ALWAYS or not is_usual:
            yield name, value


def tried_settings(
    curves: Sequence[Curve], searched: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """The settings of which every method alike had several values, and those that differ.

    Args:
        curves: at least one, each with its training.
        searched: keys of [training] that a search has chosen, for every curve from one range.
    """
    alike = {n for n in _names(curves) if n in searched or len(_values(curves, n)) == 1}
    several = {
        n: _span(v for c in curves for v in c.training[n])
        for n in _names(curves)
        if n in alike and any(len(c.training[n]) > 1 for c in curves)
    }
    return several, [name for name in _names(curves) if name not in alike]


def _span(values: Iterable[str]) -> str:
    distinct = set(values)
    try:
        numbers = sorted(map(float, distinct))
    except ValueError:
        return "/".join(sorted(distinct))
    ends = number_text(numbers[0]), number_text(numbers[-1])
    return "…".join(ends) if len(numbers) > 1 else ends[0]


def _nuisances(curve: Curve) -> list[str]:
    entry = known_entry(curve.method)
    if entry is None:
        return []
    fields = entry.hyper.model_fields
    return [name for name, field in fields.items() if role_of(field) == "nuisance"]


def _own_nuisances(curve: Curve) -> Iterator[str]:
    for name in _nuisances(curve):
        values = curve.grid.get(name, ())
        if len(values) > 1:
            yield f"{curve.label} {name} {_span(map(str, values))}"


def _untuned(curves: Sequence[Curve]) -> str:
    return "own nuisance values at one value each" if any(map(_nuisances, curves)) else ""
