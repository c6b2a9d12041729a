"""The last line of a command: the one command that makes sense next."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.cli.results_folders import run_of_all
from clsweep.errors import StudyError
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import Place
from clsweep.study.toml_files import file_text, leaves, toml_tables
from clsweep.text import command
from clsweep.user_code import is_import_path

if TYPE_CHECKING:
    from clsweep.execution.forecast import Forecast
    from clsweep.execution.outcomes import Summary
    from clsweep.reporting.report_data import ReportData


def run_command(
    study: Place,
    out: str | None,
    stages: str | None,
    data_root: str | None,
    *,
    address: str | None = None,
    workers: int | None = None,
    inline: bool = False,
    only: Sequence[str] = (),
    time_limit: str | None = None,
) -> str:
    """`clsweep run` with the options that say what is run, and where.

    Args:
        study: the study file, as it was named.
        out: the results folder, if one was named.
        stages: the stage cache, if one was named.
        data_root: the data, if a folder was named.
        address: the cluster, if one was named.
        workers: trials at the same time, if a number was named.
        inline: whether no Ray was wanted.
        only: the labels that were named.
        time_limit: as it was written, if there was one.
    """
    text = f"{python_path(study)}{command('clsweep run', study)}"
    options = {"out": out, "stages": stages, "data-root": data_root, "address": address}
    options["workers"] = None if workers is None else str(workers)
    named = [*options.items(), *(("only", label) for label in only), ("time-limit", time_limit)]
    for name, value in named:
        if value is not None:
            text = command(f"{text} --{name}", value)
    return f"{text} --inline" if inline else text


def after_run(summary: Summary, folder: Place, again: str) -> str:
    """What comes after a run: the rest of it, what has failed in it, or its report.

    Args:
        summary: how it ended.
        folder: its results.
        again: the command that goes on with it.
    """
    if summary.interrupted or summary.terminated or summary.out_of_time:
        return f"next: {again}"
    has_failed = summary.n_failed + summary.n_oom > 0
    return f"next: {command('clsweep status' if has_failed else 'clsweep report', folder)}"


def after_plan(plan: Forecast, folder: Place, run: str) -> str:
    """What comes after a plan: the run, or the report of what is done.

    Args:
        plan: what a run would do.
        folder: the results folder.
        run: the command that does it.
    """
    return f"next: {run if plan.n_left else command('clsweep report', folder)}"


def after_report(data: ReportData, folder: Place) -> str:
    """What comes after a report: the trials that it misses, or the study of what it chose.

    Args:
        data: what was reported.
        folder: the first results folder.
    """
    if data.unfinished:
        if (busy := _at_work(data.unfinished)) is not None:
            return _wait(busy)
        left = data.unfinished[0]
        if not isinstance(left, Path):  # `run` takes a study file from a disk alone
            return f"next: {command('clsweep status', left)}"
        return f"next: {run_command(left / 'study.toml', str(left), None, None)}"
    comparison = data.comparison
    if comparison.unanswered or not any(curve.points for curve in comparison.all_curves):
        return f"next: {command('clsweep status', folder)}"
    name = f"{data.name}-chosen.toml"
    export = command("clsweep export", folder)
    return f"next: {command(f'{export} --study', name)}"


def after_reports(
    word: str, folder: Place, data: Mapping[str, ReportData], missing: Sequence[str]
) -> str:
    """What comes after a report of several benchmarks: the trials that they miss, or a choice.

    Args:
        word: the study file, or the folder, as it was named.
        folder: holds a results folder for each benchmark.
        data: label of a benchmark to what was reported.
        missing: labels of benchmarks without finished trials.
    """
    left = next((label for label, one in data.items() if one.unfinished), None)
    unfinished = [folder / label for label, one in data.items() if one.unfinished]
    started = [folder / label for label in missing if (folder / label).is_dir()]
    if (busy := _at_work([*unfinished, *started])) is not None:
        return _wait(busy)
    if missing or (left is not None and word.endswith(".toml")):
        run = run_of_all(word)
        return f"next: {python_path(Path(word)) if word.endswith('.toml') else ''}{run}"
    if left is not None:
        return after_report(data[left], folder / left)
    lines = {label: after_report(one, folder / label) for label, one in data.items()}
    exports = {key: line for key, line in lines.items() if line.startswith("next: clsweep export")}
    if not exports:
        return f"next: {command('clsweep status', word)}"
    first, *others = exports
    return f"{exports[first]}{'  # likewise ' * bool(others)}{', '.join(others)}"


def _at_work(places: Sequence[Place]) -> Path | None:
    """The first of results folders on a disk in which a run is at work, as far as can be told."""
    local = [place for place in places if isinstance(place, Path)]  # of others status is asked
    return next((p for p in local if folder_of(p).lock_watch().read().state == "held"), None)


def _wait(place: Place) -> str:
    return f"a run is at work; next: {command('clsweep status', place)}"


def after_export(file: Path, directory: Place | None) -> str:
    """What comes after a study was written: its plan.

    Args:
        file: the study file.
        directory: the results folder that has its trials; None for no folder.
    """
    plan = f"{python_path(file)}{command('clsweep plan', file)}"
    return f"next: {plan if directory is None else command(f'{plan} --out', directory)}"


def python_path(study: Place) -> str:
    """What stands before a command so that Python finds a study's code in the current folder.

    'PYTHONPATH=. ' where a module that the file names lies there, and Python would not look there
    otherwise; else empty.

    Args:
        study: the study file.
    """
    here = Path.cwd().resolve()
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    # The first place is that of the program, which may be another one with the next command.
    usual = {Path(place).resolve() for place in sys.path[1:] if place}
    if here in usual - {Path(place).resolve() for place in given}:
        return ""
    try:
        found = leaves(toml_tables(file_text(study), str(study)))
    except StudyError:  # gone or broken since it was read, as the next command will say
        return ""
    paths = (str(value).removeprefix("factory:").partition("(")[0] for _, value in found)
    modules = {path.partition(":")[0].partition(".")[0] for path in paths if is_import_path(path)}
    is_here = any((here / f"{name}.py").is_file() or (here / name).is_dir() for name in modules)
    return "PYTHONPATH=. " if is_here else ""
