"""The command that turns images into features of a frozen network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from clsweep.errors import StudyError, closest_name
from clsweep.text import duration

Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET|STUDY.toml",
        help="A data set that `clsweep benchmarks` lists, folder:PATH or arrays:PATH; or the "
        "study file that names it, and how its images come to one size.",
    ),
]
Out = Annotated[
    Path, typer.Option(help="Folder for the arrays; goes on with what is there.", metavar="DIR")
]
Backbone = Annotated[
    str,
    typer.Option(
        help="A model of torchvision without its last layer, or package.module:factory.",
        metavar="NAME",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="File with its state dict [default: drawn weights].", metavar="FILE"),
]
Resize = Annotated[
    int, typer.Option(min=0, max=4096, help="Pixels of the shorter side; 0 leaves the size.")
]
Crop = Annotated[
    int, typer.Option(min=0, max=4096, help="Side of the central square; 0 leaves the image.")
]
Pixels = Annotated[
    str | None,
    typer.Option(
        help="'unit': value / 255; 'imagenet': then standardized as published weights of "
        "torchvision expect [default: imagenet; unit for a factory].",
        metavar="KIND",
    ),
]


def features(
    dataset: Dataset,
    out: Out,
    backbone: Backbone = "resnet18",
    weights: Weights = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights that are drawn.")] = 0,
    resize: Resize = 0,
    crop: Crop = 0,
    pixels: Pixels = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 128,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda [default: cuda where there is one].")
    ] = None,
    data_root: Annotated[
        str | None,
        typer.Option(help="Folder that holds data sets [default: CLSWEEP_DATA].", metavar="DIR"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Turn images into features of a frozen network, as arrays that a study reads.

    The same command again computes nothing; after an interruption it goes on.
    """
    from clsweep.data.data_root import data_root as root_of
    from clsweep.execution.frozen_features import FeatureRequest, compute_features
    from clsweep.user_code import is_import_path

    root = root_of(data_root)
    if dataset.endswith(".toml"):
        dataset, *framing = _of_study(Path(dataset), root)
        resize, crop = (
            given or framed for given, framed in zip((resize, crop), framing, strict=True)
        )
    usual = "unit" if is_import_path(backbone) else "imagenet"
    kind = _one_of("--pixels", pixels or usual, ("unit", "imagenet"))
    request = FeatureRequest(dataset, backbone, weights, seed, resize, crop, kind)

    def told(n_done: int, n_images: int, seconds: float) -> None:
        left = f", about {duration(seconds)} left" if n_done < n_images else ""
        print(f"clsweep: {n_done:,}/{n_images:,} images{left}", file=sys.stderr)

    try:
        found = compute_features(
            request,
            out,
            root,
            batch_size=batch_size,
            device=_device(device),
            told=None if quiet else told,
        )
    except KeyboardInterrupt:
        print("clsweep: stopped; the same command goes on from here", file=sys.stderr)
        raise
    sizes = ", ".join(f"{n:,} {part}" for part, n in found.n_examples.items())
    what = f"{found.n_computed:,} computed" if found.n_computed else "all there, none computed"
    print(f"features of {dataset}: {sizes}, {found.width} numbers each; {what}")
    print(f'dataset = "arrays:{out}"')


def _of_study(path: Path, root: Path | None) -> tuple[str, int, int]:
    """Data set, resize and crop of a study."""
    from clsweep.study.study import load_studies

    benchmarks = [study.located_benchmark for study in load_studies(path, root).values()]
    benchmark = benchmarks[0]
    names = [*dict.fromkeys(name for one in benchmarks for name in one.datasets)]
    if len(names) > 1:
        raise StudyError(
            f"the study names several data sets: {', '.join(names)}",
            expected="one of them instead of the study",
            where=str(path),
            next_step="give the command once for each",
        )
    return names[0], benchmark.resize, benchmark.crop


def _device(name: str | None) -> str:
    import torch

    has_gpu = torch.cuda.is_available()
    if name is None:
        return "cuda" if has_gpu else "cpu"
    device = _one_of("--device", name, ("cpu", "cuda"))
    if device == "cuda" and not has_gpu:
        raise StudyError("torch sees no GPU here", where="--device", next_step="--device cpu")
    return device


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value in known:
        return value
    raise StudyError(
        f"{option} {value} is not known", expected=closest_name(value, known), where=option
    )
