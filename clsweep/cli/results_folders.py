"""Results folders as people name them on the command line: a folder, a URI, or a study file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clsweep.errors import StudyError
from clsweep.storage.benchmark_folders import noted_benchmarks
from clsweep.storage.remote_path import Place, RemotePath, place_of
from clsweep.storage.store import Store
from clsweep.text import command, counted


def results_place(word: str) -> Place:
    """The results folder that a word names.

    Args:
        word: a folder, a URI, or a study file: of that where `clsweep run` writes without --out.

    Only the study file's name and its benchmarks are read: all else is what the folder itself
    says.

    Raises:
        StudyError: the study file cannot be read, or has no name; there are several benchmarks.
    """
    if isinstance(place := place_of(word), RemotePath):
        return place  # what lies there is told by whoever reads it
    place, labels = results_by_benchmark(word)
    if labels:
        raise StudyError(
            f"{word} has {counted(len(labels), 'benchmark')}, each with results of its own",
            expected="the results folder of one of them",
            next_step=f"name it, such as {place / labels[0]}",
        )
    return place


def results_by_benchmark(word: str) -> tuple[Place, tuple[str, ...]]:
    """(folder that a word names, labels of the benchmarks whose results folders lie in it).

    There are no labels where the folder has the results of one study.

    Args:
        word: see `results_place`.

    Raises:
        StudyError: the study file cannot be read, or has no name.
        StoreError: the folder's list of benchmarks is damaged.
    """
    path = Path(word)
    if path.suffix != ".toml" or not path.is_file():
        place = place_of(word)
        return place, _noted(place)
    if path.name == "study.toml" and (path.parent / "versions.json").exists():
        return path.parent, ()  # the copy that lies within the results
    from clsweep.study.several_benchmarks import tables_by_benchmark
    from clsweep.study.study import results_folder_of
    from clsweep.study.toml_files import file_text, toml_tables

    folder = results_folder_of(path)
    return folder, tuple(tables_by_benchmark(toml_tables(file_text(path), word), word))


def _noted(place: Place) -> tuple[str, ...]:
    if (place / "versions.json").is_file():
        return ()
    return noted_benchmarks(place)


def each_place(word: str, labels: tuple[str, ...], place: Place) -> list[Place]:
    """The results folders of benchmarks, those that exist.

    Args:
        word: what named their folder.
        labels: of the benchmarks.
        place: their folder.

    Raises:
        StudyError: none exists.
    """
    found = [place / label for label in labels if (place / label).is_dir()]
    if not found:
        raise StudyError(
            f"none of the benchmarks of {word} has results",
            expected=f"results folders in {place}",
            next_step=f"`{run_of_all(word)}`",
        )
    return found


def with_trials(word: str, places: Sequence[Place]) -> list[Place]:
    """Those of the results folders of benchmarks in which a trial has finished.

    Args:
        word: what named their folder.
        places: results folders, at least one.

    Raises:
        StudyError: there is no finished trial in any.
        StoreError: a table is damaged.
    """
    stores = [Store(place, read_only=True) for place in places]
    found = [place for place, store in zip(places, stores, strict=True) if store.statuses()]
    if not found:
        warnings = [warning for store in stores for warning in store.warnings]
        raise StudyError(
            f"none of the benchmarks of {word} has finished trials to report",
            expected=f"finished trials in {', '.join(map(str, places))}",
            next_step="; ".join([*warnings, f"`{run_of_all(word)}`"]),
        )
    return found


def run_of_all(word: str) -> str:
    """The command that runs what is left of all benchmarks.

    Args:
        word: what named their folder: the study file, or the folder itself, which does not know
            the file.
    """
    if word.endswith(".toml"):
        return command("clsweep run", word)
    return command("clsweep run STUDY.toml --out", word)
