"""Data of a report: everything computed from a results folder before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clsweep.records.embedding_maps import EmbeddingMap
from clsweep.reporting.appendix import Details
from clsweep.reporting.comparison import Comparison
from clsweep.reporting.extra_results import ExtraResults
from clsweep.reporting.judgement import Judgement
from clsweep.reporting.ledger import ShownFolder
from clsweep.reporting.protocol_scores import Score
from clsweep.reporting.sampling_error import ImageLuck
from clsweep.search.selection_protocols import Protocol
from clsweep.storage.remote_path import Place
from clsweep.text import seeds_of


@dataclass(frozen=True)
class ReportData:
    """What is printed and drawn.

    Attributes:
        comparison: all numbers.
        name: the study's name.
        benchmark: what was learned, in a few words.
        n_tasks: length of the task sequence.
        chance_is_known: whether hypervolume is counted from chance instead of from zero.
        uses: label to what its method needs beyond the previous network and the current data.
        notes: what a reader must know.
        details: what stands behind the comparison.
        scenario: 'task', 'domain' or 'class'; empty where it is not known.
        protocols: the rules for choosing that are compared.
        scores: protocol to what it chose for each label.
        protocol: the one that was asked for; None for none in particular.
        judgement: fronts in numbers, and every pair of labels.
        shown: the results folders, with earlier looks at their test numbers.
        training: the settings beside the knobs, in one sentence.
        luck: what the choice of test images may change.
        seeds_vary: what differs between seeds, in one sentence.
        varied: the same in a few words, one thing each.
        searched: keys of [training] that a search has chosen, for every curve from one range.
        urgent: those of the notes that put every number in doubt: of what is damaged, mixed, or
            has not finished.
        late_changes: those of what was changed after test numbers had been shown.
        unfinished: the results folders whose study asks for more trials than have finished.
        extras: accuracies per class, and measures of the user's.
        studies: what the study file of each folder says, as plain values.
        embeddings: maps of task embeddings, where they are asked for.
    """

    comparison: Comparison
    name: str
    benchmark: str
    n_tasks: int
    chance_is_known: bool
    uses: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]
    details: Details = field(default_factory=Details)
    scenario: str = ""
    protocols: tuple[Protocol, ...] = ()
    scores: dict[str, tuple[Score, ...]] = field(default_factory=dict)
    protocol: Protocol | None = None
    judgement: Judgement = field(default_factory=Judgement)
    shown: tuple[ShownFolder, ...] = ()
    training: str = ""
    luck: ImageLuck = field(default_factory=ImageLuck)
    seeds_vary: str = ""
    varied: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    urgent: tuple[str, ...] = ()
    late_changes: tuple[str, ...] = ()
    unfinished: tuple[Place, ...] = ()
    extras: ExtraResults = field(default_factory=ExtraResults)
    studies: tuple[dict[str, Any], ...] = ()
    embeddings: tuple[EmbeddingMap, ...] = ()

    def in_words(self, text: str) -> str:
        """A text about accuracies as one about what stands in their place.

        Args:
            text: of the report.
        """
        labels = (curve.label for curve in self.comparison.all_curves)
        return self.comparison.metric.in_words(text, (self.name, *labels))

    @property
    def title(self) -> str:
        """Heading: study and benchmark."""
        return f"{self.name}: {self.benchmark}"

    @property
    def metric_text(self) -> str:
        """What stands in accuracy's place, and which direction is better; '' for accuracy."""
        return self.comparison.metric.declaration

    @property
    def method_of_reading(self) -> str:
        """How the numbers came about, in one sentence."""
        n = len(self.comparison.seeds)
        spread = f"mean ± s.e.m. over {n} seeds" if n > 1 else "n = 1 seed"
        chosen = "Chosen on validation data"
        if self.comparison.choose_on:
            chosen += f" of {seeds_of(self.comparison.choose_on)}"
            spread += f" that chose nothing ({seeds_of(self.comparison.seeds)})"
        return f"{chosen}, printed on test data; {spread}."
