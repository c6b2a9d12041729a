"""The folder above the results folders of one study file with several benchmarks.

Its `benchmarks.json` lists their labels, in the order of the file; each names a results folder in
it. It is written when a run starts, and never forgets a label whose folder may hold results.

    {"benchmarks": ["digits", "mnist"]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from clsweep.errors import StoreError
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place

LIST = "benchmarks.json"


def note_benchmarks(place: Place, labels: Sequence[str]) -> None:
    """Write down which benchmarks have their results in a folder.

    Args:
        place: the folder; made if it does not exist.
        labels: of the study file's benchmarks, in its order.

    Raises:
        StoreError: it is the results folder of one study, or it cannot be written.
    """
    if (place / "versions.json").is_file():
        raise StoreError(
            f"{place} holds the results of one benchmark",
            expected="a folder that may hold a results folder for each benchmark",
            next_step="give the study another name, or name another folder with `--out DIR`",
        )
    known = noted_benchmarks(place)
    together = [*labels, *(label for label in known if label not in labels)]
    if together != [*known]:
        folder = folder_of(place)
        folder.make()
        folder.write(LIST, json.dumps({"benchmarks": together}).encode())


def noted_benchmarks(place: Place) -> tuple[str, ...]:
    """The labels of the benchmarks whose results folders lie in a folder; none if it is no such.

    Args:
        place: the folder; it need not exist.

    Raises:
        StoreError: the list is damaged.
    """
    try:
        found = json.loads((place / LIST).read_bytes())["benchmarks"]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise _damaged(place) from error
    is_list = isinstance(found, list) and all(isinstance(one, str) for one in found)
    if not is_list or any(one in ("", ".", "..") or "/" in one for one in found):
        raise _damaged(place)
    return tuple(found)


def refuse_several(place: Place) -> None:
    """Refuse a folder that holds results folders where one is wanted.

    Args:
        place: a folder without results of its own.

    Raises:
        StoreError: it holds those of the benchmarks of a study file.
    """
    if labels := noted_benchmarks(place):
        raise StoreError(
            f"{place} holds the results of several benchmarks: {', '.join(labels)}",
            expected="the results folder of one of them",
            next_step=f"name it, such as {place / labels[0]}; `clsweep report` and "
            "`clsweep status` show all",
        )


def _damaged(place: Place) -> StoreError:
    return StoreError(
        "the list of benchmarks is damaged",
        expected='{"benchmarks": ["LABEL", ...]}',
        where=str(place / LIST),
        next_step="the next `clsweep run` of the study writes it anew if you delete it",
    )
