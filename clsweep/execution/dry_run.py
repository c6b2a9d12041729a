"""A dry run: what a run would do and cost, as far as its results folder goes; computes nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.data.data_root import data_root as root_of
from clsweep.data.task_sizes import benchmark_sizes
from clsweep.execution import stage_cache
from clsweep.execution.forecast import FinishedTrial, Forecast, forecast
from clsweep.execution.unstable_weights import UnstableWeights
from clsweep.records.own_code import older_code_notes
from clsweep.records.recorded_inputs import stage_inputs
from clsweep.search.search import expected
from clsweep.search.stopping_rules import counts_as_done
from clsweep.storage.remote_path import Place, place_of
from clsweep.storage.store import Store
from clsweep.storage.study_binding import check_binding
from clsweep.study.configurations import study_identity
from clsweep.study.data_warnings import data_facts, data_notes, download_notes
from clsweep.study.declarations import code_of_methods
from clsweep.study.input_fingerprints import inputs_of
from clsweep.study.renamed_trials import names_in
from clsweep.study.resolved_toml import resolved_toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from typing import Any

    from clsweep.records.schema import Record
    from clsweep.study.study_tables import StudyTables


def plan(
    study: StudyTables,
    out: Place | PathLike[str] | str | None = None,
    *,
    data_root: Path | str | None = None,
    stages: Place | PathLike[str] | str | None = None,
) -> Forecast:
    """What a run of a study would do and cost: what `clsweep plan` prints, as a value.

    Nothing is trained or downloaded, no folder is written to, and neither torch nor Ray is
    imported, unless by a method of the user's own.

    Args:
        study: what is asked for.
        out: the results folder, a path or a URI; it need not exist. None for results/NAME.
        data_root: folder that holds the data sets; None for that of `CLSWEEP_DATA`.
        stages: the stage cache, likewise; None for `out`/stages.

    Raises:
        StudyError: the data cannot be used.
        StoreError: the folder belongs to another study, was computed from other data, or cannot
            be read.
        CacheError: a stage whose importances are looked at is damaged.
    """
    folder = place_of(out) if out else study.results_folder
    root = root_of(data_root)
    check_binding(folder, study_identity(study), resolved_toml(study))
    store = Store(folder)
    inputs = inputs_of(study, root)
    store.check_inputs(inputs)
    records, finished = _stored(study, store)
    stage_folder = place_of(stages) if stages else folder / "stages"
    values = stage_inputs(inputs)
    planned = forecast(
        study,
        benchmark_sizes(study.located_benchmark, root),
        finished,
        partial(stage_cache.exists, stage_folder),
        expected(study, records, {trial.trial_id for trial in finished}),
        values,
        [
            *download_notes(study, root),
            *data_facts(study, root),
            *data_notes(study, root),
            *_code_notes(study, store),
        ],
        UnstableWeights(study, stage_folder, values).notes,
    )
    return planned._replace(warnings=tuple(store.warnings))


def _code_notes(study: StudyTables, store: Store) -> list[str]:
    """What of the folder's results is of other code of the user's own than there is now."""
    now = code_of_methods(study)
    if not now:
        return []
    trials = store.trials("trial_id", "method", "versions")
    return [
        f"the folder holds {text}; they are kept, and the code of now is computed beside them"
        for text in older_code_notes(trials, now)
    ]


def _stored(study: StudyTables, store: Store) -> tuple[list[Record], list[FinishedTrial]]:
    """(records that a search goes on from, none for a grid; all finished trials)."""
    names = names_in(study, store)
    records: list[Record] = []
    rows: list[Mapping[str, Any]]
    if not study.search.asks:
        # It has said all that it asks for; the accuracies need not be read.
        stored = names.rows(store.trials(*FinishedTrial._fields))
        rows = [row for row in stored if row["status"] != "stopped"]
    else:
        records = names.records(store.load("validation"))
        rows = [r["trial"] for r in records if counts_as_done(study.search, r["trial"])]
    return records, [FinishedTrial(*(row[key] for key in FinishedTrial._fields)) for row in rows]
