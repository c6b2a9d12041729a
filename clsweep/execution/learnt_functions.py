"""What networks of a regression predict after the last task: a line per task, of kept networks.

Of every label it is the configuration with the best average on validation data, with one seed. No
test example is looked at: beside the lines stand training examples, and the true function where it
is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from clsweep.data.benchmarks import build
from clsweep.data.polynomials import POLYNOMIALS
from clsweep.errors import StoreError, StudyError
from clsweep.execution.saved_networks import load_network
from clsweep.reporting.learnt_functions import LearntFunctions, Predicted, TaskFunction
from clsweep.search.selection_protocols import best_average
from clsweep.search.stored_validation import of_its_study
from clsweep.search.validation_table import ValidationTable, validation_table
from clsweep.storage.store import Store
from clsweep.study.study import stored_study

if TYPE_CHECKING:
    from clsweep.data.tasks import TaskSequence
    from clsweep.records.schema import Record
    from clsweep.storage.remote_path import Place
    from clsweep.study.study import Study

_N_PLACES = 201


class _Chosen(NamedTuple):
    label: str
    configuration: str


def learnt_functions(
    directory: Place, data_root: Path | None = None, seed: int | None = None
) -> LearntFunctions:
    """Lines of all labels.

    Args:
        directory: the results folder of a regression with one input and one target, whose study
            keeps networks.
        data_root: where arrays of the user's lie.
        seed: of which networks; None for the first that every candidate has finished with.

    Raises:
        StudyError: the study is no such regression, or has no such seed.
        StoreError: nothing has finished, or a network was not kept, or is damaged.
    """
    study = stored_study(directory / "study.toml")
    _check_regression(study)
    records = of_its_study(Store(directory, read_only=True), "validation")
    table = validation_table(records)
    seed = _seed(table, seed, directory)
    sequence = build(study.located_benchmark, data_root, seed)
    _check_shape(sequence)
    wanted = {(r["trial"]["config_id"], r["trial"]["seed"]): r for r in records}
    tasks = tuple(_task(sequence, study, place) for place in range(len(sequence.tasks)))
    found = []
    for label, configuration in _chosen(table):
        record = wanted[configuration, seed]
        lines = _lines(directory, study, record, tasks, data_root)
        found.append(Predicted(label, record["config"]["knobs"], lines))
    return LearntFunctions(study.name, seed, tasks, tuple(found))


def _check_regression(study: Study) -> None:
    if not study.benchmark.is_regression:
        raise StudyError(
            f"the targets of '{study.name}' are classes",
            expected="a regression: [benchmark] targets = 'numbers', or name = 'polynomials'",
        )


def _check_shape(sequence: TaskSequence) -> None:
    shape, n_targets = sequence.input_shape, sequence.heads.n_targets
    if shape != (1,) or n_targets != 1:
        raise StudyError(
            f"the benchmark has inputs of shape {list(shape)} and {n_targets} targets",
            expected="one input and one target, which a figure can show",
        )


def _seed(table: ValidationTable, seed: int | None, directory: Place) -> int:
    if not table.candidates:
        raise StoreError(
            "no configuration has finished with every seed",
            where=str(directory),
            next_step="`clsweep status DIR` says what is missing",
        )
    if seed is None:
        return table.seeds[0]
    if seed not in table.seeds:
        listed = ", ".join(map(str, table.seeds))
        raise StudyError(f"there is no seed {seed}", expected=f"one of {listed}", where="--seed")
    return seed


def _chosen(table: ValidationTable) -> list[_Chosen]:
    """The best configuration of every label: curves, then references."""
    labels = dict.fromkeys((*table.labels, *(c.label for c in table.candidates)))
    best = ((label, best_average(table.of(label))) for label in labels)
    return [_Chosen(label, one.config_id) for label, one in best if one is not None]


def _task(sequence: TaskSequence, study: Study, place: int) -> TaskFunction:
    examples = sequence.tasks[place].train
    x = examples.raw(torch.arange(len(examples)))[:, 0].double().numpy()
    grid = torch.linspace(float(x.min()), float(x.max()), _N_PLACES).double().numpy()
    name = study.benchmark.datasets[place] if study.benchmark.name == "polynomials" else ""
    true = POLYNOMIALS[name](grid) if name else None
    return TaskFunction(x, examples.labels[:, 0].double().numpy(), grid, true)


def _lines(
    directory: Place,
    study: Study,
    record: Record,
    tasks: tuple[TaskFunction, ...],
    data_root: Path | None,
) -> tuple[list[float], ...]:
    model = load_network(directory, study, record, data_root)
    with torch.inference_mode():
        return tuple(
            model(torch.from_numpy(task.grid)[:, None].float(), place)[:, 0].tolist()
            for place, task in enumerate(tasks)
        )
