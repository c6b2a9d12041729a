"""Remarks on what makes a comparison unfair by its design: the same before a run and after it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from clsweep.methods import known_entry
from clsweep.methods.hyper_fields import MIN_DECADES, knob_keys, search_range
from clsweep.text import number_text

OWN_FIRST_TASK = (
    "it learns the first task within each trial, with its memory from the first step on, and does "
    "not start from the shared source model"
)


@dataclass(frozen=True)
class Design:
    """A comparison without its accuracies: of a study that is planned, or of results.

    Attributes:
        n_seeds: seeds that all curves are compared with.
        methods: label -> method, of every label that the remarks are about.
        references: the methods of the references.
        one_head: whether the tasks share a head, so that a frozen trunk forgets as well.
        n_configurations: label -> configurations of a curve; references have none to choose.
        values: label -> number of the method -> its values, where it has several.
        trainings: label -> key of `[training]` -> its values as text, of every key in which labels
            must not differ.
        own_starts: labels with numbers under which the first task is learnt within each trial,
            where other numbers of the method begin at the shared source model.
    """

    n_seeds: int
    methods: Mapping[str, str]
    references: frozenset[str]
    one_head: bool
    n_configurations: Mapping[str, int]
    values: Mapping[str, Mapping[str, Sequence[Any]]]
    trainings: Mapping[str, Mapping[str, frozenset[str]]]
    own_starts: frozenset[str] = frozenset()


class Remark(NamedTuple):
    """What a reader of the comparison would object to.

    Attributes:
        text: half a sentence, beginning with a small letter.
        label: the curve that it is about; '' for the whole comparison.
    """

    text: str
    label: str = ""

    @property
    def note(self) -> str:
        """The remark without a full stop, for a list of notes."""
        return f"{self.label}: {self.text}" if self.label else self.text

    @property
    def sentence(self) -> str:
        """The remark as a sentence."""
        return f"{self.note}." if self.label else f"{self.text[0].upper()}{self.text[1:]}."


def seeds(design: Design) -> Iterator[Remark]:
    """The remark on a single seed."""
    if design.n_seeds == 1:
        yield Remark("one seed only: differences may be luck, and no error can be given")


def references(design: Design) -> Iterator[Remark]:
    """Remarks on the references that the study does not have."""
    if "finetune" not in design.references:
        yield Remark(
            "no fine-tuning reference, so no required target accuracy: add a method "
            '`name = "finetune"` to the study'
        )
    if "frozen" not in design.references and not design.one_head:
        yield Remark("no frozen reference: nothing shows the source end of the fronts")
    if "joint" not in design.references:
        yield Remark("no joint reference: nothing shows what is possible with all data at once")


def starts(design: Design) -> Iterator[Remark]:
    """Remarks on methods whose trials do not begin at the shared source model."""
    for label, method in design.methods.items():
        entry = known_entry(method)
        if entry and entry.start_note:
            yield Remark(entry.start_note, label)
        elif label in design.own_starts:
            yield Remark(OWN_FIRST_TASK, label)


def ranges(design: Design) -> Iterator[Remark]:
    """Remarks on knobs with a logarithmic scale that are turned over few decades of it."""
    for label, method in design.methods.items():
        entry = known_entry(method)
        fields = entry.hyper.model_fields if entry else {}
        for key in knob_keys(fields):
            worth = search_range(fields[key])
            values = design.values[label].get(key, ())
            positive = [v for v in values if isinstance(v, (int, float)) and v > 0]
            if worth is None or not worth[2] or not positive:
                continue
            low, high, _ = worth
            decades = math.log10(max(positive) / min(positive))
            if decades < min(MIN_DECADES, math.log10(high / low)) - 1e-9:
                yield Remark(
                    f"{key} covers {decades:.1f} decades; its best value may lie outside "
                    f"({number_text(low)} to {number_text(high)} is worth searching)",
                    label,
                )


def budgets(design: Design) -> Iterator[Remark]:
    """The remark on curves that have not the same number of configurations."""
    counts = design.n_configurations
    if len(set(counts.values())) > 1:
        yield Remark(
            "unequal numbers of configurations, and the best of more is better by luck alone: "
            + ", ".join(f"{label} {n}" for label, n in counts.items())
        )


def trainings(design: Design) -> Iterator[Remark]:
    """Remarks on the keys of `[training]` that labels do not share, one per key."""
    for key in sorted({key for keys in design.trainings.values() for key in keys}):
        groups: dict[frozenset[str], list[str]] = {}
        for label, keys in design.trainings.items():
            groups.setdefault(keys.get(key, frozenset()), []).append(label)
        if len(groups) > 1:
            found = (f"{', '.join(g)} {'/'.join(sorted(values))}" for values, g in groups.items())
            yield Remark(f"training differs between methods in '{key}': {' | '.join(found)}")
