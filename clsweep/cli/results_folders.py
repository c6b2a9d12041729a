"""Results folders as people name them on the command line: a folder, a URI, or a study file."""

from __future__ import annotations

from pathlib import Path

from clsweep.storage.remote_path import Place, place_of


def results_place(word: str) -> Place:
    """The results folder that a word names.

    Args:
        word: a folder, a URI, or a study file: of that where `clsweep run` writes without --out.

    Only the study file's name is read: all else is what the folder itself says.

    Raises:
        StudyError: the study file cannot be read, or has no name.
    """
    path = Path(word)
    if path.suffix != ".toml" or not path.is_file():
        return place_of(word)
    if path.name == "study.toml" and (path.parent / "versions.json").exists():
        return path.parent  # the copy that lies within the results
    from clsweep.study.study import results_folder_of

    return results_folder_of(path)
