"""Which saved networks stay in a results folder when a run ends, and which of them are missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clsweep.search.chosen_configurations import choices_so_far
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.saved_files import MODELS, model_name, saved_models
from clsweep.text import command, counted
from clsweep.toml_text import toml_value

if TYPE_CHECKING:
    from clsweep.storage.store import Store
    from clsweep.study.study_tables import StudyTables


def settle_models(study: StudyTables, store: Store) -> list[str]:
    """Delete what `[save] models` does not ask for; returns what the user has to know.

    With 'chosen' nothing is deleted before every trial of the study is done: only then is known
    what is chosen. Networks of trials that the study does not ask for stay as they are.

    Args:
        study: the study.
        store: its results folder, held by this run, with all records in the tables.

    Raises:
        StoreError: the folder cannot be read, or refuses.
    """
    if study.save.models == "none":
        return []
    folder = folder_of(store.directory)
    folder.clean(MODELS)
    kept = saved_models(store.directory)
    own = {r.method_key for r in study.methods if r.entry.kind == "learner"}
    finished = {row["trial_id"] for row in _finished(store) if row["method"] not in own}
    notes = [
        f"[save] models: '{name}' leaves no network; what a learner of your own has learnt is its "
        "own object, which only its own code could write and read"
        for name in sorted(own)
    ]
    if study.save.models == "all":
        return notes + _missing(store, sorted(finished - kept), of_chosen=False)
    if not finished:
        return notes
    found = choices_so_far(study, store.load("validation"))
    if found is None or not found.is_whole:  # those that have finished may be of another grid
        return notes
    asked, chosen = set(found.configurations), found.ids
    for trial_id in sorted(kept):
        config_id = trial_id.rpartition("-")[0]
        if config_id in asked and config_id not in chosen:
            folder.delete(model_name(trial_id))
    wanted = {trial_id for trial_id in finished if trial_id.rpartition("-")[0] in chosen}
    return notes + _missing(store, sorted(wanted - kept), of_chosen=True)


def _finished(store: Store) -> Iterator[dict[str, str]]:
    rows = store.trials("trial_id", "status", "method")
    return (row for row in rows if row["status"] == "ok")


def _missing(store: Store, trial_ids: list[str], *, of_chosen: bool) -> list[str]:
    """What to do about trials that had finished before their networks were asked for."""
    if not trial_ids:
        return []
    what = "'chosen'" if of_chosen else "'all'"
    text = (
        f"[save] models = {what}: {counted(len(trial_ids), 'finished trial')} left no network, "
        "since none was to be kept then; "
    )
    if folder_of(store.directory).keeps_records:
        return [
            f"{text}in an object store no record is deleted, so that `clsweep run` with another "
            "--out, and the same --stages, is the way to train them again"
        ]
    which = 'status = "ok" and has_model = false'
    if of_chosen:
        ids = sorted({trial_id.rpartition("-")[0] for trial_id in trial_ids})
        which += f" and config_id in {toml_value(ids)}"
    forget = command(f"{command('clsweep forget', store.directory)} --where", which)
    return [f"{text}`{forget}`, and then the same run, train them again"]
