"""Stored trials that did what a study asks for under another name.

Before numbers that others switch off were left out of identities, one piece of work could have
several: every value of a number that changed nothing made a configuration. Such trials are in
results folders for ever. Whoever reads a folder renames them here, to the configuration of the
study that does the same; of several trials of one configuration and seed, one is kept. Nothing in
the folder is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from clsweep.records.schema import Record, trial_id_of
from clsweep.study.configurations import (
    Configuration,
    Table,
    configurations,
    id_as_written,
    searched_requests,
)
from clsweep.training.config import TrainingConfig

if TYPE_CHECKING:
    from clsweep.methods.hyper_fields import Hyper
    from clsweep.storage.store import Store
    from clsweep.study.study_tables import StudyTables


class Names:
    """Which configuration of a study a stored one is.

    Args:
        found: id of a stored configuration -> the configuration that does the same; those that
            have their own name are not in it.
    """

    def __init__(self, found: Mapping[str, Configuration]) -> None:
        self._found = dict(found)

    def __bool__(self) -> bool:
        return bool(self._found)

    def trial(self, trial_id: str) -> str:
        """The name of a trial.

        Args:
            trial_id: as it is stored.
        """
        config_id, _, seed = trial_id.rpartition("-")
        own = self._found.get(config_id)
        return trial_id if own is None else f"{own.id}-{seed}"

    def kept(self, stored: Mapping[str, str]) -> dict[str, str]:
        """Name of a trial -> the stored trial that is kept: one that ended, if any did.

        Args:
            stored: trial id as it is stored -> status.
        """
        ranked = sorted(stored, key=lambda key: self._rank(key, stored[key]), reverse=True)
        return {self.trial(key): key for key in ranked}

    def statuses(self, stored: Mapping[str, str]) -> dict[str, str]:
        """Name of a trial -> status; see `kept`.

        Args:
            stored: trial id as it is stored -> status.
        """
        return {name: stored[key] for name, key in self.kept(stored).items()}

    def rows(self, stored: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows of trials under their names, one per trial; see `kept`.

        Args:
            stored: each with 'trial_id' and 'status'.
        """
        by_id = {row["trial_id"]: row for row in stored}
        kept = self.kept({key: row["status"] for key, row in by_id.items()})
        return [{**by_id[key], "trial_id": name} for name, key in kept.items()]

    def records(self, stored: Sequence[Record]) -> list[Record]:
        """Records under their names, one per trial; see `kept`.

        Args:
            stored: of a results folder.
        """
        if not self:
            return [*stored]
        by_id = {record["trial"]["trial_id"]: record for record in stored}
        kept = self.kept({key: record["trial"]["status"] for key, record in by_id.items()})
        return sorted(
            (self._renamed(by_id[key]) for key in kept.values()),
            key=lambda r: (r["trial"]["config_id"], r["trial"]["seed"]),
        )

    def _renamed(self, record: Record) -> Record:
        own = self._found.get(record["trial"]["config_id"])
        if own is None:
            return record
        trial_id = trial_id_of(own.id, record["trial"]["seed"])
        return {
            **record,
            "trial": {**record["trial"], "config_id": own.id, "trial_id": trial_id},
            "config": {
                **record["config"],
                "config_id": own.id,
                "hyper": own.hyper.model_dump(mode="json"),
                "training": own.training.recorded,
            },
        }

    def _rank(self, trial_id: str, status: str) -> tuple[int, bool, str]:
        """What is kept of several comes first: what ended, then what has the name already."""
        order = {"ok": 0, "diverged": 1}.get(status, 2)
        return order, self.trial(trial_id) != trial_id, trial_id


def names_of(study: StudyTables, configs: Iterable[Mapping[str, Any]]) -> Names:
    """The names that a study has for stored configurations.

    Args:
        study: the study.
        configs: 'config_id', 'method', 'hyper' and 'training' of each, as records have them.
    """
    asked = {configuration.id for configuration in configurations(study)}
    searched = searched_requests(study)
    tables = [(Table(study, request), request in searched) for request in study.methods]
    by_key = {request.method_key: request for request in study.methods}
    found: dict[str, Configuration] = {}
    looked_at = set(asked)
    for config in configs:
        key = config["config_id"]
        if key in looked_at:
            continue
        looked_at.add(key)
        request = by_key.get(config["method"])
        numbers = _numbers_of(config, request.entry.hyper) if request else None
        # An older version of a method, or a folder's other benchmark, did something else.
        if request is None or numbers is None:
            continue
        if id_as_written(study, request, *numbers) != key:
            continue
        for table, is_searched in tables:
            if table.request.method_key != config["method"]:
                continue
            own = table.same_work(*numbers)
            if own is not None and own.id != key and (own.id in asked or is_searched):
                found[key] = own
                break
    return Names(found)


def names_in(study: StudyTables, store: Store) -> Names:
    """`names_of` all configurations in a results folder.

    Args:
        study: the study.
        store: the folder; accuracies are read only where it holds trials that nobody asks for.
    """
    asked = {configuration.id for configuration in configurations(study)}
    stored = {row["config_id"] for row in store.trials("trial_id", "config_id")}
    if stored <= asked:
        return Names({})
    return names_of(study, (record["config"] for record in store.load("validation")))


def _numbers_of(
    config: Mapping[str, Any], kind: type[Hyper]
) -> tuple[TrainingConfig, Hyper] | None:
    """The numbers of a stored configuration; None where its method has others now."""
    training = dict(config["training"])
    if training.get("steps"):
        training.pop("epochs", None)
    try:
        return TrainingConfig(**training), kind(**config["hyper"])
    except (ValidationError, TypeError):
        return None
