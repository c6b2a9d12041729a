"""A study: everything one TOML file asks for, checked before anything is computed.

`load_study` turns every mistake in the file into one `StudyError` in the file's own words.
Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError, ValidationInfo, field_validator, model_validator

from clsweep.config_section import as_toml, mistake
from clsweep.data.benchmark_specs import BenchmarkConfig
from clsweep.data.class_counts import class_notes
from clsweep.data.data_files import is_there
from clsweep.data.data_root import data_root as root_of
from clsweep.data.regression_checks import check_targets
from clsweep.data.task_sizes import benchmark_sizes
from clsweep.errors import StudyError
from clsweep.methods.declared_methods import Declared
from clsweep.methods.entry import MethodEntry
from clsweep.nets.checks import check_factory, weights_file
from clsweep.nets.config import NetConfig
from clsweep.records.trial_extras import MEASURE_GROUP
from clsweep.storage.remote_path import Place
from clsweep.study.configurations import check_configurations, examples, searched_requests
from clsweep.study.declarations import declared_beside
from clsweep.study.errors import key_path, location, study_error
from clsweep.study.grid import MAX_RANGE_VALUES, MethodRequest, around
from clsweep.study.input_conditions import check_fit
from clsweep.study.made_arrays import make_arrays
from clsweep.study.method_tables import AnyRequest
from clsweep.study.own_optimisers import check_own_optimisers
from clsweep.study.regression_conditions import check_regression, check_regression_methods
from clsweep.study.search_checks import check_sampler, check_spaces, opened_methods
from clsweep.study.search_space import space_of
from clsweep.study.sections import Resources
from clsweep.study.several_benchmarks import refuse_several, tables_by_benchmark
from clsweep.study.study_tables import Origin, StudyTables
from clsweep.study.toml_files import file_text, leaves, toml_tables
from clsweep.text import is_printable
from clsweep.training.config import TrainingConfig
from clsweep.training.optimiser_names import WITHOUT_RATE
from clsweep.user_code import code_path

# Of all ranges together: each is expanded before anything is known of how they combine.
MAX_VALUES = 1_000_000


class Study(StudyTables):
    """Everything one TOML file asks for. Frozen; equal files give equal studies."""

    @field_validator("methods")
    @classmethod
    def _opened(
        cls, methods: tuple[AnyRequest, ...], info: ValidationInfo
    ) -> tuple[MethodRequest, ...]:
        """The tables with their ranges: what is searched is part of what the study says."""
        if {*info.data} != {*cls.model_fields} - {"methods"}:
            return methods  # another section is wrong, and that is told alone
        net, benchmark = info.data["net"], info.data["benchmark"]
        _check_labels([request.label for request in methods])
        entries = [(request.method_key, request.entry) for request in methods]
        _check_scenarios(entries, benchmark.scenario)
        check_regression_methods(entries, benchmark)
        _check_norms(entries, net)
        return opened_methods(info.data["search"], methods, around(net, benchmark))

    @model_validator(mode="after")
    def _check(self) -> Study:
        if self.search.asks:
            searched = searched_requests(self)
            check_spaces(self, {one.label: space_of(self, one).axes for one in searched})
        check_configurations(self)
        trainings = dict.fromkeys(one.training for one in examples(self))
        _check_augment(self.benchmark, trainings)
        _check_precision(self.resources, trainings)
        _check_proximal(self)
        _check_choosing(self.seeds, self.report.choose_on)
        if self.benchmark.is_regression:
            check_regression(self, trainings)
        return self


def load_study(path: Path | str, data_root: Path | str | None = None) -> Study:
    """The study in a TOML file.

    Args:
        path: the file; relative paths in it are looked up beside it first.
        data_root: where data sets lie; None for the folder that `CLSWEEP_DATA` names.

    Raises:
        StudyError: the file cannot be read, or anything in it is wrong.
    """
    raw = toml_tables(file_text(Path(path)), str(path))
    refuse_several(raw.get("benchmark", {}), raw.get("benchmarks"), str(path))
    origin = Origin(Path(path).absolute().parent)
    return _checked(raw, str(path), root_of(data_root), origin)


def load_studies(path: Path | str, data_root: Path | str | None = None) -> dict[str, Study]:
    """The studies in a TOML file by the labels of their benchmarks, in the order of the file.

    Each is what it would be in a file of its own, but for its name and its results folder,
    `results/NAME/LABEL`. A file with one `[benchmark]` gives one study, whose label is empty.

    Args:
        path: the file; relative paths in it are looked up beside it first.
        data_root: where data sets lie; None for the folder that `CLSWEEP_DATA` names.

    Raises:
        StudyError: the file cannot be read, or anything in it is wrong.
    """
    raw = toml_tables(file_text(Path(path)), str(path))
    several = tables_by_benchmark(raw, str(path))
    if not several:
        return {"": load_study(path, data_root)}
    root, folder = root_of(data_root), Path(path).absolute().parent
    return {
        label: _checked(
            tables,
            f"{path}, benchmark '{label}'",
            root,
            Origin(folder, results_folder_of(path) / label),
        )
        for label, tables in several.items()
    }


def stored_study(path: Place) -> Study:
    """The study in a results folder, whose sizes were checked when it ran: no data are needed.

    No code of the study is needed either: what it has of its own is declared beside it.

    Args:
        path: the file.

    Raises:
        StudyError: the file cannot be read, or anything in it is wrong.
    """
    return written_study(file_text(path), str(path), declared_beside(path))


def written_study(text: str, where: str, declared: Declared | None = None) -> Study:
    """The study in a TOML text that was written by clsweep: no data are needed.

    Args:
        text: the TOML text.
        where: its file, for messages.
        declared: what is known about code of the study's own; None to import it.

    Raises:
        StudyError: anything in it is wrong.
    """
    return _validated(toml_tables(text, where), where, declared)


def shared_study(path: Place) -> Study:
    """All that a study file says beside its methods, with fine-tuning as its only one.

    Neither data nor code of the user's own are needed. What is searched, kept and told to
    callbacks goes with the methods.

    Args:
        path: the file, a user's or that of a results folder.

    Raises:
        StudyError: the file cannot be read, or a section of these is wrong.
    """
    raw = toml_tables(file_text(path), str(path))
    refuse_several(raw.get("benchmark", {}), raw.get("benchmarks"), str(path))
    shared = {key: raw[key] for key in raw.keys() - {"methods", "search", "save", "callbacks"}}
    shared["methods"] = _LEAST["methods"]
    return _validated(shared, str(path), Declared({}, {}))


def results_folder_of(path: Path | str) -> Path:
    """Where the results of a study file lie if no other folder is named; only its name is read.

    Of several benchmarks, it is the folder that holds a results folder for each.

    Args:
        path: the file.

    Raises:
        StudyError: the file cannot be read, or its name is none.
    """
    raw = toml_tables(file_text(Path(path)), str(path))
    named = {key: raw[key] for key in ("name",) if key in raw}
    return _validated({**_LEAST, **named}, str(path), None).results_folder


# What a file must have to be a study, beside its name.
_LEAST = {"benchmark": {"name": "split"}, "methods": [{"name": "finetune"}]}


def parse_study(text: str, where: str = "the study", data_root: Path | None = None) -> Study:
    """The study in a TOML text.

    Args:
        text: the TOML text.
        where: its file, for messages.
        data_root: where data sets lie.

    Raises:
        StudyError: anything in it is wrong.
    """
    raw = toml_tables(text, where)
    refuse_several(raw.get("benchmark", {}), raw.get("benchmarks"), where)
    return _checked(raw, where, data_root, Origin())


def _checked(raw: dict[str, Any], where: str, data_root: Path | None, origin: Origin) -> Study:
    study = _validated(raw, where, None)
    study._origin = origin
    _check_sizes(study, raw, where, data_root)
    return study


def _validated(raw: dict[str, Any], where: str, declared: Declared | None) -> Study:
    n_values = 0
    for loc, value in leaves(raw):
        if loc[-1] == "n" and type(value) is int:
            n_values += min(max(value, 0), MAX_RANGE_VALUES)
        if isinstance(value, float) and not math.isfinite(value):
            raise StudyError(
                f"{key_path(raw, loc)} = {value}",
                expected="a finite number",
                where=location(raw, loc, where),
            )
    if n_values > MAX_VALUES:
        raise StudyError(
            f"the ranges hold {n_values} values",
            expected=f"at most {MAX_VALUES} in all",
            where=where,
        )
    try:
        return Study.model_validate(raw, context={"declared": declared})
    except ValidationError as error:
        raise study_error(error, raw, where, Study) from None


def _check_labels(labels: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for index, label in enumerate(labels):
        if not is_printable(label):
            raise mistake(
                f"the label {label!r} holds characters that drive a terminal",
                expected="characters that can be seen",
                at=(index, "label"),
            )
        if label in first:
            raise mistake(
                f"methods[{first[label]}] is labelled '{label}' as well",
                expected="a different label for every [[methods]] table",
                next_step='write label = "..." in this table',
                at=(index, "label"),
            )
        first[label] = index


def _check_scenarios(entries: Sequence[tuple[str, MethodEntry]], scenario: str) -> None:
    for index, (name, entry) in enumerate(entries):
        defined, note = entry.scenarios, entry.scenario_note
        if scenario not in defined:
            raise mistake(
                f"'{name}' is not defined for the scenario '{scenario}'"
                + (f": {note}" if note else ""),
                expected="benchmark.scenario one of " + ", ".join(f"'{s}'" for s in defined),
                at=(index, "name"),
            )


def _check_norms(entries: Sequence[tuple[str, MethodEntry]], net: NetConfig) -> None:
    for index, (name, entry) in enumerate(entries):
        if net.norm_used == "batch" and not entry.takes_batch_norm:
            raise mistake(
                f"'{name}' takes no batch norms, and the net '{net.name}' has some: "
                "their running statistics belong to a task",
                expected="net.norm = 'group' or 'none'",
                at=(index, "name"),
            )


def _check_augment(benchmark: BenchmarkConfig, trainings: Iterable[TrainingConfig]) -> None:
    if benchmark.name != "permuted":
        return
    for training in trainings:
        if training.augment != "none":
            raise mistake(
                f"augment = '{training.augment}' moves pixels, and the benchmark "
                "'permuted' has scattered them",
                expected="augment = 'none', or another benchmark",
                at=("training", "augment"),
            )


def _check_precision(resources: Resources, trainings: Iterable[TrainingConfig]) -> None:
    if resources.device == "cuda":
        return
    if any(one.precision != "float32" for one in trainings):
        raise mistake(
            f"precision = 'bf16' with [resources] device = '{resources.device}', under "
            "which trials may run on a processor",
            expected="bf16 on GPUs alone, so that all trials compute in one precision",
            next_step="write [resources] device = 'cuda', or precision = 'float32'",
            at=("training", "precision"),
        )


def _check_proximal(study: Study) -> None:
    """A proximal step needs a learning rate that the step before it was proportional to."""
    for index, request in enumerate(study.methods):
        if "proximal" not in request.axes().get("form", ()):
            continue
        chosen = request.training.axes().get("optimizer", (study.training.optimizer,))
        for name in WITHOUT_RATE.intersection(chosen):
            raise mistake(
                f"form = 'proximal' of '{request.label}' with optimizer = '{name}', whose steps "
                "are not proportional to its learning rate",
                expected="form = 'gradient', or another optimizer",
                at=("methods", index, "form"),
            )


def _check_choosing(seeds: Sequence[int], choosing: Sequence[int]) -> None:
    unknown = [seed for seed in choosing if seed not in seeds]
    at = ("report", "choose_on")
    if unknown:
        raise mistake(
            f"the seed {unknown[0]} in choose_on is none of the study's seeds",
            expected=f"some of seeds = {as_toml(seeds[:12])}",
            at=at,
        )
    if len(choosing) == len(seeds):
        raise mistake(
            "choose_on names all seeds, and leaves none whose test numbers can be shown",
            expected="some of the seeds, or choose_on = [] for cross-fitting",
            at=at,
        )


def _check_sizes(study: Study, raw: Mapping[str, Any], where: str, data_root: Path | None) -> None:
    conditions = study.conditions
    try:
        make_arrays(conditions.benchmark)
        benchmark = conditions.located_benchmark
        check_sampler(conditions.search)
        for measure in conditions.report.measures:
            code_path(measure, where="report.measures", group=MEASURE_GROUP)
        for name in benchmark.datasets:
            is_there(name, data_root)
        sizes = benchmark_sizes(benchmark, data_root)
        check_targets(benchmark, data_root)
        augments = dict.fromkeys(one.training.augment for one in examples(study))
        generators = [r.method_key for r in study.methods if r.entry.generates_images]
        check_fit(conditions, data_root, augments, generators)
        weights_file(conditions.located_net, data_root)
        check_factory(conditions.net)
        check_own_optimisers(study.optimisers)
        class_notes(benchmark, data_root, conditions.seeds)
    except StudyError as error:
        raise _in_file(error, where) from None
    if not benchmark.is_regression:
        _check_classes(benchmark, [size.n_classes for size in sizes], where)
    counts = [size.n_train for size in sizes]
    for index, request in enumerate(study.methods):
        if found := _memory_mistake(request.axes(), counts):
            what, expected = found
            raise StudyError(
                what,
                expected=expected,
                where=location(raw, ("methods", index, "memory_size"), where),
            )


def _memory_mistake(
    axes: Mapping[str, tuple[Any, ...]], counts: list[int]
) -> tuple[str, str] | None:
    """What is wrong with the sizes of a method's memory, and what was expected.

    Args:
        axes: its numbers, and their values or the ends of their ranges.
        counts: training examples of every task.
    """
    each, has_rings = True in axes.get("per_task", ()), "ring" in axes.get("fill", ())
    n_train, of = (
        (max(counts), "the largest task") if each else (sum(counts), "all tasks together")
    )
    for size in axes.get("memory_size", ()):
        if size > n_train:
            return (
                f"memory_size = {size} is more than the benchmark's training examples",
                f"at most {n_train}, the training examples of {of}",
            )
        if has_rings and size < len(counts):
            return (
                f"memory_size = {size} leaves a ring without a place: fill = 'ring' divides the "
                f"memory among {len(counts)} tasks",
                f"memory_size = {len(counts)} or more, or fill = 'reservoir'",
            )
    return None


def _check_classes(benchmark: BenchmarkConfig, n_classes: list[int], where: str) -> None:
    """Refuse a task in which every answer is right, and tasks that one head does not fit."""
    found = expected = ""
    if benchmark.scenario == "class":
        if sum(n_classes[:-1]) == 1:
            found = "the tasks before the last hold one class, in which there is nothing to learn"
            expected = "two classes or more before the last task"
    elif 1 in n_classes:
        found = f"the task of index {n_classes.index(1)} has one class: every answer is right"
        expected = "two classes or more in every task, or scenario = 'class'"
    elif benchmark.scenario == "domain" and len(set(n_classes)) > 1:
        found = f"tasks of {', '.join(map(str, n_classes))} classes are to share one head"
        expected = "equally many classes in every task, or scenario 'task' or 'class'"
    if found:
        raise StudyError(found, expected=expected, where=f"{where}: benchmark")


def _in_file(error: StudyError, where: str) -> StudyError:
    """`error` with the file in front of the key, which is all that `dataset_lookup` knows."""
    label = "  where: "
    text = str(error)
    if f"\n{label}" not in text:
        return StudyError(text, where=where)
    return StudyError(text.replace(f"\n{label}", f"\n{label}{where}: ", 1))
