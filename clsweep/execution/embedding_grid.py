"""Test accuracy of every task over the plane of task embeddings, from saved networks.

    accuracy of task t at e: its test images under f_h(e; Θ_h) with the head of t,
    for e on a square grid around all e_k that were learnt, and for every e_k itself

After the figure of the two-dimensional embedding space of von Oswald, Henning, Sacramento and
Grewe 2020, "Continual learning with hypernetworks", ICLR: the hypernetwork after the last task,
test accuracy of each task as the two numbers of the embedding vary, the final embeddings marked.
The extent is clsweep's own choice: twice the width of what the embeddings span. The task is given:
its images are asked for its own classes, whatever the scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from clsweep.data.benchmarks import build
from clsweep.errors import StoreError, StudyError, closest_name
from clsweep.execution.saved_networks import SavedNetwork, load_network
from clsweep.methods.hnet import MAIN
from clsweep.methods.parts.hypernets import embedding_name
from clsweep.records.embedding_maps import EMBEDDINGS, EmbeddingCount, embeddings_table
from clsweep.records.tables import parquet_bytes
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.saved_files import saved_models
from clsweep.storage.store import Store
from clsweep.study.study import stored_study

if TYPE_CHECKING:
    from clsweep.data.tasks import TaskSequence
    from clsweep.records.schema import Record
    from clsweep.storage.remote_path import Place

METHODS = ("hnet", "hnet_tir")
_SPAN = 2.0
_LEAST_SPAN = 2.0

Told = Callable[[int, int], None]  # (trials done, trials in all)


class Grid(NamedTuple):
    """What is evaluated.

    Attributes:
        points: of one side of the square; at least 2.
        images: test images per task, evenly spaced among all; 0 for all.
    """

    points: int = 31
    images: int = 500


def map_embeddings(
    directory: Place,
    data_root: Path | None,
    grid: Grid,
    trial_ids: Sequence[str] = (),
    told: Told | None = None,
) -> list[str]:
    """Evaluate saved hypernetworks over the plane, and write `embeddings.parquet`; returns trials.

    Args:
        directory: the results folder, with networks that `[save]` has kept.
        data_root: folder that holds the data set.
        grid: what is evaluated.
        trial_ids: of which trials; none for all that can be mapped.
        told: is called after each trial.

    Raises:
        StoreError: there is no trial that can be mapped, or no such trial; a network is damaged.
        StudyError: the data are not there.
    """
    study = stored_study(directory / "study.toml")
    if study.benchmark.is_regression:
        raise StudyError(
            "maps of embeddings show accuracies, and the benchmark's targets are numbers",
            expected="a study of classes",
            where=str(directory),
            next_step=f"clsweep predictions {directory} draws what was learnt",
        )
    records = _asked(directory, trial_ids)
    counts: list[EmbeddingCount] = []
    sequences: dict[int, TaskSequence] = {}
    for n_done, record in enumerate(records, 1):
        seed = 0 if study.benchmark.draws == "fixed" else record["trial"]["seed"]
        if seed not in sequences:
            sequences[seed] = build(study.located_benchmark, data_root, seed)
        module = load_network(directory, study, record, data_root)
        trial = record["trial"]
        counts += _counts(
            EmbeddingCount(
                trial["trial_id"], record["config"]["label"], trial["seed"], 0, None, 0, 0, 0, 1
            ),
            module,
            sequences[seed],
            grid,
        )
        if told is not None:
            told(n_done, len(records))
    folder_of(directory).write(EMBEDDINGS, parquet_bytes(embeddings_table(counts)))
    return [record["trial"]["trial_id"] for record in records]


def _asked(directory: Place, trial_ids: Sequence[str]) -> list[Record]:
    """The records of the trials to map."""
    kept = saved_models(directory)
    records = Store(directory, read_only=True).load("validation")
    fits = {
        record["trial"]["trial_id"]: record
        for record in records
        if record["config"]["method"] in METHODS
        and record["config"]["hyper"]["task_embedding"] == 2
        and record["trial"]["trial_id"] in kept
    }
    for trial_id in trial_ids:
        if trial_id not in fits:
            raise StoreError(
                f"trial {trial_id} is none of a hypernetwork with embeddings of two dimensions "
                "whose network was kept",
                expected=closest_name(trial_id, fits) if fits else "one that was",
                where=str(directory),
            )
    if not fits:
        raise StoreError(
            "no network was kept of a hypernetwork with embeddings of two dimensions",
            expected=f"trials of {' or '.join(METHODS)} with task_embedding = 2",
            where=str(directory),
            next_step="write `task_embedding = 2` and [save] models = 'all' into a study file, "
            "and run it",
        )
    return [fits[trial_id] for trial_id in dict.fromkeys(trial_ids or fits)]


def _counts(
    named: EmbeddingCount, module: SavedNetwork, sequence: TaskSequence, grid: Grid
) -> Iterator[EmbeddingCount]:
    """The rows of the trial that `named` names, by task: the grid, then what was learnt."""
    params = module.params
    names = [f"{MAIN}{embedding_name(task)}" for task in range(module.n_tasks)]
    learnt = torch.stack([params[name] for name in names])
    asked: list[tuple[int | None, Tensor]] = [(None, e) for e in grid_of(learnt, grid.points)]
    asked += enumerate(learnt)
    for task, data in enumerate(sequence.tasks):
        n_all = len(data.test)
        n = min(grid.images or n_all, n_all)
        index = torch.arange(n) * n_all // n
        x, y = module.scaled(data.test.raw(index)), data.test.labels[index]
        for of, embedding in asked:
            with torch.inference_mode():
                logits = module.net.apply({**params, names[task]: embedding}, x, task)
                n_correct = int((logits.argmax(1) == y).sum())
            yield named._replace(
                on_task=task,
                embedding_of=of,
                x=float(embedding[0]),
                y=float(embedding[1]),
                n_correct=n_correct,
                n_total=n,
            )


def grid_of(learnt: Tensor, points: int) -> Tensor:
    """Embeddings on a square around those that were learnt, row by row, [points², 2].

    Args:
        learnt: [T, 2].
        points: of one side.
    """
    low, high = learnt.min(0).values, learnt.max(0).values
    half = max(_SPAN * float((high - low).max()), _LEAST_SPAN) / 2
    x, y = (torch.linspace(float(c) - half, float(c) + half, points) for c in (low + high) / 2)
    return torch.cartesian_prod(y, x).flip(1)
