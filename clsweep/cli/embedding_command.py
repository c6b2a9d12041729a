"""The command that evaluates saved hypernetworks over the plane of their task embeddings."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from clsweep.cli.results_folders import results_place
from clsweep.text import command, counted


def embeddings(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A results folder, or its URI.")],
    trial: Annotated[
        list[str] | None,
        typer.Option(
            help="One trial, CONFIGURATION-SEED [default: all that can be mapped]. Can be given "
            "several times.",
            metavar="ID",
        ),
    ] = None,
    points: Annotated[
        int, typer.Option(min=2, max=501, help="Embeddings along one side of the square.")
    ] = 31,
    images: Annotated[int, typer.Option(min=0, help="Test images per task; 0 for all.")] = 500,
    data_root: Annotated[
        str | None,
        typer.Option(help="Folder that holds data sets [default: CLSWEEP_DATA].", metavar="DIR"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Map the accuracy of each task over the plane of task embeddings, from saved hypernetworks.

    Writes embeddings.parquet, which `clsweep report DIR --embeddings` draws.
    """
    from clsweep.data.data_root import data_root as root_of
    from clsweep.execution.embedding_grid import Grid, map_embeddings
    from clsweep.reporting.results_reader import check_folders

    def told(n_done: int, n_trials: int) -> None:
        print(f"clsweep: {n_done}/{n_trials} trials mapped", file=sys.stderr)

    place = results_place(directory)
    check_folders([place])
    trials = map_embeddings(
        place, root_of(data_root), Grid(points, images), trial or (), None if quiet else told
    )
    side = f"{points} x {points} embeddings"
    print(f"{counted(len(trials), 'trial')} mapped at {side}: {place / 'embeddings.parquet'}")
    print(f"next: {command('clsweep report', place)} --embeddings")
