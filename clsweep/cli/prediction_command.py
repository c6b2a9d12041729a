"""The command that draws what networks of a regression predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clsweep.cli.results_folders import results_place
from clsweep.errors import StudyError, closest_name
from clsweep.storage.folder_kinds import folder_of
from clsweep.text import printable

_FORMATS = ("png", "svg", "pdf")


def predictions(
    directory: Annotated[
        str,
        typer.Argument(metavar="DIR", help="Results folder of a regression, or its study file."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the figure [default: DIR].", metavar="DIR")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Of png, svg, pdf.", metavar="A,B,...")
    ] = "png,svg",
    seed: Annotated[
        int | None, typer.Option(help="Of which networks [default: the first].", metavar="SEED")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Where data sets lie.", metavar="DIR")
    ] = None,
) -> None:
    """Draw true functions, and what kept networks of a regression predict after the last task.

    A panel per method, of its best configuration on validation data. The study has to say
    [save] models = "all" or "chosen".
    """
    endings = _endings(formats)
    place = results_place(directory)
    folder = out or folder_of(place).local_path
    if folder is None:
        raise StudyError(
            f"a figure cannot be written to {place}",
            expected="a local folder",
            where="--out",
            next_step="name one with `--out DIR`",
        )
    # torch and matplotlib take a second, which a mistake need not wait for.
    from clsweep.data.data_root import data_root as root_of
    from clsweep.execution.learnt_functions import learnt_functions
    from clsweep.reporting.render.prediction_figure import prediction_bytes
    from clsweep.storage.disk import write_atomically

    found = learnt_functions(place, root_of(data_root), seed)
    folder.mkdir(parents=True, exist_ok=True)
    for ending in endings:
        path = folder / f"predictions.{ending}"
        write_atomically(path, prediction_bytes(found, ending))
        print(f"wrote {printable(str(path), one_line=True)}")


def _endings(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in _FORMATS:
            raise StudyError(
                f"there is no format '{name}'",
                expected=closest_name(name, _FORMATS),
                where="--format",
            )
    if not names:
        raise StudyError(
            "no format is named", expected=f"of {', '.join(_FORMATS)}", where="--format"
        )
    return names
