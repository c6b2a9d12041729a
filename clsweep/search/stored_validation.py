"""The records of a results folder as all take them that choose by validation accuracies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsweep.errors import ClsweepError
from clsweep.records.schema import Record
from clsweep.search.validation_table import ValidationTable, validation_table
from clsweep.storage.remote_path import Place
from clsweep.study.renamed_trials import names_of

if TYPE_CHECKING:
    from clsweep.storage.store import Store


def read_validation(directory: Place) -> ValidationTable:
    """The candidates of a results folder; its test counts never become numbers.

    Args:
        directory: the results folder of a study.

    Raises:
        StoreError: the results cannot be read, or are of different data under one name.
    """
    from clsweep.records.recorded_inputs import refuse_mixture
    from clsweep.storage.store import Store

    records = of_its_study(Store(directory), "validation")
    refuse_mixture(records, str(directory))
    return validation_table(records)


def of_its_study(store: Store, split: str | None = None) -> list[Record]:
    """The records of a results folder under the names of its own study, if that can be read.

    Args:
        store: the folder.
        split: see `Store.load`.

    Raises:
        StoreError: see `Store.load`.
    """
    from clsweep.study.study import stored_study

    records = store.load(split)
    try:
        study = stored_study(store.directory / "study.toml")
    except ClsweepError:
        return records
    return names_of(study, (record["config"] for record in records)).records(records)
