"""What a study has chosen as a study file: to run with further seeds, or on another benchmark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.data.benchmark_specs import BENCHMARKS
from clsweep.errors import StoreError, StudyError, closest_name
from clsweep.search.chosen_configurations import Choices, choices
from clsweep.search.selection_protocols import best_average, best_target, protocol_of
from clsweep.storage.remote_path import Place, place_of
from clsweep.storage.store import Store
from clsweep.study.chosen_study import chosen_study_toml, keys_with_lengths
from clsweep.study.configurations import Table, configurations
from clsweep.study.declarations import declared_of
from clsweep.study.identity import plain_values
from clsweep.study.paths import label_without_path
from clsweep.study.study import Study, shared_study, stored_study, written_study
from clsweep.study.templates import write_new

if TYPE_CHECKING:
    from clsweep.study.configurations import Configuration
    from clsweep.training.config import TrainingConfig


class StudyExport(NamedTuple):
    """What was written.

    Attributes:
        labels: those that the new study has, with the id of the configuration in the old one.
        left_out: label -> why it is not in it.
        numbers: label -> the numbers by which its configuration was chosen among others.
    """

    labels: dict[str, str]
    left_out: dict[str, str]
    numbers: dict[str, dict[str, Any]]


def export_study(
    directory: Place, file: Path, *, protocol: str = "average", other: str | None = None
) -> StudyExport:
    """Write a study of what a protocol chooses: one configuration per label, and the references.

    Without `other` its configurations are those of the folder, so that a run with the folder's
    results finds them done; but for points of a path, which become independent trials.

    Args:
        directory: a results folder.
        file: the new study file.
        protocol: the rule that chooses, as in `clsweep report --protocol`.
        other: another benchmark: its name, for its defaults; or a study file, or a results
            folder, for all that they say beside the methods.

    Raises:
        StoreError: the folder holds no results, or they cannot be read.
        StudyError: there is no such protocol or benchmark, or nothing was chosen; or the file
            exists, or cannot be written.
    """
    study = stored_study(directory / "study.toml")
    found = _choices_in(directory, study, protocol)
    base = study if other is None else _study_for(study, other)
    chosen, left_out = _exported(study, found, base.benchmark.scenario, other is not None)
    if not chosen:
        raise StudyError(
            f"the protocol '{protocol}' chooses nothing that could be exported",
            expected="a configuration that has finished with the seeds of the study",
            where=str(directory),
            next_step="; ".join(f"{label}: {why}" for label, why in left_out.items()),
        )
    overridden = None if other is None else _overridden(study)
    name = file.stem if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", file.stem) else "chosen"
    text = chosen_study_toml(base, chosen, name, overridden)
    made = written_study(text, str(file), declared_of(study))
    _check_made(made, chosen, overridden, file)
    write_new(file, _head(directory, study, protocol) + text)
    return StudyExport(
        {label: one.id for label, one in chosen},
        left_out,
        {label: _varied(one, found.configurations.values()) for label, one in chosen},
    )


def _choices_in(directory: Place, study: Study, protocol: str) -> Choices:
    """What a protocol chooses in a results folder."""
    rule = protocol_of(protocol, study.report.margin)
    if rule.kind == "transfer":
        raise StudyError(
            "the protocol 'transfer' chooses on another benchmark",
            expected="a protocol that chooses in the folder itself",
            next_step="export the other folder, with `--for` this benchmark",
        )
    try:
        return choices(study, Store(directory, read_only=True).load("validation"), rule)
    except StoreError as error:
        raise StoreError(
            error.found, where=str(directory), next_step="run the study first"
        ) from error


def _exported(
    study: Study, found: Choices, scenario: str, is_other: bool
) -> tuple[list[tuple[str, Configuration]], dict[str, str]]:
    """(label and choice, label and why it has none) for a benchmark of a scenario."""
    left_out = {pick.label: pick.remark for pick in found.picks if pick.config_id is None}
    chosen: list[tuple[str, Configuration]] = []
    for label, key in _chosen(study, found).items():
        one = found.configurations[key]
        if scenario in one.entry.scenarios:
            one = _independent(study, one)
            one = _with_first_length(study, one) if is_other else one
            chosen.append((label_without_path(label), one))
        else:
            left_out[label] = f"not defined for the scenario '{scenario}'"
    return chosen, left_out


def _varied(chosen: Configuration, others: Iterable[Configuration]) -> dict[str, Any]:
    """The numbers of a configuration in which those of its label differ."""
    of_label = [_numbers(one) for one in others if one.label == chosen.label]
    return {
        name: value
        for name, value in _numbers(chosen).items()
        if any(one.get(name) != value for one in of_label)
    }


def _numbers(one: Configuration) -> dict[str, Any]:
    return {**plain_values(one.hyper), **plain_values(one.training)}


def _independent(study: Study, one: Configuration) -> Configuration:
    """The configuration as an independent trial, which the point of a path is none."""
    if one.path is None:
        return one
    (request,) = (table for table in study.methods if table.label == one.label)
    return Table(study, request).made(one.training, one.hyper.model_dump())


def _check_made(
    made: Study,
    chosen: Sequence[tuple[str, Configuration]],
    overridden: Mapping[str, frozenset[str]] | None,
    file: Path,
) -> None:
    """That the new study trains what was chosen: all of it, or the numbers that go along."""
    by_label = {one.label: one for one in configurations(made)}
    tables = {one.label: Table(made, one) for one in made.methods}
    for label, old in chosen:
        new = by_label[label]
        if overridden is None:
            is_same = new.id == old.id
        else:
            keys = keys_with_lengths(old.training, overridden[label])
            is_same = _is_alike(new, old, keys, tables[label].idle_in(new))
        if not is_same:
            raise StudyError(
                f"'{label}' would not be trained as it was chosen, configuration {old.id}",
                expected="the same numbers in the new study",
                where=str(file),
                next_step="nothing was written; copy the numbers from `clsweep report --full`",
            )


def _is_alike(new: Configuration, old: Configuration, keys: Set[str], idle: Set[str]) -> bool:
    """Whether numbers and keys of training are alike, but for those that change nothing now."""
    lengths = {"first_steps", "first_epochs"}
    if keys & lengths and any(getattr(old.training, key) for key in lengths):
        if _first_length(new.training) != _first_length(old.training):
            return False
        keys = keys - lengths
    before, after = plain_values(old.hyper), plain_values(new.hyper)
    return all(after[key] == before[key] for key in before.keys() - idle) and all(
        getattr(new.training, key) == getattr(old.training, key)
        for key in keys
        if f"training.{key}" not in idle
    )


def _first_length(training: TrainingConfig) -> tuple[int, int]:
    """Steps on the first task, or else passes over it."""
    if training.first_steps or training.first_epochs:
        return training.first_steps, training.first_epochs
    return training.steps, 0 if training.steps else training.epochs


def _with_first_length(study: Study, configuration: Configuration) -> Configuration:
    """With the length of the first task that its table sets, also where it is that of all tasks.

    The configuration leaves it out there, and on another benchmark all tasks may have another.
    """
    own = configuration.training
    (axes,) = (one.training.axes() for one in study.methods if one.label == configuration.label)
    if own.first_steps or own.first_epochs:
        return configuration
    if own.steps in axes.get("first_steps", ()) and own.steps:
        update = {"first_steps": own.steps}
    elif own.epochs in axes.get("first_epochs", ()) and not own.steps:
        update = {"first_epochs": own.epochs}
    else:
        return configuration
    return replace(configuration, training=own.model_copy(update=update))


def _head(directory: Place, study: Study, protocol: str) -> str:
    paths = "# They were points of paths. Here each is an independent trial, still to be run.\n"
    return (
        f"# What the protocol '{protocol}' chose on validation data of the study {study.name}, "
        f"results folder\n# {directory.name}: one configuration per method.\n"
        + paths * (study.search.kind == "path")
        + "\n"
    )


def _chosen(study: Study, found: Choices) -> dict[str, str]:
    """Label -> id of the one configuration, in the order of the study."""
    chosen = {one.label: one.config_id for one in found.picks if one.config_id is not None}
    for label in {found.configurations[key].label for key in found.references}:
        own = found.table.of(label)
        best = best_target(own) if own[0].method == "finetune" else best_average(own)
        if best is not None:
            chosen[label] = best.config_id
    return {one.label: chosen[one.label] for one in study.methods if one.label in chosen}


def _study_for(study: Study, other: str) -> Study:
    """The study whose benchmark, and all else beside the methods, the new one has."""
    if other in BENCHMARKS:
        config = BENCHMARKS[other]
        if any(field.is_required() for key, field in config.model_fields.items() if key != "name"):
            raise StudyError(
                f"the benchmark '{other}' has no default for all of its keys",
                expected="a study file that says them",
                next_step=f"`clsweep init --benchmark {other} --out FILE`, then `--for FILE`",
            )
        return study.model_copy(update={"benchmark": config.model_validate({"name": other})})
    place = place_of(other)
    if place.is_dir():
        return shared_study(place / "study.toml")
    if place.is_file():
        return shared_study(place)
    raise StudyError(
        f"there is no benchmark '{other}', and no such file or folder",
        expected=closest_name(other, BENCHMARKS) + " Or a study file, or a results folder",
        where="--for",
    )


def _overridden(study: Study) -> Mapping[str, frozenset[str]]:
    """Label -> keys of [training] that its table sets, which go with its numbers."""
    return {label_without_path(one.label): frozenset(one.training.axes()) for one in study.methods}
