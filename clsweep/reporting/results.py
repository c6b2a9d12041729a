"""A results folder as a report has it: the records that its study asks for, and the study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clsweep.records.schema import Record
from clsweep.reporting.analysis_version import analysis_of
from clsweep.reporting.ledger import (
    ShownFolder,
    TestLook,
    key_of_test_set,
)
from clsweep.reporting.study_values import DEFAULT_SEEDS, benchmark_text, labels_of, table_of
from clsweep.storage.remote_path import Place
from clsweep.text import printable


@dataclass(frozen=True)
class Results:
    """What a results folder holds for a report.

    Attributes:
        directory: the folder.
        study: what its study file says, as plain values.
        records: of the trials that the study asks for.
        notes: what was damaged, is missing, was left out, or was changed after a look.
        looks: earlier looks at its test numbers.
        elsewhere: earlier looks at the same test set in other folders.
        data: `ledger.key_of_test_set` by what the data hold; empty where it is not known.
        urgent: those of the notes that put every number in doubt: of what is damaged, mixed, or
            has not finished.
        n_left: trials that its study asks for and that have not finished.
    """

    directory: Place
    study: dict[str, Any]
    records: list[Record]
    notes: tuple[str, ...]
    looks: tuple[TestLook, ...]
    elsewhere: tuple[TestLook, ...] = ()
    data: str = ""
    urgent: tuple[str, ...] = ()
    n_left: int = 0

    def shown(self, protocol: str = "") -> ShownFolder:
        """What a look at it adds to the ledger, and the looks before.

        Args:
            protocol: the rule whose choices were asked for; empty for none in particular.
        """
        finished = [record for record in self.records if record["trial"]["status"] == "ok"]
        return ShownFolder(
            directory=self.directory,
            n_trials=len(finished),
            looks=self.looks,
            test_set=key_of_test_set(self.benchmark),
            data=self.data,
            elsewhere=self.elsewhere,
            analysis=analysis_of(self.study, protocol),
        )

    @property
    def name(self) -> str:
        """The study's name."""
        return printable(str(self.study.get("name", self.directory.name)))

    @property
    def labels(self) -> list[str]:
        """The order of the labels."""
        return labels_of(self.study)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that the study asks for, and others with records; empty if not known."""
        asked = self.study.get("seeds", DEFAULT_SEEDS) if self.study else None
        if type(asked) is int:
            asked = list(range(asked))
        if not isinstance(asked, list) or not asked or not all(type(s) is int for s in asked):
            return ()
        return tuple(sorted({*asked, *(r["trial"]["seed"] for r in self.records)}))

    @property
    def benchmark(self) -> dict[str, Any]:
        """What the study file says of the benchmark."""
        return table_of(self.study, "benchmark")

    @property
    def benchmark_text(self) -> str:
        """The benchmark in a few words."""
        return benchmark_text(self.benchmark)
