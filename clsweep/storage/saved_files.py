"""What trials leave beside their records where a study asks for it: names of files, by trial."""

from __future__ import annotations

from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place

MODELS = "models"
_ENDING = ".safetensors"


def model_name(trial_id: str) -> str:
    """The file of a trial's network, relative to the results folder.

    Args:
        trial_id: the trial.
    """
    return f"{MODELS}/{trial_id}{_ENDING}"


def saved_models(directory: Place) -> frozenset[str]:
    """Ids of the trials whose networks are kept; it may be empty.

    Args:
        directory: the results folder.

    Raises:
        StoreError: the folder cannot be listed.
    """
    listed = folder_of(directory).listed(MODELS, (_ENDING,))
    return frozenset(entry.stem for entry in listed)
