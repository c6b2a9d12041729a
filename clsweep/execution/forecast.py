"""Forecast of a run: its work and cost, and what is unfair in its comparison. Computes nothing."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clsweep.data.task_sizes import TaskSize
from clsweep.methods.hyper_fields import knob_keys
from clsweep.methods.information_needs import task_identity_text
from clsweep.methods.regulariser_hypers import PenaltyHyper
from clsweep.number_conditions import condition_text, idle
from clsweep.records.schema import trial_id_of
from clsweep.study import fairness, planning
from clsweep.study.configurations import Configuration, configurations
from clsweep.study.grid import MethodRequest, around
from clsweep.study.jobs import Job
from clsweep.study.lane_groups import lane_notes
from clsweep.study.sampler_names import SAMPLERS
from clsweep.study.study_tables import StudyTables
from clsweep.toml_text import toml_value
from clsweep.training.config import TrainingConfig


class FinishedTrial(NamedTuple):
    """What is known about the cost of a trial that has a record."""

    trial_id: str
    method: str
    status: str
    n_steps: int
    wall_seconds: float


class CurveForecast(NamedTuple):
    """One line of the plan.

    Attributes:
        label: the curve.
        method: its method.
        n_configurations: size of its grid; with a search, those that it may ask for.
        n_trials: configurations times seeds.
        n_done: those that have a record.
        knobs: knob -> its smallest and largest value, where it has several.
        uses: what the method needs beyond the previous network and the current data.
    """

    label: str
    method: str
    n_configurations: int
    n_trials: int
    n_done: int
    knobs: dict[str, tuple[float, float]]
    uses: tuple[str, ...]


class Forecast(NamedTuple):
    """What a run would do.

    Attributes:
        curves: one line per label, in file order.
        n_seeds: seeds of the study.
        n_trials: configurations times seeds.
        n_done: trials that have a record, whatever its status.
        n_not_ok: those of them that failed, diverged or ran out of memory.
        n_sources: source models to train.
        n_statistics: statistics of source models to compute.
        n_finetuned: fine-tuned networks to train.
        n_cached: stages that are needed and exist already.
        n_steps_all: training steps of the whole study, from nothing.
        n_steps_missing: training steps that are still to do.
        seconds: computing time of one worker for them; None if no trial has succeeded yet.
        notes: what a reader of the comparison would object to.
        search: how configurations are chosen, in words; '' for a grid.
        told: who knows the task of an example, in words.
        warnings: sentences about damage in the results folder that was passed over.
    """

    curves: list[CurveForecast]
    n_seeds: int
    n_trials: int
    n_done: int
    n_not_ok: int
    n_sources: int
    n_statistics: int
    n_finetuned: int
    n_cached: int
    n_steps_all: int
    n_steps_missing: int
    seconds: float | None
    notes: list[str]
    search: str = ""
    told: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def n_configurations(self) -> int:
        """Configurations of all curves."""
        return self.n_trials // self.n_seeds

    @property
    def n_left(self) -> int:
        """Trials that are still to do."""
        return self.n_trials - self.n_done


def forecast(
    study: StudyTables,
    sizes: Sequence[TaskSize],
    finished: Sequence[FinishedTrial],
    in_cache: Callable[[str], bool],
    grid: list[Configuration] | None = None,
    values: planning.Values = (),
    about_data: Sequence[str] = (),
    about_weights: Callable[[list[Configuration]], Sequence[str]] = lambda configurations: (),
) -> Forecast:
    """What a run of the study would do.

    Args:
        study: what is asked for.
        sizes: sizes of the benchmark's tasks.
        finished: the trials that have a record.
        in_cache: whether a stage key has been computed.
        grid: the study's configurations, where a search adds to its own; see `search.expected`.
        values: fingerprints in the keys of stages, see `recorded_inputs.stage_inputs`.
        about_data: what is doubtful about the data, see `data_warnings`.
        about_weights: which of the configurations to do will diverge, see `unstable_weights`.
    """
    grid = configurations(study) if grid is None else grid
    asked = {trial_id_of(c.id, seed) for c in grid for seed in study.seeds}
    ours = [trial for trial in finished if trial.trial_id in asked]
    done = {trial.trial_id for trial in ours}
    missing = planning.plan(study, grid, done, in_cache, values)
    everything = planning.plan(study, grid, set(), lambda key: False, values)
    by_id = {configuration.id: configuration for configuration in grid}
    rates = _seconds_per_step(ours)
    to_do = {job.config_id for job in missing.jobs if job.kind == "trial"}
    in_words = study.benchmark.shown_metric.in_words
    return Forecast(
        curves=_curves(study, grid, done),
        n_seeds=len(study.seeds),
        n_trials=missing.n_trials,
        n_done=missing.n_done,
        n_not_ok=sum(trial.status not in ("ok", "stopped") for trial in ours),
        n_sources=missing.n_sources,
        n_statistics=sum(job.kind == "statistics" for job in missing.jobs),
        n_finetuned=sum(job.kind == "finetuned" for job in missing.jobs),
        n_cached=len(missing.stages_in_cache),
        n_steps_all=_n_steps(everything.jobs, by_id, sizes),
        n_steps_missing=_n_steps(missing.jobs, by_id, sizes),
        seconds=_seconds(missing.jobs, by_id, sizes, rates) if rates else None,
        notes=[
            *about_data,
            *form_notes(study),
            *lane_notes(study, grid),
            *about_weights([c for c in grid if c.id in to_do]),
            *map(in_words, fairness_notes(study, grid)),
        ],
        search=in_words(_search_text(study)),
        told=task_identity_text(study.benchmark.scenario),
    )


def form_notes(study: StudyTables) -> list[str]:
    """Which form quadratic penalties have where the file does not say; one sentence or none.

    Args:
        study: the study.
    """
    labels = [
        one.label
        for one in study.methods
        if issubclass(one.entry.hyper, PenaltyHyper) and "form" not in one.model_fields_set
    ]
    if not labels:
        return []
    return [
        f'{", ".join(labels)}: no `form` is named, which means form = "gradient": it diverges '
        'where the penalty is large. form = "proximal" never does; its trials are others. Name '
        "the one that you mean"
    ]


def fairness_notes(study: StudyTables, grid: list[Configuration] | None = None) -> list[str]:
    """What a reader of the comparison would object to, one sentence each.

    Args:
        study: the study.
        grid: its configurations, where a search adds to its own.
    """
    design = _design_of(study, configurations(study) if grid is None else grid)
    return [
        *(remark.note for remark in fairness.seeds(design)),
        *(remark.note for remark in fairness.references(design)),
        *_sharing_notes(study),
        *(note for request in study.methods for note in _knob_notes(request)),
        *(remark.note for remark in fairness.ranges(design)),
        *(remark.note for remark in fairness.starts(design)),
        *_idle_notes(study),
        *(remark.note for remark in fairness.trainings(design)),
        *(remark.note for remark in fairness.budgets(design)),
    ]


def _design_of(study: StudyTables, grid: list[Configuration]) -> fairness.Design:
    """The comparison that a study asks for, references and their training included."""
    several = {
        request.label: {key: values for key, values in request.axes().items() if len(values) > 1}
        for request in study.methods
    }
    return fairness.Design(
        n_seeds=len(study.seeds),
        methods={request.label: request.method_key for request in study.methods},
        references=frozenset(r.method_key for r in study.methods if r.entry.is_reference),
        one_head=study.benchmark.scenario != "task",
        n_configurations=Counter(c.label for c in grid if not c.reference),
        values=several,
        trainings={r.label: _training_values(r, study.training) for r in study.methods},
        own_starts=frozenset(c.label for c in grid if c.hyper.learns_first_task),
    )


def _training_values(request: MethodRequest, usual: TrainingConfig) -> dict[str, frozenset[str]]:
    found = request.training.trainings(usual)
    keys = TrainingConfig.model_fields
    return {key: frozenset(str(getattr(one, key)) for one in found) for key in keys}


def _sharing_notes(study: StudyTables) -> Iterator[str]:
    net = study.net
    if net.name == "mlp" and not net.hidden and study.benchmark.scenario == "task":
        yield (
            "nothing is shared between the tasks: 'hidden' is empty and every task has a head of "
            "its own, so that no method can forget or differ from fine-tuning by its penalty"
        )


def _search_text(study: StudyTables) -> str:
    search = study.search
    if search.kind == "grid":
        return ""
    if search.kind == "path":
        return (
            "a path per curve and seed, from the largest value to the smallest, each learnt on "
            f"from the one before with {search.point_steps:g} of a task's steps (the first with "
            "all): points of a path are no independent trials, and show where a grid should lie"
        )
    parts = [f"at most {search.trials} configurations per curve, each with every seed"]
    if search.kind == "fill":
        parts += [
            f"the knob alone: {search.coarse} values, then where neighbours of the front lie more "
            f"than {search.gap:g} apart"
        ]
        if "finetune" not in {request.name for request in study.methods}:
            parts.append("without 'finetune' the target end is not followed beyond its range")
    else:
        tuned = ", ".join(study.search.training.axes())
        nuisance = (["the methods' own"] if search.nuisance else []) + ([tuned] if tuned else [])
        sampler = f"{SAMPLERS.get(search.sampler, search.sampler)}, seed {search.seed}"
        parts += [
            f"{sampler}, maximises source and target accuracy",
            f"nuisance values searched for every method: {' and '.join(nuisance)}"
            if nuisance
            else "nuisance values are not searched",
        ]
    if search.stops:
        parts.append(
            f"trials behind another by more than {search.stop_margin:g} in both accuracies are "
            "stopped"
        )
    return "; ".join([*parts, "told validation accuracies only"])


def _knob_notes(request: MethodRequest) -> Iterator[str]:
    fields, axes = request.entry.hyper.model_fields, request.axes()
    knobs = knob_keys(fields)
    if knobs and not any(len(axes[key]) > 1 for key in knobs):
        names = " and ".join(f"'{key}'" for key in knobs)
        yield f"{request.label}: one value of {names} is a point and not a front"


def _idle_notes(study: StudyTables) -> list[str]:
    """What the file asks for and other numbers switch off, and combinations that are left out."""
    context = around(study.net, study.benchmark)
    made = Counter(c.label for c in configurations(study))
    notes = _idle_keys("benchmark", study.benchmark, study.benchmark.model_dump(), context)
    notes += _idle_keys("training", study.training, study.training.model_dump(), {})
    for request in study.methods:
        hyper, axes = request.entry.hyper, request.axes()
        trained = {f"training.{key}": axis for key, axis in request.training.axes().items()}
        usual = {f"training.{key}": v for key, v in study.training.model_dump().items()}
        alone = {key: value for key, value in usual.items() if key not in trained}
        never = idle(hyper, axes, {**context, **alone})
        for key in (key for key in axes if key in never):
            field = hyper.model_fields[key]
            if any(value != field.default for value in axes[key]):
                notes.append(f"{request.label}: {_idle_text(key, axes[key], field)}")
        n_written = math.prod(len(values) for values in (*axes.values(), *trained.values()))
        if 0 < made[request.label] < n_written:
            fields = {f"training.{key}": f for key, f in TrainingConfig.model_fields.items()}
            several = {k: v for k, v in {**axes, **trained}.items() if len(v) > 1}
            found = {k: condition_text({**fields, **hyper.model_fields}[k]) for k in several}
            texts = "; ".join(f"{key} acts {text}" for key, text in found.items() if text)
            notes.append(
                f"{request.label}: {made[request.label]} of {n_written} combinations differ in "
                f"what they do, and no other is run: {texts}"
            )
    return notes


def _idle_keys(
    section: str, table: BaseModel, values: Mapping[str, Any], context: Mapping[str, Any]
) -> list[str]:
    """Notes about a section of the file whose keys have one value each."""
    fields = type(table).model_fields
    never = idle(type(table), {key: (value,) for key, value in values.items()}, context)
    return [
        _idle_text(f"{section}.{key}", (values[key],), fields[key])
        for key in values
        if key in never and values[key] != fields[key].default
    ]


def _idle_text(key: str, values: Sequence[Any], field: FieldInfo) -> str:
    written = toml_value(values[0] if len(values) == 1 else list(values))
    return f"{key} = {written} changes nothing here; it acts {condition_text(field)}"


def _curves(study: StudyTables, grid: list[Configuration], done: set[str]) -> list[CurveForecast]:
    lines = []
    for request in study.methods:
        own = [c for c in grid if c.label == request.label]
        n_done = sum(trial_id_of(c.id, seed) in done for c in own for seed in study.seeds)
        fields = request.entry.hyper.model_fields
        axes = {key: request.axes()[key] for key in knob_keys(fields)}
        knobs = {key: (min(v), max(v)) for key, v in axes.items() if len(v) > 1}
        entry = request.entry
        lines.append(
            CurveForecast(
                request.label,
                request.method_key,
                len(own),
                len(own) * len(study.seeds),
                n_done,
                knobs,
                entry.uses,
            )
        )
    return lines


def _job_steps(job: Job, own: Configuration, sizes: Sequence[TaskSize]) -> int:
    if job.kind == "statistics":
        return 0
    if job.kind == "source":
        return own.training.n_steps(sizes[0].n_train, 0)
    if job.kind == "finetuned":
        return own.training.n_steps(sizes[1].n_train)
    if own.path is not None:  # the trial itself evaluates what the stage has trained
        is_first = len(own.path.ids) == 1
        n_full = own.training.n_steps(sizes[1].n_train)
        return own.path.n_steps(n_full, is_first=is_first) if job.kind == "path" else 0
    entry = own.entry
    steps = [own.training.n_steps(size.n_train, task) for task, size in enumerate(sizes)]
    at_source = entry.begins_at_source(own.hyper)
    on_first = sum(own.hyper.first_steps(steps[0])) if at_source else 0
    steps = steps[1:] if at_source else steps
    shared = steps[0] if entry.starts_from_finetuned else 0
    return on_first + sum(sum(own.hyper.phase_steps(n)) for n in steps) - shared


def _n_steps(
    jobs: Sequence[Job], by_id: Mapping[str, Configuration], sizes: Sequence[TaskSize]
) -> int:
    return sum(_job_steps(job, by_id[job.config_id], sizes) for job in jobs)


def _seconds_per_step(finished: Sequence[FinishedTrial]) -> dict[str, float]:
    """Method -> seconds per step; the key '' is the mean over all methods."""
    seconds: defaultdict[str, float] = defaultdict(float)
    steps: defaultdict[str, int] = defaultdict(int)
    for trial in finished:
        if trial.status == "ok" and trial.n_steps > 0:
            for key in (trial.method, ""):
                seconds[key] += trial.wall_seconds
                steps[key] += trial.n_steps
    return {key: seconds[key] / steps[key] for key in steps}


def _seconds(
    jobs: Sequence[Job],
    by_id: Mapping[str, Configuration],
    sizes: Sequence[TaskSize],
    rates: Mapping[str, float],
) -> float:
    total = 0.0
    for job in jobs:
        own = by_id[job.config_id]
        method = own.method if job.kind in ("trial", "path") else "finetune"
        total += _job_steps(job, own, sizes) * rates.get(method, rates[""])
    return total
