"""Doubts about a study's data, a sentence each: said by `plan`, `doctor` and `run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.data.class_counts import class_notes
from clsweep.data.data_files import STORED, missing_files, place_of_data
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import DatasetSpec
from clsweep.data.task_sizes import TaskSize, benchmark_sizes

if TYPE_CHECKING:
    from clsweep.data.benchmark_specs import BenchmarkConfig
    from clsweep.study.study_tables import StudyTables


def data_notes(study: StudyTables, root: Path | None) -> list[str]:
    """What a reader of the study's accuracies would have to know of its data.

    Args:
        study: the study.
        root: the data root, see `dataset_lookup.dataset_spec`.

    Raises:
        StudyError: the data cannot be used.
    """
    benchmark = study.conditions.located_benchmark
    names = dict.fromkeys(benchmark.datasets)
    specs = [dataset_spec(name, root, benchmark.framing) for name in names]
    notes = [note for spec in specs for note in spec.notes]
    notes += class_notes(benchmark, root, study.seeds)
    sizes = benchmark_sizes(benchmark, root)
    for request in study.methods:
        axes = request.axes()
        if "memory_size" in axes:
            each = {*axes.get("per_task", (False,))} == {True}
            notes += _memory_notes(request.label, axes["memory_size"], each, sizes)
    return notes


def data_facts(study: StudyTables, root: Path | None) -> list[str]:
    """What `plan` says of the data besides: what is in memory, which examples validate.

    Args:
        study: the study.
        root: the data root.
    """
    benchmark = study.located_benchmark
    found: list[str] = []
    for name in dict.fromkeys(benchmark.datasets):
        spec = dataset_spec(name, root, benchmark.framing)
        found += [spec.residence] if spec.residence else []
        found += _own_notes(benchmark, spec)
    return found


def _own_notes(benchmark: BenchmarkConfig, spec: DatasetSpec) -> Iterator[str]:
    """What is done with a validation part of the data set's own."""
    if not spec.validation_counts:
        return
    n = f"{sum(spec.validation_counts):,} validation examples of its own"
    if benchmark.validation == "own":
        yield (
            f"{spec.name} has {n}, which are used: validation_fraction and split take nothing "
            "from its training examples"
        )
    else:
        yield (
            f"{spec.name} has {n}, which are not used: validation = 'drawn' takes them from its "
            "training examples"
        )


def download_notes(study: StudyTables, root: Path | None) -> list[str]:
    """What a run would have to download first.

    Args:
        study: the study.
        root: the data root.
    """
    place = place_of_data(root)
    return [
        f"{name} is not in {place}: a run downloads {STORED[name].megabytes} MB to it"
        for name in dict.fromkeys(study.benchmark.datasets)
        if missing_files(name, root)
    ]


def _memory_notes(
    label: str, memory_sizes: Iterable[int], is_each: bool, sizes: Sequence[TaskSize]
) -> Iterator[str]:
    """A memory too small to hold an example of every class that it is to recall."""
    classes = [size.n_classes for size in sizes[:-1]]
    n, of = (max(classes), "of a task") if is_each else (sum(classes), "before the last task")
    small = sorted(size for size in memory_sizes if size < n)
    if small:
        listed = ", ".join(map(str, small))
        yield (
            f"{label}: memory_size = {listed} holds fewer examples than the {n} classes "
            f"{of}: of some it stores none"
        )
